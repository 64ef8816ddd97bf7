"""How sure an order is, and where the next vote goes: against simulation, and against what must never happen."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import undecided
from grmrewards.undecided import Standing

steady = settings(deadline=None, derandomize=True)
groups = st.lists(st.builds(Standing, st.floats(0, 10), st.integers(1, 16), st.floats(0.01, 9)), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        (Standing(7, 4, 0.0), Standing(5, 4, 0.0), 0.0),
        (Standing(5, 4, 0.0), Standing(5, 4, 0.0), 0.5),
        (Standing(5, 4, 3.0), Standing(5, 9, 1.0), 0.5),
        (Standing(6, 1, 0.5), Standing(5, 1, 0.5), 0.1587),  # one standard error apart
    ],
    ids=["sure", "sure of a tie", "a tie", "one standard error"],
)
def test_the_probability_that_an_order_is_wrong(a, b, want):
    assert undecided.wrong_order(a, b) == undecided.wrong_order(b, a) == pytest.approx(want, abs=1e-4)


def test_it_is_the_share_of_orders_that_are_wrong_where_votes_are_normal():
    """2,000 pairs of responses, four votes each: the claimed and the real share of wrong orders agree."""
    rng, claimed, wrong = random.Random(0), [], 0
    for _ in range(2000):
        true = [rng.gauss(5, 2), rng.gauss(5, 2)]
        votes = [[rng.gauss(mean, 2) for _ in range(4)] for mean in true]
        a, b = (Standing(statistics.fmean(v), 4, 4.0) for v in votes)
        claimed.append(undecided.wrong_order(a, b))
        wrong += (a.mean > b.mean) != (true[0] > true[1])
    assert wrong / 2000 == pytest.approx(statistics.fmean(claimed), abs=0.06)
    assert wrong / 2000 <= statistics.fmean(claimed) + 0.01, "it does not claim to be surer than it is"


@pytest.mark.parametrize(
    ("votes", "pooled", "own", "want"),
    [
        ([[4.0, 6.0], [5.0]], 1.0, [0, 0], [Standing(5, 2, 1.5), Standing(5, 1, 1.0)]),
        ([[4.0], [6.0]], None, [0.25, 1.0], [Standing(4, 1, 0.25), Standing(6, 1, 1.0)]),
        ([[4.0, 4.0], []], 0.0, [0, 0], [Standing(4, 2, 0.0)]),
    ],
    ids=["few votes lean on all", "one vote leans on its own doubt", "no vote, no standing"],
)
def test_standings(votes, pooled, own, want):
    found = undecided.standings(votes, pooled, own)
    assert [tuple(s) for s in found] == [pytest.approx(tuple(s)) for s in want]


@pytest.mark.parametrize(
    ("votes", "want"),
    [([[4, 6], [5, 5], [7]], 1.0), ([[4], [5]], None), ([[1, 3, 5], [2, 4]], 10 / 3)],
    ids=["of those with two", "of none", "by freedom"],
)
def test_pooled_variance(votes, want):
    assert undecided.pooled_variance(votes) == (want if want is None else pytest.approx(want))


@steady
@given(groups)
def test_gains_are_finite_and_not_negative(standings):
    found = undecided.gains(standings)
    assert len(found) == len(standings)
    assert all(math.isfinite(gain) and gain >= 0 for gain in found)
    assert 0 <= undecided.share_of_wrong_pairs(standings) <= 0.5


def test_the_next_vote_goes_where_the_order_is_open():
    clear, close, near = Standing(9, 4, 1.0), Standing(5.0, 4, 1.0), Standing(5.2, 4, 1.0)
    gains = undecided.gains([clear, close, near])
    assert min(gains[1:]) > 10 * gains[0]


def test_the_next_vote_goes_to_the_noisier_and_to_the_less_asked():
    assert (
        undecided.gains([Standing(5, 4, 4.0), Standing(5.5, 4, 1.0)])[0]
        > undecided.gains([Standing(5, 4, 1.0), Standing(5.5, 4, 4.0)])[0]
    )
    quiet, asked = Standing(5, 2, 2.0), Standing(5.5, 12, 2.0)
    first, second = undecided.gains([quiet, asked])
    assert first > second


def test_a_judge_that_always_says_the_same_needs_no_more_votes():
    assert undecided.gains([Standing(5, 2, 0.0), Standing(5, 2, 0.0), Standing(7, 2, 0.0)]) == [0.0] * 3
