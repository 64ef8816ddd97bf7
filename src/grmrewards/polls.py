"""Putting one prompt to the vote: answers of a judge as ballots, with the expected score in place of the sampled one.

A `Unit` is what a family votes on: one response (IP-GRM, IRPM), or a whole group in several orders (listwise).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grmrewards import expected
from grmrewards.asks import Asks
from grmrewards.ballots import Ballot, Span
from grmrewards.errors import ParseError
from grmrewards.runner import together
from grmrewards.types import CALL, Call, Judge, Message, Reply

TOP = 20  # alternatives a token: what servers give at most


@dataclass(frozen=True)
class Poll:
    """One prompt and how its answers are read.

    `read` gives the scores of `responses` in the order shown, `find` where their numbers stand in the answer's text.
    `places` are those of the responses among the group's distinct ones, `about` their rows.
    """

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    messages: Sequence[Message]
    read: Callable[[Reply], Sequence[float]]
    find: Callable[[Reply], Sequence[Span]]
    places: tuple[int, ...]
    about: Sequence[int]


@dataclass(frozen=True)
class Unit:
    """Polls that take turns: the vote number v is asked on `polls[turns[v % len(turns)]]`."""

    polls: Sequence[Poll]
    turns: Sequence[int] = (0,)

    @property
    def places(self) -> tuple[int, ...]:
        """Those of the responses that a ballot judges, whatever the order they are shown in."""
        return tuple(sorted(self.polls[0].places))

    def counts(self, votes: int) -> Counter[int]:
        """How many of the first `votes` are asked on each poll."""
        return Counter(self.turns[v % len(self.turns)] for v in range(votes))


@dataclass(frozen=True)
class Style:
    """How a family asks: what is read of a score, and with which sampling."""

    temperature: float | None
    strings: Sequence[str] = ()  # all texts that a score may be written as, where the expected one is wanted
    rated: bool = False  # whether ballots are rated, and so must know where their scores stand
    logprobs: bool = False  # whether they need the log-probabilities of their tokens


async def vote(asks: Asks, unit: Unit, n: int, *, start: int, judge: Judge, style: Style) -> list[Ballot]:
    """The usable ones of `n` more ballots, after `start` earlier ones."""
    if len(unit.polls) == 1:
        return await _on_poll(asks, unit.polls[0], n, start=start, judge=judge, style=style)
    before, after = unit.counts(start), unit.counts(start + n)
    found = await together(
        _on_poll(asks, unit.polls[k], after[k] - before[k], start=before[k], judge=judge, style=style)
        for k in after
        if after[k] > before[k]
    )
    return [ballot for ballots in found for ballot in ballots]


async def _on_poll(asks: Asks, poll: Poll, n: int, *, start: int, judge: Judge, style: Style) -> list[Ballot]:
    by_tokens = style.strings and not getattr(judge, "exact_choices", False)
    top = TOP if by_tokens else 1 if style.logprobs else None
    asked: dict[str, Any] = {"judge": judge, "temperature": style.temperature, "top_logprobs": top}
    votes = await asks.ask(poll.messages, poll.read, n=n, start=start, about=poll.about, **asked)
    usable = [(vote.value, vote.reply) for vote in votes if vote.value is not None and vote.reply is not None]
    ballots = [_ballot(poll, scores, reply, style) for scores, reply in usable]
    if style.strings:
        weighed = await together(_expected(asks, poll, ballot, judge, style) for ballot in ballots)
        ballots = [ballot for ballot in weighed if ballot is not None]
    return ballots


def _ballot(poll: Poll, scores: Sequence[float], reply: Reply, style: Style) -> Ballot:
    spans = tuple(poll.find(reply)) if style.strings or style.rated else ()
    return Ballot(poll.prompt, poll.responses, tuple(poll.messages), reply, tuple(scores), poll.places, spans)


async def _expected(asks: Asks, poll: Poll, ballot: Ballot, judge: Judge, style: Style) -> Ballot | None:
    """The ballot with the expected scores instead of the sampled ones; None where too little of them was seen."""
    reply, spans, call = ballot.reply, ballot.spans, CALL.get() or Call()
    try:
        spreads = await expected.spreads(
            asks, poll.messages, reply, spans, style.strings, judge=judge, about=poll.about
        )
    except ParseError as error:
        call.failures[str(error).partition(":")[0]] += 1
        call.counts.update(usable=-1, unusable=1)
        return None
    if spreads is None:
        return None
    call.seen("score_mass", *(s.mass for s in spreads))
    call.seen("score_entropy", *(s.entropy for s in spreads))
    means, variances = (tuple(s.mean for s in spreads), tuple(s.variance for s in spreads))
    return dataclasses.replace(ballot, scores=means, variances=variances)
