"""The record: one JSON line for each judgement and each completion, on disk before the next one is asked for.

Lines are appended in one write to a file opened with O_APPEND, so that processes of one machine can share it and a killed
run leaves at most one torn line, which the reader skips. A `Replay` gives back what a record holds, so that a run that
was killed pays for no finished judgement twice.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

VERSION = 3  # that of choices is one log-probability a token
_BEGIN = b'{"v": '  # of every line, and of no text inside one: JSON writes a quote in a text as \"

Entry = dict[str, Any]


def append(path: str | Path, *entries: Mapping[str, Any]) -> None:
    """Append a line for each entry, all in one write. Raises `OSError` where they cannot all be written.

    Lone surrogates and non-finite numbers are written in a form that JSON allows.
    """
    lines = [json.dumps(_finite({"v": VERSION, **entry}), ensure_ascii=True, default=str) + "\n" for entry in entries]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", buffering=0) as file:
        data = (b"\n" if _is_torn(file) else b"") + "".join(lines).encode()
        if file.write(data) < len(data):
            raise OSError(f"the disk took only a part of {len(data)} bytes")


def read(path: str | Path) -> Iterator[Entry]:
    """The entries of a record, in order. What is no whole JSON object was cut by a kill and is skipped.

    >>> [entry["reward"] for entry in read("run.jsonl") if entry["type"] == "completion"]  # doctest: +SKIP
    """
    with open(path, "rb") as file:
        for line in file:
            if (entry := _entry(line)) is not None:
                yield entry


class Replay:
    """The finished judgements of a record by their key: where in the file their lines are.

    The texts stay on disk, so that a long record costs little memory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._lines: dict[str, list[tuple[int, int]]] = {}  # of a key: where its lines begin, and how long they are
        self._seen = 0

    def catch_up(self) -> None:
        """Take note of the lines that this and other processes have appended since. No file is an empty record."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._seen)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # another process is writing it, or died in it
                    self._note(line)
                    self._seen += len(line)
        except FileNotFoundError:
            return

    def answers(self, key: str) -> list[Entry]:
        """The votes with this key that the judge answered, in the order in which it did."""
        places = self._lines.get(key, ())
        if not places:
            return []
        with open(self.path, "rb") as file:
            return [entry for start, length in places if (entry := _entry(_piece(file, start, length))) is not None]

    def _note(self, line: bytes) -> None:
        entry = _entry(line)
        if entry is not None and _is_answer(entry):
            self._lines.setdefault(entry["key"], []).append((self._seen, len(line)))


def _is_answer(entry: Entry) -> bool:
    """Whether it is a vote of this version that a judge answered, with all that a vote has."""
    kinds: dict[str, Any] = {"key": str, "round": int, "text": str, "error": (str, type(None)), "answered": bool}
    whole = all(isinstance(entry.get(name, ...), kind) for name, kind in kinds.items())
    return whole and entry.get("v") == VERSION and entry["answered"]


def _piece(file: Any, start: int, length: int) -> bytes:
    file.seek(start)
    piece: bytes = file.read(length)
    return piece


def _entry(line: bytes) -> Entry | None:
    """The entry of a line. What a kill left of another one may stand before it, if the two processes met."""
    for part in (line, line[max(line.rfind(_BEGIN), 0) :]):
        try:
            entry = json.loads(part)
        except (ValueError, RecursionError):
            continue
        return entry if isinstance(entry, dict) else None
    return None


def _is_torn(file: Any) -> bool:
    """Whether the last line has no end: a kill cut it."""
    if not file.tell():
        return False
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) != b"\n")


def _finite(value: Any) -> Any:
    """`value` with non-finite numbers as text: JSON has none, and readers other than Python's refuse the line."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
