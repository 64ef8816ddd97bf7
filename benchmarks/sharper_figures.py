"""From runs to figures: means over training seeds, intervals over groups, differences between methods. Pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from sharper_cases import SIZE
from sharper_methods import BUDGETS, MEASURE, VOTING
from sharper_run import Outcome, Run
from sharper_stats import Groups, accuracy, interval, near_rate, rank_correlation, tie_rate

ALL_PAIRS = "all pairs, both orders"
Figures = dict[str, Any]
DIGITS = 5
TOLD = (  # metrics of a reward that its methods differ in; calls and tokens are counted at the judge
    "votes",
    "unscored",
    "parse_failures",
    "score_mass",
    "score_entropy",
    "within_critique",
    "second_judge",
    "intransitive",
    "flip_rate",
)


def figures(runs: Sequence[Run]) -> Figures:
    """By family, kind of judge and method; the judges' own figures; and adaptive votes beside random ones."""
    families = {run.family: None for run in runs}
    return {family: _family([run for run in runs if run.family == family]) for family in families}


def _family(runs: Sequence[Run]) -> Figures:
    kinds = {run.kind: None for run in runs}
    by_kind = {kind: [run for run in runs if run.kind == kind] for kind in kinds}
    found: Figures = {
        kind: {
            "seeds": [run.seed for run in own],
            "judge": _means([run.judge for run in own]),
            "methods": {name: _method(name, own) for name in own[0].outcomes},
        }
        for kind, own in by_kind.items()
    }
    if runs[0].family in VOTING:
        found["adaptive against random"] = {f"{b:g}": _against_random(runs, b) for b in BUDGETS}
    return found


def _method(name: str, runs: Sequence[Run]) -> Figures:
    outcomes = [run.outcomes[name] for run in runs]
    groups = [outcome.groups for outcome in outcomes]
    measure = MEASURE if runs[0].family in VOTING else ALL_PAIRS
    base = [run.outcomes[measure].groups for run in runs]
    return {
        "accuracy": _over_seeds(accuracy, groups) | {"interval": _rounded(interval(groups))},
        "against": _difference(groups, base),
        "rank": _over_seeds(rank_correlation, groups),
        "ties": _over_seeds(tie_rate, groups),
        "near": _over_seeds(near_rate, groups),
        "unscored": sum(group.unscored for own in groups for group in own),
        "asked": {which: _asked(outcomes, which) for which in ("asked", "first")},
        "metrics": _means([{name: o.metrics[name] for name in TOLD if name in o.metrics} for o in outcomes]),
    }


def _against_random(runs: Sequence[Run], budget: float) -> Figures:
    """Over all judges of a family: the same cases, more judges."""
    mine = [run.outcomes[f"adaptive, {budget:g} votes"].groups for run in runs]
    return _difference(mine, [run.outcomes[f"at random, {budget:g} votes"].groups for run in runs])


def _difference(mine: Sequence[Groups], theirs: Sequence[Groups]) -> Figures:
    gaps = [accuracy(a) - accuracy(b) for a, b in zip(mine, theirs, strict=True)]
    return {"mean": round(statistics.fmean(gaps), DIGITS), "interval": _rounded(interval(mine, theirs))}


def _over_seeds(figure: Callable[[Groups], float], seeds: Sequence[Groups]) -> Figures:
    values = [round(figure(groups), DIGITS) for groups in seeds]
    return {"mean": round(statistics.fmean(values), DIGITS), "seeds": values}


def _asked(outcomes: Sequence[Outcome], which: str) -> dict[str, float]:
    """A response."""
    names = ("answers", "looks", "written", "read")
    sizes = [_responses(outcome) for outcome in outcomes]
    totals = {name: [getattr(getattr(o, which), name) for o in outcomes] for name in names}
    return {
        name: round(statistics.fmean(v / n for v, n in zip(values, sizes, strict=True)), 3)
        for name, values in totals.items()
    }


def _responses(outcome: Outcome) -> int:
    return SIZE * len(outcome.groups)


def _means(seeds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of what every seed told."""
    names = [name for name in seeds[0] if all(name in seed for seed in seeds)]
    return {name: round(statistics.fmean(seed[name] for seed in seeds), DIGITS) for name in names}


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]
