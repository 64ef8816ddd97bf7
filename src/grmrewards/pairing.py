"""Who meets whom in a group, what games say about its members, and whether the verdicts go in circles. Pure functions.

Grouped comparison (arXiv 2505.18531) lets each of k responses meet each other one; with fewer opponents, or one anchor
that meets them all, it costs less and knows less.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping
from typing import Literal

from grmrewards.errors import ConfigError

Opponents = int | Literal["anchor"] | None
Pair = tuple[int, int]
Game = tuple[float, float]  # the mean scores of the two
DIGITS = 9  # of scores; votes with equal sums may have means that differ in the last of 16


def check_opponents(opponents: object) -> Opponents:
    """`opponents` as it is, or `ConfigError` naming what is allowed."""
    if opponents is None or opponents == "anchor":
        return opponents
    if isinstance(opponents, int) and not isinstance(opponents, bool) and opponents >= 1:
        return opponents
    raise ConfigError(
        f"opponents={opponents!r}; allowed is a whole number of at least 1, 'anchor' for one member that meets all "
        f"others, or None for all pairs."
    )


def pairs(size: int, opponents: Opponents, seed: int) -> list[Pair]:
    """The pairs of a group that meet, each once and in order.

    None: all. A number m: on a random ring each meets the next ones, so that all meet equally many, m, or m + 1 where
    both the group and m are odd. "anchor": the one of `anchor(size, seed)` meets each of the others.

    >>> pairs(4, 2, seed=0), pairs(4, "anchor", seed=0)
    ([(0, 1), (0, 2), (1, 3), (2, 3)], [(0, 3), (1, 3), (2, 3)])
    """
    if opponents == "anchor":
        middle = anchor(size, seed)
        return [(min(i, middle), max(i, middle)) for i in range(size) if i != middle]
    if opponents is None or opponents >= size - 1:
        return [(i, j) for i in range(size) for j in range(i + 1, size)]
    ring = random.Random(seed).sample(range(size), size)
    steps = [*range(1, opponents // 2 + 1)]
    if opponents % 2:  # the one across the ring, who is the same for both; in an odd ring there is none
        steps.append(size // 2 if size % 2 == 0 else opponents // 2 + 1)
    met = {frozenset((ring[at], ring[(at + step) % size])) for step in steps for at in range(size)}
    return sorted((min(pair), max(pair)) for pair in met)


def anchor(size: int, seed: int) -> int:
    """The member that all others are compared with."""
    return random.Random(seed).randrange(size)


def mean_scores(games: Mapping[Pair, Game], size: int) -> list[float | None]:
    """The mean of each member's scores over its games (Generative RLHF-V); None for one without any.

    >>> mean_scores({(0, 1): (8, 4), (0, 2): (6, 7)}, 4)
    [7.0, 4.0, 7.0, None]
    """
    scores_G: list[list[float]] = [[] for _ in range(size)]
    for pair, game in games.items():
        for i, score in zip(pair, game, strict=True):
            scores_G[i].append(score)
    return [round(statistics.fmean(scores), DIGITS) if scores else None for scores in scores_G]


def won(game: Game) -> float:
    """1 where the first has the higher score, 0 where the second has, else 0.5: what only rounding tells apart is equal."""
    gap = round(game[0] - game[1], DIGITS)
    return 0.5 + 0.5 * ((gap > 0) - (gap < 0))


def cycles(preferences: Mapping[Pair, float], size: int) -> tuple[int, int]:
    """Of the triples whose three pairs are known, how many go in a circle, and how many there are.

    `preferences[i, j]` is P(i beats j), once for a pair. In a circle i beats j, j beats k and k beats i, each with more
    than 0.5; a tie closes none. Sets are bits of whole numbers, so that groups of 64 cost next to nothing.

    >>> cycles({(0, 1): 0.9, (1, 2): 0.8, (0, 2): 0.3}, 3)
    (1, 1)
    """
    wins = [(i, j) if p > 0.5 else (j, i) for (i, j), p in preferences.items() if p != 0.5]
    known, beaten, beaten_by = [0] * size, [0] * size, [0] * size
    for i, j in preferences:
        known[i] |= 1 << j
        known[j] |= 1 << i
    for winner, loser in wins:
        beaten[winner] |= 1 << loser
        beaten_by[loser] |= 1 << winner
    triples = sum((known[i] & known[j]).bit_count() for i, j in preferences)
    cyclic = sum((beaten[loser] & beaten_by[winner]).bit_count() for winner, loser in wins)
    return cyclic // 3, triples // 3  # each was counted at all of its three pairs
