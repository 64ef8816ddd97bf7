"""What a judge is asked about when it is looked at: answers of our own, those of a file, or the embedded judge's."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grmrewards import json_lines
from grmrewards.errors import ConfigError

if TYPE_CHECKING:
    from grmrewards.judges.embedded.domain import Question

# For a first look, where there is no data of one's own: answers of clearly and of hardly different worth.
CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Why is the sky blue?",
        (
            "Air scatters short waves of sunlight far more than long ones, so blue comes from all sides.",
            "Because air molecules scatter blue light more than red light.",
            "Because the sea is blue and the sky mirrors it.",
            "It is blue.",
        ),
    ),
    (
        "Write one sentence that cheers up a friend who failed an exam.",
        (
            "One bad day does not undo the months you worked; let us look at the paper together on Sunday.",
            "You will do better next time, I am sure of it.",
            "Exams do not matter anyway.",
            "You should have studied more.",
        ),
    ),
    (
        "What should I check before I buy a used bicycle?",
        (
            "Frame for cracks, wheels for wobble, chain and teeth for wear, brakes, and the proof of purchase.",
            "Look at the brakes, the tyres and the chain, and take it for a ride.",
            "Buy a new one instead.",
            "Check the colour.",
        ),
    ),
    (
        "Explain to a child what a loan is.",
        (
            "You borrow a friend's ten marbles today, and next week you give back eleven: the extra one is his thanks.",
            "Somebody gives you money now, and later you give it back with a little more.",
            "A loan is a contract between a creditor and a debtor.",
            "Money.",
        ),
    ),
)

PAIRS = 8  # whose sixteen answers are as many as our own cases have


def cases_of(path: str | Path) -> list[tuple[Any, list[str]]]:
    """The cases of a JSONL file, each line with "prompt" and "completions" (a list of texts). `ConfigError` otherwise.

    Preferences ("prompt", "chosen", "rejected"), such as those for `grmrewards eval`, will do: the first `PAIRS` of them.
    """
    cases: list[tuple[Any, list[str]]] = []
    for place, row in json_lines.of_file(path, needs=("prompt",)):
        if "completions" not in row and {"chosen", "rejected"} <= row.keys():
            row["completions"] = [row["chosen"], row["rejected"]]
            if len(cases) == PAIRS:
                break
        completions = row.get("completions")
        if not isinstance(completions, list) or not completions or not all(isinstance(c, str) for c in completions):
            raise ConfigError(f"{place}: completions={str(completions)[:60]}; allowed is a list of texts.")
        cases.append((row["prompt"], completions))
    return cases


def embedded_cases(count: int = 4) -> list[tuple[str, list[str]]]:
    """Questions that the embedded judge can judge, each with four answers: right, two with one fault, and wrong.

    >>> embedded_cases(1)[0][1][:2]
    ['celery, pepper, bean, leek, radish', 'celery, pepper, bean, leek, jacket']
    """
    from grmrewards.judges.embedded import domain

    rng = random.Random(0)
    found: dict[str, list[str]] = {}
    while len(found) < count:
        question = domain.make_question(rng, "heldout_questions")
        found.setdefault(question.text, _answers(question, rng))
    return list(found.items())


def _answers(question: Question, rng: random.Random) -> list[str]:
    from grmrewards.judges.embedded import domain

    own = [word for word in domain.CATEGORIES[question.category] if word != question.forbidden]
    right = rng.sample(own, question.asked)
    if question.required and question.required not in right:
        right[0] = question.required
    others = [word for category, words in domain.CATEGORIES.items() if category != question.category for word in words]
    wrong = rng.sample(others, question.asked)
    answers = [right, [*right[:-1], wrong[0]], [*right[:-1], right[0]], wrong]
    return [", ".join(words) for words in answers]
