"""How a judge's rollouts on one answer are rewarded for standing above its rollouts on a worse one (IRPM, Eq. 4 and 7).

For a preference the judge scores the chosen answer G times and the rejected one G times. No single score is right or wrong:
each is held against a statistic of the opposite group. Pure functions, in float64.

    mean        +1 above the mean of the rejected scores, else -1; the rejected ones the other way round
    median      the same with the median
    interval    the same with the near end of a Student-t interval for the mean: the upper of the rejected, the lower of
                the chosen scores
    quantile    the same with a quantile of the rejected scores, and the opposite one of the chosen: from 0.5 on strict
    mean3       +1 beyond the mean by the margin, 0 beyond it by less, else -1
    auc         the share of the opposite scores that are beaten, 0 to 1
    preference  the mean of sigma(difference), 0 to 1 (Eq. 4): grows as long as scores move apart, see `bound`
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from grmrewards.errors import ConfigError

Kind = Literal["mean", "median", "interval", "preference", "mean3", "auc", "quantile"]
KINDS: tuple[Kind, ...] = ("mean", "median", "interval", "preference", "mean3", "auc", "quantile")
SIDES = ("chosen", "rejected")
DEAD_ZONE = 0.2  # of mean3, in points, where no margin is given


class Rule(NamedTuple):
    """What is compared with what.

    `margin`: points by which the statistic must be passed; None is 0, and 0.2 for mean3. `alpha`: of the interval.
    `quantile`: of the rejected scores that a chosen one must pass. `bound`: points beyond which a larger difference earns
    nothing more ("preference" alone); None: unbounded, as in the paper.
    """

    kind: Kind = "mean"
    margin: float | None = None
    alpha: float = 0.05
    quantile: float = 0.75
    bound: float | None = None

    def lowest(self) -> float:
        """The least that a rollout can get."""
        return 0.0 if self.kind in ("auc", "preference") else -1.0


def intergroup_rewards(
    chosen_G: Sequence[float], rejected_G: Sequence[float], rule: Rule | None = None, *, extra_margin: float = 0.0
) -> tuple[list[float], list[float]]:
    """The rewards of the rollouts on a chosen and on a rejected answer, from their scores.

    `extra_margin` is added to the rule's, for a stronger preference. Shapes (G,) and (H,) to the same two. Raises
    `ConfigError` for an empty group, and for one of a single score with kind "interval".

    >>> intergroup_rewards([7, 8, 8, 9], [6, 7.5, 8, 5])
    ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0, 1.0])
    """
    rule = rule or Rule()
    if not chosen_G or not rejected_G:
        raise ConfigError(
            f"{len(chosen_G)} chosen and {len(rejected_G)} rejected scores; each side needs at least one."
        )
    margin = extra_margin + (rule.margin if rule.margin is not None else DEAD_ZONE * (rule.kind == "mean3"))
    if rule.kind in _BY_DIFFERENCE:
        of = _BY_DIFFERENCE[rule.kind]
        return (
            [statistics.fmean(of(c - r - margin, rule) for r in rejected_G) for c in chosen_G],
            [statistics.fmean(of(c - r - margin, rule) for c in chosen_G) for r in rejected_G],
        )
    upper, lower = _BY_STATISTIC[rule.kind](rejected_G, rule)[1], _BY_STATISTIC[rule.kind](chosen_G, rule)[0]
    within = 0.0 if rule.kind == "mean3" else -1.0
    return (
        [_stepped(c - upper, c > upper + margin, within) for c in chosen_G],
        [_stepped(lower - r, r < lower - margin, within) for r in rejected_G],
    )


def _stepped(ahead: float, beyond: bool, within: float) -> float:
    """+1 beyond the margin, `within` ahead by less, else -1."""
    return 1.0 if beyond else within if ahead > 0 else -1.0


# The end of the opponents' statistic that is far from them, and the one that is near: (lower, upper)


def _mean(scores: Sequence[float], rule: Rule) -> tuple[float, float]:
    return (mean := statistics.fmean(scores)), mean


def _median(scores: Sequence[float], rule: Rule) -> tuple[float, float]:
    return (median := statistics.median(scores)), median


def _quantiles(scores: Sequence[float], rule: Rule) -> tuple[float, float]:
    return _quantile(scores, 1 - rule.quantile), _quantile(scores, rule.quantile)


def _interval(scores: Sequence[float], rule: Rule) -> tuple[float, float]:
    from scipy.stats import t

    if len(scores) < 2:
        raise ConfigError("kind='interval' with one usable score on a side; it needs num_generations of at least 2.")
    half = float(t.ppf(1 - rule.alpha / 2, len(scores) - 1)) * statistics.stdev(scores) / math.sqrt(len(scores))
    return statistics.fmean(scores) - half, statistics.fmean(scores) + half


_BY_STATISTIC: dict[Kind, Callable[[Sequence[float], Rule], tuple[float, float]]] = {
    "mean": _mean,
    "median": _median,
    "interval": _interval,
    "quantile": _quantiles,
    "mean3": _mean,
}


def _quantile(scores: Sequence[float], share: float) -> float:
    """With linear interpolation between neighbours."""
    ordered = sorted(scores)
    place = share * (len(ordered) - 1)
    below = min(math.floor(place), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


# By how much one score leads another


def _beaten(difference: float, rule: Rule) -> float:
    return float(difference > 0)


def _preferred(difference: float, rule: Rule) -> float:
    """Sigma of the difference, which a bound keeps from growing."""
    d = difference if rule.bound is None else max(-rule.bound, min(rule.bound, difference))
    return 1 / (1 + math.exp(-d)) if d >= 0 else math.exp(d) / (1 + math.exp(d))


_BY_DIFFERENCE: dict[Kind, Callable[[float, Rule], float]] = {"auc": _beaten, "preference": _preferred}
