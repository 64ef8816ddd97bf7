"""One call of a reward, on the event loop: all groups at once, each to scores or to reasons, within the deadline."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, SupportsFloat

from tqdm import tqdm

from grmrewards import ranks, tally
from grmrewards.batch import JUDGING, Batch, Judging
from grmrewards.errors import ConfigError, JudgeError
from grmrewards.rollouts import group_of
from grmrewards.runner import Blocked, run, together
from grmrewards.types import CALL, Call, Group, Judge

HEADROOM = 0.3  # seconds before the deadline at which judging ends, so that the call has returned by then
GRACE = 1.0  # seconds beyond the deadline in which a family may hand in what it has
ENDPOINT_DEADLINE = 600.0  # seconds
ROWS_AT_ONCE = 4096  # whose groups are judged at once
PATIENCE = 10.0  # seconds beyond the deadline in which a judge that does not wait must have come back

Score = Callable[[Group], Awaitable[Sequence[float | None]]]


class Progress(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
    """A progress bar.

    Its lock is of this process alone. That of tqdm is shared with forked copies, and if one of them is killed while it
    holds it, every bar of the others waits for ever.
    """

    monitor_interval = 0  # no thread of its own
    _lock = threading.RLock()


def _renew_lock() -> None:
    Progress._lock = threading.RLock()  # a thread that the copy does not have may hold the other


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def judge(batch: Batch, score: Score, *, judges: Sequence[Judge], deadline: float | None, name: str) -> Batch:
    """`batch` with its groups judged, or, where a judge holds the event loop beyond the deadline, with none scored.

    The rows of a judge that never comes back (a request without time-out in a function that does not await) are lost like
    those of one that fails: other ranks wait for this one.
    """
    seconds = seconds_of_a_call(deadline, judges)
    if not batch.groups:
        return batch
    work = batch.part(batch.groups)  # which a thread that is left behind may go on writing to
    limit = None if seconds is None else seconds + min(PATIENCE, ranks.timeout() * 0.15)
    try:
        run(judge_batch(work, score, judges=judges, seconds=seconds, name=name), limit=limit)
    except Blocked:
        why = "the judge did not come back, and held its thread past the deadline"
        batch.call.failures[why] += sum(map(len, batch.groups))
        return batch
    return work


def seconds_of_a_call(deadline: float | None, judges: Sequence[Judge]) -> float | None:
    """How long a call may judge. `ConfigError` where the other processes would not wait so long."""
    wait = ranks.timeout()
    if deadline is None:
        local = all(getattr(judge, "local", False) for judge in judges)
        alone = None if local else ENDPOINT_DEADLINE
        return alone if math.isinf(wait) else wait / 2
    if deadline > 0.75 * wait:
        raise ConfigError(
            f"deadline={deadline:g}, but the processes wait {wait:g} s for each other; allowed is at most {0.75 * wait:g}. "
            f"Lower it, or raise ddp_timeout in the trainer's arguments."
        )
    return deadline


async def judge_batch(batch: Batch, score: Score, *, judges: Sequence[Judge], seconds: float | None, name: str) -> None:
    """Fill `batch.scores`. An error that is no `JudgeError` cancels the other groups and is raised."""
    now = asyncio.get_running_loop().time()
    batch.call.deadline = None if seconds is None else now + seconds - min(HEADROOM, 0.1 * seconds)
    CALL.set(batch.call)
    silent = True if ranks.rank() else None  # None: only where nobody sees it
    async with entered(judges):
        with Progress(total=len(batch.groups), desc=name, unit="group", delay=5, leave=False, disable=silent) as bar:

            async def one(group: list[int]) -> None:
                await _judge_group(batch, [i for i in group if batch.rows[i].response], score)
                bar.update()

            left = iter(batch.groups)
            await together(_each(one, left) for _ in range(_width(batch.groups)))


@asynccontextmanager
async def entered(judges: Sequence[Judge]) -> AsyncIterator[None]:
    """Within it, judges have their connections and workers."""
    async with AsyncExitStack() as stack:
        for judge in judges:
            if isinstance(judge, AbstractAsyncContextManager):
                await stack.enter_async_context(judge)
        yield


def _width(groups: Sequence[list[int]]) -> int:
    """How many groups are judged at once: enough to keep any judge busy, and not so many that memory tells."""
    return min(len(groups), max(1, ROWS_AT_ONCE // max(map(len, groups))))


async def _each(one: Callable[[list[int]], Awaitable[None]], groups: Iterator[list[int]]) -> None:
    """Judge one group after the other, until none is left."""
    for group in groups:
        await one(group)


async def _judge_group(batch: Batch, answered: list[int], score: Score) -> None:
    """Score the responses of one group that are answers at all; not answering was the policy's act, not the judge's."""
    if not answered:
        return
    JUDGING.set(Judging(batch, answered))
    group = group_of(batch.rows, answered)
    scores = await _scores(batch.call, group, score)
    for row, value in zip(answered, scores, strict=True):
        batch.scores[row] = value
    if batch.call.counts["overflows"] and not any(s is not None for s in scores):
        await _check_that_an_empty_response_fits(batch.call, group, score)


async def _scores(call: Call, group: Group, score: Score) -> list[float | None]:
    """What the family says, checked: one finite number or None for each response."""
    limit = None if call.deadline is None else call.deadline + GRACE
    try:
        async with asyncio.timeout_at(limit):
            scores = list(await score(group))
    except TimeoutError:
        call.failures["the deadline of the call passed"] += len(group.responses)
        return [None] * len(group.responses)
    except JudgeError as error:
        call.failures[str(error).partition(":")[0]] += len(group.responses)
        return [None] * len(group.responses)
    if len(scores) != len(group.responses):
        raise ConfigError(f"score() returned {len(scores)} scores for {len(group.responses)} responses.")
    return [_finite(call, value) for value in scores]


def _finite(call: Call, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (float, SupportsFloat)):  # the former first, since the latter takes its time
        raise ConfigError(f"score() returned {value!r} of type {type(value).__name__}; allowed are numbers and None.")
    if not math.isfinite(float(value)):
        call.failures["a score that is not finite"] += 1
        return None
    return float(value)


async def _check_that_an_empty_response_fits(call: Call, group: Group, score: Score) -> None:
    """A response that is too long is the policy's act; a prompt that leaves no room for any is a mistake in the set-up."""
    JUDGING.set(None)  # what is said about no response belongs to none
    before = call.counts["overflows"]
    blanks = tuple(" " * i for i in range(len(group.responses)))  # all different, as equal texts need no judge
    await _scores(call, replace(group, responses=blanks), score)
    if call.counts["overflows"] > before:
        raise ConfigError(
            "the prompt does not fit into the judge's context window even with an empty response: shorten the prompts or "
            "the template, lower max_tokens, or choose a judge with a larger window. The judge said: "
            f"{tally.reasons(call)}"
        )
