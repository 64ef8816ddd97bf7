"""A folder of JSON files, one a key, shared by processes and runs: the first that is written is what all get.

A file is written beside its place and linked into it: it is whole or absent, and a link fails where something stands, so
the first writer wins. Where a file system has no hard links (Google Drive, FUSE), a folder that holds the file is renamed
into the place instead, which fails just so.

Nothing that stands is ever changed or removed, so no two processes can see it differently. What cannot be read (a broken
disk, a foreign file) is passed over, and a newer entry takes the next place: `key.json`, `key.1.json`, ... The last that
can be read counts.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

INSIDE = "entry.json"  # the file's name where its place is a folder
BESIDE = ".writing-"  # how a file begins that is not in its place yet
STALE = 3600.0  # seconds after which such a file is what a killed writer left

Entry = dict[str, Any]


class Entries:
    """The entries of one folder, of one version of their form. Every method may raise `OSError`, and no other error."""

    def __init__(self, folder: Path, *, version: int) -> None:
        self.folder, self.version = folder, version
        self._swept = False

    def read(self, key: str) -> tuple[Entry | None, int]:
        """What counts for `key`, or None, and how many places are taken: where the next entry goes."""
        found: Entry | None = None
        for n in itertools.count():
            try:
                found = self._entry(key, n) or found
            except FileNotFoundError:
                return found, n
        raise AssertionError("places are without end")

    def put(self, key: str, entry: Mapping[str, Any], *, at: int) -> Entry:
        """Put `entry` at the place `at`, or the next one that can be had, and return what counts then.

        Where another process was first, that is its entry.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        for n in itertools.count(at):
            try:
                self._put(self._place(key, n), {**entry, "v": self.version, "key": key})
            except FileExistsError:
                if self._entry(key, n) is None:
                    continue
            break
        return self.read(key)[0] or dict(entry)

    def all(self) -> Iterator[Entry]:
        """What counts for each key, in the order of the keys."""
        for key in sorted({place.name.partition(".")[0] for place in self.folder.glob("[!.]*.json")}):
            entry, _ = self.read(key)
            if entry is not None:
                yield entry

    def _place(self, key: str, n: int) -> Path:
        return self.folder / (f"{key}.{n}.json" if n else f"{key}.json")

    def _entry(self, key: str, n: int) -> Entry | None:
        """The entry at a place; None where something stands that is none. Raises `FileNotFoundError` where nothing does."""
        try:
            entry = json.loads(_read(self._place(key, n)))
        except (ValueError, RecursionError):
            return None
        ours = isinstance(entry, dict) and (entry.get("v"), entry.get("key")) == (self.version, key)
        return entry if ours else None

    def _put(self, place: Path, entry: Entry) -> None:
        """A whole file at `place`. Raises `FileExistsError` where something stands."""
        beside = self.folder / f"{BESIDE}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            _write(beside, json.dumps(entry))
            try:
                os.link(beside, place)
            except FileExistsError:
                raise
            except OSError:  # no hard links here; or a full disk, which says so again
                _rename_within_folder(beside, place)
        finally:
            beside.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Once, remove what killed writers left beside."""
        if self._swept:
            return
        self._swept = True
        for left in self.folder.glob(f"{BESIDE}*"):
            try:
                if time.time() - left.lstat().st_mtime > STALE:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            except FileNotFoundError:
                continue  # another process sweeps, too


def _read(place: Path) -> bytes:
    """What stands at a place, itself or in its folder. It is opened, not looked at first: what is absent in one moment
    may be a folder in the next, when another process has put it there.
    """
    try:
        return place.read_bytes()
    except (IsADirectoryError, PermissionError):  # the latter is what Windows says of a folder
        if not place.is_dir():
            raise
    try:
        return (place / INSIDE).read_bytes()
    except FileNotFoundError:  # a folder, but none of ours
        return b""


def _write(path: Path, text: str) -> None:
    """A new file, on the disk when this returns: a link to what a power cut empties would be an entry for ever."""
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _rename_within_folder(file: Path, place: Path) -> None:
    """Put `file` at `place` inside a folder: unlike a file, a folder never replaces one that is not empty."""
    folder = file.with_name(f"{file.name}-folder")
    folder.mkdir()
    try:
        os.rename(file, folder / INSIDE)
        os.rename(folder, place)
    except OSError as error:
        if os.path.lexists(place):
            raise FileExistsError(place) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
