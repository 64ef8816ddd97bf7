"""The sections of an evaluation's page: the table with its intervals, and the items that were judged wrong."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from grmrewards.evaluation import rescore, stored
from grmrewards.evaluation.items import Benchmark, Game, Item, Judged
from grmrewards.evaluation.run import opened
from grmrewards.evaluation.tables import counted
from grmrewards.report import cards, charts
from grmrewards.report.html import Html, join, tag
from grmrewards.report.lines import Run
from grmrewards.report.parts import Price, section, table, tiles
from grmrewards.report.words import as_text, model, number, plural, short

SHOWN = 10  # wrong items with their texts
LISTED = 200  # wrong items in the table


class Wrong(NamedTuple):
    """An item that was judged wrong: a response that should have won, one that got as much or more, and by how much."""

    item: Item
    better: int
    worse: int
    gap: float
    rows: tuple[int, int] | None  # of the record, where they are known


@dataclass
class Evaluated:
    """A stored evaluation with its record. `result` is what result.json says, or the same counted now."""

    result: Mapping[str, Any]
    items: int
    games: int
    run: Run
    wrong: list[Wrong] = field(default_factory=list)

    def wrong_rows(self) -> set[int]:
        """The rows of the record that belong to wrong decisions."""
        return {row for one in self.wrong for row in one.rows or ()}


def judged(folder: Path, run: Run) -> Evaluated:
    """What an evaluation's folder holds. Raises `ConfigError` as `rescore` does."""
    about, protocol = opened(folder)
    items, games = stored.items(about), stored.games(folder)
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else rescore(folder).as_dict()
    start = aligned(run, [game for item in items for game in games.get(item.id, ())])
    wrong = sorted(_wrong(protocol, items, games, start), key=lambda one: -one.gap)
    return Evaluated(result, len(items), sum(map(len, games.values())), run, wrong)


def aligned(run: Run, games: Sequence[Game]) -> int | None:
    """Where in the record the last session's completions begin: they have the scores of the games, in their order.

    None where no place has them, as where auxiliaries changed the scores.
    """
    wanted = [score for game in games for score in game.scores]
    rewards = [row.reward for row in run.rows]
    if not wanted:
        return None
    for start in range(len(rewards) - len(wanted), -1, -1):
        if rewards[start] == wanted[0] and rewards[start : start + len(wanted)] == wanted:
            return start
    return None


def _wrong(protocol: Benchmark, items: Sequence[Item], games: stored.Games, start: int | None) -> Iterator[Wrong]:
    units = counted(protocol, [Judged(item, games.get(item.id, ())) for item in items], protocol.rules)
    for item in items:
        own = games.get(item.id, [])
        credit = _credit(units.get(item.stratum, {}).get(item.unit))
        if own and credit is not None and credit < 0.5 and (found := _lost(item, own, start)):
            yield found
        start = None if start is None else start + sum(len(game.scores) for game in own)


def _credit(outcome: Any) -> float | None:
    """The points of an outcome, in [0, 1]; None where it has none of its own."""
    if isinstance(outcome, (int, float)):
        return float(outcome)
    if isinstance(outcome, list):
        known = [found for one in outcome if (found := number(one)) is not None]
        return statistics.fmean(known) if known else None
    return number(getattr(outcome, "accuracy", None))


def _lost(item: Item, games: Sequence[Game], start: int | None) -> Wrong | None:
    """The decision that went furthest the wrong way."""
    found: list[Wrong] = []
    for game in games:
        at = {place: k for k, place in enumerate(game.places)}
        for better, worse in _pairs(item):
            if better not in at or worse not in at:
                continue
            high, low = game.scores[at[better]], game.scores[at[worse]]
            if high is not None and low is not None and low >= high:
                rows = None if start is None else (start + at[better], start + at[worse])
                found.append(Wrong(item, better, worse, low - high, rows))
        start = None if start is None else start + len(game.scores)
    return max(found, key=lambda one: one.gap, default=None)


