"""Held-out figures of an embedded judge, and of a policy: a table on the screen and JSON in a file.

    python examples/embedded_judge/evaluate.py embedded/judge --policy embedded/policy --json figures.json

All cases are drawn with one seed (another one with --case-seed) from questions that training never uses. Two splits:
questions whose text never occurs in training, and questions whose required or forbidden word is never one in training.
"exact" is the share of answers right to the digit, "pairwise" the share of untied pairs whose better answer gets the
higher P(A) with both orders averaged. Pointwise prompts hold the principles that the judge itself wrote. Then the same
with the optional blocks of the templates filled in, with half as many cases. Takes two minutes on one core.

Pointwise / IRPM / group of 8 / pairwise, cases 9999, held-out questions and held-out words:
    seed 0    .980 .983 .943 .995    .988 .968 .953 .993    (the shipped one)
    seed 1    .963 .918 .850 .971    .758 .688 .593 .949
    seed 2    .970 .975 .883 .993    .898 .915 .725 .975
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from training_data import BLOCKS, LARGEST_GROUP, Example, draw_blocks, make_example, prompt_text, target_text
from transformers import AutoModelForCausalLM, AutoTokenizer

from grmrewards.judges.embedded.domain import Split, judge_score, make_question, rule_score

SEED = 9999
SPLITS: tuple[Split, ...] = ("heldout_questions", "heldout_words")
CASES = {"ipgrm": 400, "irpm": 400, "ipgrm_principles": 200, "listwise": 50, "gram": 800}
SCORE = {"irpm": re.compile(r"<score>([^<]*)</score>")}
BOXED = re.compile(r"\\boxed\{([^}]*)\}")

Figures = dict[str, Any]


class Model:
    """A model folder that answers prompts, many at once."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def _batches(self, prompts: Sequence[str], size: int) -> Any:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for start in range(0, len(order), size):
            at = order[start : start + size]
            chats = [[{"role": "user", "content": prompts[i]}] for i in at]
            texts = self.tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
            yield at, self.tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")

    @torch.inference_mode()
    def answers(self, prompts: Sequence[str], longest: int, *, sample: bool = False) -> list[str]:
        found = [""] * len(prompts)
        for at, batch in self._batches(prompts, 128):
            ids = self.model.generate(**batch, max_new_tokens=longest, do_sample=sample, top_k=0 if sample else None)
            texts = self.tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            for i, text in zip(at, texts, strict=True):
                found[i] = text.strip()
        return found

    @torch.inference_mode()
    def prefers_a(self, prompts: Sequence[str]) -> list[float]:
        """P(A) against P(B) as the first token of the answer."""
        labels = [self.tokenizer(label, add_special_tokens=False)["input_ids"][0] for label in "AB"]
        found = [0.0] * len(prompts)
        for at, batch in self._batches(prompts, 256):
            logits = self.model(**batch, logits_to_keep=1).logits[:, -1, labels]
            for i, value in zip(at, logits.softmax(-1)[:, 0].tolist(), strict=True):
                found[i] = value
        return found


