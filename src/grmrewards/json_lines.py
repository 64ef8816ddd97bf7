"""JSON lines that a user wrote: one object a line, each with its place, so that what is wrong can be found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from grmrewards.errors import ConfigError

Placed = tuple[str, dict[str, Any]]  # where an object stands, for messages, and the object


def of_file(path: str | Path, *, needs: Sequence[str] = ()) -> Iterator[Placed]:
    """The objects of a file. Ends of lines other than the usual one may stand within a text, and end none."""
    yield from objects(Path(path).read_text(encoding="utf-8").split("\n"), needs=needs, where=f"{path}, ")


def objects(lines: Iterable[str], *, needs: Sequence[str] = (), where: str = "") -> Iterator[Placed]:
    """The objects of `lines`; blank ones are left out. Raises `ConfigError` for one that is no object with all of `needs`.

    >>> list(objects(['{"prompt": "1+1?"}', ""], needs=["prompt"]))
    [('line 1', {'prompt': '1+1?'})]
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(_message(f"{where}line {number}", needs, line)) from error
        if not isinstance(row, dict) or any(name not in row for name in needs):
            raise ConfigError(_message(f"{where}line {number}", needs, line))
        yield f"{where}line {number}", row


def _message(place: str, needs: Sequence[str], line: str) -> str:
    wanted = f" with {' and '.join(map(repr, needs))}" if needs else ""
    return f"{place}: no JSON object{wanted}: {line.strip()[:60]}"
