"""The principle cache: what a judge wrote for a prompt is written once, and all that ask get the same text.

In memory for the life of the reward; with a folder, also one JSON file a key, shared by processes and runs. A file is
written beside its place and linked into it, so it is whole or absent, and the first writer wins: everyone returns the
winner's text. Only principles that could be read are ever stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from grmrewards import arguments

VERSION = 1


def cache_key(**parts: Any) -> str:
    """A key that changes with anything that decides the principles: judge, template, sampling, question.

    >>> cache_key(question="a") == cache_key(question="a"), cache_key(question="a") == cache_key(question="b")
    (True, False)
    """
    canonical = json.dumps({"v": VERSION, **parts}, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


class PrincipleCache:
    """Principles by key. Its pickle carries the folder alone."""

    def __init__(self, folder: str | Path | None = None) -> None:
        arguments.path("cache_dir", folder)
        self.folder = None if folder is None else Path(folder)
        self._memory: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._writing: dict[str, asyncio.Lock] = {}
        self._warned = False

    async def get(self, key: str, write: Callable[[], Awaitable[str]]) -> str:
        """The text of `key`, from `write` if nobody has it. Groups that ask at once wait for one call; errors pass through."""
        if key in self._memory:
            return self._memory[key]
        try:
            async with self._writing.setdefault(key, asyncio.Lock()):
                if key not in self._memory:
                    stored = self._load(key)
                    self._memory[key] = stored if stored is not None else self._store(key, await write())
                    self._new[key] = self._memory[key]
        finally:
            self._writing.pop(key, None)  # a lock belongs to one event loop and must not outlive the call
        return self._memory[key]

    def take_new(self) -> dict[str, str]:
        """What came into memory since this was last asked: what other processes do not have yet."""
        new, self._new = self._new, {}
        return new

    def put(self, known: Mapping[str, str]) -> None:
        """Keep what another process wrote, in memory."""
        self._memory.update(known)

    def __len__(self) -> int:
        return len(self._memory)

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{key}.json"

    def _load(self, key: str) -> str | None:
        """The stored text; None where there is no file, or one that is not ours."""
        path = self._path(key)
        if path is None:
            return None
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(entry, dict) or (entry.get("v"), entry.get("key")) != (VERSION, key):
            return None
        text = entry.get("principles")
        return text if isinstance(text, str) and text.strip() else None

    def _store(self, key: str, text: str) -> str:
        """Write `text` unless another process was first, and return what is stored. A failing disk is one warning."""
        path = self._path(key)
        if path is None:
            return text
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._put_if_absent(path, key, text)
        except OSError as error:
            self._warn_once(f"principles are kept in memory only: {path.parent} cannot be written ({error}).")
            return text
        return self._load(key) or text

    def _put_if_absent(self, path: Path, key: str, text: str) -> None:
        """Put a whole file at `path` unless a readable one stands there."""
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps({"v": VERSION, "key": key, "principles": text}))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(beside, path)
            except OSError:  # a file stands there, or the file system has no hard links
                if self._load(key) is None:
                    os.replace(beside, path)
        finally:
            Path(beside).unlink(missing_ok=True)

    def _warn_once(self, message: str) -> None:
        """One warning for each cache: each failure names another file, so Python would show them all."""
        if not self._warned:
            self._warned = True
            warnings.warn(message, stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]  # unpickling is a fresh start
