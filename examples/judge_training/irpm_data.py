"""Preferences of the embedded domain, and how well a judge's scores agree with them. Nothing to run.

A preference is a question with two answers of which one has the higher score by rule: text and a label, as people give
them, and nothing else that the rule knows. Training draws from training questions, measuring from questions whose text
training never has (`domain.split_of`).
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "embedded_judge"))

from training_data import noisy_answer

from grmrewards import IRPMReward
from grmrewards.judges.embedded.domain import Split, judge_score, make_question
from grmrewards.types import Judge

HELD_OUT, HELD_OUT_SEED = 400, 31337  # pairs; fixed before anything was trained
LONGEST = 6  # items of an answer, as the demo's policy writes them
SCALE = (0.0, 10.0)


class Agreement(NamedTuple):
    """Shares of held-out pairs: in the right order (ties count half), tied; the variance of all scores, share at an end."""

    accuracy: float
    ties: float
    variance: float
    extremes: float

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} right, {self.ties:.1%} tied, variance {self.variance:.1f}"


def preferences(count: int, seed: int, split: Split = "train", *, mistaken: float = 0.0) -> list[dict[str, Any]]:
    """Rows in TRL's preference format, with a `margin` of 1 (slightly better), 2 (better) or 3 (much better).

    `mistaken`: the share of slight preferences that are the wrong way round, as people's are.
    """
    rng = random.Random(seed)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        question = make_question(rng, split)
        scored = sorted((judge_score(question, answer), answer) for answer in _answers(rng, question))
        (low, rejected), (high, chosen) = scored
        if rejected and low < high:
            strength = 1 if high - low < 3 else 2 if high - low < 6 else 3
            if strength == 1 and rng.random() < mistaken:
                chosen, rejected = rejected, chosen
            found.append({"prompt": question.text, "chosen": chosen, "rejected": rejected, "margin": float(strength)})
    return found


def _answers(rng: random.Random, question: Any) -> list[str]:
    return [noisy_answer(rng, question, LONGEST) for _ in range(2)]


def agreement(judge: Judge, rows: Sequence[dict[str, Any]] = ()) -> Agreement:
    """How the judge's greedy scores, one vote an answer, order held-out pairs, by the package's own reward."""
    rows = rows or preferences(HELD_OUT, HELD_OUT_SEED, "heldout_questions")
    reward = IRPMReward(judge, scale="raw", on_failure="none", max_failures=1.0)
    prompts = [row["prompt"] for row in rows for _ in range(2)]
    scores = reward(prompts=prompts, completions=[row[side] for row in rows for side in ("chosen", "rejected")])
    known = [score for score in scores if score is not None]
    both = [(c, r) for c, r in zip(scores[::2], scores[1::2], strict=True) if c is not None and r is not None]
    return Agreement(
        accuracy=sum((c > r) + 0.5 * (c == r) for c, r in both) / len(rows),
        ties=sum(c == r for c, r in both) / len(rows),
        variance=statistics.pvariance(known) if known else 0.0,
        extremes=sum(score in SCALE for score in known) / max(1, len(known)),
    )
