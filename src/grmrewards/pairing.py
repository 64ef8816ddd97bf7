"""Who meets whom in a group, what games say about its members, and whether the verdicts go in circles. Pure functions.

Grouped comparison (arXiv 2505.18531) lets each of k responses meet each other one; with fewer opponents, or one anchor
that meets them all, it costs less and knows less.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from grmrewards.errors import ConfigError

Opponents = int | Literal["anchor"] | None
Pair = tuple[int, int]
Game = tuple[float, float]  # the mean scores of the two
SWEEPS = 200  # over all members: strengths are sure to six digits long before
SHRINK = 0.001  # towards 0, in games won and lost: who wins them all would be without bound
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


def win_rates(preferences: Mapping[Pair, float], size: int) -> list[float | None]:
    """The mean probability of each member to beat the others (Generative RLHF-V, grouped comparison).

    `preferences[i, j]` is P(i beats j), once for a pair. Where all have met, it is that mean. Where some have not, a mean
    over those that they met would reward weak opponents: strengths are fitted to the games that were played (Bradley and
    Terry, as GRAM's log-odds are), and give the probabilities of those that were not. None for one without any game.

    >>> win_rates({(0, 1): 0.9, (0, 2): 0.7, (1, 2): 0.5}, 3)
    [0.8, 0.3, 0.4]
    """
    met: list[dict[int, float]] = [{} for _ in range(size)]
    for (i, j), p in preferences.items():
        met[i][j], met[j][i] = p, 1 - p
    known = [i for i in range(size) if met[i]]
    if any(len(met[i]) < len(known) - 1 for i in known):
        strengths = _strengths([met[i] for i in range(size)])
        for i in known:
            met[i] |= {j: _beats(strengths[i], strengths[j]) for j in known if j != i and j not in met[i]}
    return [round(statistics.fmean(met[i].values()), DIGITS) if met[i] else None for i in range(size)]


def against_anchor(preferences: Mapping[Pair, float], middle: int, size: int) -> list[float | None]:
    """The probability of each member to beat the anchor, which has 0.5 where any of its games is known.

    >>> against_anchor({(0, 1): 0.9, (1, 2): 0.5}, 1, 3)
    [0.9, 0.5, 0.5]
    """
    beats = {(i, j): p for pair, p in preferences.items() for (i, j), p in ((pair, p), (pair[::-1], 1 - p))}
    found = [beats.get((i, middle)) for i in range(size)]
    found[middle] = 0.5 if preferences else None
    return found


def _strengths(met: Sequence[Mapping[int, float]]) -> list[float]:
    """The log-odds of each member that make its games likeliest, by Newton's steps in one of them after the other."""
    found = [0.0] * len(met)
    for _ in range(SWEEPS):
        moved = 0.0
        for i, games in enumerate(met):
            chances = {j: _beats(found[i], found[j]) for j in games}
            slope = math.fsum(games[j] - p for j, p in chances.items()) - SHRINK * found[i]
            step = slope / (math.fsum(p * (1 - p) for p in chances.values()) + SHRINK)
            step = min(1.0, max(-1.0, step))
            found[i] += step
            moved = max(moved, abs(step))
        if moved < 1e-6:
            break
    return found


def _beats(a: float, b: float) -> float:
    return 1 / (1 + math.exp(b - a))


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
