"""The library's event loop: whoever waits may be interrupted at any moment, and nothing is left running."""

import asyncio
import os
import signal
import threading
import time

import pytest

from grmrewards import runner
from grmrewards.judging import Progress


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


def test_ctrl_c_ends_the_wait_for_a_thread_that_does_not_come_back(monkeypatch):
    release = threading.Event()

    async def hold():
        release.wait()

    async def answer():
        return 7

    waits = []

    def interrupted(ended, limit=None):
        waits.append(limit)
        if len(waits) == 1:
            raise KeyboardInterrupt
        return wait(ended, min(limit or 5, 0.05) if len(waits) == 2 else limit)

    wait = runner._wait
    monkeypatch.setattr(runner, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run(hold())
    assert waits == [None, runner.PARTING]
    assert runner.run(answer(), limit=5) == 7
    release.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("holder", ["the copy", "a thread of the parent"])
def test_a_killed_copy_leaves_no_lock_behind(holder):
    """tqdm's own lock is shared with forked copies: one that was killed in it once left a training waiting for ever."""
    read, write = os.pipe()
    held, done = threading.Event(), threading.Event()

    def hold():
        with Progress.get_lock():
            held.set()
            done.wait(5)

    if holder != "the copy":
        threading.Thread(target=hold).start()
        held.wait(5)
    pid = os.fork()
    if not pid:
        with Progress.get_lock():  # which a thread that the copy does not have may hold
            os.write(write, b"x")
            time.sleep(10)
        os._exit(0)
    assert os.read(read, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    done.set()
    with Progress(total=1, disable=True) as bar:
        bar.update()
