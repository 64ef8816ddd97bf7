"""A local judge runs what is waiting as one batch: counted in batches, never in seconds."""

import asyncio
import threading

import pytest

from grmrewards.judges.batching import Batcher

GROUPS, SIZE = 8, 4


def echo(kind, contents, stop, deliver, more):
    for i, content in enumerate(contents):
        deliver(i, (kind, content))


async def pointwise(batcher, group):
    return await asyncio.gather(*(batcher.submit("judge", (group, i)) for i in range(SIZE)))


async def principles_first(batcher, group):
    await batcher.submit("judge", (group, "principles"))
    return await pointwise(batcher, group)


async def after_some_turns(batcher, group):
    for _ in range(group % 6):
        await asyncio.sleep(0)
    return await pointwise(batcher, group)


async def with_timeouts(batcher, group):
    async with asyncio.timeout(60):
        return await pointwise(batcher, group)


async def all_groups(family):
    batcher = Batcher(echo)
    await asyncio.gather(*(family(batcher, group) for group in range(GROUPS)))
    await batcher.close()
    return batcher


@pytest.mark.parametrize(
    ("family", "ideal"), [(pointwise, 1), (with_timeouts, 1), (after_some_turns, 1), (principles_first, 2)]
)
def test_all_groups_share_the_ideal_number_of_batches(family, ideal):
    assert asyncio.run(all_groups(family)).batches == ideal


def test_each_caller_gets_its_own_result():
    async def main():
        batcher = Batcher(echo)
        found = await asyncio.gather(*(batcher.submit("k", i) for i in range(20)))
        await batcher.close()
        return found

    assert asyncio.run(main()) == [("k", i) for i in range(20)]


def test_kinds_never_share_a_batch_and_the_oldest_goes_first():
    seen = []

    def note(kind, contents, stop, deliver, more):
        seen.append((kind, list(contents)))
        echo(kind, contents, stop, deliver, more)

    async def main():
        batcher = Batcher(note)
        kinds = ["a", "b", "a", "b"]
        await asyncio.gather(*(batcher.submit(kind, i) for i, kind in enumerate(kinds)))
        await batcher.close()

    asyncio.run(main())
    assert seen == [("a", [0, 2]), ("b", [1, 3])]


def test_a_result_reaches_its_caller_while_the_others_still_run():
    first_is_there = threading.Event()

    def one_by_one(kind, contents, stop, deliver, more):
        deliver(0, "first")
        assert first_is_there.wait(timeout=20)
        deliver(1, "second")

    async def main():
        batcher = Batcher(one_by_one)
        first, second = (asyncio.ensure_future(batcher.submit("k", i)) for i in range(2))
        assert await first == "first"
        assert not second.done()
        first_is_there.set()
        assert await second == "second"
        await batcher.close()

    asyncio.run(main())


def test_what_was_delivered_before_an_error_stays():
    def fail_after_one(kind, contents, stop, deliver, more):
        deliver(1, "kept")
        raise RuntimeError("a broken disk")

    async def main():
        batcher = Batcher(fail_after_one)
        found = await asyncio.gather(*(batcher.submit("k", i) for i in range(3)), return_exceptions=True)
        await batcher.close()
        return found

    lost, kept, also_lost = asyncio.run(main())
    assert kept == "kept"
    assert str(lost) == str(also_lost) == "a broken disk"


def test_a_result_that_never_comes_is_an_error():
    async def main():
        batcher = Batcher(lambda *_: None)
        try:
            await batcher.submit("k", 1)
        finally:
            await batcher.close()

    with pytest.raises(RuntimeError, match="without a result"):
        asyncio.run(main())


def test_the_worker_is_told_to_stop_when_every_caller_is_gone():
    stopped = threading.Event()

    def until_stopped(kind, contents, stop, deliver, more):
        assert stop.wait(timeout=20)
        stopped.set()

    async def main():
        batcher = Batcher(until_stopped)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.gather(*(batcher.submit("k", i) for i in range(3)))
        await batcher.close()

    asyncio.run(main())
    assert stopped.is_set()


