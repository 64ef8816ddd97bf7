"""Is this judge better than that one? Two stored runs of one benchmark, by a paired bootstrap over their common items."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grmrewards.errors import ConfigError
from grmrewards.evaluation import stored
from grmrewards.evaluation.bootstrap import between
from grmrewards.evaluation.items import Benchmark, Count, Figure, Judged, Rules
from grmrewards.evaluation.run import opened
from grmrewards.evaluation.tables import Line, counted
from grmrewards.judging import Progress

Paired = Mapping[str, list[tuple[Any, Any]]]  # of a subset, the outcomes of both runs for each unit


@dataclass(frozen=True)
class Comparison:
    """By how many points the first run is better, a line each. An interval without 0: more than which items there were."""

    benchmark: str
    lines: Mapping[str, Line]
    level: float

    def __getitem__(self, name: str) -> Line:
        return self.lines[name]

    def as_dict(self) -> dict[str, Any]:
        """In a form that JSON has."""
        lines = {name: line._asdict() for name, line in self.lines.items()}
        return {"benchmark": self.benchmark, "level": self.level, "lines": lines}

    def markdown(self) -> str:
        """The table, better above 0."""
        head = f"| {self.benchmark} | points better | {self.level:.0%} interval | items |\n|---|---|---|---|"
        rows = [f"| {n} | {x.value:+.2f} | {x.low:+.2f} to {x.high:+.2f} | {x.n} |" for n, x in self.lines.items()]
        return "\n".join([head, *rows])


def compare(
    folder: str | Path,
    other: str | Path,
    *,
    ties: Count | None = None,
    errors: Count | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """By how much the run in `folder` is better than that in `other`, on the items that both have.

    Both are drawn together, so what is hard for both cancels: the interval is narrower than those of the two tables tell.
    Raises `ConfigError` for folders without a run, of two benchmarks, or without a common item.
    """
    (_, benchmark), (_, named) = opened(folder), opened(other)
    if named is not benchmark:
        raise ConfigError(f"{folder} is a run of {benchmark.title}, {other} of {named.title}; allowed are two of one.")
    rules = benchmark.rules.but(ties=ties, errors=errors)
    own, others = _outcomes(folder, benchmark, rules), _outcomes(other, benchmark, rules)
    paired = {
        stratum: [(one, others[stratum][unit]) for unit, one in units.items() if unit in others.get(stratum, {})]
        for stratum, units in own.items()
    }
    if not any(paired.values()):
        raise ConfigError(f"{folder} and {other} have no item in common.")
    found = _differences(paired, benchmark)
    drawn = _drawn(paired, benchmark, resamples=resamples, seed=seed)
    ends = {name: between(sorted(values), level) for name, values in drawn.items()}
    lines = {name: Line(100 * value, 100 * ends[name][0], 100 * ends[name][1], n) for name, (value, n) in found.items()}
    return Comparison(benchmark.title, lines, level)


def _outcomes(folder: str | Path, benchmark: Benchmark, rules: Rules) -> dict[str, dict[str, Any]]:
    about, _ = opened(folder)
    games = stored.games(Path(folder))
    return counted(benchmark, [Judged(item, games.get(item.id, ())) for item in stored.items(about)], rules)


def _differences(paired: Paired, benchmark: Benchmark) -> dict[str, Figure]:
    """First less second, a figure each."""
    first = benchmark.figures({name: [one for one, _ in pairs] for name, pairs in paired.items() if pairs})
    second = benchmark.figures({name: [other for _, other in pairs] for name, pairs in paired.items() if pairs})
    return {n: Figure(figure.value - second[n].value, figure.n) for n, figure in first.items() if n in second}


def _drawn(paired: Paired, benchmark: Benchmark, *, resamples: int, seed: int) -> dict[str, list[float]]:
    """The differences in as many draws of the common units."""
    rng = random.Random(seed)
    drawn: dict[str, list[float]] = {}
    for _ in Progress(range(resamples), desc="intervals", unit="table", delay=2, leave=False):
        sample = {name: rng.choices(pairs, k=len(pairs)) for name, pairs in paired.items() if pairs}
        for name, figure in _differences(sample, benchmark).items():
            drawn.setdefault(name, []).append(figure.value)
    return drawn
