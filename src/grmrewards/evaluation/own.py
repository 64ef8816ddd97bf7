"""Any preference dataset of one's own, in the forms of `grmrewards.training.read_preferences`; subsets by a column.

A row counts once, however many pairs it holds. Ties and lost judgements count half, as a coin would.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from grmrewards.evaluation.items import (
    Benchmark,
    Figure,
    Item,
    Judged,
    Outcomes,
    Row,
    Rules,
    decision,
    identified,
    mean,
    one_pair,
    strata,
    there,
)
from grmrewards.training.preferences import preferences_of, text_only

SUBSETS = ("subset", "category", "domain", "source", "file")  # columns that tell them, the first that a row has


def read(rows: Iterable[Row]) -> list[Item]:
    """The preferences of each row, the better answer first; pairs of equal answers are left out.

    All that a row has is there for a reward that names it (reference_column, criteria_column, principles).
    """
    items = []
    for key, row in identified(rows, "id"):
        subset = next((str(row[name]) for name in SUBSETS if row.get(name) is not None), "all")
        for number, one in enumerate(pair for pair in preferences_of(row) if pair.chosen != pair.rejected):
            name = f"{key}/{number}" if number else key
            turns = [{"role": message.role, "content": message.content} for message in text_only(one.prompt)]
            items.append(Item(name, turns, (one.chosen, one.rejected), subset, cluster=key, columns=row))
    return items


def outcome(judged: Sequence[Judged], rules: Rules) -> float | None:
    """The mean points of a row's pairs."""
    found = mean(rules.credit(decision(one.games, 0, 1)) for one in judged)
    return found.value if found else None


def figures(outcomes: Outcomes) -> dict[str, Figure]:
    """All rows pooled, and the subsets where there are several."""
    subsets = strata(outcomes) if len(outcomes) > 1 else {}
    return {**there({"Overall": mean(itertools.chain.from_iterable(outcomes.values()))}), **subsets}


BENCHMARK = Benchmark(
    name="preferences",
    title="Preferences",
    source="a dataset of one's own",
    rules=Rules(ties="half", errors="half"),
    read=read,
    games=one_pair,
    outcome=outcome,
    figures=figures,
)
