"""One call of a reward while it is judged: its rows, their groups, their scores, and what was said about each."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from grmrewards.rollouts import Rollout
from grmrewards.types import Call

Notes = dict[str, dict[int, list[str]]]


@dataclass
class Batch:
    """The rows of one call, their groups, and what came of them: scores (None: unscored) and notes by row."""

    rows: list[Rollout]
    groups: list[list[int]]
    scores: list[float | None]
    step: int | None = None
    notes: Notes = field(default_factory=dict)
    call: Call = field(default_factory=Call)


@dataclass(frozen=True)
class Judging:
    """The group that is being judged: the batch's rows of its responses, and where notes about them go."""

    batch: Batch
    rows: Sequence[int]


JUDGING: ContextVar[Judging | None] = ContextVar("grmrewards_judging", default=None)
