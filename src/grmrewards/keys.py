"""Keys that change with anything that decides a judgement: for the principle cache and the record."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from typing import Any

from grmrewards.types import Judge, Message, Part


def content_key(**parts: Any) -> str:
    """A hash of `parts`, the same in every process and run.

    >>> content_key(question="a") == content_key(question="a"), content_key(question="a") == content_key(question="b")
    (True, False)
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str).encode()).hexdigest()


def content_seed(seed: int, content: object) -> int:
    """A seed below 2**31 that depends on `seed` and `content` alone."""
    return int.from_bytes(hashlib.sha256(f"{seed} {content!r}".encode()).digest()[:4], "big") >> 1


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
    data = part.data
    if data is None or isinstance(data, (str, bytes)):
        return part.kind, part.text, repr(data)
    if hasattr(data, "tobytes"):  # a picture, an array: its repr names its place in memory
        return part.kind, part.text, hashlib.sha256(data.tobytes()).hexdigest()
    return part.kind, part.text, secrets.token_hex(16)
