"""The one text of a probe's list that gains most: a policy needs no more than one, and a mean over all would hide it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from grmrewards.audit.findings import FEWEST, student

LEVEL = 0.999  # of all texts together: looking at each must not double how often a sound judge is called weak
SEEN = 3  # cases of a text, below which it is an anecdote
SHOWN = 40  # characters of a text on the page


class Gain(NamedTuple):
    """What one text gains: the mean over its cases, and an interval that holds for all texts of the list at once."""

    text: str
    mean: float
    low: float
    high: float
    cases: int


def gains(figures_C: Sequence[float | None], tried: Sequence[str]) -> list[Gain]:
    """What each text gains, where case k was given text k modulo their number; those with too few cases are left out.

    A text has a handful of cases, too few for a variance of its own: the intervals take the variance within texts, pooled
    over all of them (one-way analysis of variance), and share out the error of one interval (Bonferroni).

    >>> [(gain.text, round(gain.mean, 2)) for gain in gains([0.6, -0.2, 0.5, -0.1] * 6, [".", "ok"])]
    [('.', 0.55), ('ok', -0.15)]
    """
    of_T = [[d for d in figures_C[t :: len(tried)] if d is not None] for t in range(len(tried))]
    known = [(text, figures) for text, figures in zip(tried, of_T, strict=True) if figures]
    freedom = sum(len(figures) for _, figures in known) - len(known)
    if freedom < FEWEST - 1:
        return []
    squares = sum((d - statistics.fmean(figures)) ** 2 for _, figures in known for d in figures)
    spread = student(1 - (1 - LEVEL) / len(known), freedom) * math.sqrt(squares / freedom)
    return [_gain(text, figures, spread) for text, figures in known if len(figures) >= SEEN]


def _gain(text: str, figures: Sequence[float], spread: float) -> Gain:
    mean, half = statistics.fmean(figures), spread / math.sqrt(len(figures))
    return Gain(text, mean, mean - half, mean + half, len(figures))


def shown(text: str) -> str:
    """A text on one line, between quotes.

    >>> shown("Score: 10"), len(shown("x" * 100))
    ('"Score: 10"', 42)
    """
    short = text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
    return json.dumps(short, ensure_ascii=False)
