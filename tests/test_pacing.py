"""The pace of requests to servers whose limit nobody knows, against token buckets and a clock that is only counted."""

import heapq
import itertools

import pytest

from grmrewards.judges.pacing import LONGEST_PAUSE, Pacer

LATENCY, ROUND_TRIP = 0.2, 0.004  # seconds of an answer, and of a refusal


class TokenBucket:
    """A server that allows `rate` requests a second and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.tokens, self.at, self.asked = rate, burst, burst, 0.0, 0

    def grants(self, now: float) -> bool:
        self.asked += 1
        self.tokens, self.at = min(self.burst, self.tokens + (now - self.at) * self.rate), now
        granted = self.tokens >= 1
        self.tokens -= granted
        return granted


def call(pacers: list[Pacer], bucket: TokenBucket, judgements: int, *, begin: float, slots: int = 64) -> list[float]:
    """When each process has had its `judgements`, counted from `begin`."""
    count = itertools.count()
    left, free, had = ([n] * len(pacers) for n in (judgements, slots, judgements))
    ends = [0.0] * len(pacers)
    events = [(begin, next(count), "go", i, 0.0) for i in range(len(pacers))]
    while events:
        now, _, what, i, sent = heapq.heappop(events)
        if what == "had":
            free[i], had[i], ends[i] = free[i] + 1, had[i] - 1, now - begin
        elif what == "refused":
            free[i], left[i] = free[i] + 1, left[i] + 1
            pacers[i].refused(sent, now)
        while left[i] and free[i] and pacers[i].wait(now) <= 0.001:
            pacers[i].went(now)
            left[i], free[i] = left[i] - 1, free[i] - 1
            granted = bucket.grants(now)
            heapq.heappush(
                events,
                (now + (LATENCY if granted else ROUND_TRIP), next(count), "had" if granted else "refused", i, now),
            )
        if left[i] and free[i]:
            heapq.heappush(events, (now + max(pacers[i].wait(now), 0.001), next(count), "go", i, 0.0))
    assert not any(had)
    return ends


def test_a_limit_is_found_and_remembered() -> None:
    pacer, server, asked = Pacer(), TokenBucket(20, burst=20), []
    for begin in (1000.0, 1100.0, 1200.0):
        assert call([pacer], server, 256, begin=begin)[0] <= 13.0, "the limit allows no less than 11.8"
        asked.append(server.asked)
        server.asked = 0
    assert asked[0] <= 1.15 * 256
    assert max(asked[1:]) <= 1.05 * 256


@pytest.mark.parametrize(
    ("rate", "burst"), [(20, 1), (5, 5), (100, 100), (100, 10), (8, 100), (2, 2)], ids=lambda value: f"{value}"
)
def test_other_limits_cost_a_little_more_than_they_must(rate: float, burst: float) -> None:
    pacer, server = Pacer(), TokenBucket(rate, burst)
    call([pacer], server, 256, begin=1000.0)
    server.asked = 0
    (seconds,) = call([pacer], server, 256, begin=1100.0)
    assert seconds <= 1.4 * max(1.0, (256 - burst) / rate)
    assert server.asked <= 1.2 * 256


def test_processes_of_one_machine_share_a_limit() -> None:
    pacers, server = [Pacer(ranks=4) for _ in range(4)], TokenBucket(20, burst=20)
    for begin in (1000.0, 1100.0, 1200.0):
        server.asked = 0
        ends = call(pacers, server, 64, begin=begin)
        assert max(ends) <= 1.5 * 11.8
        assert server.asked <= 1.3 * 256


def test_a_server_without_a_limit_is_soon_asked_as_fast_as_can_be() -> None:
    pacer, now = Pacer(), 1000.0
    for _ in range(64):
        now = max(now, now + pacer.wait(now))
        pacer.went(now)
    assert now - 1000.0 < 0.06
    for _ in range(1000):
        now += max(0.0, pacer.wait(now))
        pacer.went(now)
    assert pacer.wait(now) < 0.001


def refuse_all(pacer: Pacer, now: float, times: int) -> float:
    for _ in range(times):
        now += max(0.0, pacer.wait(now))
        pacer.went(now)
        pacer.refused(now, now + ROUND_TRIP)
    return now


def test_a_server_that_refuses_everything_is_still_asked_every_two_seconds() -> None:
    pacer = Pacer()
    now = refuse_all(pacer, 1000.0, 200)
    assert pacer.wait(now) <= 2.1


def test_a_lifted_limit_is_noticed() -> None:
    pacer = Pacer()
    begin = now = refuse_all(pacer, 1000.0, 50)
    while pacer.rate < 100:
        now += max(0.0, pacer.wait(now))
        pacer.went(now)
    assert now - begin < 15


def test_the_server_may_ask_for_a_pause_but_not_for_a_day() -> None:
    pacer = Pacer()
    pacer.went(1000.0)
    pacer.refused(1000.0, 1000.0, after=1.0)
    assert pacer.wait(1000.0) < 1.0, "a fraction of a second, rounded up: no reason to stop all"
    pacer.refused(1000.0, 1000.0, after=7.0)
    assert 7.0 <= pacer.wait(1000.0) < 8.0
    pacer.refused(1000.0, 1000.0, after=86_400.0)
    assert pacer.wait(1000.0) <= LONGEST_PAUSE + 1.0


def test_refusals_of_requests_that_were_on_their_way_count_once() -> None:
    pacer = Pacer()
    for i in range(40):
        pacer.went(1000.0 + i / 1000)
    pacer.refused(1000.02, 1000.05)
    rate = pacer.rate
    for i in range(21, 40):
        pacer.refused(1000.0 + i / 1000, 1000.06)
    assert pacer.rate == rate
