"""Who meets whom, what their games say, and that circles are counted as they are."""

import itertools
import math
import statistics
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import ConfigError, pairing

steady = settings(deadline=None, derandomize=True, max_examples=40)
seeds = st.integers(0, 2**31 - 1)


def by_hand(preferences, size):
    """The circles and triples, each looked at by itself."""
    known = {**preferences, **{(j, i): 1 - p for (i, j), p in preferences.items()}}
    triples = [
        triple
        for triple in itertools.combinations(range(size), 3)
        if all(pair in known for pair in itertools.combinations(triple, 2))
    ]
    circles = [
        (i, j, k) for i, j, k in triples if beats(known, (i, j), (j, k), (k, i)) or beats(known, (j, i), (k, j), (i, k))
    ]
    return len(circles), len(triples)


def beats(known, *pairs):
    return all(known[pair] > 0.5 for pair in pairs)


@st.composite
def verdicts(draw, values):
    """A size, and a preference from `values` for each pair that was not lost (None)."""
    size = draw(st.integers(1, 9))
    pairs = list(itertools.combinations(range(size), 2))
    found = {pair: draw(values) for pair in pairs}
    turned = {pair: draw(st.booleans()) for pair in pairs}
    return {(pair[::-1] if turned[pair] else pair): p for pair, p in found.items() if p is not None}, size


# Who meets whom


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_without_a_number_all_pairs_meet(size):
    assert pairing.pairs(size, None, seed=7) == list(itertools.combinations(range(size), 2))


@steady
@given(st.integers(1, 64), st.integers(1, 70), seeds)
def test_on_the_ring_all_meet_equally_many(size, opponents, seed):
    pairs = pairing.pairs(size, opponents, seed)
    met = [sum(i in pair for pair in pairs) for i in range(size)]
    wanted = min(opponents, size - 1)
    assert set(met) == {wanted + (size * wanted % 2)}
    assert pairs == sorted({(min(pair), max(pair)) for pair in pairs})


@steady
@given(st.integers(1, 64), seeds)
def test_the_anchor_meets_each_of_the_others_once(size, seed):
    middle = pairing.anchor(size, seed)
    pairs = pairing.pairs(size, "anchor", seed)
    assert len(pairs) == len(set(pairs)) == size - 1
    assert all(middle in pair and pair[0] < pair[1] for pair in pairs)


def test_the_seed_decides_who_is_the_anchor_and_who_meets_on_the_ring():
    assert {pairing.anchor(4, seed) for seed in range(50)} == {0, 1, 2, 3}
    assert len({tuple(pairing.pairs(8, 2, seed)) for seed in range(50)}) > 10
    assert pairing.pairs(8, 2, 5) == pairing.pairs(8, 2, 5)


@pytest.mark.parametrize("opponents", [0, -1, 1.5, True, "all", "", [2]], ids=repr)
def test_other_opponents_are_refused_with_what_is_allowed(opponents):
    with pytest.raises(ConfigError, match="at least 1, 'anchor'") as refused:
        pairing.check_opponents(opponents)
    assert repr(opponents) in str(refused.value)


# Games


def test_the_mean_is_over_games_that_were_played():
    assert pairing.mean_scores({(0, 1): (9, 3), (2, 1): (6, 4)}, 4) == [9.0, 3.5, 6.0, None]


@pytest.mark.parametrize(("game", "want"), [((7, 3), 1.0), ((3, 7), 0.0), ((5, 5), 0.5)])
def test_the_higher_score_wins(game, want):
    assert pairing.won(game) == want


def test_votes_with_equal_sums_are_equal_scores_and_a_tie():
    """Three votes in each of two orders; as plain means of means they differ in the last digit."""
    one, other = (
        statistics.fmean(map(statistics.fmean, votes)) for votes in ([(1, 1, 1), (1, 1, 3)], [(1, 1, 2), (1, 1, 2)])
    )
    assert one != other
    assert pairing.won((one, other)) == 0.5
    assert len(set(pairing.mean_scores({(0, 1): (one, other)}, 2))) == 1


# Circles


