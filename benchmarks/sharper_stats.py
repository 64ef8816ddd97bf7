"""How well scores order the responses of a group, and how sure a mean over groups is. Pure functions.

A pair counts where the truth of its two responses differs. A tie in the scores counts one half. Groups are what is drawn
again and again for an interval, since the pairs of one group share their responses.
"""

from __future__ import annotations

import functools
import math
import operator
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

NEAR = 0.05  # of the scale of 1 to 10: scores this close would be one score with a digit after the point
DRAWS = 1000

Groups = Sequence["Order"]


@dataclass(frozen=True)
class Order:
    """How the scores of one group order it: sums over its pairs, and Spearman's rank correlation."""

    pairs: int  # whose truth differs
    right: float
    ties: float
    near: float
    rank: float | None  # None where the truth of all is the same
    unscored: float = 0.0  # responses


class Interval(NamedTuple):
    """Where a figure lies, by 95 in 100 draws of groups."""

    low: float
    high: float


def ordered(scores: Sequence[float | None], truth: Sequence[float], *, width: float = NEAR) -> Order:
    """One group. What is unscored counts as the mean of the others, as a trainer counts it."""
    filled = _filled(scores)
    pairs = [(i, j) for i in range(len(truth)) for j in range(i) if truth[i] != truth[j]]
    gaps = [(filled[i] - filled[j]) * math.copysign(1.0, truth[i] - truth[j]) for i, j in pairs]
    ties = sum(gap == 0 for gap in gaps)
    return Order(
        pairs=len(pairs),
        right=sum(gap > 0 for gap in gaps) + ties / 2,
        ties=ties,
        near=sum(abs(gap) < width for gap in gaps),
        rank=spearman(filled, truth),
        unscored=sum(score is None for score in scores),
    )


def _filled(scores: Sequence[float | None]) -> list[float]:
    scored = [score for score in scores if score is not None]
    middle = statistics.fmean(scored) if scored else 0.0
    return [middle if score is None else score for score in scores]


def spearman(scores: Sequence[float], truth: Sequence[float]) -> float | None:
    """The correlation of mean ranks; 0 where all scores are the same, None where the truth is."""
    if len(set(truth)) == 1:
        return None
    return statistics.correlation(ranks(scores), ranks(truth)) if len(set(scores)) > 1 else 0.0


def ranks(values: Sequence[float]) -> list[float]:
    """From 1, equal values sharing the mean of theirs.

    >>> ranks([3.0, 1.0, 3.0])
    [2.5, 1.0, 2.5]
    """
    return [1 + sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]


def averaged(orders: Sequence[Order]) -> Order:
    """The mean of several outcomes of one method on one group, such as of random choices."""
    known = [order.rank for order in orders if order.rank is not None]
    mean = {name: statistics.fmean(getattr(order, name) for order in orders) for name in _SUMS}
    return Order(pairs=orders[0].pairs, rank=statistics.fmean(known) if known else None, **mean)


_SUMS = ("right", "ties", "near", "unscored")


def accuracy(groups: Groups) -> float:
    """The share of pairs in the right order."""
    return _share(groups, "right")


def tie_rate(groups: Groups) -> float:
    """The share of pairs with equal scores."""
    return _share(groups, "ties")


def near_rate(groups: Groups) -> float:
    """The share of pairs with scores that hardly differ."""
    return _share(groups, "near")


def rank_correlation(groups: Groups) -> float:
    """The mean over the groups whose truth differs."""
    return statistics.fmean(group.rank for group in groups if group.rank is not None)


def _share(groups: Groups, name: str) -> float:
    return float(sum(getattr(group, name) for group in groups)) / sum(group.pairs for group in groups)


def interval(seeds: Sequence[Groups], against: Sequence[Groups] = ()) -> Interval:
    """Of the accuracy, averaged over training seeds that judged the same groups; less that of `against`, if given.

    At least two groups.
    """
    mine, theirs = _drawn(seeds), _drawn(against) if against else [0.0] * DRAWS
    found = sorted(a - b for a, b in zip(mine, theirs, strict=True))
    return Interval(found[round(0.025 * DRAWS)], found[round(0.975 * DRAWS) - 1])


def _drawn(seeds: Sequence[Groups]) -> list[float]:
    """The figure in each draw; the draws are the same for all methods."""
    columns = [([group.right for group in groups], [group.pairs for group in groups]) for groups in seeds]
    return [
        statistics.fmean(sum(drawn(right)) / max(sum(drawn(pairs)), 1) for right, pairs in columns)
        for drawn in _draws(len(seeds[0]))
    ]


@functools.lru_cache(maxsize=4)
def _draws(groups: int) -> list[Callable[[Sequence[float]], tuple[float, ...]]]:
    rng = random.Random(0)
    return [operator.itemgetter(*rng.choices(range(groups), k=groups)) for _ in range(DRAWS)]


def random_counts(rng: random.Random, size: int, *, least: int, most: int, total: int) -> list[int]:
    """`total` votes over `size` responses: the least for each, and each further one on a random one below the most."""
    counts = [least] * size
    open_ = list(range(size))
    for _ in range(total - least * size):
        at = rng.randrange(len(open_))
        counts[open_[at]] += 1
        if counts[open_[at]] == most:
            open_.pop(at)
    return counts
