"""The folder of an evaluation: what is run, and the scores so far. A kill at any moment leaves it fit to go on from.

run.json       which benchmark, data and reward, and the items without their texts: enough to count again
record.jsonl   each judgement, as it comes (`grmrewards.record`)
scores.jsonl   the games of each item
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards.errors import ConfigError
from grmrewards.evaluation.items import Game, Item

VERSION = 1
Games = dict[str, list[Game]]  # by the id of an item


def begin(folder: Path, about: Mapping[str, Any], items: Sequence[Item]) -> None:
    """Write down what is run. Raises `ConfigError` where the folder holds another run."""
    wanted = json.loads(json.dumps({"version": VERSION, **about}))
    known = read(folder)
    if known is None:
        listed = [_without_texts(item) for item in items]
        replace(folder / "run.json", json.dumps({**wanted, "items": listed}))
    elif other := [name for name in wanted if known.get(name) != wanted[name]]:
        raise ConfigError(
            f"output={str(folder)!r} holds another run (its {', '.join(other)} differ): pass another folder, or the "
            "arguments that it was begun with."
        )


def read(folder: Path) -> dict[str, Any] | None:
    """What `begin` wrote; None where there is nothing. Raises `ConfigError` for another version."""
    path = folder / "run.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found.get("version") != VERSION:
        raise ConfigError(f"{path} is of version {found.get('version')}, not {VERSION}; pass another folder.")
    return found


def items(about: Mapping[str, Any]) -> list[Item]:
    """The items of a run, with as many responses as they had, and no texts."""
    return [Item(prompt="", **{**item, "responses": ("",) * item["responses"]}) for item in about["items"]]


def _without_texts(item: Item) -> dict[str, Any]:
    kept = {"id": item.id, "stratum": item.stratum, "cluster": item.cluster, "facts": dict(item.facts)}
    return {**kept, "responses": len(item.responses)}


def games(folder: Path) -> Games:
    """The games that were scored. A last line that a kill cut is none; for any other raises `ConfigError`."""
    return {
        entry["item"]: [Game(tuple(places), tuple(scores)) for places, scores in entry["games"]]
        for entry in _entries(folder / "scores.jsonl")
    }


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError:
            if number < len(lines):
                raise ConfigError(f"{path}, line {number}: no JSON; the file was changed.") from None


def append(folder: Path, name: str, played: Sequence[Game]) -> None:
    """Write down the games of one item."""
    with (folder / "scores.jsonl").open("a", encoding="utf-8") as file:
        file.write(_line(name, played))


def rewrite(folder: Path, known: Games) -> None:
    """Begin the file of games with those that are known, so that no torn line stays in it."""
    replace(folder / "scores.jsonl", "".join(_line(name, played) for name, played in known.items()))


def _line(name: str, played: Sequence[Game]) -> str:
    return json.dumps({"item": name, "games": played}) + "\n"


def replace(path: Path, text: str) -> None:
    """Write a file in one piece: a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