@pytest.mark.parametrize(
    ("preferences", "want"),
    [
        pytest.param({(0, 1): 0.9, (1, 2): 0.9, (2, 0): 0.9}, (1, 1), id="a-circle"),
        pytest.param({(0, 1): 0.1, (1, 2): 0.1, (0, 2): 0.9}, (1, 1), id="the-other-way-round"),
        pytest.param({(0, 1): 0.9, (1, 2): 0.9, (0, 2): 0.9}, (0, 1), id="an-order"),
        pytest.param({(0, 1): 0.9, (1, 2): 0.9, (2, 0): 0.5}, (0, 1), id="a-tie-closes-no-circle"),
        pytest.param({(0, 1): 0.9, (1, 2): 0.9}, (0, 0), id="a-lost-pair-is-no-triple"),
        pytest.param({}, (0, 0), id="nothing-known"),
    ],
)
def test_three(preferences, want):
    assert pairing.cycles(preferences, 3) == want


@steady
@given(verdicts(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0, None])))
def test_circles_are_those_that_are_found_one_by_one(found):
    assert pairing.cycles(*found) == by_hand(*found)


@steady
@given(verdicts(st.sampled_from([0.1, 0.9])))
def test_where_all_met_and_none_tied_circles_follow_from_the_wins_alone(found):
    preferences, size = found
    wins = [0] * size
    for (i, j), p in preferences.items():
        wins[i if p > 0.5 else j] += 1
    circles = math.comb(size, 3) - sum(math.comb(w, 2) for w in wins)  # Kendall and Babington Smith, 1940
    assert pairing.cycles(preferences, size) == (circles, math.comb(size, 3))


def test_a_transitive_judge_has_no_circles_in_a_group_of_64():
    preferences = {(i, j): 0.5 + (j - i) / 200 for i, j in itertools.combinations(range(64), 2)}
    started = time.perf_counter()
    assert pairing.cycles(preferences, 64) == (0, math.comb(64, 3))
    assert time.perf_counter() - started < 1.0


# Win rates


@pytest.mark.parametrize(
    ("preferences", "size", "want"),
    [
        ({(0, 1): 0.9, (0, 2): 0.7, (1, 2): 0.5}, 3, [0.8, 0.3, 0.4]),
        ({(0, 1): 0.9}, 3, [0.9, 0.1, None]),
        ({}, 2, [None, None]),
        ({(0, 1): 0.5, (1, 2): 0.5}, 3, [0.5, 0.5, 0.5]),
    ],
    ids=["all met", "one never met", "no game", "ties go round"],
)
def test_win_rates(preferences, size, want):
    assert pairing.win_rates(preferences, size) == want


@steady
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_win_rates_of_all_pairs_share_out_half_a_win_each(probabilities):
    met = dict(zip(itertools.combinations(range(4), 2), probabilities, strict=True))
    rates = pairing.win_rates(met, 4)
    assert all(0 <= rate <= 1 for rate in rates)
    assert sum(rates) == pytest.approx(2)


@steady
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=9), st.integers(2, 4), st.integers(0, 99))
def test_games_that_were_not_played_are_told_from_those_that_were(strengths, opponents, seed):
    """A judge whose log-odds add up is known from any games that connect all members, up to the pull towards 0."""

    def beats(i, j):
        return 1 / (1 + math.exp(strengths[j] - strengths[i]))

    size = len(strengths)
    everybody = pairing.win_rates({(i, j): beats(i, j) for i, j in pairing.pairs(size, None, seed)}, size)
    some = pairing.win_rates({(i, j): beats(i, j) for i, j in pairing.pairs(size, opponents, seed)}, size)
    assert some == pytest.approx(everybody, abs=0.06)


def test_weak_opponents_are_no_merit():
    """1 beats only the last, 2 loses only to the best: by the games they played 1 would be above 2."""
    games = {(0, 2): 0.9, (1, 3): 0.8, (2, 3): 0.95, (0, 1): 0.97}
    best, third, second, last = pairing.win_rates(games, 4)
    assert best > second > third > last


@steady
@given(
    st.dictionaries(st.tuples(st.integers(0, 4), st.integers(5, 9)), st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=1)
)
def test_win_rates_are_probabilities_whatever_was_played(games):
    rates = pairing.win_rates(games, 10)
    assert [rate is not None for rate in rates] == [any(i in pair for pair in games) for i in range(10)]
    assert all(0 <= rate <= 1 for rate in rates if rate is not None)
