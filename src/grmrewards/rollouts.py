"""What a trainer passes in, as rows (prompt, response, columns) and groups of rows. Pure functions."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from grmrewards.errors import ConfigError
from grmrewards.pictures import with_images
from grmrewards.texts import answer, messages, shorten
from grmrewards.types import Group, Message


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
    image_column: str | None = None,
    answer_tag: str | None = None,
    max_response_chars: int | None = None,
) -> list[Rollout]:
    """The rows of one reward call. Raises `ConfigError` for rows that do not line up.

    What `image_column` has becomes part of the prompts: the same words about another image are another question.
    """
    if len(prompts) != len(completions):
        raise ConfigError(
            f"{len(prompts)} prompts and {len(completions)} completions; a reward needs one prompt a completion."
        )
    whole = {name: values for name, values in columns.items() if is_column(values, len(prompts))}
    asked = column(columns, prompt_column, len(prompts)) if prompt_column else prompts
    questions = [messages(prompt) for prompt in asked]
    if image_column:
        pairs = zip(questions, whole.pop(image_column), strict=True)
        questions = [with_images(question, image) for question, image in pairs]
    return [
        Rollout(
            question,
            shorten(answer(completion, answer_tag), max_response_chars),
            {name: values[i] for name, values in whole.items()},
        )
        for i, (question, completion) in enumerate(zip(questions, completions, strict=True))
    ]


def column(columns: Mapping[str, Any], name: str, rows: int) -> Sequence[Any]:
    """The dataset column `name`. Raises `ConfigError` if it is not there or has another length."""
    if name not in columns:
        raise ConfigError(
            f"the dataset has no column {name!r} that reaches the reward; there are {sorted(columns) or 'none'}. TRL drops "
            f"columns named prompt, completion and completion_ids, and with remove_unused_columns=True all others."
        )
    if not is_column(columns[name], rows):
        size = len(columns[name]) if hasattr(columns[name], "__len__") else "no length"
        raise ConfigError(f"column {name!r} must hold one value for each of {rows} completions; it has {size}.")
    values: Sequence[Any] = columns[name]
    return values


def is_column(values: Any, rows: int) -> bool:
    """Whether these are the values of a dataset column, one a row."""
    return isinstance(values, (list, tuple)) and len(values) == rows


def groups(
    rows: Sequence[Rollout], *, group_size: int | None = None, group_key: str | None = None, positional: bool = False
) -> list[list[int]]:
    """The indices of each group, in order.

    By the values of the column `group_key`, wherever their rows stand; else by position in steps of `group_size`, if
    `positional` (environments: prompts differ inside one group); else by runs of equal prompts, or, where no two
    neighbours are equal and blocks of prompts repeat (OnlineDPO passes `2 * prompts`), by their place in the block. All
    are cut at `group_size` where it is known, so that a prompt that follows itself makes two groups.
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
        prompts = [row.prompt for row in rows]
        runs = _runs(prompts)
        if positional and 1 < len(runs) == len(rows):
            warnings.warn(
                f"{len(rows)} environments, no two neighbours with one prompt: each is taken for a group of its own. Pass "
                "group_size=num_generations, or group_key= with a dataset column that tells the groups.",
                stacklevel=2,
            )
        runs = (len(runs) == len(rows) and _repeats(prompts)) or runs
    return [run[at : at + size] for run in runs for at in range(0, len(run), size)]


def _key(row: Rollout, name: str) -> Hashable:
    if name not in row.columns:
        raise ConfigError(f"group_key={name!r} is no column of this batch; there are {sorted(row.columns) or 'none'}.")
    value = row.columns[name]
    return value if isinstance(value, (str, int, float)) else repr(value)


def _runs(prompts: Sequence[Any]) -> list[list[int]]:
    runs: list[list[int]] = []
    for i, prompt in enumerate(prompts):
        if i and prompt == prompts[i - 1]:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def by_prompt(rows: Sequence[Rollout], groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """The groups, cut where prompts differ within one: for judging each response beside its own prompt."""
    found: list[list[int]] = []
    for group in groups:
        parts: list[list[int]] = []
        for i in group:
            same = next((part for part in parts if rows[part[0]].prompt == rows[i].prompt), None)
            if same is None:
                parts.append([i])
            else:
                same.append(i)
        found += parts
    return found


def _repeats(prompts: Sequence[Any]) -> list[list[int]]:
    """The rows at the same place of a block that is repeated, for blocks that make up the batch; [] if they do not.

    Several ranks each bring blocks of their own.

    >>> _repeats([7, 8, 7, 8, 3, 4, 3, 4])
    [[0, 2], [1, 3], [4, 6], [5, 7]]
    """
    found: list[list[int]] = []
    start = 0
    while start < len(prompts):
        rest = prompts[start:]
        size = next((n for n in range(1, len(rest) // 2 + 1) if rest[:n] == rest[n : 2 * n]), 0)
        if not size:
            return []
        times = 2
        while rest[:size] == rest[times * size : (times + 1) * size]:
            times += 1
        found += [[start + size * k + place for k in range(times)] for place in range(size)]
        start += size * times
    return found


class _Columns(dict[str, tuple[Any, ...]]):
    """A group's columns, by name. Only those that the reward names are there: they travel between processes."""

    def __missing__(self, name: str) -> tuple[Any, ...]:
        raise ConfigError(
            f"this group has no column {name!r}; there are {sorted(self) or 'none'}. A family has the columns that its "
            f"`columns()` names."
        )


def group_of(rows: Sequence[Rollout], indices: Sequence[int]) -> Group:
    """The rows at `indices` as one group: the first row's prompt, all responses, their columns."""
    picked = [rows[i] for i in indices]
    names = picked[0].columns
    return Group(
        prompt=picked[0].prompt,
        responses=tuple(row.response for row in picked),
        columns=_Columns({name: tuple(row.columns[name] for row in picked) for name in names}),
    )


def question_of(prompt: tuple[Message, ...], columns: Mapping[str, tuple[Any, ...]]) -> Group:
    """A prompt to which there are no responses yet."""
    return Group(prompt=prompt, responses=(), columns=_Columns(columns))


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
