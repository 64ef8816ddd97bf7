"""Teach a judge to compare two answers, from preferences alone: GRAM's fine-tuning with `TwoLogitTrainer`.

    python examples/judge_training/train_gram.py --spoil layers --pairs 60000 --seed 0 --out trained
    python examples/judge_training/train_gram.py --spoil labels --seed 0 --out trained
    python examples/judge_training/train_gram.py --spoil position --seed 0 --out trained
    GRAMReward(TransformersJudge("trained"))

The judge of this package compares well already, so its sense for pairs is taken away first. `--spoil layers` draws all four
layers anew and keeps the embeddings: nothing is left. `--spoil labels` trains it on random labels: it answers about at
random, but what it knew lies beneath and comes back fast. `--spoil position` teaches it to prefer the first answer, nine
times of ten, whatever the two are. Then it learns from preferences in TRL's format, on training questions: question, better
answer, worse answer, and no score. What is measured is the real `GRAMReward`, both orders, on 500 pairs on questions that
training never has. A judge of your own: --judge, and no --spoil.

Right before and after, and processor seconds of the training, on a core shared with other work:

    seed                                        0                    1                    2
    layers, 60,000 pairs    51.0 -> 92.2 % 395 s  51.4 -> 97.6 % 401 s  51.6 -> 96.2 % 401 s
    labels, 6000 pairs      54.2 -> 99.6 %  39 s  53.8 -> 99.4 %  40 s  58.2 -> 98.6 %  40 s
    the same with --lora    54.2 -> 99.2 %  41 s
    with --loss vocabulary  54.2 -> 81.0 %  53 s
    position, 6000 pairs    68.2 -> 99.8 %  38 s  65.2 -> 99.4 %  38 s  58.0 -> 99.2 %  37 s
    pairs that turn          100 ->  1.2 %         100 ->  1.0 %         100 ->  0.6 %

A pair turns whose two orders give it two winners. "vocabulary" is TRL's own cross-entropy, on the same examples at the same
step size. With --spoil layers a step size of 3e-3 in place of 1e-3 learns little: after 30,000 pairs 63.8 instead of 85.0 %
(seed 0). The loss asks which label is likelier, not that either be likely: after --spoil layers both together have less than
1 % of the probability over the vocabulary, which a local judge reads exactly and an endpoint's list of the likeliest tokens
may not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import SFTConfig, SFTTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "embedded_judge"))

from saving import save
from training_data import noisy_answer

from grmrewards import GRAMReward, TransformersJudge
from grmrewards.judges.embedded import JUDGE
from grmrewards.judges.embedded.domain import Split, judge_score, make_question
from grmrewards.training.gram import gram_finetuning
from grmrewards.training.two_logits import TwoLogitTrainer

HELD_OUT, HELD_OUT_SEED = 500, 271828  # pairs on questions that training never has; fixed before anything was trained
BATCH = 32  # examples, each some 30 tokens
SPOIL_RATE = 3e-3
SPOILT = ("labels", "layers", "position")
FIRST = 0.9  # of the labels that teach a liking for the first place

Rows = list[dict[str, str]]


def main() -> None:
    """Spoil, measure, train, measure."""
    args = parse_arguments()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    start = spoiled(args) if args.spoil else args.judge
    before, pairs = measured(start), preferences(args.pairs, 1000 + args.seed)
    started = time.process_time()
    fit(start, args.out, pairs, args, rate=args.rate, loss=args.loss, lora=args.lora)
    seconds = time.process_time() - started
    what = f"seed {args.seed}, loss {args.loss}{', LoRA' * args.lora}, {args.pairs} pairs in {seconds:.0f} s"
    told(f"held-out pairs in the right order: {before} -> {measured(args.out)} ({what})")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", type=Path, default=JUDGE, help="folder of the judge to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained judge")
    parser.add_argument("--spoil", choices=SPOILT, help="take its judgement away before")
    parser.add_argument("--spoil-pairs", type=int, default=9600, help="how many with a random label")
    parser.add_argument("--pairs", type=int, default=6000, help="preferences, each gone through once in both orders")
    parser.add_argument("--loss", choices=("labels", "vocabulary"), default="labels", help="vocabulary: TRL's own")
    parser.add_argument("--lora", action="store_true", help="train adapters of rank 16 and merge them")
    parser.add_argument("--rate", type=float, default=1e-3, help="the largest step size")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


# Preferences


def preferences(count: int, seed: int, split: Split = "train", *, random_labels: bool = False) -> Rows:
    """Rows in TRL's preference format: of two answers the one with the higher score by rule is chosen."""
    rng = random.Random(seed)
    found: Rows = []
    while len(found) < count:
        question = make_question(rng, split)
        answers = [noisy_answer(rng, question) for _ in range(2)]
        scores = [judge_score(question, answer) for answer in answers]
        if all(answers) and scores[0] != scores[1]:
            right = rng.random() < 0.5 if random_labels else scores[0] > scores[1]
            chosen, rejected = answers if right else answers[::-1]
            found.append({"prompt": question.text, "chosen": chosen, "rejected": rejected})
    return found


