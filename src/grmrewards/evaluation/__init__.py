"""Knowing a judge before training on it: benchmarks by their official rules, and which model it finds better.

    from grmrewards.evaluation import evaluate

    print(evaluate(reward, "judgebench", "judgebench.jsonl", output="runs/judgebench").markdown())

Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grmrewards.evaluation.compared import Comparison, compare
    from grmrewards.evaluation.items import Benchmark, Figure, Game, Item, Judged, Rules
    from grmrewards.evaluation.leaderboards import beside
    from grmrewards.evaluation.matches import contest, read_answers
    from grmrewards.evaluation.ranking import Match, Ranking, bradley_terry, elo
    from grmrewards.evaluation.result import Evaluation
    from grmrewards.evaluation.run import BENCHMARKS, evaluate, rescore
    from grmrewards.evaluation.tables import Line, Table, table

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Comparison",
    "Evaluation",
    "Figure",
    "Game",
    "Item",
    "Judged",
    "Line",
    "Match",
    "Ranking",
    "Rules",
    "Table",
    "beside",
    "bradley_terry",
    "compare",
    "contest",
    "elo",
    "evaluate",
    "read_answers",
    "rescore",
    "table",
]

_HOME = {
    "BENCHMARKS": "run",
    "Comparison": "compared",
    "Evaluation": "result",
    "Line": "tables",
    "Match": "ranking",
    "Ranking": "ranking",
    "Table": "tables",
    "beside": "leaderboards",
    "bradley_terry": "ranking",
    "compare": "compared",
    "contest": "matches",
    "elo": "ranking",
    "evaluate": "run",
    "read_answers": "matches",
    "rescore": "run",
    "table": "tables",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'grmrewards.evaluation' has no {name!r}; its names are {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"grmrewards.evaluation.{_HOME.get(name, 'items')}"), name)


def __dir__() -> list[str]:
    return __all__
