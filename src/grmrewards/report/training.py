"""The sections of a run's page: what to look at, figures, curves, reasons, the best and the worst."""

from __future__ import annotations

from collections.abc import Sequence

from grmrewards.report import cards, charts
from grmrewards.report.charts import Curve
from grmrewards.report.html import Html, join, tag
from grmrewards.report.parts import Price, section, table, tiles
from grmrewards.report.summary import Summary, extremes, thirds, widest
from grmrewards.report.words import duration, model, moment, name_of, percent, plural, short

PANELS: Sequence[tuple[str, tuple[str, ...], bool]] = (  # title, figures, in per cent
    ("Lost judgements", ("unscored", "parse_failures"), True),
    ("Groups that teach little", ("ties", "zero_spread_groups"), True),
    ("Signs of a fooled judge", ("self_praise", "at_max"), True),
    ("What pays", ("length_correlation", "praise_gain"), False),
    ("Response length, characters", ("response_length",), False),
    ("What a second judge says", ("score_of_sample", "second_score", "second_agreement"), False),
    ("Tokens", ("tokens_in", "tokens_out", "tokens"), False),
    ("Requests", ("calls",), False),
    ("Seconds", ("seconds",), False),
    ("Principles that are kept", ("cached_principles", "stale_principles"), True),
)
IN_PANELS = {figure for _, figures, _ in PANELS for figure in figures} | {"completions", "groups", "score", "flags"}
MOST = 24  # unknown figures that are drawn


def sections(found: Summary, price: Price) -> list[Html | None]:
    """All sections, in the order of the page."""
    if not found.run.rows and not found.run.votes and not found.run.calls:
        return [tag("p", "This record is empty: there is nothing to show yet.", class_="note empty")]
    return [_flags(found), _tiles(found, price), _curves(found), _reasons(found), *_texts(found), _numbers(found)]


def about(found: Summary) -> str:
    """Where and when, in a line."""
    run = found.run
    judges = [model(name) for name, _ in run.judges.most_common(3) if name]
    parts = [", ".join(found.names[:6]), f"judged by {', '.join(judges)}" if judges else ""]
    if run.times:
        parts += [moment(run.times[0]), duration(run.times[-1] - run.times[0])]
    return " · ".join(part for part in parts if part)


def _flags(found: Summary) -> Html | None:
    grouped: dict[tuple[str, str], list[tuple[float | None, str]]] = {}
    for call, place in zip(found.run.calls, found.places, strict=True):
        for flag in call.flags:
            grouped.setdefault((call.name, flag.signal), []).append((place, flag.message))
    if not grouped:
        said = (
            "The monitor raised no flag."
            if found.told
            else (
                "The record has no lines of calls, so the monitor has nothing to say; figures are from completions and votes."
            )
        )
        return tag("p", said, class_="note calm" if found.told else "note")
    order = sorted(grouped.items(), key=lambda one: -len(one[1]))
    items = [_flag(found, name, signal, seen) for (name, signal), seen in order]
    return section("What to look at", tag("ul", items, class_="flags"))


def _flag(found: Summary, name: str, signal: str, seen: Sequence[tuple[float | None, str]]) -> Html:
    known = [place for place, _ in seen if place is not None]
    where = f"{found.axis} {known[0]:,.0f}" if known else "at an unknown step"
    if len(seen) > 1 and known:
        where = f"{plural(len(seen), 'time')}, {found.axis} {min(known):,.0f} to {max(known):,.0f}"
    said = seen[-1][1]
    of = f"{name} · " if len(found.names) > 1 else ""
    return tag(
        "li", tag("b", signal.replace("_", " ")), tag("small", of + where), tag("p", said[:1].upper() + said[1:])
    )


def _tiles(found: Summary, price: Price) -> Html:
    run, calls = found.run, found.run.calls
    steps = len({place for place in found.places if place is not None})
    groups = len({row.group for row in run.rows})
    shown = [("completions", f"{len(run.rows):,}", f"{plural(groups, 'group')}, {plural(steps, found.axis)}")]
    for name in found.names[:4]:
        if curve := found.rewards[name]:
            label = "mean reward" if len(found.names) == 1 else f"mean reward, {name}"
            shown.append((label, short(curve[-1].y), f"at the end; {short(curve[0].y)} at the beginning"))
    for figure, note in (
        ("unscored", "of the completions"),
        ("ties", "of the pairs in groups"),
        ("self_praise", "of the responses"),
    ):
        if len(found.names) == 1 and (mean := found.mean(figure, found.names[0])) is not None:
            shown.append((name_of(figure), percent(mean), note))
    read, written = sum(call.tokens_in for call in calls), sum(call.tokens_out for call in calls)
    if read or written:
        shown.append(("tokens", short(read + written), f"{short(read)} read, {short(written)} written"))
        if (cost := price.of(read, written)) is not None:
            shown.append(("cost", f"{cost:,.2f}", f"at {price.read:g} and {price.written:g} a million tokens"))
    shown.append(("answers", f"{sum(call.answers for call in calls):,}", "of judges, in the record"))
    return tiles(shown)


