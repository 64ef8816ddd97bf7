"""Usable votes with all that may rate them, and the rating by likelihood (ReasonGRM). Pure functions.

A `Rate` is any function that takes the ballots on one response (listwise: on one group) and returns a number for each,
higher being better, or None where it cannot tell: a meta reward model (SPCT section 5.5), a rule of one's own, `likelihood`.
It filters votes (`vote_filter=`) or weighs them (`vote_weights=`). One that reads `Ballot.reply.logprobs` says so by an
attribute `needs_logprobs = True`, since judges give them only when asked.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grmrewards.distribution import score_tokens
from grmrewards.errors import ConfigError, ParseError
from grmrewards.types import Message, Reply

Rate = Callable[[Sequence["Ballot"]], Any]  # a sequence of numbers, or of what `float` takes
Span = tuple[int, int]


@dataclass(frozen=True)
class Ballot:
    """One usable vote."""

    prompt: tuple[Message, ...]  # the question
    responses: tuple[str, ...]  # those that it judges, in the order that they were shown in
    messages: tuple[Message, ...]  # as the judge was asked
    reply: Reply  # its text is the critique with the score in it
    scores: tuple[float, ...]  # one for each of `responses`
    places: tuple[int, ...] = (0,)  # of `responses`, among the different ones of their group
    spans: tuple[Span, ...] = ()  # where the number of each score stands in `reply.text`
    variances: tuple[float, ...] = ()  # of each score given the critique, where its distribution was looked at


def likelihood(ballots: Sequence[Ballot]) -> list[float | None]:
    """R* = exp(mean log p of the critique's tokens) * exp(mean log p of the scores' tokens given it) (ReasonGRM).

    Both are geometric means, so that a long critique is not rated down for its length (methods 6). The critique is all
    that stands before the first score, reasoning included. In (0, 1]; None where the judge gave no log-probabilities for
    what it wrote: `OpenAIJudge` needs a server that gives them.
    """
    return [_likelihood(ballot) for ballot in ballots]


likelihood.needs_logprobs = True  # type: ignore[attr-defined]  # asked for with the votes


def _likelihood(ballot: Ballot) -> float | None:
    try:
        tokens = [score_tokens(ballot.reply, span) for span in ballot.spans]
    except ParseError:  # this vote cannot be rated, which is said by the reward; the others can
        return None
    logprobs = [token.logprob for token in ballot.reply.logprobs]
    before, scores = logprobs[: tokens[0].start], [logprobs[i] for place in tokens for i in place]
    return math.exp(_mean(before)) * math.exp(_mean(scores))


def _mean(logprobs: Sequence[float]) -> float:
    return statistics.fmean(logprobs) if logprobs else 0.0  # a score without a critique


def rated(rate: Rate, ballots: Sequence[Ballot]) -> tuple[list[Ballot], list[float]]:
    """The ballots that `rate` can rate, and what it says of each.

    Raises `ConfigError` unless it gives a finite number or None for each.
    """
    found = [None if value is None else float(value) for value in rate(ballots)]
    if len(found) != len(ballots) or not all(value is None or math.isfinite(value) for value in found):
        name = getattr(rate, "__name__", type(rate).__name__)
        raise ConfigError(
            f"{name} rated {len(ballots)} votes as {found[:8]}; it must give a finite number for each, or None."
        )
    known = [(ballot, value) for ballot, value in zip(ballots, found, strict=True) if value is not None]
    return [ballot for ballot, _ in known], [value for _, value in known]


def best(ballots: Sequence[Ballot], ratings: Sequence[float], count: int) -> list[Ballot]:
    """The `count` ballots that are rated highest, in their order; of equals the earlier."""
    kept = sorted(sorted(range(len(ballots)), key=lambda i: -ratings[i])[:count])
    return [ballots[i] for i in kept]


def by_place(cast: Sequence[Ballot], size: int) -> list[list[float]]:
    """The votes on each of a group's `size` different responses."""
    votes_GV: list[list[float]] = [[] for _ in range(size)]
    for ballot in cast:
        for place, score in zip(ballot.places, ballot.scores, strict=True):
            votes_GV[place].append(score)
    return votes_GV
