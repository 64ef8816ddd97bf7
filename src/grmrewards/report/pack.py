"""The data of a page: each text once, in compressed chunks that a page opens when it needs them.

A chunk is JSON, deflated (zlib) and in base64, in a `<script type="text/plain">`: the browser runs none of it, and no
sign of base64 can end the element. Chunks wait in a temporary file, so that a long record costs little memory.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from typing import Any

from grmrewards.report.html import Html, tag

CHUNK = 256 * 1024  # characters, after which a chunk is closed


def packed(value: Any) -> bytes:
    """`value` as JSON, deflated, in base64. Lone surrogates come through.

    >>> unpacked(packed({"text": "</script>\\ud800"}))
    {'text': '</script>\\ud800'}
    """
    data = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(zlib.compress(data, 6))


def unpacked(data: bytes) -> Any:
    """The value that was `packed`."""
    return json.loads(zlib.decompress(base64.b64decode(data)))


def element(name: str, data: bytes) -> Html:
    """The element that carries packed data, under an id."""
    return tag("script", Html(data.decode("ascii")), type="text/plain", id=name)


class Texts:
    """Texts by number, in the order in which they first came; an equal text has the same number."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}  # by digest: the texts themselves stay on disk
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # the next line closes it
        self.close = weakref.finalize(self, self._file.close)
        self._places: list[
            tuple[int, int]
        ] = []  # of each closed chunk: where it begins in the file, and how long it is
        self.firsts: list[int] = []  # of each closed chunk: the number of its first text
        self._open: list[str] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, text: str) -> int:
        """The number of a text."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if (known := self._numbers.get(digest)) is not None:
            return known
        number = self._numbers[digest] = len(self._numbers)
        self._open.append(text)
        self._size += len(text)
        if self._size > CHUNK:
            self.flush()
        return number

    def get(self, number: int) -> str:
        """The text of a number."""
        self.flush()
        chunk = bisect.bisect_right(self.firsts, number) - 1
        found: str = unpacked(self._read(chunk))[number - self.firsts[chunk]]
        return found

    def flush(self) -> None:
        """Close the open chunk."""
        if not self._open:
            return
        data = packed(self._open)
        self._file.seek(0, 2)
        self._places.append((self._file.tell(), len(data)))
        self._file.write(data)
        self.firsts.append(len(self._numbers) - len(self._open))
        self._open, self._size = [], 0

    def elements(self) -> Iterator[Html]:
        """The chunks, under the ids "t0", "t1", ..."""
        self.flush()
        for chunk in range(len(self._places)):
            yield element(f"t{chunk}", self._read(chunk))

    def _read(self, chunk: int) -> bytes:
        start, length = self._places[chunk]
        self._file.seek(start)
        return self._file.read(length)
