"""Votes to scores, scores to rewards: pure functions over one group.

Shapes in names: `_V` votes, `_G` the group's responses. A score of None was not had; it is never a number until
`fill_unscored` gives it the one value that changes nothing, the mean of its siblings.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Literal

from grmrewards.errors import ConfigError

Scale = Literal["unit", "raw", "two_slope"] | tuple[float, float]
OnFailure = Literal["group_mean", "none", "raise"] | float


def weighted_mean(votes_V: Sequence[float], weights_V: Sequence[float]) -> float:
    """The mean of votes, each by its weight. Raises `ConfigError` for weights that are negative or all 0.

    >>> weighted_mean([8, 4], [3, 1])
    7.0
    """
    if min(weights_V) == max(weights_V) > 0:
        return statistics.fmean(votes_V)
    if min(weights_V) < 0 or not any(weights_V):
        raise ConfigError(f"weights of votes {list(weights_V)[:8]}; allowed are numbers from 0 on, not all of them 0.")
    found = math.fsum(w * v for w, v in zip(weights_V, votes_V, strict=True)) / math.fsum(weights_V)
    return round(found, 12)  # so that equal votes give equal scores, whatever their weights


def trimmed_mean(votes_V: Sequence[float]) -> float:
    """The mean of the middle half: of n votes, n // 4 are left out at each end.

    >>> trimmed_mean([10, 7, 6, 1])
    6.5
    """
    cut = len(votes_V) // 4
    return statistics.fmean(sorted(votes_V)[cut : len(votes_V) - cut])


# Of one response's votes and their weights. A sum is a mean times the number of votes that were asked for (SPCT Eq. 14):
# a lost vote must not lower it.
AGGREGATES: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "mean": weighted_mean,
    "sum": weighted_mean,
    "median": lambda votes_V, _: statistics.median(votes_V),
    "trimmed": lambda votes_V, _: trimmed_mean(votes_V),
}


def weighted_average(weights: Sequence[float], scores: Sequence[float]) -> float:
    """`r = sum_j w_j s_j` over the principles, with the weights normalised to sum to 1 (IP-GRM, intended form).

    >>> weighted_average([15, 20, 25, 20, 10, 10], [7.5, 3.2, 9.2, 8.5, 7.0, 8.8])
    7.345
    """
    return math.fsum(w * s for w, s in zip(weights, scores, strict=True)) / math.fsum(weights)


def preference(logits: Sequence[tuple[float, float]]) -> float:
    """The probability that response 1 is better than response 2 (GRAM, methods 3.1).

    One pair for each order that they were shown in: the logit (or log-probability) of response 1's label and that of
    response 2's. The mean of the two orders cancels a judge's liking for a place.

    >>> preference([(5, 0), (0, 5)])
    0.5
    """
    return statistics.fmean(_sigmoid(first - second) for first, second in logits)


def check_scale(scale: object) -> Scale:
    """`scale` as it is, or `ConfigError` naming what is allowed."""
    if scale in ("unit", "raw", "two_slope"):
        return scale
    if (
        isinstance(scale, (tuple, list))
        and len(scale) == 2
        and all(_finite(bound) for bound in scale)
        and scale[0] < scale[1]
    ):
        return (float(scale[0]), float(scale[1]))
    raise ConfigError(
        f"scale={scale!r}; allowed are 'unit', 'raw', 'two_slope' and an interval (low, high) with low < high."
    )


def check_on_failure(on_failure: object) -> OnFailure:
    """`on_failure` as it is, or `ConfigError` naming what is allowed."""
    if on_failure in ("group_mean", "none", "raise") or _finite(on_failure):
        return on_failure  # type: ignore[return-value]  # narrowed by the line above
    raise ConfigError(f"on_failure={on_failure!r}; allowed are 'group_mean', 'none', 'raise' and a finite number.")


def rescale(score: float, scale: Scale, low: float, high: float) -> float:
    """A score of the range low..high as a reward.

    "unit" is [0, 1]; (a, b) is affine; "two_slope" is the article's map, made continuous and monotone: -1 at 0, 0 at 5,
    2 at 10 (methods 4, defect 6), applied to ranges that do not end at 10 after stretching them to 0..10.

    >>> [rescale(s, "two_slope", low=0, high=10) for s in (0, 4, 5, 10)]
    [-1.0, -0.2, 0.0, 2.0]
    """
    unit = (score - low) / (high - low)
    if scale == "raw":
        return float(score)
    if scale == "unit":
        return unit
    if scale == "two_slope":
        points = score if high == 10 else 10 * unit
        return (points - 5) / 5 if points <= 5 else (points - 5) * 2 / 5
    return float(scale[0]) + unit * (float(scale[1]) - float(scale[0]))


def rewards(
    scores: Sequence[float | None],
    groups: Sequence[Sequence[int]],
    score_range: tuple[float, float],
    scale: Scale = "unit",
    on_failure: OnFailure = "group_mean",
    min_spread: float = 0.0,
) -> list[float | None]:
    """The reward of every row: its score on the wanted scale, gaps filled and near-ties flattened within its group.

    >>> rewards([1, None, 10], [[0, 1, 2]], (1, 10))
    [0.0, 0.5, 1.0]
    """
    found: list[float | None] = [None] * len(scores)
    for group in groups:
        scaled_G = [None if (s := scores[i]) is None else rescale(s, scale, *score_range) for i in group]
        filled_G = flatten_near_ties(fill_unscored(scaled_G, on_failure), min_spread)
        for i, reward in zip(group, filled_G, strict=True):
            found[i] = reward
    return found


def fill_unscored(rewards_G: Sequence[float | None], on_failure: OnFailure = "group_mean") -> list[float | None]:
    """Give unscored rows a value that changes no preference: the mean of their scored siblings, advantage 0.

    A group without any score stays None throughout: a constant is neutral, and the log stays honest. "none" and "raise"
    fill nothing (the caller raises); a number fills itself.

    >>> fill_unscored([0.25, None, 0.75])
    [0.25, 0.5, 0.75]
    """
    if isinstance(on_failure, (int, float)):
        return [float(on_failure) if r is None else r for r in rewards_G]
    scored = [r for r in rewards_G if r is not None]
    if on_failure != "group_mean" or not scored:
        return list(rewards_G)
    mean = statistics.fmean(scored)
    return [mean if r is None else r for r in rewards_G]


def flatten_near_ties(rewards_G: Sequence[float | None], min_spread: float) -> list[float | None]:
    """The mean for all where the group's rewards lie within `min_spread`, since the trainer divides by their spread.

    >>> flatten_near_ties([0.70, 0.71], 0.05)
    [0.705, 0.705]
    """
    scored = [r for r in rewards_G if r is not None]
    if not scored or max(scored) - min(scored) >= min_spread:
        return list(rewards_G)
    mean = statistics.fmean(scored)
    return [None if r is None else mean for r in rewards_G]


def _sigmoid(x: float) -> float:
    """1 / (1 + e^-x), without overflow for any finite or infinite x."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))


def _finite(x: object) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
