"""How a judge's rollouts on two answers are rewarded: the paper's formulas, and what holds for all of them."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import ConfigError
from grmrewards.training.intergroup import DEAD_ZONE, KINDS, Rule, intergroup_rewards

GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "golden_specs.json"
CHOSEN, REJECTED = [7, 8, 8, 9], [6, 7.5, 8, 5]  # worked by hand below
RULES = [
    Rule("mean"),
    Rule("mean", margin=1.0),
    Rule("median"),
    Rule("median", margin=0.5),
    Rule("interval"),
    Rule("interval", alpha=0.5),
    Rule("quantile"),
    Rule("quantile", quantile=0.25),
    Rule("mean3"),
    Rule("mean3", margin=1.0),
    Rule("auc"),
    Rule("auc", margin=1.0),
    Rule("preference"),
    Rule("preference", bound=2.0),
    Rule("preference", margin=1.0, bound=0.5),
]
steady = settings(deadline=None, derandomize=True, max_examples=25)
scores = st.lists(st.floats(0, 10, allow_nan=False), min_size=2, max_size=8)


def named(rule):
    return "-".join(str(part) for part in rule if part is not None)


def recomputed(rule, chosen, rejected, extra):
    """Eq. 4 and 7 once more, by numpy and scipy in float64 over whole arrays."""
    import numpy as np
    from scipy import stats

    c, r = np.asarray(chosen, dtype=np.float64), np.asarray(rejected, dtype=np.float64)
    margin = extra + (rule.margin if rule.margin is not None else DEAD_ZONE * (rule.kind == "mean3"))
    if rule.kind in ("auc", "preference"):
        d = c[:, None] - r[None, :] - margin
        if rule.kind == "auc":
            won = (d > 0).astype(np.float64)
        else:
            won = 1 / (1 + np.exp(-(d if rule.bound is None else np.clip(d, -rule.bound, rule.bound))))
        return won.mean(1), won.mean(0)

    def ends(s):
        if rule.kind == "interval":
            half = stats.t.interval(1 - rule.alpha, len(s) - 1, loc=0, scale=stats.sem(s))[1] if np.ptp(s) else 0.0
            return s.mean() - half, s.mean() + half
        if rule.kind in ("median", "quantile"):
            q = 0.5 if rule.kind == "median" else rule.quantile
            return np.quantile(s, 1 - q), np.quantile(s, q)
        return s.mean(), s.mean()

    upper, lower, between = ends(r)[1], ends(c)[0], 0.0 if rule.kind == "mean3" else -1.0
    return (
        np.where(c > upper + margin, 1.0, np.where(c > upper, between, -1.0)),
        np.where(r < lower - margin, 1.0, np.where(r < lower, between, -1.0)),
    )


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden cases are not shipped with the package")
def test_the_golden_cases():
    case = json.loads(GOLDEN.read_text())["irpm_rewards"]
    rules = {
        "mean": (Rule("mean"), 0.0),
        "median": (Rule("median"), 0.0),
        "interval_alpha0.05": (Rule("interval", alpha=0.05), 0.0),
        "preference": (Rule("preference"), 0.0),
        "mean_adaptive_pref3": (Rule("mean"), 1.0),
    }
    for name, (rule, extra) in rules.items():
        chosen, rejected = intergroup_rewards(case["chosen"], case["rejected"], rule, extra_margin=extra)
        assert chosen == pytest.approx(case[name]["chosen"], abs=5e-5), name
        assert rejected == pytest.approx(case[name]["rejected"], abs=5e-5), name


@pytest.mark.parametrize(
    ("rule", "chosen", "rejected"),
    [
        pytest.param(Rule("mean"), [1, 1, 1, 1], [1, 1, -1, 1], id="mean: 6.625 and 8"),
        pytest.param(Rule("mean", margin=1), [-1, 1, 1, 1], [1, -1, -1, 1], id="mean by a point"),
        pytest.param(Rule("median"), [1, 1, 1, 1], [1, 1, -1, 1], id="median: 6.75 and 8"),
        pytest.param(Rule("interval"), [-1, -1, -1, 1], [1, -1, -1, 1], id="interval: below 6.70, above 8.82"),
        pytest.param(Rule("quantile"), [-1, 1, 1, 1], [1, 1, -1, 1], id="strict quantile: 7.625 and 7.75"),
        pytest.param(
            Rule("quantile", quantile=0.25), [1, 1, 1, 1], [1, 1, 1, 1], id="tolerant quantile: 5.75 and 8.25"
        ),
        pytest.param(Rule("mean3", margin=0.5), [0, 1, 1, 1], [1, 0, -1, 1], id="three levels"),
        pytest.param(Rule("auc"), [0.5, 0.75, 0.75, 1], [1, 0.75, 0.25, 1], id="share of the others that are beaten"),
    ],
)
def test_rules_by_hand(rule, chosen, rejected):
    assert intergroup_rewards(CHOSEN, REJECTED, rule) == (chosen, rejected)


@pytest.mark.slow
def test_formulas_on_ten_thousand_random_groups():
    rng = random.Random(0)
    for number in range(10_000):
        rule = RULES[number % len(RULES)]
        step = rng.choice((0.0, 0.5, 1.0))
        sides = [[rng.uniform(0, 10) for _ in range(rng.randint(2, 8))] for _ in range(2)]
        chosen, rejected = ([round(s / step) * step for s in side] if step else side for side in sides)
        extra = rng.choice((0.0, 0.0, 1.0))
        found = intergroup_rewards(chosen, rejected, rule, extra_margin=extra)
        for mine, right in zip(found, recomputed(rule, chosen, rejected, extra), strict=True):
            # on whole scores a score may equal a statistic to the last bit, where the two ways of adding up differ
            close = [abs(a - b) <= 1e-12 for a, b in zip(mine, right.tolist(), strict=True)]
            assert all(close) or _on_the_edge(rule, chosen, rejected, extra), (rule, chosen, rejected)


def _on_the_edge(rule, chosen, rejected, extra):
    """Whether a score lies so near to its statistic that rounding decides."""
    moved = [[[s + sign * 1e-9 for s in chosen], rejected] for sign in (1, -1)]
    return recomputed(rule, *moved[0], extra)[0].tolist() != recomputed(rule, *moved[1], extra)[0].tolist()


@pytest.mark.parametrize("rule", RULES, ids=named)
@steady
@given(chosen=scores, rejected=scores)
def test_a_higher_score_of_the_better_answer_is_never_worth_less(rule, chosen, rejected):
    rewards, others = intergroup_rewards(chosen, rejected, rule)
    for (s, r), (t, q) in zip(*[sorted(zip(chosen, rewards, strict=True))[k:] for k in (0, 1)], strict=False):
        assert s == t or r <= q + 1e-12
    for (s, r), (t, q) in zip(*[sorted(zip(rejected, others, strict=True))[k:] for k in (0, 1)], strict=False):
        assert s == t or r >= q - 1e-12


@pytest.mark.parametrize("rule", RULES, ids=named)
@steady
@given(chosen=scores, rejected=scores)
def test_rewards_are_finite_and_in_the_rule_s_range(rule, chosen, rejected):
    values = [v for side in intergroup_rewards(chosen, rejected, rule) for v in side]
    assert all(math.isfinite(v) and rule.lowest() <= v <= 1.0 for v in values)


@steady
@given(chosen=scores, rejected=scores)
def test_the_soft_rewards_mean_is_the_estimated_preference(chosen, rejected):
    """Eq. 4: the mean over either side is the same Monte Carlo estimate."""
    c, r = intergroup_rewards(chosen, rejected, Rule("preference"))
    assert sum(c) / len(c) == pytest.approx(sum(r) / len(r), abs=1e-12)


def test_a_bound_ends_what_moving_scores_apart_can_earn():
    free, bounded = Rule("preference"), Rule("preference", bound=2.0)
    near, far = ([7.0], [5.0]), ([10.0], [0.0])
    assert intergroup_rewards(*near, bounded) == intergroup_rewards(*far, bounded)
    assert intergroup_rewards(*near, free) < intergroup_rewards(*far, free)


@pytest.mark.parametrize(
    ("chosen", "rejected", "kind", "said"),
    [
        pytest.param([], [1.0], "mean", "0 chosen and 1 rejected", id="no chosen score"),
        pytest.param([1.0, 2.0], [], "mean", "2 chosen and 0 rejected", id="no rejected score"),
        pytest.param([1.0], [2.0], "interval", "num_generations of at least 2", id="an interval of one score"),
    ],
)
def test_groups_without_a_statistic_are_refused(chosen, rejected, kind, said):
    with pytest.raises(ConfigError, match=said):
        intergroup_rewards(chosen, rejected, Rule(kind))


def test_every_kind_is_among_those_that_were_held_against_the_formulas():
    assert {rule.kind for rule in RULES} == {*KINDS}
