"""Where a judge's doubt lies, and so which of votes or the expected score sharpens it.

A judge that samples differs from itself for two reasons: it writes another critique, or after the same critique another
number. The expected score takes the second away, at no further generation; votes average over both. With the variance of
scores given their critique, w, and that of expected scores between critiques, b, one expected score is as steady as
`(w + b) / b` sampled votes.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from grmrewards import arguments
from grmrewards.doctor.cases import CASES
from grmrewards.doctor.heard import Answer, Heard
from grmrewards.errors import ConfigError
from grmrewards.families.ipgrm import IPGRMReward
from grmrewards.families.irpm import IRPMReward
from grmrewards.families.listwise import ListwiseReward
from grmrewards.types import Judge
from grmrewards.voted import VotedReward

FAMILIES: dict[str, type[VotedReward]] = {"ipgrm": IPGRMReward, "irpm": IRPMReward, "listwise": ListwiseReward}
MOST_IN_SCORE, MOST_IN_CRITIQUE = 0.75, 0.25  # shares of the variance from which one of the two is worth little

MOST = 0.5  # of the answers: what the others say is not the judge's doubt
POINTS = 10  # of a scale, in which a spread is told
HARDLY = 0.2  # points of ten: votes that spread no wider settle next to nothing

Case = tuple[Any, Sequence[str]]  # a prompt and its responses
Doubt = Literal["score", "critique", "both", "none", "unseen", "unread"]

ADVICE: dict[Doubt, str] = {
    "score": "Its doubt lies in the score: score='expected' with one vote; more votes add little.",
    "critique": "Its doubt lies in the critique: votes=(2, 16) or votes=8; the expected score adds little.",
    "both": "Its doubt lies in both: score='expected' with votes=(2, 16), or with as many votes as you can pay.",
    "none": "Its votes do not differ, or hardly: more of them, and the expected score, change next to nothing here.",
    "unseen": "This judge gives no log-probabilities of scores that can be used: votes=8, or votes=(2, 16), sharpen it.",
    "unread": (
        "Most of its answers could not be read: pass the template that it was trained with, raise max_tokens if they were cut "
        "off, or take another judge."
    ),
}


@dataclass(frozen=True)
class Diagnosis:
    """Shares are in [0, 1]; None where it could not be measured."""

    judgements: int
    parse_failures: float
    unscored: float
    mass: float | None  # of the probability of a score that was seen
    entropy: float | None  # nats of a score given its critique
    within_critique: float | None  # share of the variance of votes
    spread: float | None = None  # points: the standard deviation of a sampled vote on one response
    cut_off: float = 0.0  # share of answers that ended at the limit of tokens
    reasons: Mapping[str, int] = field(default_factory=dict)  # why answers could not be used, and how often

    @property
    def worth(self) -> float | None:
        """How many sampled votes one expected score is as steady as; None where that is unknown or without bound."""
        within = self.within_critique
        return None if within is None or within >= 1 else 1 / (1 - within)

    @property
    def doubt(self) -> Doubt:
        """Where it lies; "unread": most answers could not be read, "unseen": no probabilities of scores were had."""
        if self.parse_failures > MOST:
            return "unread"
        if self.spread is not None and self.spread < HARDLY:
            return "none"
        if self.mass is None:
            return "unseen"
        if self.within_critique is None:
            return "none"
        if self.within_critique >= MOST_IN_SCORE:
            return "score"
        return "critique" if self.within_critique <= MOST_IN_CRITIQUE else "both"

    def advice(self) -> str:
        """One sentence."""
        return ADVICE[self.doubt]

    def report(self) -> str:
        """The figures, one a line, and the advice."""
        shown = [
            ("judgements", str(self.judgements)),
            ("answers that cannot be read", f"{self.parse_failures:.1%}"),
            ("answers that were cut off", f"{self.cut_off:.1%}"),
            ("responses without a score", f"{self.unscored:.1%}"),
            ("probability of scores seen", number(self.mass, ".3f")),
            ("entropy of a score", number(self.entropy, ".2f", " nats")),
            ("spread of a vote", number(self.spread, ".2f", " points")),
            ("variance within a critique", number(self.within_critique, ".0%")),
            ("one expected score is worth", number(self.worth, ".1f", " votes")),
            *(("cannot be read because", f"{why} (x{count})") for why, count in self.reasons.items()),
        ]
        return "\n".join([*(line(name, value) for name, value in shown), self.advice()])


@dataclass(frozen=True)
class Told:
    """What one call of a reward told: its rewards, its metrics, and all answers of the judge."""

    rewards: Sequence[float | None]
    figures: Mapping[str, float]
    values: Mapping[str, Sequence[float]]  # that some of the figures are the means of
    answers: Sequence[Answer]


def diagnose(
    judge: Judge, cases: Sequence[Case] = CASES, *, family: str = "irpm", votes: int = 8, **settings: Any
) -> Diagnosis:
    """Ask a judge for `votes` on each response of `cases`, (prompt, responses) pairs, and see where they differ.

    `settings` are further arguments of the reward, such as a template; score="sampled" for a judge that is known to show
    no probabilities. Raises `ConfigError` for a wrong argument, and what a reward raises at a call. Costs votes times
    responses generations (listwise: times prompts).
    """
    arguments.whole("votes", votes, least=2)
    reward = make(judge, family=family, votes=votes, **{"score": "expected", **settings})
    return diagnosis(tell(reward, cases), votes * units(cases, family))


def make(judge: Judge, *, family: str, **settings: Any) -> VotedReward:
    """A reward for looking at its judge: failures end nothing while one answer comes, and groups are what they are."""
    reward = FAMILIES[arguments.one_of("family", family, tuple(FAMILIES))]
    return reward(judge, on_failure="none", max_failures=1.0, group_key="case", monitor=False, **settings)


def tell(reward: VotedReward, cases: Sequence[Case]) -> Told:
    """Have all responses of all `cases` judged in one call of a reward that was made for it."""
    prompts = [prompt for prompt, responses in cases for _ in responses]
    completions = [response for _, responses in cases for response in responses]
    if not completions:
        raise ConfigError("no cases; allowed are pairs of a prompt and a list of responses.")
    groups = [k for k, (_, responses) in enumerate(cases) for _ in responses]
    figures: dict[str, float] = {}

    def keep(name: str, value: float) -> None:
        figures[name.rpartition("/")[2]] = value

    reward.journal = heard = Heard()
    rewards = reward(prompts=prompts, completions=completions, case=groups, log_metric=keep)
    return Told(rewards, figures, heard.values, heard.answers)


def units(cases: Sequence[Case], family: str) -> int:
    """How many things are voted on: responses, or whole groups where a family judges those."""
    return len(cases) if family == "listwise" else sum(len(responses) for _, responses in cases)


def diagnosis(told: Told, judgements: int) -> Diagnosis:
    """What a call told of where votes differ. Pure."""
    critiques = [answer for answer in told.answers if answer.kind == "critique"]
    reasons = Counter(answer.error.partition(":")[0] for answer in told.answers if answer.error)
    return Diagnosis(
        judgements=judgements,
        parse_failures=_share([bool(answer.error) for answer in critiques]),
        unscored=told.rewards.count(None) / len(told.rewards),
        mass=told.figures.get("score_mass"),
        entropy=told.figures.get("score_entropy"),
        within_critique=told.figures.get("within_critique"),
        spread=_spread(told.values),
        cut_off=_share([answer.cut_off for answer in critiques]),
        reasons=dict(reasons.most_common(3)),
    )


def line(name: str, value: str) -> str:
    """One figure of a report."""
    return f"{name:30}{value}"


def number(value: float | None, form: str, unit: str = "") -> str:
    """A figure in words; of None, that it is unknown."""
    return "unknown" if value is None else format(value, form) + unit


def _spread(values: Mapping[str, Sequence[float]]) -> float | None:
    """In points: from the scores' distributions where they were seen, else from the votes alone."""
    within, between = (values.get(f"variance_{name}") for name in ("within_critique", "between_critiques"))
    if within and between:
        return math.sqrt(statistics.fmean(within) + statistics.fmean(between))
    votes = values.get("vote_variance")
    return POINTS * math.sqrt(statistics.fmean(votes)) if votes else None


def _share(said: Sequence[bool]) -> float:
    return sum(said) / len(said) if said else 0.0
