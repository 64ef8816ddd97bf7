"""One call of a reward while it is judged: its rows, their groups, their scores, and what was said about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from grmrewards.rollouts import Rollout
from grmrewards.types import Call

Notes = dict[str, dict[int, list[str]]]


@dataclass(frozen=True)
class Outcome:
    """What judging some groups of a batch gave. Plain data by row, since it travels between processes."""

    scores: Mapping[int, float | None]
    notes: Notes
    call: Call
    learned: Mapping[str, str]


@dataclass
class Batch:
    """The rows of one call, their groups, and what came of them: scores (None: unscored) and notes by row."""

    rows: list[Rollout]
    groups: list[list[int]]
    scores: list[float | None]
    step: int | None = None
    notes: Notes = field(default_factory=dict)
    call: Call = field(default_factory=Call)
    shared: dict[str, Any] = field(default_factory=dict)  # what the groups of one process have in common

    def part(self, groups: list[list[int]]) -> Batch:
        """The same rows with some of the groups alone, and nothing judged yet: what one process works on."""
        return replace(self, groups=groups, scores=list(self.scores), notes={}, call=Call(), shared={})

    def outcome(self, learned: Mapping[str, str]) -> Outcome:
        """What came of this batch's own groups."""
        return Outcome({i: self.scores[i] for group in self.groups for i in group}, self.notes, self.call, learned)

    def add(self, outcome: Outcome) -> None:
        """Take over what judging a part gave, and what it cost."""
        for i, score in outcome.scores.items():
            self.scores[i] = score
        for kind, texts in outcome.notes.items():
            self.notes.setdefault(kind, {}).update(texts)
        self.call.add(outcome.call)


@dataclass(frozen=True)
class Judging:
    """The group that is being judged: the batch's rows of its responses, and where notes about them go."""

    batch: Batch
    rows: Sequence[int]


JUDGING: ContextVar[Judging | None] = ContextVar("grmrewards_judging", default=None)
