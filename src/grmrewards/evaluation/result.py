"""What an evaluation found: the table, who was judged how, what it took, and the published figures beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grmrewards.evaluation import leaderboards, stored
from grmrewards.evaluation.tables import Table


@dataclass(frozen=True)
class Evaluation:
    """The `table` of a reward in a benchmark; `reward` says its settings, `usage` the calls and tokens of this run alone.

    `made_up`: on look-alike data, beside which published figures would mean nothing.
    """

    table: Table
    benchmark: str
    reward: Mapping[str, Any]
    usage: Mapping[str, float]
    made_up: bool = False

    @property
    def headline(self) -> float:
        """The one figure that a benchmark is quoted by, in per cent: its overall one; PPE's mean over the sets, or else its
        human preference.
        """
        names = ("Overall", "correctness", "human preference")
        return next(self.table[name].value for name in names if name in self.table.lines)

    def as_dict(self) -> dict[str, Any]:
        """In a form that JSON has."""
        kept = {
            "benchmark": self.benchmark,
            "reward": dict(self.reward),
            "usage": dict(self.usage),
            "made_up": self.made_up,
        }
        return {**kept, **self.table.as_dict(), "title": self.table.benchmark, "benchmark": self.benchmark}

    def markdown(self, *, published: bool = True) -> str:
        """The table, and with `published` the figures of papers, this judge among them; none beside made-up data."""
        figures = {name: line.value for name, line in self.table.lines.items()}
        beside = leaderboards.beside(self.benchmark, figures) if published and not self.made_up else ""
        return "\n\n".join(part for part in (self.heading(), self.table.markdown(), beside) if part) + "\n"

    def heading(self) -> str:
        """One line: which judge, asked how."""
        judge = self.reward.get("judge", [])
        by = self.reward.get("function") or f"{self.reward.get('family')} with {' and '.join(judge)}"
        return f"## {self.table.benchmark}: {by}"

    def save(self, folder: Path) -> None:
        """Write result.json and result.md."""
        stored.replace(folder / "result.json", json.dumps(self.as_dict(), indent=1) + "\n")
        stored.replace(folder / "result.md", self.markdown())