def _curves(found: Summary) -> Html:
    axis = found.axis
    rewards = [Curve(name, found.rewards[name], band=len(found.names) <= 3) for name in found.names]
    many = len(found.names) > 1
    drawn = [
        charts.lines(
            "Reward", rewards[k : k + charts.COLOURS], axis=axis, unit="mean ± one standard deviation", zero=False
        )
        for k in range(0, len(rewards), charts.COLOURS)
    ]
    scores = [_scores(found, name, many) for name in found.names]
    if not many:
        return section(
            "Over the run", tag("div", drawn, scores, [_panels(found, name) for name in found.names], class_="charts")
        )
    heads = [tag("div", drawn, scores, class_="charts")]
    for name in found.names:
        heads += [tag("h3", name, class_="of"), tag("div", _panels(found, name), class_="charts")]
    return section("Over the run", heads)


def _scores(found: Summary, name: str, many: bool) -> Html | None:
    return charts.bars(f"Scores, {name}" if many else "Scores", thirds(found, name), axis="score")


def _panels(found: Summary, name: str) -> list[Html | None]:
    curves, axis = found.curves[name], found.axis
    drawn = [
        charts.lines(title, [Curve(name_of(f), curves[f]) for f in figures if f in curves], axis=axis, share=share)
        for title, figures, share in _without_doubles(curves)
    ]
    more = [figure for figure in curves if figure not in IN_PANELS][:MOST]
    return [*drawn, *(charts.lines(name_of(f).capitalize(), [Curve(name_of(f), curves[f])], axis=axis) for f in more)]


def _without_doubles(curves: object) -> list[tuple[str, tuple[str, ...], bool]]:
    """The panels; the sum of tokens only where what was read and written is not known apart."""
    apart = isinstance(curves, dict) and "tokens_in" in curves
    return [(t, tuple(f for f in figures if not (apart and f == "tokens")), share) for t, figures, share in PANELS]


def _reasons(found: Summary) -> Html | None:
    if not found.run.reasons:
        return None
    rows = [(reason, f"{count:,}") for reason, count in found.run.reasons.most_common(20)]
    note = tag(
        "p", "Answers that could not be used, most frequent first. Many were asked for again, so not each cost a score."
    )
    return section("Why judgements failed", note, table(("reason", "answers"), rows))


def _texts(found: Summary) -> list[Html | None]:
    made: list[Html | None] = []
    for name in found.names[:4]:
        of = f", {name}" if len(found.names) > 1 else ""
        if pairs := extremes(found, name):
            made.append(
                section(f"Highest and lowest rewards{of}", cards.beside(found.run, pairs, ("highest", "lowest")))
            )
        if same := widest(found, name):
            made.append(
                section(f"Furthest apart in one group{of}", cards.same_prompt(found.run, same, ("higher", "lower")))
            )
    return made


def _numbers(found: Summary) -> Html:
    """The curves as tables, for those who want numbers."""
    parts = []
    for name in found.names:
        curves = found.curves[name]
        rewards = {p.x: p for p in found.rewards[name]}
        at = {figure: {p.x: p.y for p in points} for figure, points in curves.items()}
        places = sorted({*rewards, *(x for own in at.values() for x in own)})
        rows = [
            (f"{x:,.0f}", short(rewards[x].y) if x in rewards else "–", *(short(own.get(x)) for own in at.values()))
            for x in places
        ]
        parts += [tag("h3", name), table((found.axis, "reward", *map(name_of, at)), rows)]
    unknown = [f"{plural(count, 'line')} of type {kind!r}" for kind, count in found.run.unknown.most_common(5)]
    note = tag("p", f"Not shown: {', '.join(unknown)}.", class_="note") if unknown else None
    return join(tag("details", tag("summary", "All figures as a table"), parts, class_="numbers"), note)
