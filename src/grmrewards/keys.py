"""Keys that change with anything that decides a judgement: for the principle cache and the record."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grmrewards.types import Judge, Message, Part


def content_key(**parts: Any) -> str:
    """A hash of `parts`, the same in every process and run.

    >>> content_key(question="a") == content_key(question="a"), content_key(question="a") == content_key(question="b")
    (True, False)
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str).encode()).hexdigest()


def content_seed(seed: int, content: object) -> int:
    """A seed below 2**31 that depends on `seed` and `content` alone, and the images in its messages."""
    written = " ".join([f"{seed} {content!r}", *_pictures(content)])
    return int.from_bytes(hashlib.sha256(written.encode()).digest()[:4], "big") >> 1


def message_parts(messages: Sequence[Message]) -> list[tuple[str, Any]]:
    """Messages in a form that `content_key` takes. Data that cannot be told from other data equals nothing but itself."""
    return [
        (message.role, message.content if isinstance(message.content, str) else [_part(p) for p in message.content])
        for message in messages
    ]


async def identity(judge: Judge) -> str:
    """What tells `judge` from another one of its name, such as itself after a training. Raises `JudgeError`.

    Judges say it by an `identity()` of their own; of one that has none, the class and the model's name are all we know.
    """
    own = getattr(judge, "identity", None)
    if own is not None:
        return str(await own())
    return f"{type(judge).__module__}.{type(judge).__qualname__}:{getattr(judge, 'model', '')}"


def _part(part: Part) -> tuple[str, str, str]:
    return part.kind, part.text, "" if part.data is None else picture(part.data)


def _pictures(content: object) -> Iterator[str]:
    """What the `repr` of messages leaves out."""
    if isinstance(content, Message):
        content = content.content
    if isinstance(content, Part) and content.data is not None:
        yield picture(content.data)
    elif isinstance(content, (list, tuple)):
        for one in content:
            yield from _pictures(one)


def picture(data: Any) -> str:
    """A hash of an image's content, and its size: the same for equal ones, wherever they stand in memory or on a disk.

    What cannot be read gets a text that it shares with nothing.

    >>> picture(b"abc")
    'ba7816bf8f01cfea414140de5dae2223 3 bytes'
    """
    if isinstance(data, dict):
        data = next((data[key] for key in ("bytes", "path", "url") if data.get(key) is not None), None)
    if isinstance(data, os.PathLike) or (isinstance(data, str) and os.path.isfile(data)):
        data = Path(data).read_bytes()
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if isinstance(data, (bytes, bytearray)):
        return f"{hashlib.sha256(data).hexdigest()[:32]} {len(data)} bytes"
    if not hasattr(data, "tobytes"):
        return secrets.token_hex(16)
    form = [getattr(data, name, None) for name in ("mode", "size", "shape", "dtype")]
    colours = data.getpalette() if form[0] == "P" else None
    digest = hashlib.sha256(f"{form} {colours} ".encode() + data.tobytes())
    return f"{digest.hexdigest()[:32]} {'x'.join(map(str, form[2] or form[1] or ()))}"
