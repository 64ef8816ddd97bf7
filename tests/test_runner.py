"""The library's event loop: whoever waits may be interrupted at any moment, and nothing is left running."""

import asyncio
import threading

import pytest

from grmrewards import runner


class _Interrupting:
    """The real loop, behind a first call that is interrupted like a Ctrl-C, before or after it has done its work."""

    def __init__(self, loop, when):
        self.loop, self.when, self.calls = loop, when, 0

    def __getattr__(self, name):
        return getattr(self.loop, name)

    def call_soon_threadsafe(self, callback):
        self.calls += 1
        if self.calls == 1 and self.when == "before":
            raise KeyboardInterrupt
        self.loop.call_soon_threadsafe(callback)
        if self.calls == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_while_the_work_is_handed_over_cancels_it(monkeypatch, when):
    at = runner._loop()
    monkeypatch.setattr(at, "loop", _Interrupting(at.loop, when))
    ended = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    coroutine = work()
    with pytest.raises(KeyboardInterrupt):
        runner.run(coroutine)
    assert coroutine.cr_frame is None  # finished or closed, in either case not waiting for ever


def test_the_first_error_of_several_cancels_the_others_and_is_raised_alone():
    cancelled = []

    async def fail():
        raise ValueError("first")

    async def wait():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main():
        await runner.together([wait(), fail(), wait()])

    with pytest.raises(ValueError, match="first"):
        runner.run(main())
    assert cancelled == [True, True]


def test_a_thread_that_does_not_come_back_is_left_behind_and_its_work_cancelled_if_it_does():
    release, cancelled = threading.Event(), threading.Event()

    async def hold():
        release.wait()  # a call without a time-out, in a function that should await
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def answer():
        return 7

    with pytest.raises(runner.Blocked):
        runner.run(hold(), limit=0.05)
    assert runner.run(answer(), limit=5) == 7
    release.set()
    assert cancelled.wait(5)
