"""Votes to scores, scores to rewards: what filling, scaling and averaging may and may not do to a group."""

import itertools
import math
import statistics

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grmrewards import ConfigError, scoring, signals, tally
from grmrewards.types import Call

RANGES = {"0-10": (0, 10), "1-10": (1, 10), "0-1": (0, 1)}
SCALES = ["unit", "raw", "two_slope", (-1.0, 3.0), (100.0, 100.5)]
steady = settings(deadline=None, derandomize=True)
scores = st.integers(0, 1000).map(lambda n: n / 100)
gappy_groups = st.lists(st.none() | scores, min_size=1, max_size=12)


def advantages(rewards_G):
    """What GRPO makes of one group's rewards (TRL, scale_rewards="group")."""
    spread = statistics.stdev(rewards_G) if len(rewards_G) > 1 else 0.0
    return [(r - statistics.fmean(rewards_G)) / (spread + 1e-4) for r in rewards_G]


# Votes


@pytest.mark.parametrize(
    ("name", "votes", "weights", "want"),
    [
        ("mean", [2.0, 3.0, 10.0], [1, 1, 1], 5.0),
        ("mean", [2.0, 10.0], [3, 1], 4.0),
        ("sum", [2.0, 3.0, 10.0], [1, 1, 1], 5.0),  # times the votes that were asked for, which is the caller's
        ("median", [2.0, 3.0, 10.0], [1, 1, 1], 3.0),
        ("trimmed", [1.0, 6.0, 7.0, 10.0], [1] * 4, 6.5),
        ("trimmed", [1.0, 10.0, 4.0], [1] * 3, 5.0),
        ("trimmed", [4.0], [1], 4.0),
    ],
)
def test_aggregates(name, votes, weights, want):
    assert scoring.AGGREGATES[name](votes, weights) == want


@pytest.mark.parametrize("weights", [[-1, 2], [0, 0]], ids=["negative", "all zero"])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ConfigError, match="weights"):
        scoring.weighted_mean([4, 8], weights)