def test_requests_of_callers_that_left_are_not_run():
    ran = []

    def note(kind, contents, stop, deliver, more):
        ran.extend(contents)
        echo(kind, contents, stop, deliver, more)

    async def main():
        batcher = Batcher(note)
        left = asyncio.ensure_future(batcher.submit("k", "left"))
        stays = asyncio.ensure_future(batcher.submit("k", "stays"))
        await asyncio.sleep(0)
        left.cancel()
        await stays
        await batcher.close()

    asyncio.run(main())
    assert ran == ["stays"]


def test_an_error_of_a_batch_reaches_all_its_callers_and_the_next_batch_runs():
    def fail_once(kind, contents, stop, deliver, more):
        if kind == "bad":
            raise RuntimeError("out of memory")
        echo(kind, contents, stop, deliver, more)

    async def main():
        batcher = Batcher(fail_once)
        bad = await asyncio.gather(*(batcher.submit("bad", i) for i in range(2)), return_exceptions=True)
        good = await batcher.submit("good", 1)
        await batcher.close()
        return bad, good

    bad, good = asyncio.run(main())
    assert [str(error) for error in bad] == ["out of memory"] * 2
    assert good == ("good", 1)


def joining(batcher, later):
    """A batch of one that asks for more once `later` requests wait; what it was given, and what came of all."""
    given = []

    async def main():
        loop, asked = asyncio.get_running_loop(), threading.Event()

        def run(kind, contents, stop, deliver, more):
            if not given:
                loop.call_soon_threadsafe(ask_later)
                assert asked.wait(timeout=20)
                contents = [*contents, *more()]
            given.append((kind, list(contents)))
            echo(kind, contents, stop, deliver, more)

        def ask_later():
            tasks.extend(asyncio.ensure_future(batcher.submit(kind, content)) for kind, content in later)
            loop.call_soon(asked.set)

        batcher.run_batch = run
        tasks = []
        found = [await batcher.submit("k", "first")]
        while len(found) <= len(later):
            found += await asyncio.gather(*tasks)
        await batcher.close()
        return found

    return given, asyncio.run(main())


def test_what_comes_meanwhile_joins_the_batch_that_runs():
    given, found = joining(Batcher(echo), [("k", "second"), ("k", "third")])
    assert given == [("k", ["first", "second", "third"])]
    assert found == [("k", "first"), ("k", "second"), ("k", "third")]


def test_none_joins_while_another_kind_waits():
    given, found = joining(Batcher(echo), [("other", "second"), ("k", "third")])
    assert given == [("k", ["first"]), ("other", ["second"]), ("k", ["third"])], "or that kind would wait for ever"
    assert found == [("k", "first"), ("other", "second"), ("k", "third")]


def test_one_that_joined_keeps_the_batch_alive_when_the_first_caller_is_gone():
    async def main():
        loop, joined = asyncio.get_running_loop(), threading.Event()
        second = None

        def run(kind, contents, stop, deliver, more):
            loop.call_soon_threadsafe(ask)
            assert joined.wait(timeout=20)
            assert more() == ["second"]
            loop.call_soon_threadsafe(first.cancel)
            assert not stop.wait(timeout=0.05)
            deliver(1, "answered")

        def ask():
            nonlocal second
            second = asyncio.ensure_future(batcher.submit("k", "second"))
            loop.call_soon(joined.set)

        batcher = Batcher(run)
        first = asyncio.ensure_future(batcher.submit("k", "first"))
        with pytest.raises(asyncio.CancelledError):
            await first
        answer = await second
        await batcher.close()
        return answer

    assert asyncio.run(main()) == "answered"


def test_no_thread_is_left_after_close():
    before = set(threading.enumerate())
    asyncio.run(all_groups(pointwise))
    assert set(threading.enumerate()) <= before
