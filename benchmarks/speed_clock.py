"""Runs side by side, and what they say: CPU seconds in turns, medians, ratios within a round, exactness beside each.

Seconds of a busy machine are noise, and so are the first ones. So the ways that are compared run in turns, A B A B, each
round gives its own ratios, and a table shows their median and range.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

CLOSE = 1e-4  # the largest difference of a log-probability in 32-bit floats
HEAD = ("", "CPU s", "wall s", "tokens", "times faster", "against one at a time")
Way = Callable[[], Callable[[], object]]  # makes ready, off the clock, what is then run on it
NO_WAYS: Mapping[str, Way] = {}


class Run(NamedTuple):
    """One run of one way, in seconds."""

    cpu: float
    wall: float


class Exact(NamedTuple):
    """How a way compares with one at a time: the largest difference of a log-probability, and how many texts are the same.

    `of` is 0 where there are no texts, the difference None where there are only texts.
    """

    difference: float | None
    same: int = 0
    of: int = 0

    @property
    def holds(self) -> bool:
        """Whether it is the same judgement."""
        return (self.difference or 0.0) < CLOSE and self.same == self.of

    def __str__(self) -> str:
        parts = [] if self.difference is None else [f"{self.difference:.0e}"]
        return ", ".join([*parts, *([f"{self.same}/{self.of} texts"] if self.of else [])])


@dataclass
class Line:
    """One way to do a table's work."""

    way: str
    runs: list[Run]
    tokens: str = ""
    exact: Exact | str = ""  # or a word, for what gives no judgement or is the measure itself

    def cpu(self) -> float:
        """The median."""
        return statistics.median(run.cpu for run in self.runs)

    def wall(self) -> float:
        """The median."""
        return statistics.median(run.wall for run in self.runs)


@dataclass
class Factor:
    """A ratio that is promised: of each round, with the goal and the limit that no engine can pass."""

    name: str
    what: str
    found: list[float]
    goal: float | None
    limit: float | None = None
    at_most: bool = False

    def median(self) -> float:
        """Of the rounds."""
        return middle(self.found)

    def keeps(self, bound: float) -> bool:
        """Whether it is on the right side of `bound`."""
        return self.median() <= bound if self.at_most else self.median() >= bound


@dataclass
class Table:
    """The lines of one path, the first the one that others are compared with, and the factors they give."""

    name: str
    lines: list[Line] = field(default_factory=list)
    head: list[str] = field(default_factory=lambda: list(HEAD))
    rows: list[list[str]] = field(default_factory=list)  # without seconds
    factors: list[Factor] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # ways whose judgements differ: they have no line

    def add(self, way: str, runs: list[Run], *, tokens: str = "", exact: Exact | str) -> None:
        """A line, unless what it found is not what one at a time finds."""
        print(f"{self.name}: {way}: {[round(run.cpu, 2) for run in runs]} CPU s, {exact}", file=sys.stderr, flush=True)
        if isinstance(exact, Exact) and not exact.holds:
            self.wrong.append(f"{way}: {exact}")
        else:
            self.lines.append(Line(way, runs, tokens, exact))

    def markdown(self) -> str:
        """The lines, then the factors."""
        base = self.lines[0].runs if self.lines else []
        rows = [self.head, *self.rows]
        for line in self.lines:
            seconds = [f"{line.cpu():.2f}", f"{line.wall():.2f}"]
            rows.append([line.way, *seconds, line.tokens, spread(ratios(base, line.runs)), str(line.exact)])
        shown = [[f.what, spread(f.found), goal(f), "" if f.limit is None else f"{f.limit:.2f}"] for f in self.factors]
        wrong = [f"**Not the same judgement, so not shown:** {way}" for way in self.wrong]
        parts = [grid(rows), *([grid([["ratio", "found", "goal", "limit"], *shown])] if shown else [])]
        return "\n\n".join([*wrong, *parts])

    def raw(self) -> dict[str, Any]:
        """All of it, for a file."""
        lines = {
            line.way: {"cpu": [r.cpu for r in line.runs], "wall": [r.wall for r in line.runs], "tokens": line.tokens}
            | {"exact": line.exact._asdict() if isinstance(line.exact, Exact) else line.exact}
            for line in self.lines
        }
        factors = {factor.name: vars(factor) | {"median": factor.median()} for factor in self.factors}
        return {"lines": lines, "rows": self.rows, "factors": factors, "wrong": self.wrong}


def goal(factor: Factor) -> str:
    """In words."""
    if factor.goal is None:
        return "none"
    return f"{'at most' if factor.at_most else 'at least'} {factor.goal:.2f}"


def spread(found: Sequence[float]) -> str:
    """Median and range, where there is one."""
    median = f"{statistics.median(found):.2f}"
    return median if min(found) == max(found) else f"{median} ({min(found):.2f} to {max(found):.2f})"


def grid(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its head first."""
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rest))


def paired(
    ways: Mapping[str, Way], rounds: int, once: Mapping[str, Way] = NO_WAYS
) -> tuple[dict[str, list[Run]], dict[str, Any]]:
    """Each way once a round, in turns: the seconds, and what each gave in its last round. Others in the first round alone."""
    runs: dict[str, list[Run]] = {name: [] for name in (*ways, *once)}
    gave: dict[str, Any] = {}
    for number in range(rounds):
        for name, way in {**ways, **({} if number else once)}.items():
            run, gave[name] = clocked(way())
            runs[name].append(run)
    return runs, gave


def clocked(call: Callable[[], object]) -> tuple[Run, Any]:
    """The seconds of one call, on all threads of this process, and what it gave."""
    cpu, wall = time.process_time(), time.perf_counter()
    gave = call()
    return Run(time.process_time() - cpu, time.perf_counter() - wall), gave


def ratios(slow: Sequence[Run], fast: Sequence[Run]) -> list[float]:
    """How many times less CPU the second way took, in each round that both ran in."""
    return [a.cpu / b.cpu for a, b in zip(slow, fast, strict=False)]


def middle(found: Sequence[float]) -> float:
    """The median."""
    return statistics.median(found)
