"""Charts as inline SVG, drawn when the page is made. Colours are classes: the style sheet has them for light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from grmrewards.report.html import Html, join, tag
from grmrewards.report.summary import Point
from grmrewards.report.words import percent, short

WIDTH, HEIGHT = 420, 224
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 40
BINS = 12
COLOURS = 6


class Curve(NamedTuple):
    """A line of a chart; with `band`, its standard deviation is drawn, too."""

    label: str
    points: Sequence[Point]
    band: bool = False


class Scale(NamedTuple):
    """From values to places: `low` is drawn at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that cover an interval.

    >>> ticks(0, 0.93), ticks(3, 3)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [3.0])
    """
    if not high > low or not math.isfinite(high - low):
        return [float(low)]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999), power * 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def lines(
    title: str, curves: Sequence[Curve], *, axis: str, share: bool = False, unit: str = "", zero: bool = True
) -> Html | None:
    """Curves over steps; None where there is no point. `share`: in per cent. `zero`: the axis begins at 0 at the latest."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    said: Callable[[float], str] = percent if share else short
    values = [v for c in curves for p in c.points for v in ((p.low, p.high) if c.band else (p.y,))]
    marks = ticks(min([*values, 0.0] if zero else values), max(max(values), 0.04 if share else -math.inf))
    if len(marks) < 2:
        marks = [marks[0] - 1, marks[0], marks[0] + 1]
    xs = sorted({point.x for curve in curves for point in curve.points})
    x, y = Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT), Scale(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)
    drawn = [_curve(k % COLOURS, curve, x, y) for k, curve in enumerate(curves)]
    body = join(_grid(marks, y, said), _feet(xs, x, axis), drawn, _hints(xs, curves, x, axis, said))
    return _figure(title, [curve.label for curve in curves], body, unit, _told(curves, said))


def _curve(colour: int, curve: Curve, x: Scale, y: Scale) -> Html:
    places = [(x(p.x), y(p.y)) for p in curve.points]
    path = "M" + "L".join(f"{a} {b}" for a, b in places)
    upper = [f"{x(p.x)} {y(p.high)}" for p in curve.points]
    lower = [f"{x(p.x)} {y(p.low)}" for p in reversed(curve.points)]
    band = tag("path", d="M" + "L".join([*upper, *lower]) + "Z", class_=f"band f{colour}") if curve.band else None
    few = len(places) <= 30
    dots = [tag("circle", cx=a, cy=b, r=2.4 if len(places) > 1 else 4, class_=f"f{colour}") for a, b in places if few]
    return join(band, tag("path", d=path, class_=f"line s{colour}"), dots)


def _grid(marks: Sequence[float], y: Scale, said: Callable[[float], str]) -> Html:
    rules = [
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(m), y2=y(m), class_="zero" if not m else "rule") for m in marks
    ]
    return join(rules, [tag("text", said(m), x=LEFT - 7, y=y(m) + 4, class_="end") for m in marks])


def _feet(xs: Sequence[float], x: Scale, axis: str) -> Html:
    marks = [m for m in ticks(xs[0], xs[-1], 5) if xs[0] <= m <= xs[-1] and m == int(m)] or [xs[0]]
    texts = [tag("text", f"{m:,.0f}", x=x(m), y=HEIGHT - BOTTOM + 17, class_="middle") for m in marks]
    return join(texts, tag("text", axis, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 5, class_="middle soft"))


def _hints(xs: Sequence[float], curves: Sequence[Curve], x: Scale, axis: str, said: Callable[[float], str]) -> Html:
    """An unseen strip at each step that names its values when it is pointed at."""
    at = {place: [axis + f" {place:,.0f}"] for place in xs}
    for curve in curves:
        for p in curve.points:
            at[p.x].append(f"{curve.label}: {said(p.y)}" + (f" ± {said(p.high - p.y)}" if curve.band else ""))
    width = max((WIDTH - LEFT - RIGHT) / max(len(xs) - 1, 1), 3)
    shape = {"y": TOP, "width": round(width, 1), "height": HEIGHT - TOP - BOTTOM}
    strips = [tag("rect", tag("title", "\n".join(at[p])), x=round(x(p) - width / 2, 1), **shape) for p in xs]
    return tag("g", strips, class_="hints")


