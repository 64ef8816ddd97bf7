"""What a reward call did, as numbers and one sentence. Pure functions over finished rewards."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from grmrewards.batch import Batch
from grmrewards.signals import Evidence
from grmrewards.types import Call


def metrics(
    batch: Batch, rewards: Sequence[float | None], found: Mapping[str, Evidence], *, seconds: float
) -> dict[str, float]:
    """The figures of a call, each a share in [0, 1] unless its name says otherwise; `found` are those of `signals`."""
    rows, call = max(len(rewards), 1), batch.call
    scored = [[r for i in group if (r := rewards[i]) is not None] for group in batch.groups]
    several = [group for group in scored if len(group) > 1]
    judgements = call.counts["usable"] + call.counts["unusable"]
    figures = {
        "unscored": sum(score is None for score in batch.scores) / rows,
        "parse_failures": call.counts["unusable"] / max(judgements, 1),
        "ties": share_of_ties(several),
        "zero_spread_groups": sum(len(set(group)) == 1 for group in several) / max(len(several), 1),
        "calls": float(call.requests),
        "tokens": float(call.prompt_tokens + call.completion_tokens),
        "seconds": seconds,
    }
    if call.counts["groups_by_principles"]:
        figures["cached_principles"] = 1 - call.counts["principles_written"] / call.counts["groups_by_principles"]
    if call.counts["replayed"]:
        figures["replayed"] = float(call.counts["replayed"])
    if call.counts["recomputed"]:
        figures["box_disagrees"] = call.counts["box_disagrees"] / call.counts["recomputed"]
    figures |= {name: statistics.fmean(values) for name, values in call.values.items() if values}
    within, between = (figures.pop(f"variance_{name}", None) for name in ("within_critique", "between_critiques"))
    if within is not None and between is not None and within + between > 0:
        figures["within_critique"] = within / (within + between)
    if call.counts["triples"]:
        figures["intransitive"] = call.counts["cyclic_triples"] / call.counts["triples"]
    if call.counts["first_pairs"]:
        figures["second_judge"] = call.counts["second_pairs"] / call.counts["first_pairs"]
    if call.counts["pairs_in_both_orders"]:
        figures["flip_rate"] = call.counts["flips"] / call.counts["pairs_in_both_orders"]
    return figures | {name: evidence.value for name, evidence in found.items()}


def reasons(call: Call) -> str:
    """Why judgements failed, most frequent first: "timed out x12, no \\boxed{} in the answer x3"."""
    return ", ".join(f"{reason} x{count}" for reason, count in call.failures.most_common(5)) or "no reason recorded"


def share_of_ties(groups: Sequence[Sequence[float]]) -> float:
    """The share of pairs within groups that have equal rewards."""
    pairs = ties = 0
    for group in groups:
        pairs += len(group) * (len(group) - 1) // 2
        ties += sum(n * (n - 1) // 2 for n in Counter(group).values())
    return ties / pairs if pairs else 0.0
