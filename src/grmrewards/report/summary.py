"""What a run comes to: figures of each call, curves over its steps, and which completions are worth looking at. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from grmrewards import signals, tally
from grmrewards.report.lines import Call, Row, Run

POINTS = 80  # of a curve; more steps are drawn in as many parts
SUMS = ("calls", "tokens", "tokens_in", "tokens_out", "seconds", "replayed", "completions", "groups")
Rows = Sequence[Row]


class Point(NamedTuple):
    """The mean of so many values at a step, and one standard deviation to both sides of it, within what was given."""

    x: float
    y: float
    low: float
    high: float


@dataclass
class Summary:
    """A run, counted. `figures` are by the number of a call, `curves` by the name of a reward and then of a figure."""

    run: Run
    axis: str  # "step", or "call" where no step is known
    names: list[str]
    places: list[float | None]  # of each call on that axis
    figures: list[dict[str, float]]
    rewards: dict[str, list[Point]] = field(default_factory=dict)
    curves: dict[str, dict[str, list[Point]]] = field(default_factory=dict)
    flagged: set[int] = field(default_factory=set)  # calls

    @property
    def told(self) -> bool:
        """Whether the record has lines of calls."""
        return any(call.told for call in self.run.calls)

    def rows(self, name: str | None = None) -> list[Row]:
        """The completions of one reward, or all."""
        return [row for row in self.run.rows if name in (None, row.name)]

    def mean(self, figure: str, name: str) -> float | None:
        """The mean of a figure over the calls of a reward, each as heavy as it has completions."""
        sizes = Counter(row.call for row in self.run.rows)
        known = [
            (self.figures[k][figure], sizes[k])
            for k, call in enumerate(self.run.calls)
            if call.name == name and figure in self.figures[k] and sizes[k]
        ]
        weight = sum(size for _, size in known)
        return sum(value * size for value, size in known) / weight if weight else None


def summarise(run: Run) -> Summary:
    """A run, counted."""
    names = list(dict.fromkeys([row.name for row in run.rows] + [call.name for call in run.calls]))
    axis, places = _places(run.calls)
    by_call: list[list[Row]] = [[] for _ in run.calls]
    for row in run.rows:
        by_call[row.call].append(row)
    figures = [{**derived(rows, call), **call.figures} for rows, call in zip(by_call, run.calls, strict=True)]
    found = Summary(run, axis, names, places, figures)
    for name in names:
        found.rewards[name] = _reward_curve(found, name)
        found.curves[name] = _figure_curves(found, name)
    found.flagged = {k for k, call in enumerate(run.calls) if call.flags}
    return found


def _places(calls: Sequence[Call]) -> tuple[str, list[float | None]]:
    """Where each call stands on the axis: at its step, or where none has one, in its order."""
    if any(call.step is not None for call in calls):
        return "step", [call.step for call in calls]
    count: Counter[str] = Counter()
    in_order: list[float | None] = []
    for call in calls:
        count[call.name] += 1
        in_order.append(count[call.name])
    return "call", in_order


def derived(rows: Rows, call: Call) -> dict[str, float]:
    """The figures of a call that its completions and votes tell: as `tally` and `signals` have them, as far as that goes."""
    found: dict[str, float] = {}
    if call.answers:
        found["parse_failures"] = call.unread / call.answers
    if call.tokens_in or call.tokens_out:
        found |= {"tokens_in": float(call.tokens_in), "tokens_out": float(call.tokens_out)}
    if not rows:
        return found
    found["unscored"] = sum(row.score is None for row in rows) / len(rows)
    found["self_praise"] = sum(row.praise for row in rows) / len(rows)
    several = [group for group in groups(rows).values() if len(group) > 1]
    if several:
        found["ties"] = tally.share_of_ties(several)
        found["zero_spread_groups"] = sum(len(set(group)) == 1 for group in several) / len(several)
    correlation = signals.length_correlation(
        [row.reward for row in rows], [row.length for row in rows], _places_of(rows)
    )
    return found if correlation is None else {**found, "length_correlation": correlation}


def _places_of(rows: Rows) -> list[list[int]]:
    """The places in `rows` of each group."""
    found: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(row.group, []).append(place)
    return list(found.values())


def groups(rows: Iterable[Row]) -> dict[int, list[float]]:
    """The rewards of each group that has some."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.reward is not None:
            found.setdefault(row.group, []).append(row.reward)
    return found


