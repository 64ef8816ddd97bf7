"""A request that is late gets a copy, and the first answer wins.

A hung connection, an answer that trickles and a server that died cost as much as the slowest of the others, then, and
not a whole time-out.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from grmrewards.judges.faults import Again

T = TypeVar("T")
LEAST_LATE = 0.2  # seconds; below it a copy costs more than the wait
FACTOR, MOST_FACTOR = 1.25, 8.0  # on what is usual: more while the first wins nevertheless, less while copies do
KNOWN = 8  # answers without which nothing is usual
FRESH = 0.02  # seconds for which what is usual is not computed again
LOOK = 0.05  # seconds between looks at a request, at least


class Watch:
    """How long answers take, and so from when on a request is late. It outlives a call."""

    def __init__(self, width: int) -> None:
        self.copies = 0
        self._most_copies = max(2, width // 8)
        self._recent: deque[float] = deque(maxlen=2 * width)
        self._running: dict[object, float] = {}
        self._factor, self._usual, self._computed_at = FACTOR, math.inf, -math.inf

    def began(self, now: float) -> object:
        """A request was sent. Returns its sign for `ended`."""
        sign = object()
        self._running[sign] = now
        return sign

    def ended(self, sign: object, now: float, *, answered: bool) -> None:
        """It was answered, failed or was cancelled."""
        began = self._running.pop(sign)
        if answered:
            self._recent.append(now - began)

    def forget_requests(self) -> None:
        """None is on its way."""
        self._running, self.copies = {}, 0

    def late(self, now: float) -> float:
        """The age at which a request is late; infinite while nothing is known, as before the first answers.

        Beyond 95 % of the recent ones, and beyond 80 % of these and the running ones together: a straggler is late, but a
        slow wave, a cold start or a server that hangs altogether is not.
        """
        if now - self._computed_at > FRESH:
            recent = sorted(self._recent)
            known = len(recent) >= max(KNOWN, len(self._running))  # as many came back as are on their way
            self._usual, self._computed_at = self._quantile(recent, now) if known else math.inf, now
        return max(LEAST_LATE, self._factor * self._usual)

    def may_copy(self) -> bool:
        """Whether one more copy is within bounds."""
        return self.copies < self._most_copies

    def learn(self, *, copy_won: bool) -> None:
        """A request with copies was answered."""
        self._factor = max(FACTOR, self._factor * 0.8) if copy_won else min(MOST_FACTOR, self._factor * 1.5)

    def _quantile(self, recent: list[float], now: float) -> float:
        both = sorted([*recent, *(now - began for began in self._running.values())])
        return max(recent[int(0.95 * len(recent))], both[int(0.8 * len(both))])


async def race(
    send: Callable[[], Coroutine[Any, Any, T]],
    copy: Callable[[], Coroutine[Any, Any, T]],
    watch: Watch,
    spares: Callable[[], bool],
) -> T:
    """The first answer: of the request that `send` sends, or of one of the copies that follow each time it is late.

    The others are cancelled and have ended when this returns. A fault counts only when no copy is on its way any more.
    """
    first = asyncio.create_task(send())
    now = asyncio.get_running_loop().time
    running, copies, since = {first}, 0, now()
    try:
        while True:
            age, late = now() - since, watch.late(now()) * 2 ** max(0, copies - 1)
            look = max(LOOK, late - age if late < math.inf else LOOK + age)
            done, running = await asyncio.wait(running, timeout=look, return_when=asyncio.FIRST_COMPLETED)
            if (winner := _winner(done, final=not running)) is not None:
                if copies:
                    watch.learn(copy_won=winner is not first)
                return winner.result()
            if not done and now() - since > late - 0.001 and watch.may_copy() and spares():
                running.add(asyncio.create_task(_counted(copy, watch)))
                copies, since = copies + 1, now()
    finally:
        await _ended(running)


def _winner(done: set[asyncio.Task[T]], *, final: bool) -> asyncio.Task[T] | None:
    """The task that settles a race: one with an answer, else one that no retry mends, else, where `final`, any."""
    faulty = [task for task in done if task.cancelled() or task.exception()]
    mendable = [task for task in faulty if not task.cancelled() and isinstance(task.exception(), Again)]
    settled = [task for task in done if task not in mendable] or (mendable if final else [])
    return min(settled, key=faulty.__contains__, default=None)


async def _counted(copy: Callable[[], Coroutine[Any, Any, T]], watch: Watch) -> T:
    watch.copies += 1
    try:
        return await copy()
    finally:
        watch.copies -= 1


async def _ended(tasks: set[asyncio.Task[T]]) -> None:
    """Cancel, and wait until all has been let go."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        _ = task.cancelled() or task.exception()  # seen: asyncio would report it otherwise
