"""The one event loop of a process, on a thread of its own, so that synchronous callers work anywhere.

A script, a notebook cell (whose own loop is running), a worker thread and a forked child all call `run`; none of them
needs to know about asyncio. The loop is made at first use, and again after a fork, which copies no threads.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from grmrewards.errors import ConfigError

T = TypeVar("T")
SPELL = 0.5  # seconds
PARTING = 10.0  # seconds


class Blocked(Exception):
    """The loop did not end the work within its limit: a judge holds its thread, in a call that does not wait."""


class _Loop:
    """The loop, its thread, and the process that they belong to."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="grmrewards", daemon=True)
        self.thread.start()


_lock = threading.Lock()
_current: _Loop | None = None


def run(coroutine: Coroutine[Any, Any, T], *, limit: float | None = None) -> T:
    """The result of `coroutine`, run on the library's loop while the caller waits.

    Ctrl-C and any other exception in the waiting thread cancel it, and `run` returns only after it has ended: nothing is
    left running. But a thread that does not come back cannot be ended: after `limit` seconds (`Blocked` is raised then),
    or `PARTING` seconds after a Ctrl-C, it is left alone, and the next call gets another loop. Raises `ConfigError` when
    called on the loop's own thread, which would wait for itself.
    """
    at = _loop()
    if threading.current_thread() is at.thread:
        coroutine.close()
        raise ConfigError(
            "a reward was called from inside another reward's judging. Combine rewards in the calling thread: call "
            "each of them, then combine their lists."
        )
    tasks: list[asyncio.Task[T]] = []
    ended = threading.Event()

    def start() -> None:
        tasks.append(at.loop.create_task(coroutine))
        tasks[0].add_done_callback(lambda _: ended.set())

    def stop() -> None:
        if tasks:
            tasks[0].cancel()
        else:  # interrupted before it could start
            coroutine.close()
            ended.set()

    try:
        at.loop.call_soon_threadsafe(start)
        in_time = _wait(ended, limit)
    except BaseException:
        at.loop.call_soon_threadsafe(stop)
        if not _wait(ended, PARTING):
            _leave(at)
        raise
    if not in_time:
        _leave(at)
        at.loop.call_soon_threadsafe(stop)  # in case the thread comes back
        raise Blocked
    return tasks[0].result()


def start(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Run `coroutine` on the library's loop without waiting for it. It must end by itself, and raise nothing."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop().loop)


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, in order. The first error cancels the others, waits for their end, and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _wait(ended: threading.Event, limit: float | None = None) -> bool:
    """Whether it ended in time. Waits in short spells: Python sees a Ctrl-C that came just before a wait only after it."""
    end = math.inf if limit is None else time.monotonic() + limit
    while not ended.wait(max(0.0, min(SPELL, end - time.monotonic()))):
        if time.monotonic() >= end:
            return False
    return True


def _leave(blocked: _Loop) -> None:
    """Let the next call make a loop of its own, unless another caller has seen to it."""
    global _current
    with _lock:
        if _current is blocked:
            _current = None


def _loop() -> _Loop:
    global _current
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = _Loop()
        return _current