def _reward_curve(found: Summary, name: str) -> list[Point]:
    at: dict[float, list[float]] = {}
    for row in found.run.rows:
        place = found.places[row.call]
        if row.name == name and row.reward is not None and place is not None:
            at.setdefault(place, []).append(row.reward)
    return [_point(place, values) for place, values in thinned(at)]


def _figure_curves(found: Summary, name: str) -> dict[str, list[Point]]:
    at: dict[str, dict[float, list[float]]] = {}
    for place, figures, call in zip(found.places, found.figures, found.run.calls, strict=True):
        if call.name != name or place is None:
            continue
        for figure, value in figures.items():
            at.setdefault(figure, {}).setdefault(place, []).append(value)
    for figure, own in at.items():
        if figure in SUMS:
            at[figure] = {place: [sum(values)] for place, values in own.items()}
    return {figure: [_point(place, values) for place, values in thinned(own)] for figure, own in at.items()}


def _point(place: float, values: Sequence[float]) -> Point:
    mean = statistics.fmean(values)
    squares = sum((value - mean) ** 2 for value in values) if max(map(abs, values)) < 1e150 else 0.0  # no overflow
    spread = math.sqrt(squares / len(values))
    return Point(place, mean, max(mean - spread, min(values)), min(mean + spread, max(values)))


def thinned(at: Mapping[float, list[float]]) -> list[tuple[float, list[float]]]:
    """Values by place, in order; of more than `POINTS` places, neighbours are one.

    >>> len(thinned({float(k): [0.0] for k in range(1000)})) <= POINTS
    True
    """
    places = sorted(at)
    size = -(-len(places) // POINTS) or 1
    parts = [places[k : k + size] for k in range(0, len(places), size)]
    return [(part[len(part) // 2], [value for place in part for value in at[place]]) for part in parts]


def thirds(found: Summary, name: str) -> list[tuple[str, list[float]]]:
    """The scores of the beginning, the middle and the end of a run; all at once where it has fewer than three steps."""
    placed = [(p, row.score) for row in found.rows(name) if (p := found.places[row.call]) is not None]
    places = sorted({place for place, _ in placed})
    if len(places) < 3:
        return [("all", [score for _, score in placed if score is not None])]
    cuts = places[len(places) // 3], places[2 * len(places) // 3]
    parts: list[list[float]] = [[], [], []]
    for place, score in placed:
        if score is not None:
            parts[(place >= cuts[0]) + (place >= cuts[1])].append(score)
    return list(zip(("beginning", "middle", "end"), parts, strict=True))


def extremes(found: Summary, name: str, count: int = 3) -> list[tuple[int, int]]:
    """The numbers of the best-paid and worst-paid completions of a reward, in pairs: different ones, the latest first."""
    known = [(row.reward, k) for k, row in enumerate(found.run.rows) if row.name == name and row.reward is not None]
    known.sort()
    best = _different(found.run.rows, [k for _, k in reversed(known)], count)
    worst = _different(found.run.rows, [k for _, k in sorted(known, key=lambda one: (one[0], -one[1]))], count)
    rows = found.run.rows
    pairs = zip(best, worst, strict=False)
    return [(one, other) for one, other in pairs if rows[one].reward != rows[other].reward]


def _different(rows: Rows, order: Iterable[int], count: int) -> list[int]:
    """The first of an order that answer different prompts, each by another response."""
    taken: list[int] = []
    for k in order:
        if len(taken) == count:
            break
        if not any(rows[k].prompt == rows[t].prompt or rows[k].response == rows[t].response for t in taken):
            taken.append(k)
    return taken


def widest(found: Summary, name: str, count: int = 2) -> list[tuple[int, int]]:
    """The best and the worst of the groups that are furthest apart, in the last third of the calls."""
    last = len(found.run.calls) * 2 // 3
    ends: dict[int, tuple[int, int]] = {}
    rows = found.run.rows
    for k, row in enumerate(rows):
        if row.name == name and row.reward is not None and row.call >= last:
            best, worst = ends.get(row.group, (k, k))
            reward = row.reward
            ends[row.group] = (
                k if reward > (rows[best].reward or 0.0) else best,
                k if reward < (rows[worst].reward or 0.0) else worst,
            )
    gaps = sorted(ends.values(), key=lambda pair: (rows[pair[1]].reward or 0.0) - (rows[pair[0]].reward or 0.0))
    kept = _different(rows, [one for one, other in gaps if rows[one].reward != rows[other].reward], count)
    return [pair for pair in gaps if pair[0] in kept][:count]
