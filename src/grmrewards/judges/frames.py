"""How a process and a judge's own process speak: frames of a kind, a length and a body, over pipes."""

from __future__ import annotations

import struct
from typing import IO

REQUEST, MORE, STOP = b"r", b"m", b"s"  # more rows of the request that runs; its end
PART, ANSWER, FAILURE = b"p", b"a", b"f"  # parts of an answer come before it
READY = b"\0grmrewards judge\0"  # before the first frame: what stands before it was printed while Python started
_HEAD = struct.Struct("!cQ")


def send(pipe: IO[bytes], kind: bytes, body: bytes = b"") -> None:
    """Write one frame."""
    rest = memoryview(_HEAD.pack(kind, len(body)) + body)
    while rest:
        rest = rest[pipe.write(rest) :]
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Read one frame; None where the pipe ends, be it in the middle of one."""
    head = _exactly(pipe, _HEAD.size)
    if head is None:
        return None
    kind, length = _HEAD.unpack(head)
    body = _exactly(pipe, length)
    return None if body is None else (kind, body)


def await_ready(pipe: IO[bytes]) -> None:
    """Read past `READY`, or to the end."""
    seen = b""
    while not seen.endswith(READY) and (byte := pipe.read(1)):
        seen += byte


def _exactly(pipe: IO[bytes], size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        part = pipe.read(size - len(found))
        if not part:
            return None
        found += part
    return bytes(found)
