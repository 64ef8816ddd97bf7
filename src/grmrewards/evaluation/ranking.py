"""Which model is better, from judgements of pairs: Bradley-Terry, and Elo for comparison with papers. Pure functions.

Bradley-Terry (1952): `P(i beats j) = 1 / (1 + 10^((r_j - r_i) / 400))`, ratings `r` by maximum likelihood, ties as half a
win each. Elo goes through the matches one after the other and so depends on their order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.evaluation.bootstrap import between
from grmrewards.judging import Progress

T = TypeVar("T")
SCALE = 400 / math.log(10)  # rating points in which the odds grow e-fold
PRIOR = 0.5  # of a tie between each two
DIGITS = 6  # of ratings; beyond them is rounding
STEPS = 200  # of Newton's; some five are needed
Game = tuple[int, int, float]  # the first, the second, the points of the first
Games = tuple[list[str], list[list[Game]]]  # the names, and of each prompt the games
Rate = Callable[[Sequence[T], random.Random], list[float]]


class Match(NamedTuple):
    """Two models on one prompt. `won`: 1 the first, 0 the second, 0.5 a tie, or the probability that the first is better.

    Matches on one `prompt` go together in intervals; those that name none are each taken to be on one of their own.
    """

    first: str
    second: str
    won: float
    prompt: str = ""


@dataclass(frozen=True)
class Standing:
    """One model: its rating with an interval, matches, mean points a match, and how surely it is above the next one.

    `better` is the share of resamples in which its rating is the higher one of the two, equal ones as half; None for the
    last. It and the interval are None where there is one prompt alone, which says nothing about others.
    """

    name: str
    rating: float
    low: float | None
    high: float | None
    matches: int
    win_rate: float
    better: float | None


@dataclass(frozen=True)
class Ranking:
    """Models, the best first. Ratings are on Elo's scale: 100 points are odds of 1.78 to 1. `anchor` has 0, or their mean."""

    method: str
    standings: tuple[Standing, ...]
    level: float
    prompts: int
    anchor: str | None = None

    def __getitem__(self, name: str) -> Standing:
        return next(standing for standing in self.standings if standing.name == name)

    def as_dict(self) -> dict[str, Any]:
        """In a form that JSON has."""
        return asdict(self)

    def markdown(self) -> str:
        """The table."""
        head, *rows = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in self._table()]
        return "\n".join([head, "|---" * 6 + "|", *rows])

    def report(self) -> str:
        """The table as plain text, and what it stands on."""
        wide = [max(map(len, column)) for column in zip(*self._table(), strict=True)]
        lines = ["  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in self._table()]
        return "\n".join([*lines, f"{self.prompts} prompts; ratings are points above {self.anchor or 'their mean'}"])

    def _table(self) -> list[list[str]]:
        table = [["model", self.method, f"{self.level:.0%} interval", "win rate", "matches", "above the next"]]
        for s in self.standings:
            interval = "–" if s.low is None else f"{s.low:+.0f} to {s.high:+.0f}"
            above = "–" if s.better is None else f"{s.better:.1%}"
            table.append([s.name, f"{s.rating:+.0f}", interval, f"{s.win_rate:.1%}", str(s.matches), above])
        return table


def bradley_terry(
    matches: Iterable[Match], *, resamples: int = 1000, level: float = 0.95, anchor: str | None = None, seed: int = 0
) -> Ranking:
    """Ratings by maximum likelihood, intervals by drawing prompts with return (matches on one prompt go together).

    Between each two models stands half a virtual tie, so that one who wins all has a rating, in every draw. It treats all
    alike and fades as matches grow. With `anchor`, ratings and intervals are differences to that model. Raises `ConfigError`
    for no matches, points outside [0, 1], an anchor that did not play, and models that matches do not connect.

    >>> ranking = bradley_terry([Match("a", "b", 1.0)] * 3 + [Match("a", "b", 0.0)], resamples=20)
    >>> [(s.name, s.win_rate) for s in ranking.standings]
    [('a', 0.75), ('b', 0.25)]
    """
    names, by_prompt = table = _checked(matches, resamples, level, anchor)
    points = [_points(games, len(names)) for games in by_prompt]  # added up once, not once a draw
    ratings = _fit(points, [0.0] * len(names))
    found = [ratings, *_resampled(points, lambda sample, _: _fit(sample, ratings), resamples, seed)]
    return _ranking("Bradley-Terry", table, found, level, anchor)


def _fit(points: Sequence[Sequence[float]], start: Sequence[float]) -> list[float]:
    """The ratings that make the points of some prompts likeliest, from a first guess, by Newton's steps; their mean is 0.

    A step that changes a gap by at most d (in log-odds) is shortened to ln(1 + d) / d of itself: the curvature grows at
    most e^d-fold along it, so the likelihood never falls, and near the top the steps are whole.
    """
    size, flat = len(start), [PRIOR / 2 + sum(column) for column in zip(*points, strict=True)]
    wins = [[flat[i * size + j] if i != j else 0.0 for j in range(size)] for i in range(size)]
    games = [[a + b for a, b in zip(row, column, strict=True)] for row, *column in zip(wins, *wins, strict=True)]
    found = [rating / SCALE for rating in start]
    for _ in range(STEPS):
        step = _newton(games, list(map(sum, wins)), found)
        if (d := max(step) - min(step)) < 1e-9:
            break
        found = [value + move * math.log1p(d) / d for value, move in zip(found, step, strict=True)]
    return [SCALE * value for value in found]


def _newton(games: Sequence[Sequence[float]], points: Sequence[float], found: Sequence[float]) -> list[float]:
    """The step that leads to the top of the parabola at `found`: bend^-1 slope, by Gauss and Jordan.

    The ones in `bend` hold the mean still, which no match says anything about, and make it positive definite.
    """
    chances = [[1 / (1 + math.exp(other - own)) for other in found] for own in found]
    rows = []
    for i, (row, p) in enumerate(zip(games, chances, strict=True)):
        bend = [1 - n * q * (1 - q) for n, q in zip(row, p, strict=True)]
        bend[i] += len(row) - math.fsum(bend)
        rows.append([*bend, points[i] - math.fsum(n * q for n, q in zip(row, p, strict=True))])
    for i, row in enumerate(rows):
        row[:] = [value / row[i] for value in row]
        for other in rows:
            if other is not row:
                other[:] = [a - other[i] * b for a, b in zip(other, row, strict=True)]
    return [row[-1] for row in rows]


def elo(
    matches: Iterable[Match],
    *,
    k: float = 8.0,
    orders: int = 20,
    resamples: int = 100,
    level: float = 0.95,
    anchor: str | None = None,
    seed: int = 0,
) -> Ranking:
    """Elo's ratings, each the mean over `orders` random orders of the matches, since one order alone says what came last.

    For comparison with papers that use it: it has a `k` to choose, by how much one match counts, and starts all at 0, which
    few matches do not get it away from. Trust `bradley_terry`. Arguments, intervals and errors are as there.
    """
    arguments.number("k", k, least=0.001, most=1000)
    names, by_prompt = table = _checked(matches, resamples, level, anchor)

    def rated(sample: Sequence[list[Game]], rng: random.Random) -> list[float]:
        games = [game for own in sample for game in own]
        times = range(arguments.whole("orders", orders))
        found = [_in_turn(rng.sample(games, len(games)), len(names), k) for _ in times]
        return list(map(fmean, zip(*found, strict=True)))

    found = [rated(by_prompt, random.Random(seed)), *_resampled(by_prompt, rated, resamples, seed)]
    return _ranking("Elo", table, found, level, anchor)


def _in_turn(games: Sequence[Game], size: int, k: float) -> list[float]:
    """The ratings after all games, one after the other."""
    ratings, step = [0.0] * size, k / SCALE
    for i, j, won in games:
        gain = step * (won - 1 / (1 + math.exp(ratings[j] - ratings[i])))
        ratings[i] += gain
        ratings[j] -= gain
    return [SCALE * rating for rating in ratings]


def _resampled(prompts: Sequence[T], rate: Rate[T], resamples: int, seed: int) -> list[list[float]]:
    """The ratings of as many draws of the prompts with return; none of one prompt, which can only be drawn again."""
    rng = random.Random(seed)
    bar = Progress(range(resamples * (len(prompts) > 1)), desc="intervals", unit="ranking", delay=2, leave=False)
    return [rate(rng.choices(prompts, k=len(prompts)), rng) for _ in bar]


def _ranking(method: str, table: Games, found: Sequence[Sequence[float]], level: float, anchor: str | None) -> Ranking:
    """The ranking by the first of the ratings `found`, with intervals from the others."""
    names, by_prompt = table
    ratings, *drawn = [[r - (0 if anchor is None else own[names.index(anchor)]) for r in own] for own in found]
    best_first = sorted(range(len(names)), key=lambda i: (-round(ratings[i], DIGITS), names[i]))
    standings = []
    for i, below in zip(best_first, [*best_first[1:], None], strict=True):
        low, high = between(sorted(own[i] for own in drawn), level) if drawn else (None, None)
        points = [won if a == i else 1 - won for games in by_prompt for a, b, won in games if i in (a, b)]
        gaps = [] if below is None else [round(own[i] - own[below], DIGITS) for own in drawn]
        better = fmean((gap > 0) + (gap == 0) / 2 for gap in gaps) if gaps else None
        standings.append(Standing(names[i], ratings[i], low, high, len(points), fmean(points), better))
    return Ranking(method, tuple(standings), level, len(by_prompt), anchor)


def _checked(matches: Iterable[Match], resamples: int, level: float, anchor: str | None) -> Games:
    """The names and each prompt's games, both in an order that is not that of the matches. Raises `ConfigError`."""
    arguments.whole("resamples", resamples)
    arguments.number("level", level, least=0.5, most=0.9999)
    listed = list(matches)
    for match in listed:
        if not 0 <= match.won <= 1 or match.first == match.second:
            raise ConfigError(f"{match} is with itself or has points outside [0, 1]; allowed are games of two models.")
    if not (names := sorted({name for match in listed for name in match[:2]})):
        raise ConfigError("no matches; allowed is one or more.")
    if anchor not in (None, *names):
        raise ConfigError(f"anchor={anchor!r}; allowed is one of {', '.join(names)}, or None.")
    games: dict[tuple[str, int], list[Game]] = {}
    for at, (first, second, won, prompt) in enumerate(listed):
        i, j = names.index(first), names.index(second)
        games.setdefault((prompt, 0 if prompt else at), []).append((i, j, won) if i < j else (j, i, 1 - won))
    _check_connected(names, listed)
    return names, [own for _, own in sorted((prompt, sorted(own)) for (prompt, _), own in games.items())]


def _points(games: Sequence[Game], size: int) -> list[float]:
    """The points of each against each, row after row."""
    points = [0.0] * size * size
    for i, j, won in games:
        points[i * size + j] += won
        points[j * size + i] += 1 - won
    return points


def _check_connected(names: Sequence[str], matches: Sequence[Match]) -> None:
    """Raise `ConfigError` where some models never met the others, not even over a third one."""
    met, pairs = {names[0]}, {frozenset(match[:2]) for match in matches}
    for _ in names:
        met = met.union(*(pair for pair in pairs if pair & met))
    if alone := sorted({*names} - met):
        what = f"{', '.join(alone)} never met {names[0]}, not even over a third one"
        raise ConfigError(f"{what}; ratings would mean nothing. Add matches between them, or rank each set alone.")
