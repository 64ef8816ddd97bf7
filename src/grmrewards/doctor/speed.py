"""How fast a judge is, how many tokens a judgement takes, and what that costs. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from grmrewards.doctor.diagnosis import line, number
from grmrewards.doctor.heard import Answer


class Price(NamedTuple):
    """Money for a million tokens, in whatever currency it was given."""

    read: float
    written: float

    def of(self, tokens: Tokens) -> float:
        """What these tokens cost."""
        return (tokens.read * self.read + tokens.written * self.written) / 1e6


class Tokens(NamedTuple):
    """Tokens that a judge reads and writes."""

    read: float
    written: float

    def times(self, count: float) -> Tokens:
        """Those of `count` such judgements."""
        return Tokens(self.read * count, self.written * count)

    def plus(self, other: Tokens) -> Tokens:
        """Both together."""
        return Tokens(self.read + other.read, self.written + other.written)


NO_TOKENS = Tokens(0.0, 0.0)


@dataclass(frozen=True)
class Speed:
    """Measured on one judgement alone and on many at once. None where the judge counts no tokens."""

    alone: float  # seconds
    rate: float  # judgements a second, many at once
    prompts_at_once: int  # requests that were waiting together, each for all votes on one prompt
    judgement: Tokens | None  # of one vote, with a prompt of its own
    expected: Tokens = NO_TOKENS  # more of them for an expected score
    principles: Tokens = NO_TOKENS  # of one prompt, for those that its responses are judged by

    @property
    def parallel(self) -> float:
        """As many judgements went on at once, as if each took the time of one alone."""
        return self.rate * self.alone

    def report(self) -> str:
        """The figures, one a line."""
        tokens = "unknown" if self.judgement is None else "{:,.0f} in, {:,.0f} out".format(*self.judgement)
        shown = [
            ("one judgement alone", f"{self.alone:.2f} s"),
            ("many at once", f"{self.rate:.1f} judgements a second, as {self.parallel:.1f} alone"),
            ("tokens of a judgement", tokens),
        ]
        return "\n".join(line(name, value) for name, value in shown)


def speed_of(answers: Sequence[Answer], *, alone: float, seconds: float, prompts: int) -> Speed:
    """What `answers` to many judgements at once, which took `seconds`, say beside the seconds of one alone.

    `prompts` is the number of questions, of which each may have principles of its own.

    >>> answers = [Answer("critique", 600, 100, False, ""), Answer("critique", 0, 140, False, "")]  # of one request
    >>> found = speed_of(answers, alone=2.0, seconds=2.5, prompts=1)
    >>> found.judgement, found.parallel
    (Tokens(read=600.0, written=120.0), 1.6)
    """
    critiques = [answer for answer in answers if answer.kind == "critique"]
    requests = [answer.prompt_tokens for answer in critiques if answer.prompt_tokens]
    counted = bool(requests) and any(answer.completion_tokens for answer in critiques)
    written = statistics.fmean(answer.completion_tokens for answer in critiques) if counted else 0.0
    return Speed(
        alone=alone,
        rate=len(critiques) / max(seconds, 1e-9),
        prompts_at_once=len(requests),
        judgement=Tokens(statistics.fmean(requests), written) if counted else None,
        expected=_sum(answers, "score").times(1 / max(len(critiques), 1)),
        principles=_sum(answers, "written principles").times(1 / max(prompts, 1)),
    )


def _sum(answers: Sequence[Answer], kind: str) -> Tokens:
    own = [answer for answer in answers if answer.kind == kind]
    return Tokens(sum(answer.prompt_tokens for answer in own), sum(answer.completion_tokens for answer in own))


@dataclass(frozen=True)
class Bill:
    """What some judgements take: tokens and money are None where they are not known."""

    judgements: float
    seconds: float
    tokens: Tokens | None
    money: float | None

    def report(self, name: str) -> str:
        """One line."""
        tokens = "tokens unknown" if self.tokens is None else "{:,.0f} tokens in, {:,.0f} out".format(*self.tokens)
        money = "" if self.money is None else f", {number(self.money, '.4g')} in money"
        return line(name, f"{tokens}{money}, {self.seconds:,.0f} s")


def bill(speed: Speed, judgements: float, *, expected: bool, prompts: int = 0, price: Price | None = None) -> Bill:
    """What so many judgements take, each read with a prompt of its own, beside the principles of `prompts`.

    >>> bill(Speed(2.0, 10.0, 16, Tokens(600, 100)), 1000, expected=False, price=Price(0.5, 2)).money
    0.5
    """
    each = speed.judgement and (speed.judgement.plus(speed.expected) if expected else speed.judgement)
    tokens = each.times(judgements).plus(speed.principles.times(prompts)) if each else None
    return Bill(judgements, judgements / speed.rate, tokens, price.of(tokens) if price and tokens else None)
