"""The record: one JSON line for each judgement and each completion, on disk before the next one is asked for.

A line is appended in one write to a file opened with O_APPEND, so that processes can share it and a killed run leaves at
most one torn line, which the reader skips and the next run ends before it appends its own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

VERSION = 1


def append(path: str | Path, entry: Mapping[str, Any]) -> None:
    """Append `entry` as one line. Lone surrogates and non-finite numbers are written in a form that JSON allows."""
    line = json.dumps(_finite({"v": VERSION, **entry}), ensure_ascii=True, default=str) + "\n"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", buffering=0) as file:
        file.write((b"\n" if _is_torn(file) else b"") + line.encode())


def read(path: str | Path) -> Iterator[dict[str, Any]]:
    """The entries of a record, in order. A line that is no whole JSON object was cut by a kill and is skipped.

    >>> [entry["reward"] for entry in read("run.jsonl") if entry["type"] == "completion"]  # doctest: +SKIP
    """
    with open(path, "rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _is_torn(file: FileIO) -> bool:
    """Whether the last line has no end: a kill cut it."""
    if not file.tell():
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _finite(value: Any) -> Any:
    """`value` with non-finite numbers as text: JSON has none, and readers other than Python's refuse the line."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
