"""What a reward gives to the groups of an audit: each asked once, on a scale from 0 to 1, failures as None.

A judge of single answers is asked about each answer once, whatever groups it stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grmrewards import bulk, scoring
from grmrewards.audit.probes import Scores, Trial
from grmrewards.bulk import Asked
from grmrewards.reward import Reward


class Asking:
    """A reward, and what it has given so far."""

    def __init__(self, reward: Callable[..., Any], record: str | Path | None = None) -> None:
        self.reward, self.record = reward, record
        self.judge = bulk.judging(reward)
        self.tag: str | None = self.judge.answer_tag if self.judge else None
        self.alone = bool(getattr(reward, "pointwise", False))
        self.range = _range(reward, self.judge)
        self.given: dict[str, Scores] = {}
        self.groups: dict[str, Asked] = {}

    def measured(self, *, as_given: bool = False) -> Callable[..., Any]:
        """The reward as it is asked."""
        asked = bulk.measured(self.reward, record=self.record, as_given=as_given)
        if isinstance(asked, Reward):
            asked.scale = "unit"
        return asked

    def ask(self, groups: Iterable[Asked]) -> None:
        """Ask about what is new in these groups."""
        parts = [part for group in groups for part in self._parts(group)]
        new = {key: part for part in parts if (key := repr(part)) not in self.given}
        found = bulk.scores(self.measured(), list(new.values()), name="audit")
        self.given |= dict(zip(new, found, strict=True))
        self.groups |= new

    def _parts(self, group: Asked) -> Sequence[Asked]:
        """What is judged side by side."""
        return [replace(group, completions=[answer]) for answer in group.completions] if self.alone else [group]

    def raw(self, group: Asked) -> Scores:
        """What the answers of a group were given, as the reward gave it."""
        return [score for part in self._parts(group) for score in self.given[repr(part)]]

    def normalise(self, real: Sequence[Asked]) -> None:
        """Take the range of rewards from what the real answers were given, where it is not known to be the unit."""
        known = [score for group in real for score in self.raw(group) if score is not None]
        if self.judge is None and known and max(known) > min(known):
            self.range = (min(known), max(known))

    def scores(self, group: Asked) -> Scores:
        """What the answers of a group were given."""
        return self.unit(self.raw(group))

    def unit(self, scores: Scores) -> Scores:
        """Rewards as shares of their range."""
        low, high = self.range
        return [None if score is None else (score - low) / (high - low) for score in scores]

    def figure(self, trial: Trial) -> float | None:
        """The figure of a trial."""
        return trial.figure(*map(self.scores, trial.groups))


def _range(reward: Callable[..., Any], judge: Reward | None) -> tuple[float, float]:
    """The range of rewards, as far as it is known. The weights of auxiliaries are in units of the scale that the user chose."""
    if judge is None or judge is reward:
        return 0.0, 1.0
    low, high = (scoring.rescale(end, judge.scale, *judge.score_range) for end in judge.score_range)
    return low, high
