"""The tables and the plot of `judge_training.py`, from what its runs have left."""

from __future__ import annotations

import itertools
import json
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from judge_training_runs import RULES, SEEDS, Run, demos

TABLES = ("weaknesses", "rules", "settings", "weak", "policy")
WINDOW = 20  # steps that the first and the last variance are the mean of
POOR, GOAL, MOST_SECONDS = 0.75, 0.08, 900  # at most this accuracy before; at least this gain; within this time

Found = dict[str, Any]


def conditions() -> Found:
    """Where it was measured."""
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}
    return {"python": platform.python_version(), **versions, "seeds": list(SEEDS)}


def summary(run: Run, root: Path) -> Found:
    """What the tables need of a run."""
    figures = run.figures(root)
    logged = figures["logged"]
    found = {"table": run.table, "row": run.row, "seed": run.seed, "seconds": figures["seconds"], "steps": len(logged)}
    found |= {name: figures[name] for name in ("before", "after", "curve")}
    names = ("score_variance", "score_variance_within", "ties", "extremes", "unreadable", "nothing_to_learn", "length")
    return found | {name: [round(row[name], 4) for row in logged] for name in names}


def policies(root: Path) -> list[Found]:
    """What policies have learnt from the judges."""
    made = [demo for demo in demos() if demo.file(root).exists()]
    return [{"row": d.row, "seed": d.seed, **json.loads(d.file(root).read_text(encoding="utf-8"))} for d in made]


def table(name: str, found: Found) -> str:
    """One of `TABLES`, with the mean over the seeds and their range."""
    rows = found["policies"] if name == "policy" else [run for run in found["runs"] if run["table"] == name]
    if not rows:
        return "Not measured."
    columns = {"rules": _RULE_COLUMNS, "policy": _POLICY_COLUMNS}.get(name, _COLUMNS)
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    for row in dict.fromkeys(run["row"] for run in rows):
        own = [run for run in rows if run["row"] == row]
        lines.append([row, *(_spread([of(run) for run in own], form) for of, form in columns.values())])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _spread(values: Sequence[float], form: str) -> str:
    mean, least, most = (form.format(value) for value in (statistics.fmean(values), min(values), max(values)))
    return mean if least == most else f"{mean} ({least} to {most})"


def _held_out(when: str, what: str) -> Callable[[Found], float]:
    return lambda run: float(run[when][what])


def _percent(when: str, what: str) -> Callable[[Found], float]:
    return lambda run: 100 * float(run[when][what])


def _gain(run: Found) -> float:
    return 100 * (run["after"]["accuracy"] - run["before"]["accuracy"])


def _early(name: str) -> Callable[[Found], float]:
    return lambda run: statistics.fmean(run[name][:WINDOW])


def _late(name: str) -> Callable[[Found], float]:
    return lambda run: statistics.fmean(run[name][-WINDOW:])


_COLUMNS: dict[str, tuple[Callable[[Found], float], str]] = {
    "right before, %": (_percent("before", "accuracy"), "{:.1f}"),
    "right after, %": (_percent("after", "accuracy"), "{:.1f}"),
    "gain, points": (_gain, "{:+.1f}"),
    "ties before, %": (_percent("before", "ties"), "{:.0f}"),
    "ties after, %": (_percent("after", "ties"), "{:.0f}"),
    "variance before": (_held_out("before", "variance"), "{:.1f}"),
    "variance after": (_held_out("after", "variance"), "{:.1f}"),
    "seconds": (lambda run: float(run["seconds"]), "{:.0f}"),
}
_RULE_COLUMNS: dict[str, tuple[Callable[[Found], float], str]] = {
    "right before, %": (_percent("before", "accuracy"), "{:.1f}"),
    "right after, %": (_percent("after", "accuracy"), "{:.1f}"),
    "ties after, %": (_percent("after", "ties"), "{:.1f}"),
    "variance at first": (_early("score_variance"), "{:.1f}"),
    "variance at last": (_late("score_variance"), "{:.1f}"),
    "at an end of the scale at last": (lambda run: 100 * _late("extremes")(run), "{:.0f} %"),
    "variance on one answer at first": (_early("score_variance_within"), "{:.2f}"),
    "on one answer at last": (_late("score_variance_within"), "{:.2f}"),
}


_POLICY_COLUMNS: dict[str, tuple[Callable[[Found], float], str]] = {
    "rule score before": (lambda run: float(run["before"]), "{:.3f}"),
    "rule score after": (lambda run: float(run["after"]), "{:.3f}"),
    "rise": (lambda run: float(run["after"]) - float(run["before"]), "{:+.3f}"),
}


def check(found: Found) -> int:
    """Print whether a judge that judged badly has gained what it should, in time, on every seed; 1 where none has."""
    met = []
    runs = sorted((run for run in found["runs"] if run["table"] == "weaknesses"), key=lambda run: str(run["row"]))
    for row, own in ((row, list(group)) for row, group in itertools.groupby(runs, key=lambda run: run["row"])):
        poor = all(run["before"]["accuracy"] <= POOR for run in own)
        gained = all(run["after"]["accuracy"] - run["before"]["accuracy"] >= GOAL for run in own)
        if poor and gained and len(own) == len(SEEDS) and all(run["seconds"] <= MOST_SECONDS for run in own):
            met.append(row)
    named = ", ".join(met) or "none"
    print(f"At most {POOR:.0%} right before, {100 * GOAL:.0f} points more after, on all seeds and in time: {named}.")
    return int(not met)


def draw(found: Found, path: Path) -> None:
    """Score variance and held-out accuracy over the steps, one line a rule, the seeds' range around it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    spread, right = figure.subplots(1, 2)
    for rule in RULES:
        own = [run for run in found["runs"] if run["table"] == "rules" and run["row"] == rule]
        if own:
            _lines(spread, rule, [_smooth(run["score_variance"]) for run in own])
            curves = [[run["before"], *run["curve"]] for run in own]
            steps = [0, *(row["step"] for row in own[0]["curve"])]
            _lines(right, rule, [[100 * row["accuracy"] for row in curve] for curve in curves], steps)
    spread.set(xlabel="step", ylabel="variance of the scores", title=f"Scores under training (mean of {WINDOW} steps)")
    right.set(xlabel="step", ylabel="% of held-out pairs in order", title="Held-out pairs")
    right.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def _lines(axes: Any, name: str, curves: Sequence[Sequence[float]], steps: Sequence[int] = ()) -> None:
    columns = list(zip(*curves, strict=True))
    x = list(steps) or list(range(1, len(columns) + 1))
    (line,) = axes.plot(x, [statistics.fmean(column) for column in columns], label=name)
    axes.fill_between(x, [min(c) for c in columns], [max(c) for c in columns], alpha=0.15, color=line.get_color())


def _smooth(values: Sequence[float]) -> list[float]:
    return [statistics.fmean(values[max(0, i - WINDOW + 1) : i + 1]) for i in range(len(values))]
