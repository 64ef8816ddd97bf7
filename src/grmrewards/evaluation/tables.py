"""From judged items to the table of a benchmark: figures with intervals, and what is behind them. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from grmrewards.evaluation.bootstrap import intervals
from grmrewards.evaluation.items import Benchmark, Count, Game, Item, Judged, Rules


class Line(NamedTuple):
    """One line of the table: a figure in per cent, its interval, and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Table:
    """What a judge got in a benchmark.

    `unscored` of the `items` have an answer without a score, `missing` ones were never asked about; by `rules` they count
    as lost judgements. `resamples` and `level` are those of the intervals.
    """

    benchmark: str
    lines: Mapping[str, Line]
    rules: Rules
    official: bool
    items: int
    unscored: int
    missing: int
    resamples: int
    level: float

    def __getitem__(self, name: str) -> Line:
        return self.lines[name]

    def as_dict(self) -> dict[str, Any]:
        """In a form that JSON has."""
        return {**asdict(self), "lines": {name: line._asdict() for name, line in self.lines.items()}}

    def markdown(self) -> str:
        """The table, and in a sentence how it was counted."""
        head = f"| {self.benchmark} | % | {self.level:.0%} interval | items |\n|---|---|---|---|"
        lines = [
            f"| {_cell(name)} | {line.value:.2f} | {line.low:.2f} to {line.high:.2f} | {line.n} |"
            for name, line in self.lines.items()
        ]
        return "\n".join([head, *lines, "", self.counted()])

    def counted(self) -> str:
        """By which rules, and how many judgements were lost."""
        whose = "the official rules" if self.official else "other rules than the official ones"
        said = f"Counted by {whose}: ties {_said(self.rules.ties)}, lost judgements {_said(self.rules.errors)}."
        said = f"{said} {self.items} items, {self.unscored} with an answer that got no score, {self.missing} not asked."
        if any(line.low == line.high for line in self.lines.values()):
            said += " An interval without width comes from items that all agree: it is not known that narrowly."
        return said


def table(
    benchmark: Benchmark,
    items: Sequence[Item],
    games: Mapping[str, Sequence[Game]],
    *,
    ties: Count | None = None,
    errors: Count | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Table:
    """The table of `games`, which are by the id of their item.

    `ties` and `errors` ("wrong", "half", "dropped") replace the official rules, to compare with figures that were counted
    otherwise. Raises `ConfigError` for another word.
    """
    rules = benchmark.rules.but(ties=ties, errors=errors)
    judged = [Judged(item, games.get(item.id, ())) for item in items]
    outcomes = {stratum: list(own.values()) for stratum, own in counted(benchmark, judged, rules).items()}
    spans = intervals(outcomes, benchmark.figures, resamples=resamples, level=level, seed=seed)
    figures = benchmark.figures(outcomes)
    ends = {name: spans.get(name, (figure.value, figure.value)) for name, figure in figures.items()}
    lines = {
        name: Line(100 * figure.value, 100 * ends[name][0], 100 * ends[name][1], figure.n)
        for name, figure in figures.items()
    }
    return Table(
        benchmark=benchmark.title,
        lines=lines,
        rules=rules,
        official=rules == benchmark.rules,
        items=len(items),
        unscored=sum(any(None in game.scores for game in one.games) for one in judged),
        missing=sum(not one.games for one in judged),
        resamples=resamples,
        level=level,
    )


def counted(benchmark: Benchmark, judged: Iterable[Judged], rules: Rules) -> dict[str, dict[str, Any]]:
    """The outcomes of each subset by their unit; without those that are dropped."""
    units: dict[tuple[str, str], list[Judged]] = {}
    for one in judged:
        units.setdefault((one.item.stratum, one.item.unit), []).append(one)
    outcomes: dict[str, dict[str, Any]] = {stratum: {} for stratum, _ in units}
    for (stratum, unit), own in units.items():
        if (found := benchmark.outcome(own, rules)) is not None:
            outcomes[stratum][unit] = found
    return outcomes


def _said(count: Count) -> str:
    return {"wrong": "are wrong", "half": "count half", "dropped": "are left out"}[count]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
