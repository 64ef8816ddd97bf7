"""The cases of an audit: a question with a good and a poor answer, and the good one in another language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grmrewards import json_lines
from grmrewards.errors import ConfigError


@dataclass(frozen=True)
class Case:
    """A question, a good and a poor answer, and perhaps the good one `translated`; `columns` are what a reward reads.

    `ordered`: whether it is known that the one called good is the better one.
    """

    prompt: Any
    good: str
    poor: str
    translated: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    ordered: bool = True


def cases_of(path: str | Path) -> list[Case]:
    """The cases of a JSONL file. Each line has prompt, chosen and rejected, or prompt and completions (two at least, in no
    order); translated if there is a translation of the chosen one; and any columns that a reward reads.

    Raises `ConfigError` for another line.
    """
    return [_case(place, row) for place, row in json_lines.of_file(path, needs=("prompt",))]


def _case(place: str, row: Mapping[str, Any]) -> Case:
    answers = [row["chosen"], row.get("rejected")] if "chosen" in row else _first_two(row.get("completions"))
    translated = row.get("translated")
    texts = [*answers, translated or ""]
    if len(answers) < 2 or not all(isinstance(text, str) for text in texts) or not all(answers):
        raise ConfigError(
            f"{place}: allowed are two answers that are texts (prompt, chosen and rejected, or prompt and completions), and "
            "a translated one."
        )
    if answers[0] == answers[1]:
        raise ConfigError(f"{place}: its two answers are equal; allowed are two that differ.")
    known = {"prompt", "chosen", "rejected", "completions", "translated"}
    columns = {name: value for name, value in row.items() if name not in known}
    return Case(row["prompt"], answers[0], answers[1], translated, columns, ordered="chosen" in row)


def _first_two(completions: Any) -> list[Any]:
    """Two of the completions; none where these are no list, such as one text, or not there."""
    return completions[:2] if isinstance(completions, list) else []


def check(cases: Iterable[Case]) -> Sequence[Case]:
    """The cases as a list. Raises `ConfigError` for none, for what is no case, and for two equal answers."""
    listed = list(cases)
    if not listed or any(not isinstance(case, Case) or case.good == case.poor for case in listed):
        raise ConfigError("no cases, or one with two equal answers; allowed are `Case`s, such as those of `cases_of`.")
    return listed


CASES: Sequence[Case] = tuple(cases_of(Path(__file__).with_name("cases.jsonl")))
