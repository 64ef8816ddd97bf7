"""What a judge shall see of prompts and completions, as text. Pure functions.

Completions come as strings, messages, content blocks and tool transcripts, with reasoning in the text, in a field of its
own, or cut off in its middle; prompts as strings or messages.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from grmrewards.errors import ConfigError
from grmrewards.types import Message, Part

# C0 controls without tab and newline, DEL, and the bidirectional overrides that show a text in another order (B2-35).
_CONTROLS = dict.fromkeys(
    [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


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
    return None if isinstance(block, str) else next((v for k, v in block.items() if k not in ("type", "text")), None)


def turn_text(turn: Mapping[str, Any]) -> str:
    """The text of one message: its text blocks, the names of other blocks, its tool calls. Reasoning fields are left out."""
    content = turn.get("content")
    blocks = content if isinstance(content, (list, tuple)) else [content or ""]
    texts = [_block_text(block) if _kind(block) == "text" else _named(_kind(block)) for block in blocks]
    calls = [f"[tool call {_call(call)}]" for call in turn.get("tool_calls") or ()]
    return clean("\n".join(text for text in [*texts, *calls] if text))


def _call(call: Any) -> str:
    function = call.get("function", call) if isinstance(call, Mapping) else {}
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
        spoken = [(turn, _after_reasoning(turn_text(turn))) for turn in turns]
        if spoken and not spoken[-1][1] and turns[-1].get("role") == "assistant":
            return ""
        text = "\n\n".join(_as_said(turn, text) for turn, text in spoken if text)
    return _inside(text, tag).strip() if tag else text.strip()


def _as_said(turn: Mapping[str, Any], text: str) -> str:
    role = turn.get("role", "assistant")
    return text if role == "assistant" else f"[{role}] {text}"


def _after_reasoning(text: str) -> str:
    after = text.rpartition("</think>")[2]
    return "" if "<think>" in after else after.strip()


def _inside(text: str, tag: str) -> str:
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(end, 0))
    return text[start + len(tag) + 2 : end] if start >= 0 else ""


def clean(text: str) -> str:
    """`text` that can be encoded and shown: lone surrogates replaced, control characters other than tab and newline out."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_CONTROLS)


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
    turns = [message for message in prompt if message.role != "system"]
    if len(turns) == 1:
        return message_text(turns[0])
    return "\n".join(f"[{turn.role.upper()}]{message_text(turn)}" for turn in turns)


def system(prompt: Sequence[Message]) -> str:
    """The system message of a prompt, or ""."""
    return "\n".join(message_text(message) for message in prompt if message.role == "system")


def message_text(message: Message) -> str:
    """The text of a message, with the names of its other parts."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text if part.kind == "text" else _named(part.kind) for part in message.content)


def _named(kind: str) -> str:
    warnings.warn(f"the judge is shown text alone: a part of kind {kind!r} is named, not shown.", stacklevel=3)
    return f"[{kind}]"