def main() -> None:
    """Read the arguments, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path)
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--case-seed", type=int, default=SEED, help="seed that the cases are drawn with")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    judge = Model(args.judge)
    card = json.loads((args.judge / "card.json").read_text(encoding="utf-8"))
    figures: Figures = {"seed": card["seed"], "case_seed": args.case_seed}
    figures["splits"] = {split: judge_figures(judge, split, args.case_seed) for split in SPLITS}
    figures["blocks"] = {
        "+".join(blocks): judge_figures(judge, "heldout_questions", args.case_seed, blocks, share=0.5)
        for blocks in (*((name,) for name in BLOCKS), BLOCKS)
    }
    if args.policy:
        figures["policy"] = policy_figures(Model(args.policy), judge)
    print_table(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def judge_figures(judge: Model, split: Split, seed: int, blocks: Sequence[str] = (), share: float = 1.0) -> Figures:
    """Figures of every kind on one split, with `share` of the usual number of cases."""
    draw = {kind: examples(kind, split, round(share * number), blocks, seed) for kind, number in CASES.items()}
    start = time.monotonic()
    return {
        "ipgrm": pointwise(judge, with_own_principles(judge, draw["ipgrm"], blocks, seed)),
        "irpm": pointwise(judge, draw["irpm"]),
        "ipgrm_principles": principles(judge, draw["ipgrm_principles"]),
        "listwise": listwise(judge, draw["listwise"]),
        "gram": pairwise(judge, draw["gram"], blocks, seed),
        "seconds": round(time.monotonic() - start, 1),
    }


def examples(kind: str, split: Split, number: int, blocks: Sequence[str], seed: int) -> list[Example]:
    """The same cases for every judge."""
    rng = random.Random(seed)
    return [make_example(rng, kind, split, group=LARGEST_GROUP, blocks=blocks) for _ in range(number)]


def with_own_principles(judge: Model, drawn: list[Example], blocks: Sequence[str], seed: int) -> list[Example]:
    """The same pointwise cases with principles that the judge wrote, cut and stripped as the library does."""
    rng = random.Random(seed)
    values = [draw_blocks(rng, example.question, lambda name: name in blocks) for example in drawn]
    asking = [{name: text for name, text in value.items() if name != "reference"} for value in values]
    prompts = [prompt_text("ipgrm_principles", e.question, blocks=v) for e, v in zip(drawn, asking, strict=True)]
    written = [text[max(0, text.find("Evaluation Principles:")) :].strip() for text in judge.answers(prompts, 40)]
    return [
        replace(e, prompt=prompt_text("ipgrm", e.question, e.responses, blocks=v, principles=w))
        for e, v, w in zip(drawn, values, written, strict=True)
    ]


def read_scores(kind: str, text: str) -> list[int]:
    """The numbers of the last box, or of the last score tag; none if they cannot be read."""
    found = SCORE.get(kind, BOXED).findall(text)
    parts = found[-1].split(",") if found else []
    return [int(part) for part in parts] if all(part.strip().isdigit() for part in parts) else []


def pointwise(judge: Model, drawn: list[Example]) -> Figures:
    """Exact scores, and critiques right to the letter."""
    answers = judge.answers([example.prompt for example in drawn], 80)
    truth = [judge_score(example.question, example.responses[0]) for example in drawn]
    given = [(read_scores(e.kind, a) or [0])[0] for e, a in zip(drawn, answers, strict=True)]
    return {
        "parsed": _share(value > 0 for value in given),
        "exact": _share(a == b for a, b in zip(truth, given, strict=True)),
        "critique_exact": _share(a == e.target for a, e in zip(answers, drawn, strict=True)),
        "r": _correlation(truth, given),
        "mean_error": round(statistics.mean(abs(a - b) for a, b in zip(truth, given, strict=True)), 3),
    }


def principles(judge: Model, drawn: list[Example]) -> Figures:
    """Principles right to the letter."""
    answers = judge.answers([example.prompt for example in drawn], 40)
    return {"exact": _share(a == e.target for a, e in zip(answers, drawn, strict=True))}


def listwise(judge: Model, drawn: list[Example]) -> Figures:
    """Exact scores over all responses; a group with the wrong count of scores is wrong in every one."""
    answers = judge.answers([example.prompt for example in drawn], 480)
    truth, given, counted = [], [], []
    for example, answer in zip(drawn, answers, strict=True):
        scores = read_scores("listwise", answer)
        counted.append(len(scores) == len(example.responses))
        truth += [judge_score(example.question, response) for response in example.responses]
        given += scores if counted[-1] else [0] * len(example.responses)
    exact = _share(a == b for a, b in zip(truth, given, strict=True))
    return {"counted": _share(counted), "exact": exact, "r": _correlation(truth, given)}


def pairwise(judge: Model, drawn: list[Example], blocks: Sequence[str], seed: int) -> Figures:
    """Preferences over untied pairs, each asked in both orders."""
    rng = random.Random(seed)
    swapped = [
        prompt_text("gram", e.question, e.responses[::-1], blocks=draw_blocks(rng, e.question, lambda n: n in blocks))
        for e in drawn
    ]
    first, second = judge.prefers_a([example.prompt for example in drawn]), judge.prefers_a(swapped)
    better = [example.target == "A" for example in drawn]
    both = [(a + 1 - b > 1) == truth for a, b, truth in zip(first, second, better, strict=True)]
    gaps = [abs(judge_score(e.question, e.responses[0]) - judge_score(e.question, e.responses[1])) for e in drawn]
    return {
        "exact": _share(both),
        "one_order": _share((a > 0.5) == truth for a, truth in zip(first, better, strict=True)),
        "consistent": _share((a > 0.5) != (b > 0.5) for a, b in zip(first, second, strict=True)),
        "gap_1": _share(right for right, gap in zip(both, gaps, strict=True) if gap == 1),
        "gap_3_up": _share(right for right, gap in zip(both, gaps, strict=True) if gap >= 3),
    }


def policy_figures(policy: Model, judge: Model, number: int = 400) -> Figures:
    """The rule score of sampled answers, which is what training starts from, and how the judge scores them."""
    rng = random.Random(SEED)
    torch.manual_seed(SEED)
    questions = [make_question(rng, "heldout_questions") for _ in range(number)]
    answers = policy.answers([question.text for question in questions], 32, sample=True)
    scores = [rule_score(question, answer) for question, answer in zip(questions, answers, strict=True)]
    drawn = [
        Example("ipgrm", prompt_text("ipgrm", q, (a,)), target_text("ipgrm", q, (a,)), q, (a,))
        for q, a in zip(questions, answers, strict=True)
    ]
    judged = pointwise(judge, drawn)
    full = _share(score == 1 for score in scores)
    return {"rule_score": round(statistics.mean(scores), 3), "full_marks": full, "judge_exact": judged["exact"]}


def print_table(figures: Figures) -> None:
    """One line for each kind of prompt, on each split and with each optional block."""
    for name, kinds in (figures["splits"] | figures["blocks"]).items():
        print(name)
        for kind, values in kinds.items():
            line = values if not isinstance(values, dict) else "  ".join(f"{k} {v}" for k, v in values.items())
            print(f"  {kind:<17} {line}")
    if "policy" in figures:
        print("policy", figures["policy"])


def _share(values: Any) -> float:
    return round(statistics.mean([float(value) for value in values] or [0.0]), 4)


def _correlation(a: Sequence[int], b: Sequence[int]) -> float:
    return round(statistics.correlation(a, b), 4) if len(set(a)) > 1 and len(set(b)) > 1 else 0.0


if __name__ == "__main__":
    main()
