"""A local judge that gives probabilities: GRAM's pairs, and the distribution over ten scores, for one group of eight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import speed_bound
import speed_tokens
import torch
from speed_clock import Exact, Factor, Table, middle, paired, ratios
from speed_judge import Judged, choosing
from speed_model import LABELS, Texts, left_padded
from speed_writing import SAMPLED, generate

SCORES = (*(f"t{7001 + i}" for i in range(9)), "t7001 t7000")  # as "1" to "9", and "10" in two tokens
READING = "bound: reading so many tokens, nothing else"


def gram(judged: Judged, *, rounds: int, peers: bool) -> Table:
    """All 56 ordered pairs, and each response against a baseline, as log-probabilities of "A" and "B"."""
    sizes, model, texts = judged.sizes, judged.model, Texts(judged.sizes, seed=judged.seed)
    pairs, few = texts.pairs(), texts.against_baseline()
    prompts = [judged.ids(text) for text in pairs]
    whole, tree = speed_tokens.pairs_one_by_one(sizes), speed_tokens.pairs_as_a_tree(sizes)
    least = speed_tokens.against_baseline(sizes)
    ways = {
        "one": judged.plain(lambda: [demo(model, prompt, judged.ids(" ".join(LABELS))) for prompt in prompts]),
        "pairs": judged.way(choosing(pairs, LABELS)),
        "few": judged.way(choosing(few, LABELS)),
        "tree": judged.plain(lambda: speed_bound.prefill(model, tree)),
        "least": judged.plain(lambda: speed_bound.prefill(model, least)),
    }
    runs, gave = paired(ways, rounds, {"padded": judged.plain(lambda: padded(model, prompts))} if peers else {})
    table = Table("gram")
    table.add(
        "56 pairs, one at a time, all logits (GRAM's demo)", runs["one"], tokens=f"{whole:,}", exact="the measure"
    )
    if peers:
        table.add("the same in padded batches of 8", runs["padded"], tokens=f"over {whole:,}", exact="not compared")
    table.add("**56 pairs, this library**", runs["pairs"], exact=differing(gave["one"], gave["pairs"]))
    table.add(READING, runs["tree"], tokens=f"{tree:,}", exact="no judgement")
    right = [judged.choices(judged.ids(text), LABELS) for text in few]
    table.add("**8 against one baseline, this library**", runs["few"], exact=differing(right, gave["few"]))
    table.add(f"{READING} ", runs["least"], tokens=f"{least:,}", exact="no judgement")
    found = {name: ratios(runs["one"], runs[name]) for name in runs}
    says = f"56 pairs, against one at a time (by tokens {whole / tree:.1f})"
    says_few = f"8 comparisons, against 56 one at a time (by tokens {whole / least:.1f})"
    table.factors = [
        Factor("gram pairs", says, found["pairs"], 3.2, middle(found["tree"])),
        Factor("gram baseline", says_few, found["few"], 15.0, middle(found["least"])),
    ]
    return table


def distribution(judged: Judged, *, rounds: int) -> Table:
    """The probabilities of ten scores, the last of two tokens, against one sampled vote with its critique."""
    sizes, model = judged.sizes, judged.model
    texts = Texts(sizes, seed=judged.seed).judged()
    prompts = [judged.ids(text) for text in texts]
    least = speed_tokens.judged(sizes) + len(texts)  # and the first token of "10" after each
    ways = {
        "vote": judged.plain(lambda: generate(model, prompts, sizes.critique, SAMPLED)),
        "one": judged.plain(lambda: [judged.choices(prompt, SCORES) for prompt in prompts]),
        "judge": judged.way(choosing(texts, SCORES)),
        "least": judged.plain(lambda: speed_bound.prefill(model, least)),
    }
    runs, gave = paired(ways, rounds)
    table, whole = Table("distribution"), sum(sizes.prompts)
    vote = f"one sampled vote each, {sizes.critique} tokens, padded batch"
    table.add(vote, runs["vote"], tokens=f"{whole:,} + {len(texts) * sizes.critique:,}", exact="another judge")
    table.add("ten scores, one prompt at a time", runs["one"], tokens=f"over {whole:,}", exact="the measure")
    table.add("**ten scores, this library**", runs["judge"], exact=differing(gave["one"], gave["judge"]))
    table.add(READING, runs["least"], tokens=f"{least:,}", exact="no judgement")
    limit = middle(ratios(runs["vote"], runs["least"]))
    table.factors = [
        Factor("distribution", "ten scores, against one vote", ratios(runs["vote"], runs["judge"]), 8.0, limit),
    ]
    return table


def differing(right: Sequence[Sequence[Sequence[float]]], found: Sequence[Sequence[Sequence[float]]]) -> Exact:
    """The largest difference of a log-probability, over prompts, choices and tokens."""
    worst = 0.0
    for mine, other in zip(right, found, strict=True):
        for a, b in zip(mine, other, strict=True):
            worst = max([worst, *(abs(x - y) for x, y in zip(a, b, strict=True))])
    return Exact(worst)


def demo(model: Any, prompt: list[int], labels: list[int]) -> list[tuple[float]]:
    """One pair: the logits of every word after each token of the prompt, of which two numbers are wanted."""
    last = model(torch.tensor([prompt])).logits[0, -1].float()
    return [(value,) for value in torch.log_softmax(last, dim=-1)[labels].tolist()]


def padded(model: Any, prompts: Sequence[list[int]], batch: int = 8) -> None:
    """Batches as they come, the last row of logits alone."""
    for start in range(0, len(prompts), batch):
        inputs = left_padded(prompts[start : start + batch])
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        model(**inputs, position_ids=positions, logits_to_keep=1)
