"""Preferences of the embedded domain, and how well a judge's scores agree with them. Nothing to run.

A preference is a question with two answers of which one has the higher score by rule: text and a label, as people give
them, and nothing else that the rule knows. Training draws from training questions, measuring from questions whose text
training never has (`domain.split_of`).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "embedded_judge"))

from training_data import noisy_answer

from grmrewards import IRPMReward, TransformersJudge
from grmrewards.judges.embedded.domain import Split, judge_score, make_question

HELD_OUT, HELD_OUT_SEED = 400, 31337  # pairs; fixed before anything was trained
LONGEST = 6  # items of an answer, as the demo's policy writes them


class Agreement(NamedTuple):
    """Shares of held-out pairs: in the right order (ties count half), tied; the variance of all scores, share at an end."""

    accuracy: float
    ties: float
    variance: float
    extremes: float

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} right, {self.ties:.1%} tied, variance {self.variance:.1f}"


def preferences(count: int, seed: int, split: Split = "train") -> list[dict[str, Any]]:
    """Rows in TRL's preference format, with the difference of the exact scores as `margin`."""
    rng = random.Random(seed)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        question = make_question(rng, split)
        answers = sorted(
            (noisy_answer(rng, question, LONGEST) for _ in range(2)), key=lambda a: judge_score(question, a)
        )
        gap = judge_score(question, answers[1]) - judge_score(question, answers[0])
        if all(answers) and gap:
            found.append({"prompt": question.text, "chosen": answers[1], "rejected": answers[0], "margin": float(gap)})
    return found


def agreement(judge: TransformersJudge, rows: Sequence[dict[str, Any]] | None = None) -> Agreement:
    """How the judge's greedy scores, one vote an answer, order held-out pairs, by the package's own reward."""
    rows = rows or preferences(HELD_OUT, HELD_OUT_SEED, "heldout_questions")
    reward = IRPMReward(judge, scale="raw", on_failure="none", max_failures=1.0)
    prompts = [row["prompt"] for row in rows for _ in range(2)]
    scores = reward(prompts=prompts, completions=[row[side] for row in rows for side in ("chosen", "rejected")])
    both = list(zip(scores[::2], scores[1::2], strict=True))
    known = [score for score in scores if score is not None]
    mean = sum(known) / max(1, len(known))
    return Agreement(
        accuracy=sum((c > r) + 0.5 * (c == r) for c, r in both if c is not None and r is not None) / len(both),
        ties=sum(c == r for c, r in both if c is not None) / len(both),
        variance=sum((score - mean) ** 2 for score in known) / max(1, len(known)),
        extremes=sum(score in (0.0, 10.0) for score in known) / max(1, len(known)),
    )
