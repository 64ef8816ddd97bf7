"""A local judge runs what is waiting as one batch: counted in batches, never in seconds."""

import asyncio
import threading

import pytest

from grmrewards.judges.batching import Batcher

GROUPS, SIZE = 8, 4


def echo(kind, contents, stop):
    return [(kind, content) for content in contents]


async def pointwise(batcher, group):
    return await asyncio.gather(*(batcher.submit("judge", (group, i), tokens=10) for i in range(SIZE)))


async def principles_first(batcher, group):
    await batcher.submit("judge", (group, "principles"), tokens=10)
    return await pointwise(batcher, group)


async def after_some_turns(batcher, group):
    for _ in range(group % 6):
        await asyncio.sleep(0)
    return await pointwise(batcher, group)


async def with_timeouts(batcher, group):
    async with asyncio.timeout(60):
        return await pointwise(batcher, group)


async def all_groups(family, **options):
    batcher = Batcher(echo, token_budget=100_000, **options)
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
        batcher = Batcher(echo, token_budget=1000)
        found = await asyncio.gather(*(batcher.submit("k", i, tokens=1) for i in range(20)))
        await batcher.close()
        return found

    assert asyncio.run(main()) == [("k", i) for i in range(20)]


def test_kinds_never_share_a_batch_and_the_oldest_goes_first():
    seen = []

    def note(kind, contents, stop):
        seen.append((kind, list(contents)))
        return contents

    async def main():
        batcher = Batcher(note, token_budget=1000)
        kinds = ["a", "b", "a", "b"]
        await asyncio.gather(*(batcher.submit(kind, i, tokens=1) for i, kind in enumerate(kinds)))
        await batcher.close()

    asyncio.run(main())
    assert seen == [("a", [0, 2]), ("b", [1, 3])]


def test_a_batch_keeps_to_the_token_budget_padding_included():
    sizes = []

    def note(kind, contents, stop):
        sizes.append(len(contents))
        return contents

    async def main():
        batcher = Batcher(note, token_budget=100)
        await asyncio.gather(*(batcher.submit("k", i, tokens=30) for i in range(7)))
        await batcher.submit("k", "longer than the budget", tokens=500)
        await batcher.close()

    asyncio.run(main())
    assert sizes == [3, 3, 1, 1]


def test_the_worker_is_told_to_stop_when_every_caller_is_gone():
    stopped = threading.Event()

    def until_stopped(kind, contents, stop):
        assert stop.wait(timeout=20)
        stopped.set()
        return contents

    async def main():
        batcher = Batcher(until_stopped, token_budget=1000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.gather(*(batcher.submit("k", i, tokens=1) for i in range(3)))
        await batcher.close()

    asyncio.run(main())
    assert stopped.is_set()


def test_requests_of_callers_that_left_are_not_run():
    ran = []

    def note(kind, contents, stop):
        ran.extend(contents)
        return contents

    async def main():
        batcher = Batcher(note, token_budget=1000)
        left = asyncio.ensure_future(batcher.submit("k", "left", tokens=1))
        stays = asyncio.ensure_future(batcher.submit("k", "stays", tokens=1))
        await asyncio.sleep(0)
        left.cancel()
        await stays
        await batcher.close()

    asyncio.run(main())
    assert ran == ["stays"]


def test_an_error_of_a_batch_reaches_all_its_callers_and_the_next_batch_runs():
    def fail_once(kind, contents, stop):
        if kind == "bad":
            raise RuntimeError("out of memory")
        return contents

    async def main():
        batcher = Batcher(fail_once, token_budget=1000)
        bad = await asyncio.gather(*(batcher.submit("bad", i, tokens=1) for i in range(2)), return_exceptions=True)
        good = await batcher.submit("good", 1, tokens=1)
        await batcher.close()
        return bad, good

    bad, good = asyncio.run(main())
    assert [str(error) for error in bad] == ["out of memory"] * 2
    assert good == 1


def test_no_thread_is_left_after_close():
    before = set(threading.enumerate())
    asyncio.run(all_groups(pointwise))
    assert set(threading.enumerate()) <= before
