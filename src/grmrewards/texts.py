"""What a judge shall see of prompts and completions, as text. Pure functions.

Completions come as strings, messages, content blocks and tool transcripts, with reasoning in the text, in a field of its
own, or cut off in its middle; prompts as strings or messages. The images of a prompt are shown beside
the text (`pictures`), which names them by number; one in a completion or in the answer of a tool is named alone.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from grmrewards import pictures
from grmrewards.errors import ConfigError
from grmrewards.neutral import break_labels
from grmrewards.pictures import images as images
from grmrewards.types import Message, Part

# C0 controls without tab and the ends of lines, DEL, and the two overrides that show a text in another order (B2-35). The
# other marks of direction are how Arabic and Hebrew are written.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202d\u202e]+")
_ROLES = ("tool", "user", "system", "assistant")
_DATA = ("image", "image_url", "bytes", "path", "url")  # keys that datasets and chat formats have it under


def messages(prompt: Any) -> tuple[Message, ...]:
    """A prompt as messages: a string is one turn of the user."""
    if isinstance(prompt, str):
        return (Message("user", clean(prompt)),)
    return tuple(Message(str(turn.get("role", "user")), _content(turn)) for turn in _turns(prompt, "prompt"))


def _turns(value: Any, what: str) -> list[Mapping[str, Any]]:
    """The messages of a prompt or completion, or `ConfigError` for a form that no trainer passes."""
    turns = [value] if isinstance(value, Mapping) else value
    if isinstance(turns, (list, tuple)) and all(
        isinstance(t, Mapping) and _is_content(t.get("content")) for t in turns
    ):
        return list(turns)
    raise ConfigError(
        f"a {what} must be a string or a list of messages with a text or blocks, not {type(value).__name__}: "
        f"{str(value)[:60]!r}"
    )


def _is_content(content: Any) -> bool:
    if isinstance(content, (list, tuple)):
        return all(isinstance(block, (str, Mapping)) for block in content)
    return content is None or isinstance(content, str)


def _content(turn: Mapping[str, Any]) -> str | tuple[Part, ...]:
    content = turn.get("content")
    if isinstance(content, (list, tuple)) and any(_kind(block) != "text" for block in content):
        return tuple(Part(_kind(block), clean(_block_text(block)), _block_data(block)) for block in content)
    return turn_text(turn)


def _kind(block: Any) -> str:
    return "text" if isinstance(block, str) else str(block.get("type", "text"))


def _block_text(block: Any) -> str:
    return block if isinstance(block, str) else str(block.get("text") or "")


def _block_data(block: Any) -> Any:
    """What a block holds besides text: datasets give all their blocks the same keys, most of them without a value."""
    if isinstance(block, str):
        return None
    keys = [*(key for key in _DATA if key in block), *(key for key in block if key not in ("type", "text"))]
    return next((pictures.comparable(block[key]) for key in keys if block[key] is not None), None)


def turn_text(turn: Mapping[str, Any]) -> str:
    """The text of one message: its text blocks, the names of other blocks, its tool calls. Reasoning fields are left out."""
    return clean("\n".join(text for text in [_said(turn), *_calls(turn)] if text))


def _said(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    blocks = content if isinstance(content, (list, tuple)) else [content or ""]
    texts = (_block_text(block) if _kind(block) == "text" else _named(_kind(block)) for block in blocks)
    return "\n".join(text for text in texts if text)


def _calls(turn: Mapping[str, Any]) -> list[str]:
    calls = turn.get("tool_calls")
    return [f"[tool call {_call(call)}]" for call in calls] if isinstance(calls, (list, tuple)) else []


def _call(call: Any) -> str:
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    function = function if isinstance(function, Mapping) else {}
    return f"{function.get('name', '')}({function.get('arguments', '')})"


def answer(completion: Any, tag: str | None = None) -> str:
    """What of a completion shall be judged, as text; "" where the policy gave no answer.

    Reasoning before the last `</think>` is not judged, and reasoning without end is no answer. A transcript of several
    messages is given whole, in order. With `tag`, only what stands in the last complete `<tag>...</tag>`.
    """
    if completion is None or isinstance(completion, str):
        text = _after_reasoning(clean(completion or ""))
    else:
        turns = _turns(completion, "completion")
        spoken = [(turn, *_spoken(turn)) for turn in turns]
        if spoken and not any(spoken[-1][1:]) and turns[-1].get("role") == "assistant":
            return ""
        text = _transcript(spoken)
    return _inside(text, tag).strip() if tag else text.strip()


def _spoken(turn: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What a turn says, and the tools that it calls; neither where it broke off within its reasoning."""
    said = clean(_said(turn))
    if "<think>" in said.rpartition("</think>")[2]:
        return "", []
    return _after_reasoning(said), [clean(call) for call in _calls(turn)]