def _told(curves: Sequence[Curve], said: Callable[[float], str]) -> str:
    """A chart in words, for those who do not see it."""
    return "; ".join(f"{c.label} from {said(c.points[0].y)} to {said(c.points[-1].y)}" for c in curves)


def bars(title: str, parts: Sequence[tuple[str, Sequence[float]]], *, axis: str) -> Html | None:
    """Histograms of several parts beside each other, each in shares of its own; None where there is no value."""
    parts = [(label, values) for label, values in parts if values]
    if not parts:
        return None
    low = min(min(values) for _, values in parts)
    high = max(max(values) for _, values in parts)
    heights = [histogram(values, low, high) for _, values in parts]
    marks = ticks(0, max(map(max, heights)))
    x, y = Scale(low, high, LEFT, WIDTH - RIGHT), Scale(0, marks[-1], HEIGHT - BOTTOM, TOP)
    ends = ticks(low, high)
    if low == high:
        x = Scale(low - 1, high + 1, LEFT, WIDTH - RIGHT)
    texts = [tag("text", short(m), x=x(m), y=HEIGHT - BOTTOM + 17, class_="middle") for m in ends if low <= m <= high]
    label = tag("text", axis, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 5, class_="middle soft")
    body = join(_grid(marks, y, percent), texts, label, _bars(heights, [label for label, _ in parts], y))
    means = "; ".join(f"{label}: mean {short(sum(v) / len(v))}" for label, v in parts)
    return _figure(title, [label for label, _ in parts], body, "share of completions", means, blocks=True)


def histogram(values: Sequence[float], low: float, high: float) -> list[float]:
    """The share of values in each of `BINS` equal parts of [low, high]; all in the middle one where that is a point.

    >>> histogram([0.0, 1.0], 0.0, 1.0)[0], histogram([0.0, 1.0], 0.0, 1.0)[-1]
    (0.5, 0.5)
    """
    counts = [0] * BINS
    for value in values:
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5  # halves: the gap may overflow
        counts[min(int(share * BINS), BINS - 1)] += 1
    return [count / len(values) for count in counts]


def _bars(heights: Sequence[Sequence[float]], labels: Sequence[str], y: Scale) -> Html:
    wide = (WIDTH - LEFT - RIGHT) / BINS
    each = (wide - 3) / len(heights)
    return join(
        tag(
            "rect",
            tag("title", f"{label}: {percent(height)}"),
            x=round(LEFT + bin_ * wide + 1.5 + k * each, 1),
            y=y(height),
            width=round(max(each - 0.5, 0.5), 1),
            height=round(HEIGHT - BOTTOM - y(height), 1),
            class_=f"f{k % COLOURS}",
        )
        for k, (label, own) in enumerate(zip(labels, heights, strict=True))
        for bin_, height in enumerate(own)
        if height
    )


def _figure(title: str, labels: Sequence[str], body: Html, unit: str, told: str, *, blocks: bool = False) -> Html:
    keys = [
        tag("li", tag("i", class_=f"key {'f' if blocks else 's'}{k % COLOURS}"), label)
        for k, label in enumerate(labels)
    ]
    picture = tag(
        "svg", tag("title", f"{title}. {told}"), body, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="chart"
    )
    head = tag("h3", title, tag("small", unit) if unit else None)
    return tag("figure", tag("figcaption", head, tag("ul", keys, class_="legend")), picture)


def interval(value: float, low: float, high: float, *, span: tuple[float, float], bad: bool = False) -> Html:
    """A figure with its interval, as a dot on a line."""
    x = Scale(*span, 4, 196)
    colour = 3 if bad else 0
    parts = [
        tag("line", x1=4, x2=196, y1=9, y2=9, class_="rule"),
        tag("line", x1=x(0), x2=x(0), y1=2, y2=16, class_="zero") if span[0] <= 0 <= span[1] else None,
        tag("line", x1=x(max(low, span[0])), x2=x(min(high, span[1])), y1=9, y2=9, class_=f"whisker s{colour}"),
        tag("circle", cx=x(value), cy=9, r=4.5, class_=f"f{colour}"),
    ]
    name = tag("title", f"{short(value)}, {short(low)} to {short(high)}")
    return tag("svg", name, parts, viewBox="0 0 200 18", role="img", class_="span")
