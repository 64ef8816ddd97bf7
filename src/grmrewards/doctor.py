"""Where a judge's doubt lies, and so which of votes or the expected score sharpens it.

A judge that samples differs from itself for two reasons: it writes another critique, or after the same critique another
number. The expected score takes the second away, at no further generation; votes average over both. With the variance of
scores given their critique, w, and that of expected scores between critiques, b, one expected score is as steady as
`(w + b) / b` sampled votes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.families.ipgrm import IPGRMReward
from grmrewards.families.irpm import IRPMReward
from grmrewards.families.listwise import ListwiseReward
from grmrewards.types import Judge
from grmrewards.voted import VotedReward

FAMILIES: dict[str, type[VotedReward]] = {"ipgrm": IPGRMReward, "irpm": IRPMReward, "listwise": ListwiseReward}
MOST_IN_SCORE, MOST_IN_CRITIQUE = 0.75, 0.25  # shares of the variance from which one of the two is worth little

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


@dataclass(frozen=True)
class Diagnosis:
    """Shares are in [0, 1]; None where it could not be measured."""

    judgements: int
    parse_failures: float
    unscored: float
    mass: float | None  # of the probability of a score that was seen
    entropy: float | None  # nats of a score given its critique
    within_critique: float | None  # share of the variance of votes

    @property
    def worth(self) -> float | None:
        """How many sampled votes one expected score is as steady as; None where that is unknown or without bound."""
        within = self.within_critique
        return None if within is None or within >= 1 else 1 / (1 - within)

    def advice(self) -> str:
        """One sentence."""
        if self.mass is None:
            return "This judge gives no log-probabilities of scores: votes=8, or votes=(2, 16), sharpen it."
        if self.within_critique is None:
            return "Its votes do not differ at all: more of them, and the expected score, change nothing here."
        if self.within_critique >= MOST_IN_SCORE:
            return "Its doubt lies in the score: score='expected' with one vote; more votes add little."
        if self.within_critique <= MOST_IN_CRITIQUE:
            return "Its doubt lies in the critique: votes=(2, 16) or votes=8; the expected score adds little."
        return "Its doubt lies in both: score='expected' with votes=(2, 16), or with as many votes as you can pay."

    def report(self) -> str:
        """The figures, one a line, and the advice."""
        shown = [
            ("judgements", str(self.judgements)),
            ("answers that cannot be read", f"{self.parse_failures:.1%}"),
            ("responses without a score", f"{self.unscored:.1%}"),
            ("probability of scores seen", _number(self.mass, ".3f")),
            ("entropy of a score", _number(self.entropy, ".2f", " nats")),
            ("variance within a critique", _number(self.within_critique, ".0%")),
            ("one expected score is worth", _number(self.worth, ".1f", " votes")),
        ]
        return "\n".join([*(f"{name:30}{value}" for name, value in shown), self.advice()])


def diagnose(
    judge: Judge, cases: Sequence[tuple[Any, Sequence[str]]] = CASES, *, family: str = "irpm", votes: int = 8
) -> Diagnosis:
    """Ask a judge for `votes` on each response of `cases`, (prompt, responses) pairs, and see where they differ.

    Raises `ConfigError` for a wrong argument, and what a reward raises at a call. Costs votes times responses
    generations (listwise: times prompts).
    """
    arguments.one_of("family", family, tuple(FAMILIES))
    arguments.whole("votes", votes, least=2)
    prompts = [prompt for prompt, responses in cases for _ in responses]
    completions = [response for _, responses in cases for response in responses]
    if not completions:
        raise ConfigError("no cases; allowed are pairs of a prompt and a list of responses.")
    figures: dict[str, float] = {}

    def keep(name: str, value: float) -> None:
        figures[name.rpartition("/")[2]] = value

    reward = FAMILIES[family](judge, votes=votes, score="expected", on_failure="none", max_failures=1.0)
    rewards = reward(prompts=prompts, completions=completions, log_metric=keep)
    return Diagnosis(
        judgements=votes * (len(cases) if family == "listwise" else len(completions)),
        parse_failures=figures["parse_failures"],
        unscored=rewards.count(None) / len(rewards),
        mass=figures.get("score_mass"),
        entropy=figures.get("score_entropy"),
        within_critique=figures.get("within_critique"),
    )


def cases_of(path: str | Path) -> list[tuple[Any, list[str]]]:
    """The cases of a JSONL file, each line with "prompt" and "completions" (a list of texts). `ConfigError` otherwise."""
    cases = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            prompt, completions = row["prompt"], row["completions"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f'{path}, line {number}: no JSON object with "prompt" and "completions".') from error
        if not isinstance(completions, list) or not completions or not all(isinstance(c, str) for c in completions):
            raise ConfigError(
                f"{path}, line {number}: completions={str(completions)[:60]}; allowed is a list of texts."
            )
        cases.append((prompt, completions))
    return cases


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "unknown" if value is None else format(value, form) + unit
