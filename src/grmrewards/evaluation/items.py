"""What a benchmark is made of: items, the games that a judge plays on them, and the rule by which they count.

    rows of a file  --read-->  items  --games-->  groups that a judge scores  --outcome-->  outcomes  --figures-->  table

A benchmark is these four functions and its official rules (`Rules`); each has a file of its own beside this one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from grmrewards import arguments
from grmrewards.errors import ConfigError

Row = Mapping[str, Any]
Count = Literal["wrong", "half", "dropped"]
COUNTS = ("wrong", "half", "dropped")


@dataclass(frozen=True)
class Item:
    """One prompt with its responses, whose order says which is better, as the benchmark defines it.

    `stratum` is the subset that it belongs to; items of one `cluster` (by default itself) count as one. `facts` are what
    the scoring needs beside the scores, in a form that JSON has; `columns` what a reward may read, such as a reference.
    """

    id: str
    prompt: Any
    responses: tuple[str, ...]
    stratum: str
    cluster: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """What is drawn as one in the bootstrap."""
        return self.cluster or self.id


class Game(NamedTuple):
    """The responses at these places of an item, judged side by side in this order, and the score of each."""

    places: tuple[int, ...]
    scores: tuple[float | None, ...]


class Judged(NamedTuple):
    """An item with the games that were played on it; none where its row is missing."""

    item: Item
    games: Sequence[Game]


@dataclass(frozen=True)
class Rules:
    """What equal scores and what lost judgements count as: "wrong", "half" a point, or "dropped" from the count."""

    ties: Count
    errors: Count

    def but(self, *, ties: Count | None = None, errors: Count | None = None) -> Rules:
        """These rules with others in place of what is given. Raises `ConfigError` for a word that is none of them."""
        return Rules(
            self.ties if ties is None else arguments.one_of("ties", ties, COUNTS),
            self.errors if errors is None else arguments.one_of("errors", errors, COUNTS),
        )

    def credit(self, decision: int | None) -> float | None:
        """The points for a decision: 1 right, -1 wrong, 0 a tie, None lost. None where it is dropped.

        >>> Rules(ties="wrong", errors="half").credit(0), Rules(ties="wrong", errors="half").credit(None)
        (0.0, 0.5)
        """
        if decision:
            return float(decision > 0)
        return {"wrong": 0.0, "half": 0.5, "dropped": None}[self.errors if decision is None else self.ties]


class Figure(NamedTuple):
    """A figure of the table, as a share in [0, 1], and how many items stand behind it."""

    value: float
    n: int


Outcomes = Mapping[str, Sequence[Any]]  # of a stratum, one for each unit


@dataclass(frozen=True)
class Benchmark:
    """A protocol. `games` gives the places that are judged side by side, for a judge of single responses or of several.

    `outcome` makes of the judged items of one unit what `figures` counts, None where all of it is dropped. `double`:
    judges that compare are shown each pair in both orders, one game each.
    """

    name: str
    title: str
    source: str
    rules: Rules
    read: Callable[[Iterable[Row]], list[Item]]
    games: Callable[[Item, bool], list[tuple[int, ...]]]
    outcome: Callable[[Sequence[Judged], Rules], Any]
    figures: Callable[[Outcomes], dict[str, Figure]]
    hub: tuple[tuple[str, str], ...] = ()
    double: bool = False


def decision(games: Sequence[Game], better: int, worse: int) -> int | None:
    """What the games say of two places: 1 for the better one, -1 for the worse, 0 for neither, None where none says.

    With two games on a pair, +1 for each right and -1 for each wrong one; the sign of the sum counts (JudgeBench).

    >>> decision([Game((0, 1), (7.0, 5.0)), Game((1, 0), (6.0, 6.0))], 0, 1)
    1
    """
    found = [one for game in games if (one := _of_game(game, better, worse)) is not None]
    return None if not found else _sign(sum(found))


def _of_game(game: Game, better: int, worse: int) -> int | None:
    if better not in game.places or worse not in game.places:
        return None
    high, low = game.scores[game.places.index(better)], game.scores[game.places.index(worse)]
    return None if high is None or low is None else _sign(high - low)


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def scores_of(games: Sequence[Game], places: int) -> list[float | None]:
    """The score of each place, by the first game that has one."""
    found: dict[int, float] = {}
    for game in games:
        for place, score in zip(game.places, game.scores, strict=True):
            if score is not None and math.isfinite(score):
                found.setdefault(place, score)
    return [found.get(place) for place in range(places)]


def one_pair(item: Item, pointwise: bool) -> list[tuple[int, ...]]:
    """The games of an item of two responses: one."""
    return [(0, 1)]


def pair_outcome(judged: Sequence[Judged], rules: Rules) -> float | None:
    """The points for an item of two responses, the better one first."""
    (one,) = judged
    return rules.credit(decision(one.games, 0, 1))


def mean(credits: Iterable[float | None]) -> Figure | None:
    """The mean of what is not dropped, None where nothing is left."""
    known = [credit for credit in credits if credit is not None]
    return Figure(statistics.fmean(known), len(known)) if known else None


def strata(outcomes: Outcomes) -> dict[str, Figure]:
    """The mean of each subset, where the outcomes are points; without those of which all is dropped."""
    return {name: figure for name, credits in outcomes.items() if (figure := mean(credits)) is not None}


def average(figures: Iterable[Figure | None]) -> Figure | None:
    """The mean of figures, each of the same weight (a macro average)."""
    known = [figure for figure in figures if figure is not None]
    return Figure(statistics.fmean(f.value for f in known), sum(f.n for f in known)) if known else None


def there(figures: Mapping[str, Figure | None]) -> dict[str, Figure]:
    """Those figures that there are."""
    return {name: figure for name, figure in figures.items() if figure is not None}


def text(row: Row, name: str, *others: str) -> Any:
    """What a row has under one of these names. Raises `ConfigError` where it has none of them."""
    found = next((row[key] for key in (name, *others) if row.get(key) is not None), None)
    if found is None:
        raise ConfigError(f"a row with {sorted(row)} has no {' or '.join((name, *others))}.")
    return found


def identified(
    rows: Iterable[Row], *names: str, within: Callable[[Row], str] | None = None
) -> Iterator[tuple[str, Row]]:
    """Each row with an id of its own: what it says under one of `names`, its number where it says nothing, told apart.

    With `within`, which says a row's subset, that comes first: ids are often unique in a subset only.
    """
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        said = next((str(row[name]) for name in names if row.get(name) is not None), str(number))
        said = f"{within(row)}/{said}" if within else said
        seen[said] = seen.get(said, 0) + 1
        yield (said if seen[said] == 1 else f"{said}#{seen[said]}"), row