def measured(folder: Path) -> str:
    """How many held-out pairs `GRAMReward`, in both orders, puts into the right order, and how many turn with their order.

    A tie is wrong.
    """
    judge = TransformersJudge(str(folder), device="cpu", dtype=torch.float32)
    rows = preferences(HELD_OUT, HELD_OUT_SEED, "heldout_questions")
    columns = {name: [row[name] for row in rows] for name in ("prompt", "chosen", "rejected")}
    reward, metrics = GRAMReward(judge, baseline_column="rejected", on_failure="raise"), {}
    given = {"prompts": columns["prompt"], "completions": columns["chosen"], "rejected": columns["rejected"]}
    won = reward(**given, log_metric=metrics.__setitem__)
    right = sum(p is not None and p > 0.5 for p in won) / len(won)
    return f"{right:.1%}, {metrics[f'{reward.__name__}/flip_rate']:.1%} flip"


# The model


def spoiled(args: argparse.Namespace) -> Path:
    """The folder of the spoilt judge: trained on random labels or mostly the first place, or all its layers drawn anew."""
    folder: Path = args.out.with_name(f"{args.out.name}-spoiled")
    if args.spoil in ("labels", "position"):
        rows = preferences(args.spoil_pairs, 5000 + args.seed, random_labels=args.spoil == "labels")
        fit(args.judge, folder, rows, args, rate=SPOIL_RATE, loss="labels", first=FIRST * (args.spoil == "position"))
        return folder
    torch.manual_seed(args.seed)
    model = AutoModelForCausalLM.from_pretrained(args.judge, dtype=torch.float32)
    fresh = AutoModelForCausalLM.from_config(model.config)
    model.model.layers.load_state_dict(fresh.model.layers.state_dict())
    save(model, args.judge, folder)
    return folder


def fit(
    start: Path,
    out: Path,
    rows: Rows,
    args: argparse.Namespace,
    *,
    rate: float,
    loss: str,
    lora: bool = False,
    first: float = 0,
) -> None:
    """One epoch over the preferences, from the judge in `start` to one in `out`; `first`: so many labels are A in any case."""
    tokenizer = AutoTokenizer.from_pretrained(start)
    config = SFTConfig(
        output_dir=str(out),
        per_device_train_batch_size=BATCH,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=20,
        num_train_epochs=1,
        weight_decay=0.01,
        seed=args.seed,
        logging_steps=100,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    kind = TwoLogitTrainer if loss == "labels" else SFTTrainer
    dataset = gram_finetuning(rows, tokenizer=tokenizer, seed=args.seed)
    if first:
        rng = random.Random(args.seed)
        said = ["A" if rng.random() < first else "B" for _ in range(len(dataset))]
        turns = [[{"role": "assistant", "content": label}] for label in said]
        dataset = dataset.remove_columns("completion").add_column("completion", turns)
    trainer = kind(
        model, config, train_dataset=dataset, processing_class=tokenizer, peft_config=adapters() if lora else None
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    for entry in trainer.state.log_history[::4]:
        told(" ".join(f"{k} {float(v):.4f}" for k, v in entry.items() if k in ("loss", "label_accuracy", "label_mass")))
    save(trainer.model, start, out)


def adapters() -> Any:
    """LoRA on all matrices of the layers; the embeddings stay."""
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def told(text: str) -> None:
    """Print with the processor time so far."""
    print(f"{time.process_time():.0f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