@steady
@given(st.lists(st.tuples(scores, st.floats(0.01, 1)), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_votes_does_not_matter(votes, rng):
    for name, aggregate in scoring.AGGREGATES.items():
        shuffled = rng.sample(votes, len(votes))
        one, other = (aggregate(*map(list, zip(*pairs, strict=True))) for pairs in (votes, shuffled))
        assert one == pytest.approx(other), name


@steady
@given(st.floats(0, 10), st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_votes_that_agree_are_the_score_whatever_their_weights(vote, weights):
    for aggregate in scoring.AGGREGATES.values():
        assert aggregate([vote] * len(weights), weights) == pytest.approx(vote, abs=1e-11)


# Preferences


@steady
@given(st.lists(st.tuples(st.floats(-50, 0), st.floats(-50, 0)), min_size=1, max_size=2))
def test_preference_of_the_one_is_the_complement_of_the_other(logprobs):
    swapped = [(second, first) for first, second in logprobs]
    assert scoring.preference(logprobs) + scoring.preference(swapped) == pytest.approx(1)
    assert 0 <= scoring.preference(logprobs) <= 1


# Scales


@pytest.mark.parametrize("low_high", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_scale_is_monotone_and_continuous(scale, low_high):
    low, high = low_high
    steps = [low + (high - low) * i / 1000 for i in range(1001)]
    rewards = [scoring.rescale(s, scale, low=low, high=high) for s in steps]
    rises = [b - a for a, b in itertools.pairwise(rewards)]
    assert min(rises) > 0
    assert max(rises) < (rewards[-1] - rewards[0]) / 100


@pytest.mark.parametrize(
    ("scale", "low", "high", "bounds"),
    [
        ("unit", 0, 10, (0, 1)),
        ("unit", 1, 10, (0, 1)),
        ("raw", 1, 10, (1, 10)),
        ("two_slope", 0, 10, (-1, 2)),
        ("two_slope", 1, 10, (-0.8, 2)),
        ("two_slope", 0, 1, (-1, 2)),
        ((-1.0, 3.0), 1, 10, (-1, 3)),
    ],
)
def test_scale_maps_the_ends_of_the_range(scale, low, high, bounds):
    assert [scoring.rescale(s, scale, low=low, high=high) for s in (low, high)] == pytest.approx(bounds)


def test_a_failure_is_not_better_than_a_poor_score_on_the_two_slopes():
    zero, poor = (scoring.rescale(s, "two_slope", low=0, high=10) for s in (0, 0.125))
    assert zero == -1 < poor


# Filling gaps


@steady
@given(gappy_groups)
def test_filling_changes_no_scored_reward(group):
    filled = scoring.fill_unscored(group)
    assert [new for new, old in zip(filled, group, strict=True) if old is not None] == [
        r for r in group if r is not None
    ]


@steady
@given(gappy_groups)
def test_filling_gives_the_filled_no_advantage(group):
    assume(any(r is not None for r in group))
    filled = scoring.fill_unscored(group)
    gaps = [a for a, r in zip(advantages(filled), group, strict=True) if r is None]
    assert gaps == pytest.approx([0.0] * len(gaps), abs=1e-5)


@steady
@given(gappy_groups, st.floats(-2, 2), st.floats(0.1, 5))
def test_filling_is_neutral_beside_a_second_reward(group, constant, weight):
    """The row's sum must lie where the second reward alone puts it: here that reward is the same for all."""
    assume(any(r is not None for r in group))
    total = [weight * r + constant for r in scoring.fill_unscored(group)]
    gaps = [a for a, r in zip(advantages(total), group, strict=True) if r is None]
    assert gaps == pytest.approx([0.0] * len(gaps), abs=1e-5)


def test_a_filled_row_keeps_the_order_that_a_second_reward_gives():
    second = [0.0, 1.0, 2.0, 3.0]
    filled = scoring.fill_unscored([None, 0.4, None, 0.6])
    alone, beside = advantages(second), advantages([a + b for a, b in zip(filled, second, strict=True)])
    assert [alone[i] < 0 for i in (0, 2)] == [beside[i] < 0 for i in (0, 2)]


@pytest.mark.parametrize("on_failure", ["group_mean", "none", "raise"])
def test_a_group_without_any_score_stays_unscored(on_failure):
    assert scoring.fill_unscored([None, None], on_failure) == [None, None]


@pytest.mark.parametrize(
    ("on_failure", "want"),
    [("group_mean", [0.2, 0.4, 0.6]), ("none", [0.2, None, 0.6]), ("raise", [0.2, None, 0.6]), (-1, [0.2, -1.0, 0.6])],
)
def test_on_failure(on_failure, want):
    assert scoring.fill_unscored([0.2, None, 0.6], on_failure) == pytest.approx(want)


# Near ties


@pytest.mark.parametrize(
    ("group", "min_spread", "want"),
    [
        pytest.param([0.70, 0.71], 0.05, [0.705, 0.705], id="within"),
        pytest.param([0.70, 0.75], 0.05, [0.70, 0.75], id="at-the-limit"),
        pytest.param([0.70, 0.71], 0.0, [0.70, 0.71], id="off"),
        pytest.param([0.70, None, 0.71], 0.05, [0.705, None, 0.705], id="gaps-stay"),
        pytest.param([None, None], 0.05, [None, None], id="nothing-scored"),
        pytest.param([0.3], 0.05, [0.3], id="alone"),
    ],
)
def test_near_ties_are_flattened(group, min_spread, want):
    assert scoring.flatten_near_ties(group, min_spread) == pytest.approx(want)


@steady
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0.001, 0.5))
def test_flattening_leaves_all_or_none_of_a_group_apart(group, min_spread):
    flat = scoring.flatten_near_ties(group, min_spread)
    assert flat == group or len(set(flat)) == 1
    assert statistics.fmean(flat) == pytest.approx(statistics.fmean(group))


# Arguments


@pytest.mark.parametrize(
    "scale", ["percent", (1, 0), (0, 0), (0, 1, 2), (0, math.inf), (math.nan, 1), ("0", "1"), None, 5]
)
def test_wrong_scale_is_named(scale):
    with pytest.raises(ConfigError, match="scale="):
        scoring.check_scale(scale)


@pytest.mark.parametrize("on_failure", ["zero", math.nan, math.inf, None, True, [0]])
def test_wrong_on_failure_is_named(on_failure):
    with pytest.raises(ConfigError, match="on_failure="):
        scoring.check_on_failure(on_failure)


# The figures of a call


@pytest.mark.parametrize(
    ("rewards", "lengths", "want"),
    [
        pytest.param([0.1, 0.2, 0.3], [10, 20, 30], 1.0, id="longer-is-better"),
        pytest.param([0.3, 0.2, 0.1], [10, 20, 30], -1.0, id="shorter-is-better"),
        pytest.param([0.1, None, 0.3], [10, 99, 30], 1.0, id="gaps-left-out"),
        pytest.param([0.5, 0.5], [10, 20], None, id="one-reward"),
        pytest.param([0.1, 0.2], [10, 10], None, id="one-length"),
        pytest.param([0.0, 1e-200], [10, 20], None, id="too-close-to-square"),
        pytest.param([], [], None, id="empty"),
    ],
)
def test_correlation_with_length(rewards, lengths, want):
    assert signals.correlation(rewards, lengths) == (want if want is None else pytest.approx(want))


def test_reasons_are_counted_the_most_frequent_first():
    call = Call()
    call.failures.update({"timed out": 2, "refused": 5})
    assert tally.reasons(call) == "refused x5, timed out x2"
