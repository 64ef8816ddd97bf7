"""The runs of `judge_training.py`: which judges, which rules, which settings; each is one call of the example script.

A run that is there is not made again. What a table holds was fixed before the first of its runs was made.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import demo_figures

SEEDS = (0, 1, 2)
WEAKNESSES = ("length", "scale", "critique", "lenient", "early")
RULES = ("mean", "median", "interval", "preference", "bounded")
USUAL = ("--steps", "120", "--pairs", "16")
LONG = ("--steps", "300", "--pairs", "8", "--measure", "50")
SHORT = ("--steps", "60")
MISTAKEN = ("--mistaken", "0.35")
SETTINGS = {  # with as many judgements a step
    "as in the first table": ("--pairs", "16"),
    "2 judgements an answer": ("--generations", "2", "--pairs", "32"),
    "8 judgements an answer": ("--generations", "8", "--pairs", "8"),
    "a third of the step size": ("--rate", "1e-4"),
    "three times the step size": ("--rate", "9e-4"),
}
WEAK = {
    "all alike": MISTAKEN,
    "slight ones dropped": (*MISTAKEN, "--min-strength", "2"),
    "slight ones at weight 0.3": (*MISTAKEN, "--min-strength", "2", "--weak-weight", "0.3"),
}
EXAMPLE = Path(__file__).parents[1] / "examples" / "judge_training"


class Run(NamedTuple):
    """One training: its table and row there, the weakness of its judge, its seed, the options of the script."""

    table: str
    row: str
    weakness: str
    seed: int
    options: tuple[str, ...]

    def folder(self, root: Path) -> Path:
        """Where the trained judge and its figures are."""
        return root / self.table / f"{self.row} {self.seed}".replace(" ", "-")

    def is_there(self, root: Path) -> bool:
        """Whether it has been made."""
        return (self.folder(root) / "training.json").exists()

    def figures(self, root: Path) -> dict[str, Any]:
        """What the script has measured."""
        found: dict[str, Any] = json.loads((self.folder(root) / "training.json").read_text(encoding="utf-8"))
        return found


def runs() -> Iterator[Run]:
    """All of them, those of the first seed first."""
    for seed in SEEDS:
        yield from (Run("weaknesses", weakness, weakness, seed, USUAL) for weakness in WEAKNESSES)
        yield from (Run("rules", rule, "length", seed, ("--rule", rule, *LONG)) for rule in RULES)
        yield from (Run("settings", row, "length", seed, (*SHORT, *options)) for row, options in SETTINGS.items())
        yield from (Run("weak", row, "length", seed, (*SHORT, *options)) for row, options in WEAK.items())


def judge_of(root: Path, weakness: str, seed: int) -> Path:
    """Where a weak judge is, once it is made."""
    return root / "judges" / f"{weakness}{seed}"


def weaken(root: Path, weakness: str, seed: int) -> None:
    """Make a weak judge, unless that has been done."""
    judge = judge_of(root, weakness, seed)
    if not (judge / "generation_config.json").exists():  # what is written last
        _script("weaken.py", "--weakness", weakness, "--seed", str(seed), "--out", str(judge))


def train(root: Path, run: Run) -> None:
    """Train the weak judge of a run, unless that has been done."""
    if not run.is_there(root):
        judge = judge_of(root, run.weakness, run.seed)
        out = ("--judge", str(judge), "--seed", str(run.seed), "--out", str(run.folder(root)))
        _script("train_irpm.py", *out, *run.options)


class Demo(NamedTuple):
    """A policy that is trained by the demo on the judge that is biased to length, before or after that was trained."""

    row: str  # "weak" or "trained"
    seed: int

    def file(self, root: Path) -> Path:
        """Where its figures are."""
        return root / "policy" / f"{self.row}-{self.seed}.json"

    def run(self, root: Path) -> None:
        """Train the policy, unless that has been done."""
        trained = root / "weaknesses" / f"length-{self.seed}"
        judge = judge_of(root, "length", self.seed) if self.row == "weak" else trained
        if not self.file(root).exists():
            found = demo_figures.run("irpm", self.seed, "--judge", str(judge))
            self.file(root).parent.mkdir(parents=True, exist_ok=True)
            self.file(root).write_text(json.dumps(found) + "\n", encoding="utf-8")


def demos() -> list[Demo]:
    """On both judges of each seed."""
    return [Demo(row, seed) for seed in SEEDS for row in ("weak", "trained")]


def _script(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(EXAMPLE / name), *arguments], check=True, stdout=sys.stderr)
