"""Copies of late requests, on an event loop whose clock jumps to what is waited for: nothing here takes time."""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from grmrewards.judges.faults import Again
from grmrewards.judges.hedging import MOST_FACTOR, Watch, race


class _Jumps(selectors.DefaultSelector):
    """Waits for no time, only counts it."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Jumps()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        yield runner.run


def watch_that_knows(*seconds: float, width: int = 64) -> Watch:
    """One that has seen answers of these durations."""
    watch = Watch(width)
    for duration in seconds:
        watch.ended(watch.began(0.0), duration, answered=True)
    return watch


class Server:
    """Answers its requests in turn: a number of seconds, or a number and the error."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked_at: list[float] = []
        self.cancelled = 0

    async def ask(self) -> int:
        number = len(self.asked_at)
        self.asked_at.append(asyncio.get_running_loop().time() - 1000.0)
        seconds, error = (
            self.answers[number] if isinstance(self.answers[number], tuple) else (self.answers[number], None)
        )
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if error:
            raise error
        return number

    async def race(self, watch: Watch, *, spares: bool = True) -> tuple[int, float]:
        """Who won, and when."""
        loop = asyncio.get_running_loop()
        winner = await race(self.ask, self.ask, watch, lambda: spares)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "the others have ended"
        return winner, loop.time() - 1000.0


HANGS = 1e6
USUAL = [1.0] * 16


def test_an_answer_on_time_is_the_only_request(run: Any) -> None:
    server = Server(1.2)
    assert run(server.race(watch_that_knows(*USUAL))) == (0, pytest.approx(1.2))
    assert len(server.asked_at) == 1


def test_a_request_that_hangs_gets_a_copy_and_is_cancelled(run: Any) -> None:
    server = Server(HANGS, 1.0)
    winner, seconds = run(server.race(watch_that_knows(*USUAL)))
    assert winner == 1
    assert seconds == pytest.approx(2.25, abs=0.06), "late after 1.25 times the usual, then the usual"
    assert server.cancelled == 1


def test_copies_that_hang_too_get_copies_ever_later(run: Any) -> None:
    server = Server(HANGS, HANGS, HANGS, 1.0)
    winner, _ = run(server.race(watch_that_knows(*USUAL)))
    assert winner == 3
    assert server.asked_at == pytest.approx([0.0, 1.25, 2.5, 5.0], abs=0.2)


def test_the_first_request_may_win_after_all(run: Any) -> None:
    server = Server(1.5, HANGS)
    assert run(server.race(watch_that_knows(*USUAL)))[0] == 0
    assert server.cancelled == 1


def test_a_fault_counts_when_nothing_is_on_its_way_any_more(run: Any) -> None:
    assert run(Server((2.0, Again("reset")), 1.0).race(watch_that_knows(*USUAL)))[0] == 1
    assert run(Server(2.4, (1.0, Again("reset"))).race(watch_that_knows(*USUAL)))[0] == 0
    with pytest.raises(Again, match="second"):
        run(Server((1.5, Again("first")), (1.0, Again("second"))).race(watch_that_knows(*USUAL)))


def test_an_error_that_no_retry_mends_ends_it_at_once(run: Any) -> None:
    server = Server(HANGS, (0.5, ValueError("no such model")))
    with pytest.raises(ValueError, match="no such model"):
        run(server.race(watch_that_knows(*USUAL)))
    assert server.cancelled == 1


def test_there_is_no_copy_before_anything_is_known_beyond_the_bound_or_where_the_budget_has_none(run: Any) -> None:
    busy = watch_that_knows(*USUAL, width=8)
    busy.copies = 2
    for watch, spares in ((Watch(64), True), (busy, True), (watch_that_knows(*USUAL), False)):
        server = Server(30.0)
        run(server.race(watch, spares=spares))
        assert len(server.asked_at) == 1


def test_a_cancelled_race_leaves_nothing_behind(run: Any) -> None:
    server = Server(HANGS, HANGS)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await server.race(watch_that_knows(*USUAL))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(cancelled())
    assert server.cancelled == 2


def test_a_slow_wave_is_not_late_and_a_straggler_is() -> None:
    watch = watch_that_knows(*[1.0] * 64)
    signs = [watch.began(100.0) for _ in range(64)]
    assert watch.late(103.0) >= 3.0, "all are slow: the server is, and copies would make it slower"
    for sign in signs[:-1]:
        watch.ended(sign, 101.0, answered=True)
    assert watch.late(103.1) == pytest.approx(1.25)


def test_copies_in_vain_make_it_patient_and_copies_that_win_less_so() -> None:
    watch = watch_that_knows(*USUAL)
    for _ in range(9):
        watch.learn(copy_won=False)
    assert watch.late(1.0) == MOST_FACTOR
    for _ in range(20):
        watch.learn(copy_won=True)
    assert watch.late(2.0) == pytest.approx(1.25)
    assert Watch(64).late(1.0) == math.inf