def _pairs(item: Item) -> list[tuple[int, int]]:
    """The pairs of places of which the first is known to be better."""
    if "pairs" in item.facts:
        return [(i, j) for i, j in item.facts["pairs"]]
    if item.facts.get("right"):
        right = item.facts["right"]
        return [(i, j) for i, good in enumerate(right) for j, other in enumerate(right) if good and not other]
    return [(0, k) for k in range(1, len(item.responses))]


def about(found: Evaluated) -> str:
    """Which judge, asked how."""
    said = found.result.get("reward") or {}
    judges = [model(as_text(name)) for name in said.get("judge") or ()]
    by = as_text(said.get("function")) or f"{as_text(said.get('family'))}, judged by {', '.join(judges)}"
    return f"{as_text(found.result.get('title'))} · {by}" + (
        " · on made-up data" if found.result.get("made_up") else ""
    )


def sections(found: Evaluated, price: Price) -> list[Html | None]:
    """All sections, in the order of the page."""
    return [_tiles(found, price), _table(found), _wrong_items(found), _settings(found)]


def _tiles(found: Evaluated, price: Price) -> Html:
    result, run = found.result, found.run
    shown = [
        (name, f"{line['value']:.1f} %", f"{line['low']:.1f} to {line['high']:.1f}")
        for name, line in _lines(result)[:1]
    ]
    shown.append(("items", f"{found.items:,}", f"{result.get('missing', 0):,} not asked"))
    shown.append(("judged wrong", f"{len(found.wrong):,}", "ties among them where they count as wrong"))
    shown.append(("without a score", f"{result.get('unscored', 0):,}", "items with a lost judgement"))
    read, written = sum(call.tokens_in for call in run.calls), sum(call.tokens_out for call in run.calls)
    if read or written:
        shown.append(("tokens", short(read + written), f"{short(read)} read, {short(written)} written"))
    if (cost := price.of(read, written)) is not None:
        shown.append(("cost", f"{cost:,.2f}", f"at {price.read:g} and {price.written:g} a million tokens"))
    return tiles(shown)


def _lines(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list((result.get("lines") or {}).items())


def _table(found: Evaluated) -> Html:
    level = number(found.result.get("level")) or 0.95
    rows = [
        (
            name,
            f"{line['value']:.2f}",
            charts.interval(line["value"], line["low"], line["high"], span=(0.0, 100.0)),
            f"{line['low']:.2f} to {line['high']:.2f}",
            f"{line['n']:,}",
        )
        for name, line in _lines(found.result)
    ]
    rules = found.result.get("rules") or {}
    whose = "the official rules" if found.result.get("official") else "other rules than the official ones"
    said = f"Counted by {whose}: ties {as_text(rules.get('ties'))}, lost judgements {as_text(rules.get('errors'))}."
    return section(
        "Figures",
        table(("figure", "%", "0 to 100", f"{level:.0%} interval", "items"), rows),
        tag("p", said, class_="note"),
    )


def _wrong_items(found: Evaluated) -> Html | None:
    if not found.wrong:
        return section("Judged wrong", tag("p", "No item was judged wrong.", class_="note calm"))
    pairs = [one.rows for one in found.wrong if one.rows][:SHOWN]
    known = (
        cards.same_prompt(found.run, pairs, ("better", "preferred instead"))
        if pairs
        else tag(
            "p",
            "The record does not hold the texts of these items in their order, so they are listed by name.",
            class_="note",
        )
    )
    listed = [
        (one.item.id, one.item.stratum, short(one.gap), one.better + 1, one.worse + 1) for one in found.wrong[:LISTED]
    ]
    more = tag(
        "details",
        tag("summary", f"All {plural(len(found.wrong), 'item')} by name"),
        table(("item", "subset", "by", "better", "preferred"), listed),
        class_="numbers",
    )
    return section("Judged wrong", tag("p", "Those that were wrong by most come first."), join(known, more))


def _settings(found: Evaluated) -> Html:
    rows = [(name, as_text(value)) for name, value in (found.result.get("reward") or {}).items()]
    return tag("details", tag("summary", "Settings of the reward"), table(("setting", "value"), rows))
