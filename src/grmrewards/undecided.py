"""How sure the order of a group is, and which response's next vote would settle most. Pure functions.

The votes on a response are taken for draws from a normal distribution around what more and more votes would agree on. For
two responses with mean votes m_i, m_j and standard errors e_i, e_j, the probability that their order is wrong is then
`P(i, j) = 1 - Phi(|m_i - m_j| / sqrt(e_i^2 + e_j^2))`. Few votes say little about their own spread, so the variance of
each response is drawn towards that of all (`PRIOR` votes' worth). It is the judge's disagreement with itself that is
measured: a judge that is always wrong in the same way is always sure.

Shapes in names: `_G` the responses of a group, `_V` the votes on one of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

PRIOR = 1.0  # votes: chosen on questions of the training split


class Standing(NamedTuple):
    """What is known of one response: its mean vote, how many there are, and the variance of a single one."""

    mean: float
    votes: int
    variance: float

    @property
    def squared_error(self) -> float:
        """Of the mean."""
        return self.variance / self.votes


def pooled_variance(votes: Sequence[Sequence[float]]) -> float | None:
    """The variance of a vote around its response's mean, over many responses; None where none has two votes.

    >>> pooled_variance([[4, 6], [5, 5], [7]])
    1.0
    """
    several = [votes_V for votes_V in votes if len(votes_V) > 1]
    freedom = sum(len(votes_V) - 1 for votes_V in several)
    return (
        math.fsum(statistics.variance(votes_V) * (len(votes_V) - 1) for votes_V in several) / freedom
        if freedom
        else None
    )


def standings(
    votes_GV: Sequence[Sequence[float]], pooled: float | None, variances_G: Sequence[float]
) -> list[Standing]:
    """Where each response stands that has a vote at all.

    `variances_G` stand in for the disagreement of votes where there is only one of each: what the judge itself doubted
    while it wrote the score.
    """
    return [_standing(votes_V, pooled, own) for votes_V, own in zip(votes_GV, variances_G, strict=True) if votes_V]


def _standing(votes_V: Sequence[float], pooled: float | None, own: float) -> Standing:
    count = len(votes_V)
    if pooled is None:
        return Standing(votes_V[0], 1, own)
    spread = statistics.variance(votes_V) * (count - 1) if count > 1 else 0.0
    return Standing(statistics.fmean(votes_V), count, (spread + PRIOR * pooled) / (count - 1 + PRIOR))


def wrong_order(a: Standing, b: Standing) -> float:
    """The probability that the order of two responses is wrong; one half where their means are equal.

    >>> round(wrong_order(Standing(7, 2, 1), Standing(5, 2, 1)), 4)
    0.0228
    """
    error = math.sqrt(a.squared_error + b.squared_error)
    gap = abs(a.mean - b.mean)
    if error == 0:
        return 0.0 if gap else 0.5
    return _above(gap / error)


def share_of_wrong_pairs(standings_G: Sequence[Standing]) -> float:
    """The expected share of the pairs of a group whose order is wrong; 0 for a group of one."""
    size = len(standings_G)
    pairs = [wrong_order(standings_G[i], standings_G[j]) for i in range(size) for j in range(i)]
    return statistics.fmean(pairs) if pairs else 0.0


def gains(standings_G: Sequence[Standing]) -> list[float]:
    """What one more vote on each response is expected to settle, summed over its pairs, in standard errors of their gaps.

    The value of information of a choice between two (Gupta and Miescke's one-step rule, "knowledge gradient"): the vote
    moves the mean by about `d = sqrt(e^2 / (n + 1))`, and is worth something where it may turn the order over:
    `d * (phi(x) - x * (1 - Phi(x)))` with `x = gap / d`.
    """
    return [math.fsum(_gain(a, b) for b in standings_G if b is not a) for a in standings_G]


def _gain(a: Standing, b: Standing) -> float:
    error = math.sqrt(a.squared_error + b.squared_error)
    moves = math.sqrt(a.squared_error / (a.votes + 1))
    if moves == 0:
        return 0.0
    x = abs(a.mean - b.mean) / moves
    density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return moves / error * max(0.0, density - x * _above(x))


def _above(x: float) -> float:
    """The probability that a standard normal number is above x."""
    return math.erfc(x / math.sqrt(2)) / 2
