"""A local judge that writes: eight critiques, and four votes on each of eight responses, for one group of eight."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import speed_bound
import speed_tokens
from speed_clock import Exact, Factor, Table, middle, paired, ratios
from speed_judge import Judged, run, writing
from speed_model import Sizes, Texts, left_padded

from grmrewards import Message, Reply, TransformersJudge

GREEDY: dict[str, Any] = {"do_sample": False}
SAMPLED: dict[str, Any] = {
    "do_sample": True,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
}  # all words, as the judge does
SEED = 11


def critiques(judged: Judged, *, rounds: int, peers: bool) -> Table:
    """One greedy critique a response, none of which ends before its last token."""
    sizes, model = judged.sizes, judged.model
    texts = Texts(sizes, seed=judged.seed).judged()
    prompts, length = [judged.ids(text) for text in texts], sizes.critique
    asked = {"temperature": 0.0, "max_tokens": length}
    peer = continuous_batching(judged, prompts) if peers else None
    ways = {
        "one": judged.plain(lambda: one_by_one(model, prompts, length, GREEDY)),
        "judge": judged.way(writing(texts, **asked)),
        "bound": judged.plain(lambda: bound(judged, votes=1)),
    }
    others = {"padded": judged.plain(lambda: generate(model, prompts, length, GREEDY))} if peers else {}
    runs, gave = paired(ways, rounds, others | ({"peer": peer} if peer else {}))
    right = judged.texts(gave["one"])
    replies = [reply for (reply,) in run(judged.judge(), writing(texts, **asked, top_logprobs=1))]
    table, naive = Table("critiques"), tokens(sum(sizes.prompts), sizes)
    table.add("transformers, one at a time", runs["one"], tokens=naive, exact="the measure")
    for name, way in (("padded", "one padded batch"), ("peer", "continuous batching (`generate_batch`)")):
        if name in runs:
            same = count_same(judged.texts(gave[name]), right)
            table.add(f"transformers, {way}", runs[name], exact=Exact(None, same, len(texts)))
    same = min(count_same([reply.text for (reply,) in gave["judge"]], right), count_same(texts_of(replies), right))
    exact = Exact(judged.difference(texts, replies), same, len(texts))
    table.add("**this library**", runs["judge"], exact=exact)
    least = tokens(speed_tokens.judged(sizes), sizes)
    table.add("bound: forward passes, nothing else", runs["bound"], tokens=least, exact="no judgement")
    limit = middle(ratios(runs["one"], runs["bound"]))
    table.factors = [
        Factor("critiques", "8 critiques, against one at a time", ratios(runs["one"], runs["judge"]), 2.6, limit),
    ]
    return table


def votes(judged: Judged, *, rounds: int, peers: bool) -> Table:
    """Four sampled critiques a response, against four runs of a padded batch and against one at a time."""
    sizes, model = judged.sizes, judged.model
    texts, many = Texts(sizes, seed=judged.seed).judged(), sizes.votes
    prompts, length = [judged.ids(text) for text in texts], sizes.critique
    asked = {"n": many, "temperature": 1.0, "max_tokens": length, "seed": SEED}
    ways = {
        "runs": judged.plain(lambda: [generate(model, prompts, length, SAMPLED) for _ in range(many)]),
        "judge": judged.way(writing(texts, **asked)),
        "bound": judged.plain(lambda: bound(judged, votes=many)),
    }
    several = SAMPLED | {"num_return_sequences": many}
    others = {
        "returned": judged.plain(lambda: generate(model, prompts, length, several)),
        "one": judged.plain(lambda: one_by_one(model, prompts * many, length, SAMPLED)),
    }
    runs, _ = paired(ways, rounds, others if peers else {})
    table, naive = Table("votes"), tokens(many * sum(sizes.prompts), sizes, votes=many)
    table.add(f"{many} runs of a padded batch of 8", runs["runs"], tokens=naive, exact="the measure")
    for name, way in (("returned", f"the same with `num_return_sequences={many}`"), ("one", "one at a time")):
        if name in runs:
            table.add(way, runs[name], tokens=naive, exact="not compared")
    table.add(f"**{many} votes each, this library**", runs["judge"], exact=votes_exact(judged, texts, asked))
    least = tokens(speed_tokens.judged(sizes), sizes, votes=many)
    table.add("bound: forward passes, nothing else", runs["bound"], tokens=least, exact="no judgement")
    says = {"runs": (f"{many} votes, against {many} runs", 2.0), "one": (f"{many} votes, against one at a time", None)}
    table.factors = [
        Factor(
            f"votes {name}", what, ratios(runs[name], runs["judge"]), goal, middle(ratios(runs[name], runs["bound"]))
        )
        for name, (what, goal) in says.items()
        if name in runs
    ]
    return table


def votes_exact(judged: Judged, texts: Sequence[str], asked: dict[str, Any]) -> Exact:
    """The log-probability of all that was sampled, by forward passes; and each last vote against itself asked alone."""
    found: list[list[Reply]] = run(judged.judge(), writing(texts, **asked, top_logprobs=1))
    last = asked["n"] - 1
    alone = [run(judged.judge(), alone_once(text, asked | {"n": 1, "seed": SEED + last})) for text in texts]
    same = count_same([replies[last].text for replies in found], alone)
    repeated = [text for text in texts for _ in range(asked["n"])]
    difference = judged.difference(repeated, [reply for replies in found for reply in replies])
    return Exact(difference, same, len(texts))


def alone_once(text: str, asked: dict[str, Any]) -> Callable[[TransformersJudge], Any]:
    """One vote on one prompt, with no other beside it: its text."""

    async def asking(judge: TransformersJudge) -> str:
        return (await judge.generate([Message("user", text)], **asked))[0].text

    return asking


def generate(model: Any, prompts: Sequence[list[int]], length: int, how: dict[str, Any]) -> list[list[int]]:
    """One padded batch, as the documentation of transformers shows it."""
    inputs = left_padded(prompts)
    written = model.generate(**inputs, max_new_tokens=length, **how)[:, inputs["input_ids"].shape[1] :]
    return [list(row) for row in written.tolist()]


def one_by_one(model: Any, prompts: Sequence[list[int]], length: int, how: dict[str, Any]) -> list[list[int]]:
    """As a judge in a loop does it."""
    return [generate(model, [prompt], length, how)[0] for prompt in prompts]


def bound(judged: Judged, *, votes: int) -> None:
    """Read what must be read, and write all votes side by side."""
    sizes = judged.sizes
    context = sizes.prompts[len(sizes.prompts) // 2] + sizes.critique // 2
    speed_bound.prefill(judged.model, speed_tokens.judged(sizes))
    speed_bound.decode(judged.model, rows=len(sizes.responses) * votes, context=context, steps=sizes.critique)


def continuous_batching(judged: Judged, prompts: Sequence[list[int]]) -> Callable[[], Callable[[], Any]] | None:
    """`generate_batch` with blocks for all prompts, shared where they begin alike; None where transformers has none."""
    try:
        from transformers import GenerationConfig
        from transformers.generation.configuration_utils import ContinuousBatchingConfig
    except ImportError:
        return None
    length, page = judged.sizes.critique, 32
    blocks = sum(-(-(len(prompt) + length) // page) + 1 for prompt in prompts)
    how = GenerationConfig(max_new_tokens=length, do_sample=False, eos_token_id=-1, pad_token_id=0)
    settings: dict[str, Any] = {
        "page_size": page,
        "num_blocks": blocks,
        "max_batch_tokens": 1024,
        "use_cuda_graph": False,
    }
    model = copy.deepcopy(judged.model)  # it changes how attention is computed

    def call() -> list[list[int]]:
        config = ContinuousBatchingConfig(**settings, use_async_batching=False)
        found = model.generate_batch(
            [list(p) for p in prompts], generation_config=how, continuous_batching_config=config, warmup=False
        )
        return [found[key].generated_tokens for key in sorted(found, key=lambda key: int(key.rpartition("_")[2]))]

    return lambda: call


def texts_of(replies: Sequence[Reply]) -> list[str]:
    """What was said."""
    return [reply.text for reply in replies]


def count_same(found: Sequence[str], right: Sequence[str]) -> int:
    """How many texts are those that they should be."""
    return sum(a == b for a, b in zip(found, right, strict=True))


def tokens(read: int, sizes: Sizes, votes: int = 1) -> str:
    """Read and written, in words."""
    return f"{read:,} + {len(sizes.responses) * votes * sizes.critique:,}"
