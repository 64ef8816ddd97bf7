"""Asking a judge: once, again where the answer cannot be read, never longer than the call may last.

The judge retries what failed on the way; here, answers that came and cannot be used are asked for again under another
seed. What is lost in the end is a `Vote` with the reason, so that a family sees every outcome and none is a number.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from grmrewards.errors import ContextOverflow, JudgeError, ParseError, TransportError
from grmrewards.types import CALL, Call, Judge, Message, Reply, Vote

T = TypeVar("T")
Logprobs = tuple[tuple[float, ...], ...]  # of each choice, of each of its tokens
REASK_TEMPERATURE = 0.7  # a greedy judge would only repeat itself
REASKS = 8  # where three answers in ten cannot be read, one in 50,000 questions is lost
SURE_REASKS = 2  # the first are always made; the others only while most answers of the call can be read
SEED_STEP = 10_007  # between rounds: judges count a seed up by one a vote, and no vote shall be another's copy
SLACK = 0.1  # seconds beyond the deadline in which a judge may say itself what went wrong


class Keep(Protocol):
    """Is told of votes as soon as they are known."""

    def __call__(self, votes: Sequence[Vote[Any]], *, round_: int = 0) -> None: ...


def _forget(votes: Sequence[Vote[Any]], *, round_: int = 0) -> None:
    """Where nothing is recorded."""


async def ask(
    judge: Judge,
    messages: Sequence[Message],
    read: Callable[[Reply], T],
    *,
    n: int = 1,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_logprobs: int | None = None,
    seed: int = 0,
    reasks: int = REASKS,
    known: Sequence[tuple[int, Reply]] = (),
    keep: Keep = _forget,
) -> list[Vote[T]]:
    """`n` votes: the usable ones first, then the lost ones with their reasons.

    `known` are answers that were paid for in an earlier run, each with the round in which it was asked for: asking goes
    on where that run ended. `keep` is told of each round's votes as soon as they are known.
    """
    call = CALL.get() or Call()
    votes = [_read(call, reply, read) for _, reply in known]
    usable = [vote for vote in votes if not vote.error][:n]
    lost = [vote for vote in votes if vote.error][len(usable) - n :] if len(usable) < n else []
    for round_ in range(1 + max((round_ for round_, _ in known), default=-1), 1 + reasks):
        wanted = n - len(usable)
        if not wanted or (lost and not _worth_asking(call, round_ - 1)):
            break
        sampling = _sampling(temperature, seed, round_, again=bool(lost))
        try:
            sampling |= {"n": wanted, "max_tokens": max_tokens, "top_logprobs": top_logprobs}
            replies = await _generate(call, judge, messages, sampling)
        except JudgeError as error:
            lost = [_lost(error)] * wanted
            keep(lost, round_=round_)
            break
        votes = [_read(call, reply, read) for reply in replies[:wanted]]
        keep(votes, round_=round_)
        votes += [_lost(ParseError("the judge gave fewer answers than were asked for"))] * (wanted - len(votes))
        usable += [vote for vote in votes if not vote.error]
        lost = [vote for vote in votes if vote.error]
    call.failures.update(vote.error.partition(":")[0] for vote in lost)
    return usable + lost


def _sampling(temperature: float | None, seed: int, round_: int, *, again: bool) -> dict[str, Any]:
    """How to sample in a round. Asking again for what could not be read is hotter, and every round has other seeds."""
    hotter = max(temperature, REASK_TEMPERATURE) if again and temperature is not None else temperature
    return {"temperature": hotter, "seed": None if hotter == 0 else (seed + round_ * SEED_STEP) % 2**31}


async def _generate(call: Call, judge: Judge, messages: Sequence[Message], sampling: dict[str, Any]) -> Sequence[Reply]:
    replies = await _within(call, judge.generate(messages, **_accepted(judge.generate, sampling)))
    call.prompt_tokens += sum(reply.prompt_tokens for reply in replies)
    call.completion_tokens += sum(reply.completion_tokens for reply in replies)
    return replies


async def choose(
    judge: Judge,
    messages: Sequence[Message],
    choices: Sequence[str],
    *,
    known: Vote[Logprobs] | None = None,
    keep: Keep = _forget,
) -> Vote[Logprobs]:
    """One vote whose value is, for each choice, the log-probability of each of its tokens; `known` if that is one."""
    call = CALL.get() or Call()
    vote = known if known is not None else await _chosen(call, judge, messages, choices)
    if known is None:
        keep([vote])
    if vote.value is None:
        call.failures[vote.error.partition(":")[0]] += 1
    return vote


async def _chosen(call: Call, judge: Judge, messages: Sequence[Message], choices: Sequence[str]) -> Vote[Logprobs]:
    for round_ in range(1 + REASKS):
        try:
            value = await _choose_once(call, judge, messages, choices)
            break
        except ParseError as error:
            if not _worth_asking(call, round_):
                return Vote(None, Reply(""), str(error))  # it did answer
        except JudgeError as error:
            return _lost(error)
    return Vote(value, Reply(", ".join(f"log p({c}) = {total(v):.3f}" for c, v in zip(choices, value, strict=True))))


def total(logprobs: Sequence[float]) -> float:
    """The log-probability of a text from those of its tokens."""
    return -math.inf if -math.inf in logprobs else math.fsum(logprobs)


async def _choose_once(call: Call, judge: Judge, messages: Sequence[Message], choices: Sequence[str]) -> Logprobs:
    """The log-probabilities of each choice. Raises `ParseError` where they are none."""
    try:
        value = tuple(tuple(logprobs) for logprobs in await _within(call, judge.choice_logprobs(messages, choices)))
        totals = [total(logprobs) for logprobs in value]
        if len(value) != len(choices) or not all(v < math.inf for v in totals) or max(totals) == -math.inf:
            raise ParseError(f"no usable log-probabilities for {list(choices)}: {value}")
    except ParseError:
        call.counts["unusable"] += 1
        raise
    call.counts["usable"] += 1
    return value


def _worth_asking(call: Call, round_: int) -> bool:
    """Whether to ask once more after so many re-asks: a judge that mostly cannot be read will not be the ninth time."""
    return round_ < REASKS and (round_ < SURE_REASKS or call.counts["usable"] > call.counts["unusable"])


async def _within(call: Call, answer: Awaitable[T]) -> T:
    """The answer, if it comes before the call's deadline; what went wrong on the way as a `JudgeError`."""
    call.requests += 1
    timer = asyncio.timeout_at(None if call.deadline is None else call.deadline + SLACK)
    try:
        async with timer:
            return await answer
    except OSError as error:  # a TimeoutError is one, the timer's as well as the judge's own
        call.counts["requests_lost"] += 1
        late = "the deadline of the call passed"
        raise TransportError(late if timer.expired() else f"{type(error).__name__}: {error}") from error
    except TransportError:
        call.counts["requests_lost"] += 1
        raise
    except ContextOverflow:
        call.counts["overflows"] += 1
        raise


def _read(call: Call, reply: Reply, read: Callable[[Reply], T]) -> Vote[T]:
    try:
        value = read(reply)
    except ParseError as error:
        call.counts["unusable"] += 1
        return Vote(None, reply, str(error))
    call.counts["usable"] += 1
    return Vote(value, reply)


def _lost(error: JudgeError) -> Vote[Any]:
    return Vote(None, None, str(error) or type(error).__name__)


def _accepted(generate: Callable[..., Any], sampling: dict[str, Any]) -> dict[str, Any]:
    """The keywords that differ from their default and that this judge takes: one that takes none decides for itself."""
    names = _keywords(getattr(generate, "__func__", generate))
    given = {name: value for name, value in sampling.items() if value is not None and (name, value) != ("n", 1)}
    return {name: value for name, value in given.items() if names is None or name in names}


@functools.lru_cache(maxsize=64)
def _keywords(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names of its parameters; None where it takes any keyword."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters)
