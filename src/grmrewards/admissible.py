"""How much of an auxiliary reward a group can bear before it turns the judge over (methods 8.3). Pure functions.

`_G`: the scored responses of one group. The auxiliary rewards are weighted already, so that a factor of 1 is all that was
asked for.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

Preserve = Literal["order", "argmax", "sign"]

SHARE = 0.9  # of the largest weight that keeps what is to be kept
MARGIN = 2**-22  # of a group's largest reward: what must lie between two that trainers, in 32 bits, shall tell apart
STEP = 1e-6  # the ratchet's least distance, as a number and as a share of the group's largest reward
HALVINGS = 30  # of a weight at which 32 bits would round a distance away, before it is given up
LEVEL = 1e-9  # of a group's widest distance from its mean: what lies nearer to the mean is at it


class Rule(NamedTuple):
    """How a group's auxiliary rewards are added to the judge's."""

    preserve: Preserve = "order"
    method: Literal["weight", "ratchet"] = "weight"
    on_tie: Literal["aux", "zero"] = "aux"
    resolution: float = 1e-6


def shape(judged_G: Sequence[float], aux_G: Sequence[float], rule: Rule) -> tuple[list[float], float]:
    """The rewards of one group's scored responses, from the judge's and the weighted auxiliaries; and how much was kept.

    The share that was kept is the factor on the auxiliaries, for the ratchet the share of rewards that were not lowered.

    >>> shape([0.5, 0.75], [0.5, 0.0], Rule(method="ratchet"))
    ([0.749999, 0.75], 0.5)
    """
    if not any(aux_G):
        return list(judged_G), 1.0
    levels_G = levels(judged_G, rule.resolution)
    if rule.on_tie == "zero":
        aux_G = level_means(levels_G, aux_G)
    if rule.method == "ratchet":
        shaped_G = ratchet(levels_G, aux_G, rule.preserve)
        lowered = sum(t < r + a for t, r, a in zip(shaped_G, levels_G, aux_G, strict=True))
        return shaped_G, 1 - lowered / len(levels_G)
    factor = min(1.0, SHARE * admissible_weight(levels_G, aux_G, rule.preserve))
    for _ in range(HALVINGS):
        shaped_G = [r + factor * a for r, a in zip(levels_G, aux_G, strict=True)]
        margin = MARGIN * max(map(abs, shaped_G))
        if all(gap > margin for _, gap in _gaps(levels_G, shaped_G, rule.preserve)):
            return shaped_G, factor
        factor /= 2  # right by the formula, but trainers, in 32 bits, would not see it
    return list(judged_G), 0.0


def admissible_weight(judged_G: Sequence[float], aux_G: Sequence[float], preserve: Preserve = "order") -> float:
    """The weight below which `judged + weight * aux` keeps what `preserve` names; infinite where nothing is against it.

    >>> admissible_weight([1.0, 2.0], [4.0, 2.0])  # at 0.5 both come to 3
    0.5
    """
    gaps = _gaps(judged_G, aux_G, preserve)
    return min((judged / -aux for judged, aux in gaps if aux < 0), default=math.inf)


def ratchet(
    judged_G: Sequence[float], aux_G: Sequence[float], preserve: Literal["order", "argmax", "sign"] = "order"
) -> list[float]:
    """`judged + aux`, but what would reach a response of a higher level is lowered to just below it, from the top down.

    With preserve="argmax" it is lowered below the judge's best alone.

    >>> ratchet([1.0, 2.0, 3.0], [0.0, 1.0, 0.0])  # 1, 3, 3
    [1.0, 2.999997, 3.0]
    """
    shaped_G = [r + a for r, a in zip(judged_G, aux_G, strict=True)]
    step = STEP * max(1.0, *map(abs, shaped_G))
    best, floor = max(judged_G, default=0.0), math.inf
    for level in sorted(set(judged_G), reverse=True):
        members = [i for i, r in enumerate(judged_G) if r == level]
        for i in members:
            shaped_G[i] = min(shaped_G[i], floor - step)
        if preserve == "order" or level == best:
            floor = min(floor, *(shaped_G[i] for i in members))
    return shaped_G


def levels(judged_G: Sequence[float], resolution: float) -> list[float]:
    """Each score as the lowest of those that round to the same multiple of `resolution`.

    >>> levels([0.1 + 0.2, 0.3, 0.5], 1e-6)
    [0.3, 0.3, 0.5]
    """
    lowest: dict[int, float] = {}
    for r in judged_G:
        lowest[round(r / resolution)] = min(r, lowest.get(round(r / resolution), r))
    return [lowest[round(r / resolution)] for r in judged_G]


def level_means(levels_G: Sequence[float], aux_G: Sequence[float]) -> list[float]:
    """Each auxiliary reward as the mean of those that the judge puts on the same level."""
    means = {
        level: statistics.fmean(a for a, r in zip(aux_G, levels_G, strict=True) if r == level)
        for level in set(levels_G)
    }
    return [means[level] for level in levels_G]


def _gaps(judged_G: Sequence[float], other_G: Sequence[float], preserve: Preserve) -> list[tuple[float, float]]:
    """The judge's distances that must not shrink to nothing, each above 0, and the same distances in `other_G`."""
    rows = list(zip(judged_G, other_G, strict=True))
    if preserve == "sign":
        mean, middle = statistics.fmean(judged_G), statistics.fmean(other_G)
        near = LEVEL * max(abs(r - mean) for r in judged_G)
        return [(abs(r - mean), math.copysign(1, r - mean) * (a - middle)) for r, a in rows if abs(r - mean) > near]
    best = max(judged_G, default=0.0)
    pairs = ((high, low) for high, low in itertools.product(rows, rows) if high[0] > low[0])
    return [(r - s, a - b) for (r, a), (s, b) in pairs if preserve == "order" or r == best]