def _transcript(spoken: Sequence[tuple[Mapping[str, Any], str, list[str]]]) -> str:
    """Turns with labels, which none of them can type: where there are labels, what looks like one is broken (B2-29)."""
    roles = [str(turn.get("role", "assistant")) for turn, _, _ in spoken]
    labels = _labels(roles) if {*roles} - {"assistant"} or any(calls for *_, calls in spoken) else ()
    shown = []
    for role, (_, said, calls) in zip(roles, spoken, strict=True):
        shut = [call[0] + break_labels(call[1:], labels) for call in calls]  # the policy writes their arguments too
        text = "\n".join(filter(None, (break_labels(said, labels), *shut)))
        if text:
            shown.append(text if role == "assistant" else f"[{role}] {text}")
    return "\n\n".join(shown)


def _labels(roles: Iterable[str]) -> tuple[str, ...]:
    return ("[tool call", *(f"[{role}]" for role in dict.fromkeys([*_ROLES, *roles])))


def _after_reasoning(text: str) -> str:
    after = text.rpartition("</think>")[2]
    return "" if "<think>" in after else after.strip()


def _inside(text: str, tag: str) -> str:
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(end, 0))
    return text[start + len(tag) + 2 : end] if start >= 0 else ""


def clean(text: str) -> str:
    """`text` that can be encoded and shown: lone surrogates replaced, control characters out.

    Tabs and the ends of lines stay, and so does all that ordinary text is written with.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROLS.sub("", text) if _CONTROLS.search(text) else text


def shorten(text: str, limit: int | None) -> str:
    """`text` with its middle cut out where it is longer than `limit` characters, and a note of how much.

    >>> shorten("abcdefgh", 4)
    'ab\\n... [truncated 4 chars] ...\\ngh'
    """
    if limit is None or len(text) <= limit:
        return text
    head, tail = limit - limit // 2, limit // 2
    return f"{text[:head]}\n... [truncated {len(text) - limit} chars] ...\n{text[len(text) - tail :]}"


def question(prompt: Sequence[Message]) -> str:
    """The prompt as a judge reads it: a single turn bare, several with role labels; the system message stands apart.

    >>> question([Message("system", "Be brief."), Message("user", "1+1?")])
    '1+1?'
    """
    turns = [(role, text) for role, text in _written(prompt) if role != "system"]
    if len(turns) == 1:
        return turns[0][1]
    labels = tuple(f"[{role}]" for role in dict.fromkeys([*_ROLES, *(role for role, _ in turns)]))
    return "\n".join(f"[{role.upper()}]{break_labels(text, labels)}" for role, text in turns)


def system(prompt: Sequence[Message]) -> str:
    """The system message of a prompt, or ""."""
    return "\n".join(text for role, text in _written(prompt) if role == "system")


def _written(prompt: Sequence[Message]) -> list[tuple[str, str]]:
    """The role and the text of each message. Images have the numbers in which `images` gives them."""
    numbers = itertools.count(1)
    return [(message.role, _message_text(message, numbers)) for message in prompt]


def _message_text(message: Message, numbers: Iterator[int]) -> str:
    """The text of a message, with the names of its other parts."""
    if isinstance(message.content, str):
        return message.content
    shown = message.role != "tool"
    return "\n".join(
        part.text
        if part.kind == "text"
        else f"[image {next(numbers)}]"
        if shown and part.kind in pictures.KINDS
        else _named(part.kind)
        for part in message.content
    )


def _named(kind: str) -> str:
    warnings.warn(f"the judge is not shown a part of kind {kind!r}: it is named.", stacklevel=3)
    return f"[{kind}]"
