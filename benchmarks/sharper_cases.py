"""The cases: questions that no training used, eight different answers to each, and what each answer is worth exactly."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "embedded_judge"))

from training_data import noisy_answer

from grmrewards.judges.embedded.domain import Question, Split, make_question, rule_score

SEED = 4242
SIZE = 8
STEP = 8  # groups a call, as a trainer would have them: adaptive votes share their budget over one call


@dataclass(frozen=True)
class Case:
    """One group."""

    question: str
    answers: tuple[str, ...]
    truth: tuple[float, ...]


def cases(number: int, *, seed: int = SEED, split: Split = "heldout_questions") -> list[Case]:
    """So many groups, always the same ones; those in which all answers are worth the same are drawn again."""
    rng = random.Random(seed)
    found: list[Case] = []
    while len(found) < number:
        case = _case(rng, make_question(rng, split))
        if len(set(case.truth)) > 1:
            found.append(case)
    return found


def _case(rng: random.Random, question: Question) -> Case:
    answers: dict[str, None] = {}  # in the order drawn, each once
    while len(answers) < SIZE:
        if answer := noisy_answer(rng, question).strip():  # no judge is asked about no answer
            answers[answer] = None
    # 4/5 - 0.3 and 1/2 are the same worth, but not the same float
    return Case(question.text, tuple(answers), tuple(round(rule_score(question, answer), 9) for answer in answers))


def steps(all_cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
    """The cases of one call after the other."""
    for start in range(0, len(all_cases), STEP):
        yield all_cases[start : start + STEP]
