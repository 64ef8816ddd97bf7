"""How far a figure may be off by the choice of items: percentile intervals by the bootstrap (Efron, 1979)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grmrewards import arguments
from grmrewards.evaluation.items import Figure
from grmrewards.judging import Progress


def intervals(
    outcomes: Mapping[str, Sequence[Any]],
    figures: Callable[[Mapping[str, Sequence[Any]]], Mapping[str, Figure]],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """The interval of each of `figures`, from `resamples` tables of as many outcomes, drawn with return in each subset.

    It covers the choice of items alone, not that a judge which samples would answer otherwise. A figure that is 0 or 1 on
    the whole sample has no width here, though it is not certain.

    >>> from grmrewards.evaluation.items import strata
    >>> intervals({"all": [0.0, 1.0] * 50}, strata, resamples=200)
    {'all': (0.39, 0.59)}
    """
    arguments.whole("resamples", resamples)
    arguments.number("level", level, least=0.5, most=0.9999)
    rng = random.Random(seed)
    drawn: dict[str, list[float]] = {}
    for _ in Progress(range(resamples), desc="intervals", unit="table", delay=2, leave=False):
        sample = {name: rng.choices(own, k=len(own)) for name, own in outcomes.items() if own}
        for name, figure in figures(sample).items():
            drawn.setdefault(name, []).append(figure.value)
    return {name: between(sorted(values), level) for name, values in drawn.items()}


def between(ordered: Sequence[float], level: float) -> tuple[float, float]:
    """The ends of what holds `level` of the values, which are in order."""
    cut = (1 - level) / 2
    last = len(ordered) - 1
    return ordered[round(cut * last)], ordered[round((1 - cut) * last)]
