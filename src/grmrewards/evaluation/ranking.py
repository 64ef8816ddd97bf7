"""Which model is better, from judgements of pairs: Bradley-Terry, and Elo for comparison with papers. Pure functions.

Bradley-Terry (1952): `P(i beats j) = 1 / (1 + 10^((r_j - r_i) / 400))`, ratings `r` by maximum likelihood (Hunter, 2004, the
MM algorithm), ties as half a win each. Elo goes through the matches one after the other and so depends on their order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.evaluation.bootstrap import between
from grmrewards.judging import Progress

SCALE = 400 / math.log(10)  # rating points in which the odds grow e-fold
PRIOR = 0.5  # of a tie between each two: the rating of one who wins all stays finite
Wins = list[list[float]]  # [i][j]: the points of i against j


class Match(NamedTuple):
    """Two models on one prompt. `won`: 1 the first, 0 the second, 0.5 a tie, or the probability that the first is better."""

    first: str
    second: str
    won: float
    prompt: str = ""


@dataclass(frozen=True)
class Standing:
    """One model: its rating with an interval, matches, mean points a match, and how surely it is above the next one.

    `better` is the share of resamples in which its rating is the higher one of the two; None for the last.
    """

    name: str
    rating: float
    low: float
    high: float
    matches: int
    win_rate: float
    better: float | None


@dataclass(frozen=True)
class Ranking:
    """Models, the best first. Ratings are on Elo's scale, their mean 0: 100 points are odds of 1.78 to 1."""

    method: str
    standings: tuple[Standing, ...]
    level: float
    prompts: int

    def __getitem__(self, name: str) -> Standing:
        return next(standing for standing in self.standings if standing.name == name)

    def as_dict(self) -> dict[str, Any]:
        """In a form that JSON has."""
        return asdict(self)

    def markdown(self) -> str:
        """The table."""
        head = f"| model | {self.method} | {self.level:.0%} interval | win rate | matches | above the next |"
        rows = [
            [s.name, f"{s.rating:+.0f}", f"{s.low:+.0f} to {s.high:+.0f}", f"{s.win_rate:.1%}", str(s.matches), above]
            for s in self.standings
            for above in ["–" if s.better is None else f"{s.better:.1%}"]
        ]
        return "\n".join([head, "|---|---|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def bradley_terry(matches: Iterable[Match], *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Ranking:
    """Ratings by maximum likelihood, intervals by drawing prompts with return (matches on one prompt go together).

    Between each two models stands half a tie, so that one who wins all has a rating. Raises `ConfigError` for no matches,
    for points outside [0, 1], and for models that are not connected by matches.

    >>> ranking = bradley_terry([Match("a", "b", 1.0)] * 3 + [Match("a", "b", 0.0)], resamples=20)
    >>> [(s.name, s.win_rate) for s in ranking.standings]
    [('a', 0.75), ('b', 0.25)]
    """
    names, by_prompt = _counted(matches)
    total = _summed(by_prompt, len(names))
    _check_connected(names, total)
    ratings = _fit(total, [0.0] * len(names))

    def again(sample: Sequence[Wins], _: random.Random) -> list[float]:
        return _fit(_summed(sample, len(names)), ratings)

    drawn = _resampled(by_prompt, again, resamples=resamples, seed=seed)
    return _ranking("Bradley-Terry", names, by_prompt, ratings, drawn, level)


def _fit(wins: Wins, start: Sequence[float]) -> list[float]:
    """The ratings that make `wins` likeliest, from a first guess; their mean is 0."""
    size = len(wins)
    games = [[wins[i][j] + wins[j][i] + PRIOR if i != j else 0.0 for j in range(size)] for i in range(size)]
    points = [sum(wins[i]) + PRIOR / 2 * (size - 1) for i in range(size)]
    strengths = [math.exp(rating / SCALE) for rating in start]
    for _ in range(1000):
        old = strengths
        fresh = [points[i] / sum(n / (old[i] + old[j]) for j, n in enumerate(games[i]) if n) for i in range(size)]
        mean = math.exp(math.fsum(map(math.log, fresh)) / size)
        strengths = [value / mean for value in fresh]
        if max(abs(math.log(new / before)) for new, before in zip(strengths, old, strict=True)) < 1e-4:
            break
    return [SCALE * math.log(value) for value in strengths]


def elo(
    matches: Iterable[Match],
    *,
    k: float = 8.0,
    orders: int = 20,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Ranking:
    """Elo's ratings, each the mean over `orders` random orders of the matches, since one order alone says what came last.

    For comparison with papers that use it; `bradley_terry` is its limit, without a `k` to choose. Raises as that does.
    """
    arguments.number("k", k, least=0.001)
    names, by_prompt = _counted(matches)
    _check_connected(names, _summed(by_prompt, len(names)))

    def rated(sample: Sequence[Wins], rng: random.Random, times: int) -> list[float]:
        found = [_in_turn(rng.sample(sample, len(sample)), len(names), k) for _ in range(times)]
        return [math.fsum(column) / times for column in zip(*found, strict=True)]

    ratings = rated(by_prompt, random.Random(seed), arguments.whole("orders", orders))
    drawn = _resampled(by_prompt, lambda sample, rng: rated(sample, rng, 1), resamples=resamples, seed=seed)
    return _ranking("Elo", names, by_prompt, ratings, drawn, level)


def _in_turn(prompts: Sequence[Wins], size: int, k: float) -> list[float]:
    """The ratings after all matches, prompt by prompt."""
    ratings = [0.0] * size
    for wins in prompts:
        for i in range(size):
            for j in range(i):
                if games := wins[i][j] + wins[j][i]:
                    gain = k * (wins[i][j] - games / (1 + math.exp((ratings[j] - ratings[i]) / SCALE)))
                    ratings[i] += gain
                    ratings[j] -= gain
    return ratings


def _resampled(by_prompt: Sequence[Wins], fit: Any, *, resamples: int, seed: int) -> list[list[float]]:
    """The ratings of as many draws of the prompts with return."""
    rng = random.Random(seed)
    bar = Progress(
        range(arguments.whole("resamples", resamples)), desc="intervals", unit="ranking", delay=2, leave=False
    )
    return [fit(rng.choices(by_prompt, k=len(by_prompt)), rng) for _ in bar]


def _ranking(
    method: str,
    names: Sequence[str],
    by_prompt: Sequence[Wins],
    ratings: Sequence[float],
    drawn: Sequence[Sequence[float]],
    level: float,
) -> Ranking:
    arguments.number("level", level, least=0.5, most=0.9999)
    best_first = sorted(range(len(names)), key=lambda i: (-ratings[i], names[i]))
    total = _summed(by_prompt, len(names))
    standings = []
    for i, below in zip(best_first, [*best_first[1:], None], strict=True):
        low, high = between(sorted(sample[i] for sample in drawn), level)
        played = sum(total[i]) + sum(row[i] for row in total)
        above = None if below is None else sum(sample[i] > sample[below] for sample in drawn) / len(drawn)
        standings.append(Standing(names[i], ratings[i], low, high, round(played), sum(total[i]) / played, above))
    return Ranking(method, tuple(standings), level, len(by_prompt))


def _counted(matches: Iterable[Match]) -> tuple[list[str], list[Wins]]:
    """The names in order, and for each prompt the points of each against each."""
    listed = list(matches)
    names = sorted({name for match in listed for name in (match.first, match.second)})
    if not listed or any(not 0 <= match.won <= 1 or match.first == match.second for match in listed):
        raise ConfigError(
            "no matches, one of a model with itself, or points outside [0, 1]; allowed are matches of two."
        )
    place = {name: i for i, name in enumerate(names)}
    by_prompt: dict[str, Wins] = {}
    for match in listed:
        wins = by_prompt.setdefault(match.prompt, [[0.0] * len(names) for _ in names])
        first, second = place[match.first], place[match.second]
        wins[first][second] += match.won
        wins[second][first] += 1 - match.won
    return names, list(by_prompt.values())


def _summed(by_prompt: Sequence[Wins], size: int) -> Wins:
    return [[math.fsum(wins[i][j] for wins in by_prompt) for j in range(size)] for i in range(size)]


def _check_connected(names: Sequence[str], wins: Wins) -> None:
    """Raise `ConfigError` where some models never met the others, not even over a third one."""
    met, rest = {0}, [0]
    while rest:
        i = rest.pop()
        new = {j for j in range(len(names)) if wins[i][j] + wins[j][i] > 0} - met
        met |= new
        rest += new
    if len(met) < len(names):
        alone = ", ".join(name for i, name in enumerate(names) if i not in met)
        raise ConfigError(f"{alone} never met {names[0]}, not even over a third one; ratings would mean nothing.")
