"""What `grmrewards demo` leaves of a training: a curve, and a table of judged answers, both made from the record."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grmrewards import record
from grmrewards.judges.embedded import domain


def draw(folder: Path, journal: Path, family: str) -> Path:
    """The reward that the judge gave and the score by the rule, over training, as a PNG."""
    from matplotlib.figure import Figure

    steps, rewards, rules = _curves(journal)
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).add_subplot()
    axes.plot(steps, rewards, label="reward by the judge")
    axes.plot(steps, rules, label="score by the rule")
    axes.set(xlabel="training step", ylabel="mean over the batch", ylim=(0, 1), title=f"GRPO with {family}")
    axes.legend(loc="lower right")
    figure.savefig(path := folder / "reward_curve.png", dpi=120)
    return path


def _curves(journal: Path) -> tuple[list[int], list[float], list[float]]:
    """Mean reward and mean rule score of each training step, from the record."""
    by_step: dict[int, list[tuple[float, float]]] = {}
    for entry in _completions(journal):
        question = domain.parse_question(entry["prompt"])
        if question and entry["reward"] is not None:
            by_step.setdefault(entry["step"], []).append(
                (entry["reward"], domain.rule_score(question, entry["response"]))
            )
    means = {step: [statistics.fmean(column) for column in zip(*rows, strict=True)] for step, rows in by_step.items()}
    return list(means), [reward for reward, _ in means.values()], [rule for _, rule in means.values()]


def tabulate(folder: Path, journal: Path, count: int = 12) -> Path:
    """The first and the last judged responses, with principles and critiques, as Markdown."""
    entries = list(_completions(journal))
    chosen = [*entries[: count // 2], *entries[-count // 2 :]]
    lines = ["| step | question | response | principles | critique | reward |", "|---|---|---|---|---|---|"]
    for entry in chosen:
        cells = [entry["step"], entry["prompt"], entry["response"], entry.get("principles"), entry.get("critique")]
        reward = "unscored" if entry["reward"] is None else f"{entry['reward']:.2f}"
        lines.append("| " + " | ".join(map(_cell, [*cells, reward])) + " |")
    path = folder / "examples.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _completions(journal: Path) -> Iterator[dict[str, Any]]:
    return (entry for entry in record.read(journal) if entry["type"] == "completion")


def _cell(value: Any) -> str:
    """A value as one cell of a Markdown table, whatever a policy or a judge wrote."""
    escaped = ("" if value is None else str(value)).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return escaped.replace("\n", "<br>")
