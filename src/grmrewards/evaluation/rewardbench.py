"""RewardBench (arXiv 2403.13787): which of two answers is better, in 23 subsets of four sections.

A section is the mean of its subsets weighted by fixed counts, in which math-prm has more than its rows so that it weighs
as much as code; the total is the mean of the four sections. A tie and a judgement that was lost count half.
"""

from __future__ import annotations

from collections.abc import Iterable

from grmrewards.evaluation.items import (
    Benchmark,
    Figure,
    Item,
    Outcomes,
    Row,
    Rules,
    average,
    identified,
    one_pair,
    pair_outcome,
    strata,
    text,
    there,
)
from grmrewards.training.preferences import last_answer

_HUMANEVAL = {f"hep-{language}": 164 for language in ("cpp", "go", "java", "js", "python", "rust")}
SECTIONS: dict[str, dict[str, int]] = {  # of each subset, the count that it is weighted by
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {"math-prm": 984, **_HUMANEVAL},
}


def read(rows: Iterable[Row]) -> list[Item]:
    """Rows `{prompt, chosen, rejected, subset, id}`. Ids repeat between subsets."""
    return [
        Item(key, text(row, "prompt"), (last_answer(row["chosen"]), last_answer(row["rejected"])), row["subset"])
        for key, row in identified(rows, "id", within=_subset)
    ]


def _subset(row: Row) -> str:
    return str(text(row, "subset"))


def figures(outcomes: Outcomes) -> dict[str, Figure]:
    """The sections, their mean, and the subsets."""
    found = strata(outcomes)
    sections = {name: _section(found, counts) for name, counts in SECTIONS.items()}
    return {**there(sections), **there({"Overall": average(sections.values())}), **found}


def _section(found: dict[str, Figure], counts: dict[str, int]) -> Figure | None:
    own = {subset: count for subset, count in counts.items() if subset in found}
    if not own:
        return None
    weighted = sum(found[subset].value * count for subset, count in own.items())
    return Figure(weighted / sum(own.values()), sum(found[subset].n for subset in own))


BENCHMARK = Benchmark(
    name="rewardbench",
    title="RewardBench",
    source="arXiv 2403.13787",
    rules=Rules(ties="half", errors="half"),
    read=read,
    games=one_pair,
    outcome=pair_outcome,
    figures=figures,
    hub=(("allenai/reward-bench", "filtered"),),
)
