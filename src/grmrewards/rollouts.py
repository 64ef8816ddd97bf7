"""What a trainer passes in, as rollouts (prompt, response, columns) and groups. Pure functions.

Completions come as strings, messages, content blocks and tool transcripts, with reasoning in the text, in a field of
its own, or cut off in its middle; prompts as strings or messages. What a judge shall see of each is decided here.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from grmrewards.errors import ConfigError
from grmrewards.types import Group, Message, Part

# C0 controls without tab and newline, DEL, and the bidirectional overrides that show a text in another order (B2-35).
_CONTROLS = dict.fromkeys(
    [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


class Rollout(NamedTuple):
    """One row of a batch. `response` is "" where the policy gave no answer: none at all, no tag, reasoning without end."""

    prompt: tuple[Message, ...]
    response: str
    columns: Mapping[str, Any]


def rollouts(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    *,
    prompt_column: str | None = None,
    answer_tag: str | None = None,
    max_response_chars: int | None = None,
) -> list[Rollout]:
    """The rows of one reward call. Raises `ConfigError` for rows that do not line up."""
    if len(prompts) != len(completions):
        raise ConfigError(
            f"{len(prompts)} prompts and {len(completions)} completions; a reward needs one prompt a completion."
        )
    whole = {name: values for name, values in columns.items() if _is_column(values, len(prompts))}
    asked = column(columns, prompt_column, len(prompts)) if prompt_column else prompts
    return [
        Rollout(
            messages(prompt),
            shorten(answer(completion, answer_tag), max_response_chars),
            {name: values[i] for name, values in whole.items()},
        )
        for i, (prompt, completion) in enumerate(zip(asked, completions, strict=True))
    ]


def column(columns: Mapping[str, Any], name: str, rows: int) -> Sequence[Any]:
    """The dataset column `name`. Raises `ConfigError` if it is not there or has another length."""
    if name not in columns:
        raise ConfigError(
            f"the dataset has no column {name!r} that reaches the reward; there are {sorted(columns) or 'none'}. TRL drops "
            f"columns named prompt, completion and completion_ids, and with remove_unused_columns=True all others."
        )
    if not _is_column(columns[name], rows):
        size = len(columns[name]) if hasattr(columns[name], "__len__") else "no length"
        raise ConfigError(f"column {name!r} must hold one value for each of {rows} completions; it has {size}.")
    values: Sequence[Any] = columns[name]
    return values


def _is_column(values: Any, rows: int) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == rows


def groups(
    rows: Sequence[Rollout], *, group_size: int | None = None, group_key: str | None = None, positional: bool = False
) -> list[list[int]]:
    """The indices of each group, in order.

    By the values of the column `group_key`, wherever their rows stand; else by position in steps of `group_size`, if
    `positional` (environments: prompts differ inside one group); else by runs of equal prompts. All are cut at
    `group_size` where it is known, so that a prompt that follows itself makes two groups.
    """
    size = group_size or len(rows) or 1
    if group_key:
        by_key: dict[Hashable, list[int]] = {}
        for i, row in enumerate(rows):
            by_key.setdefault(_key(row, group_key), []).append(i)
        runs = list(by_key.values())
    elif positional and group_size:
        runs = [list(range(len(rows)))]
    else:
        runs = _runs([row.prompt for row in rows])
    return [run[at : at + size] for run in runs for at in range(0, len(run), size)]


def _key(row: Rollout, name: str) -> Hashable:
    if name not in row.columns:
        raise ConfigError(f"group_key={name!r} is no column of this batch; there are {sorted(row.columns) or 'none'}.")
    value = row.columns[name]
    return value if isinstance(value, (str, int, float)) else repr(value)


def _runs(prompts: Sequence[tuple[Message, ...]]) -> list[list[int]]:
    runs: list[list[int]] = []
    for i, prompt in enumerate(prompts):
        if i and prompt == prompts[i - 1]:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def group_of(rows: Sequence[Rollout], indices: Sequence[int]) -> Group:
    """The rows at `indices` as one group: the first row's prompt, all responses, their columns."""
    picked = [rows[i] for i in indices]
    names = picked[0].columns
    return Group(
        prompt=picked[0].prompt,
        responses=tuple(row.response for row in picked),
        columns={name: tuple(row.columns[name] for row in picked) for name in names},
    )


def messages(prompt: Any) -> tuple[Message, ...]:
    """A prompt as messages: a string is one turn of the user."""
    if isinstance(prompt, str):
        return (Message("user", clean(prompt)),)
    turns = [prompt] if isinstance(prompt, Mapping) else prompt
    if not isinstance(turns, (list, tuple)) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ConfigError(
            f"a prompt must be a string or a list of messages, not {type(prompt).__name__}: {str(prompt)[:60]!r}"
        )
    return tuple(Message(str(turn.get("role", "user")), _content(turn)) for turn in turns)


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
        turns = [completion] if isinstance(completion, Mapping) else list(completion)
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


def distinct(items: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """The index of each item's first occurrence, once each, and for every item its place in that list.

    >>> distinct(["a", "b", "a"])
    ([0, 1], [0, 1, 0])
    """
    firsts: dict[Hashable, int] = {}
    for i, item in enumerate(items):
        firsts.setdefault(item, i)
    places = {item: place for place, item in enumerate(firsts)}
    return list(firsts.values()), [places[item] for item in items]
