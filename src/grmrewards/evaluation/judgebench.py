"""JudgeBench (arXiv 2410.12784): pairs of one model's answers, of which exactly one is right.

Each pair is judged in both orders, +1 for each right decision and -1 for each wrong one; it is correct if the sum is above
0, so that a right one and a tie are enough and a right one and a wrong one are not. Accuracy is over all pairs, those
without a judgement included, and the overall figure pools them. A scalar model gives the same in both orders.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from grmrewards.errors import ConfigError
from grmrewards.evaluation.items import (
    Benchmark,
    Figure,
    Item,
    Outcomes,
    Row,
    Rules,
    identified,
    mean,
    one_pair,
    pair_outcome,
    text,
    there,
)

CATEGORIES = ("mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench")


def read(rows: Iterable[Row]) -> list[Item]:
    """Rows `{pair_id, question, response_A, response_B, label "A>B" or "B>A", source}`."""
    items = []
    for key, row in identified(rows, "pair_id"):
        if row.get("label") not in ("A>B", "B>A"):
            raise ConfigError(f"pair {key}: label={row.get('label')!r}; allowed are 'A>B' and 'B>A'.")
        a_first = row["label"] == "A>B"
        pair = (text(row, "response_A"), text(row, "response_B"))
        items.append(
            Item(
                id=key,
                prompt=text(row, "question"),
                responses=pair if a_first else pair[::-1],
                stratum=str(text(row, "source")),
                facts={"a_first": a_first},
            )
        )
    return items


def figures(outcomes: Outcomes) -> dict[str, Figure]:
    """The four categories, and all pairs pooled."""
    found = {
        category: mean(_pooled(own for source, own in outcomes.items() if source.startswith(category)))
        for category in CATEGORIES
    }
    return there({**found, "Overall": mean(_pooled(outcomes.values()))})


def _pooled(strata: Iterable[Iterable[float | None]]) -> Iterable[float | None]:
    return itertools.chain.from_iterable(strata)


BENCHMARK = Benchmark(
    name="judgebench",
    title="JudgeBench",
    source="arXiv 2410.12784",
    rules=Rules(ties="wrong", errors="wrong"),
    read=read,
    games=one_pair,
    outcome=pair_outcome,
    figures=figures,
    hub=(("ScalerLab/JudgeBench", "gpt"),),
    double=True,
)
