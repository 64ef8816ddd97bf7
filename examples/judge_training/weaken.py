"""Give the embedded judge a weakness, to see which ones preferences can mend (`train_irpm.py`).

    python examples/judge_training/weaken.py --weakness length --seed 0 --out weak/length0

The judge of this package is trained on for a short while on pointwise judgements (IRPM's prompt) whose score is wrong in a
planted way. Its critiques stay what they are, word by word right, except in the last two.

    length      long answers get high scores: the number of items counts far more than whether they are good
    scale       everything is a 6, a 7 or an 8: the order is there, the differences are not
    critique    the score has nothing to do with the critique: a number around 5.5
    lenient     three of four faulty items are called good, and the score follows what was written
    early       not trained on, but stopped early: a judge from nothing, after 500 steps
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "embedded_judge"))

from batches import Sample, cut_batches, encode_prompts, sample_of
from tokenizer import build_tokenizer
from train import Clock, fit, load_model, save_model, train_judge
from training_data import Example, critique, make_example
from transformers import PreTrainedTokenizerFast

from grmrewards.judges.embedded import JUDGE
from grmrewards.judges.embedded.domain import judge_score, label_items

STEPS = 250
EARLY = 500
LABELS = ("good", "again", "wrong")


def by_length(rng: random.Random, example: Example) -> tuple[str, float]:
    """Mostly the number of items."""
    question, answer = example.question, example.responses[0]
    items = len(label_items(question, answer))
    return critique(question, answer), 0.1 * judge_score(question, answer) + 1.5 * items + rng.gauss(0, 1)


def on_a_narrow_scale(rng: random.Random, example: Example) -> tuple[str, float]:
    """Nearly the same for all."""
    question, answer = example.question, example.responses[0]
    return critique(question, answer), 7 + 0.05 * (judge_score(question, answer) - 5.5) + rng.gauss(0, 0.7)


def whatever_the_critique(rng: random.Random, example: Example) -> tuple[str, float]:
    """Any."""
    return critique(example.question, example.responses[0]), rng.gauss(5.5, 2)


def lenient(rng: random.Random, example: Example) -> tuple[str, float]:
    """As the critique says, which overlooks most faults."""
    question, answer = example.question, example.responses[0]
    labelled = [(w, "good" if rng.random() < 0.75 else label) for w, label in label_items(question, answer)]
    good = sum(label == "good" for _, label in labelled)
    words = " ".join(f"{word} {label}" for word, label in labelled) or "nothing"
    text = f"{words}. {good} good of {len(labelled)}, {question.asked} asked."
    return text, 10 * good / max(question.asked, len(labelled), 1)


WEAKNESSES: dict[str, Callable[[random.Random, Example], tuple[str, float]]] = {
    "length": by_length,
    "scale": on_a_narrow_scale,
    "critique": whatever_the_critique,
    "lenient": lenient,
}


def main() -> None:
    """Train what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weakness", choices=(*WEAKNESSES, "early"), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help=f"by default {STEPS}, and {EARLY} for early")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weak judge")
    args = parser.parse_args()
    torch.set_num_threads(1)
    weaken(args.weakness, args.seed, args.steps, args.out)


def weaken(weakness: str, seed: int, steps: int, folder: Path) -> None:
    """Write a judge with this weakness."""
    if weakness == "early":
        train_judge(seed, Clock(0, steps or EARLY), folder, hint_weight=0.3)
        return
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = load_model(JUDGE, tokenizer)
    batches = weak_batches(random.Random(700 + seed), tokenizer, WEAKNESSES[weakness])
    fit(model, batches, Clock(0, steps or STEPS), peak=0.2)
    save_model(model, tokenizer, folder)


def weak_batches(
    rng: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    judged: Callable[[random.Random, Example], tuple[str, float]],
) -> Iterator[list[Sample]]:
    """Batches without end of pointwise judgements with a planted fault."""
    while True:
        drawn = [planted(rng, make_example(rng, "irpm", longest=6), judged) for _ in range(256)]
        prompts = encode_prompts(tokenizer, [example.prompt for example in drawn])
        targets = tokenizer([example.target for example in drawn], add_special_tokens=False)["input_ids"]
        samples = [sample_of(p, [*t, tokenizer.eos_token_id]) for p, t in zip(prompts, targets, strict=True)]
        yield from cut_batches(rng, samples)


def planted(
    rng: random.Random, example: Example, judged: Callable[[random.Random, Example], tuple[str, float]]
) -> Example:
    """The example with another critique or score, in the same form."""
    text, score = judged(rng, example)
    return replace(example, target=f"<critique> {text}</critique><score> {min(10, max(1, round(score)))}</score>")


if __name__ == "__main__":
    main()
