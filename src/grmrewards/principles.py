"""The principle cache: what a judge wrote for a prompt is written once, and all that ask get the same text.

In memory for the life of the reward; with a folder also on disk, one JSON file a key (`entries`), shared by processes and
runs. Only principles that could be read are ever stored: a refusal, an empty or a cut-off text is not.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from grmrewards import arguments
from grmrewards.entries import Entries, Entry
from grmrewards.errors import ConfigError

VERSION = 2
_KEY = re.compile(r"\w{1,80}", re.ASCII)  # a key becomes a file's name: "../x" must not leave the folder


class PrincipleCache:
    """Principles by key. Its pickle carries the folder alone."""

    def __init__(self, folder: str | Path | None = None) -> None:
        arguments.path("cache_dir", folder)
        self.folder = None if folder is None else Path(folder)
        self._entries = None if self.folder is None else Entries(self.folder, version=VERSION)
        self._memory: dict[str, Entry] = {}
        self._new: dict[str, str] = {}
        self._writing: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Lock] = {}
        self._since = -math.inf
        self._warned = False

    @property
    def refreshing(self) -> bool:
        """Whether `refresh` was called: stored principles do not count, and recorded ones should not."""
        return self._since > -math.inf

    async def get(self, key: str, write: Callable[[], Awaitable[str]], **about: Any) -> str:
        """The text of `key`, from `write` if nobody has it. Groups that ask at once wait for one call; errors pass through.

        `about` is kept beside a new text, for people who read the file.
        """
        if key in self._memory:
            return _text(self._memory[key])
        at = (asyncio.get_running_loop(), key)
        try:
            async with self._writing.setdefault(at, asyncio.Lock()):
                if key not in self._memory:
                    self._memory[key] = await self._stored_or_written(key, write, about)
                    self._new[key] = _text(self._memory[key])
        finally:
            self._writing.pop(at, None)  # a lock must not outlive the call
        return _text(self._memory[key])

    def refresh(self) -> None:
        """Forget what is known: each text is written anew when it is next asked for, and counts instead of the old one.

        For the processes of one training, call it on all of them between two steps. A process that has the old text in
        memory keeps it.
        """
        self._memory.clear()
        self._since = time.time()

    def export(self, path: str | Path) -> int:
        """Write all entries to a file, one JSON line each, and return how many."""
        known = {entry["key"]: entry for entry in self._entries.all() if _usable(entry)} if self._entries else {}
        entries = {**known, **self._memory}
        lines = [json.dumps({"key": key, **entry}) + "\n" for key, entry in sorted(entries.items())]
        Path(path).write_text("".join(lines), encoding="utf-8")
        return len(lines)

    def import_(self, path: str | Path) -> int:
        """Take over the entries of an exported file whose keys have none yet, and return how many those were.

        Raises `ConfigError` for a line that is no entry; the file is read whole before anything is taken over.
        """
        taken = 0
        for entry in list(_imported(path)):
            stored, at = self._read(entry["key"])
            if stored is None and entry["key"] not in self._memory:
                self._memory[entry["key"]] = self._put(entry["key"], entry, at)
                taken += 1
        return taken

    def take_new(self) -> dict[str, str]:
        """What came into memory since this was last asked: what other processes do not have yet."""
        new, self._new = self._new, {}
        return new

    def put(self, known: Mapping[str, str]) -> None:
        """Keep what another process wrote, in memory."""
        for key, text in known.items():
            self._memory.setdefault(key, {"principles": text, "written": time.time()})

    def __len__(self) -> int:
        return len(self._memory)

    async def _stored_or_written(
        self, key: str, write: Callable[[], Awaitable[str]], about: Mapping[str, Any]
    ) -> Entry:
        stored, at = self._read(key)
        if stored is not None and stored["written"] >= self._since:
            return stored
        text = await write()
        return self._put(key, {"principles": text, "written": time.time(), **about}, at)

    def _read(self, key: str) -> tuple[Entry | None, int]:
        """What is stored for `key`, and where the next goes. A disk that fails has nothing, and is one warning."""
        if self._entries is None:
            return None, 0
        try:
            entry, at = self._entries.read(key)
        except OSError as error:
            self._warn_once(f"principles are kept in memory only: {self.folder} cannot be read ({error}).")
            return None, -1
        return (entry if entry and _usable(entry) else None), at

    def _put(self, key: str, entry: Entry, at: int) -> Entry:
        """Store `entry` unless another process was first, and return what is stored. A failing disk is one warning."""
        if self._entries is None or at < 0:
            return entry
        try:
            stored = self._entries.put(key, entry, at=at)
        except OSError as error:
            self._warn_once(f"principles are kept in memory only: {self.folder} cannot be written ({error}).")
            return entry
        return stored if _usable(stored) else entry

    def _warn_once(self, message: str) -> None:
        """One warning for each cache: each failure names another file, so Python would show them all."""
        if not self._warned:
            self._warned = True
            warnings.warn(message, stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]  # unpickling is a fresh start


def _text(entry: Entry) -> str:
    text: str = entry["principles"]
    return text


def _usable(entry: Entry) -> bool:
    text, written = entry.get("principles"), entry.get("written")
    return isinstance(text, str) and bool(text.strip()) and isinstance(written, (int, float))


def _imported(path: str | Path) -> Iterator[Entry]:
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        key = entry.get("key") if isinstance(entry, dict) else None
        if not isinstance(key, str) or not _KEY.fullmatch(key) or not _usable(entry):
            raise ConfigError(
                f"{path}, line {number}: {line[:80]!r} is no entry; allowed is what PrincipleCache.export writes, one "
                'JSON object a line with "key", "principles" and "written".'
            )
        yield entry
