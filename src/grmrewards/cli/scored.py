"""Prompts and responses to their scores, in parts, and a scored prompt as text or as JSON."""

from __future__ import annotations

import itertools
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grmrewards import bulk, json_lines, scoring, texts
from grmrewards.bulk import Asked
from grmrewards.doctor.heard import Heard, Judged
from grmrewards.errors import ConfigError
from grmrewards.reward import Reward

_TAGS = re.compile(r"</?critique>|<score>.*", re.DOTALL)
INDENT = 14  # columns, before a text


@dataclass(frozen=True)
class Scored:
    """One prompt and what became of its responses, in their order; scores lie in `low` to `high`."""

    asked: Asked
    judged: Sequence[Judged]
    family: str
    low: float
    high: float


def groups(lines: Iterable[str], **columns: str | None) -> Iterator[Asked]:
    """The prompts of JSON lines. A line's own "reference" and "criteria" win over `columns`.

    Raises `ConfigError`, naming the line, for one without a prompt or without responses.

    >>> [asked] = groups(['{"prompt": "1+1?", "completion": "2", "reference": "2"}'], reference="two", criteria=None)
    >>> asked.completions, dict(asked.columns)
    (['2'], {'reference': '2'})
    """
    for place, row in json_lines.objects(lines, needs=("prompt",)):
        yield _group(place, row, columns)


def _group(place: str, row: Mapping[str, Any], columns: dict[str, str | None]) -> Asked:
    completions = row.get("completions", [row["completion"]] if "completion" in row else None)
    if not isinstance(completions, list) or not completions:
        said = str(completions)[:60]
        raise ConfigError(f"{place}: completions={said}; allowed is a list of responses, or one completion.")
    shown = {name: row.get(name, value) for name, value in columns.items()}
    return Asked(row["prompt"], completions, {name: value for name, value in shown.items() if value is not None})


def scored(make: Callable[..., Reward], asked: Iterable[Asked]) -> Iterator[Scored]:
    """Each of `asked`, judged; in parts, so that there may be as many as one likes.

    `make` is given the arguments of a reward that name the columns of a part.
    """
    rewards: dict[tuple[str, ...], Reward] = {}
    left = iter(asked)
    while part := list(itertools.islice(left, bulk.AT_ONCE)):
        shown = tuple(sorted({name for one in part for name in one.columns}))
        if shown not in rewards:
            rewards[shown] = bulk.measured(make(**{f"{name}_column": name for name in shown}), raw=True)  # type: ignore[assignment]
        yield from _part(rewards[shown], part)


def _part(reward: Reward, part: Sequence[Asked]) -> Iterator[Scored]:
    reward.journal = heard = Heard()
    low, high = reward.score_range
    for asked, _ in zip(part, bulk.scores(reward, part, name=reward.family), strict=True):
        judged, heard.judged = heard.judged[: len(asked.completions)], heard.judged[len(asked.completions) :]
        yield Scored(asked, judged, reward.family, low, high)


def ranks(scores: Sequence[float | None]) -> list[int | None]:
    """1 for the highest; equal scores share a rank, and none has none.

    >>> ranks([7.0, None, 9.0, 7.0])
    [2, None, 1, 2]
    """
    return [None if s is None else 1 + sum(o is not None and o > s for o in scores) for s in scores]


def as_json(one: Scored) -> str:
    """One line: scores on the judge's own scale, rewards in [0, 1], critiques, and why a score is missing."""
    scores = [judged.score for judged in one.judged]
    unit = [None if s is None else scoring.rescale(s, "unit", one.low, one.high) for s in scores]
    return json.dumps(
        {
            "prompt": one.asked.prompt,
            "scores": scores,
            "rewards": unit,
            "critiques": [judged.critique for judged in one.judged],
            "unscored": [judged.unscored for judged in one.judged],
        }
    )


def as_text(one: Scored, *, width: int, critique: bool = False) -> str:
    """The prompt, and under it its responses, the best first, each with what the judge wrote: its first words or all.

    What was written about all responses at once stands once, at the end.
    """
    prompt = _short(texts.question(texts.messages(one.asked.prompt)), width - 20)
    places = ranks([judged.score for judged in one.judged])
    written = [judged.critique for judged in one.judged]
    shared = written[0] if len(written) > 1 and len(set(written)) == 1 else None
    lines = [f"{prompt}  ({one.family}, {one.low:g} to {one.high:g})"]
    for i in sorted(range(len(places)), key=lambda i: places[i] or len(places) + 1):
        lines.append(_response(places[i], one.judged[i], texts.answer(one.asked.completions[i]), width))
        lines += [] if shared else _critique(written[i], width, critique)
    return "\n".join([*lines, *_critique(shared, width, critique)])


def _response(place: int | None, judged: Judged, response: str, width: int) -> str:
    score = "no score" if judged.score is None else f"{judged.score:.3g}"
    rank = "-" if place is None else str(place)
    line = f"{f'{rank:>2}  {score}':<{INDENT}}{_short(response, width - INDENT)}"
    return f"{line}\n{' ' * INDENT}{judged.unscored}" if judged.unscored else line


def _critique(text: str | None, width: int, whole: bool) -> list[str]:
    if text is None:
        return []
    text = texts.clean(text)  # it may quote what a response holds for the terminal
    return [textwrap.indent(text if whole else _short(_TAGS.sub("", text), width - INDENT), " " * INDENT)]


def _short(text: str, width: int) -> str:
    return textwrap.shorten(text, max(width, 20), placeholder=" ...")
