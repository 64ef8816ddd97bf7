"""How much memory of one GPU the policy and its judge take, computed from the shapes of the models.

    python benchmarks/memory.py                              # the tables, as in docs/one_gpu.md
    python benchmarks/memory.py --answers 32 --micro-batch 8 # other sizes
    python benchmarks/memory.py --write docs/one_gpu.md

Weights, adapters, optimizer states and KV caches are exact by their formulas, which `tests/test_examples.py` compares with
real models, caches and adapters. What is estimated stands in `Estimate`, each with its reason. GB are 2^30 bytes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from faults import write

GB = 2**30
BF16, FP32 = 2, 4
KEPT = 3 * FP32  # of a trained parameter: the weight and Adam's two moments, in float32
FOUR_BIT = 4.5 / 8  # bytes a weight in bitsandbytes' default: 4 bits, and a float32 for each block of 64
RANK = 16


@dataclass(frozen=True)
class Shape:
    """A dense decoder, as its config.json says."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool  # whether input and output embedding are one matrix

    def linear(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each linear map in one layer: q, k, v, o; gate, up, down."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = [(self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden)]
        return [*attention, *[(self.hidden, self.intermediate)] * 2, (self.intermediate, self.hidden)]

    def linear_parameters(self) -> int:
        """Weights of all layers' linear maps: what quantisation packs."""
        return self.layers * sum(a * b for a, b in self.linear())

    def parameters(self) -> int:
        """All weights: linear maps, norms (two a layer, of queries and keys, and the last), embeddings."""
        norms = self.layers * (2 * self.hidden + 2 * self.head_dim) + self.hidden
        return self.linear_parameters() + norms + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def lora_parameters(self, rank: int = RANK) -> int:
        """Weights of a LoRA adapter on all linear maps of the layers (`target_modules="all-linear"`)."""
        return self.layers * sum(rank * (a + b) for a, b in self.linear())

    def cache_bytes(self, tokens: int, width: int = BF16) -> int:
        """Keys and values of `tokens` tokens in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * tokens * width

    def four_bit_bytes(self) -> float:
        """Weights with the linear maps of the layers in 4 bits, embeddings and norms in bf16."""
        rest = self.parameters() - self.linear_parameters()
        return self.linear_parameters() * FOUR_BIT + rest * BF16


# https://huggingface.co/Qwen/Qwen3-{0.6B,1.7B,4B,8B}/blob/main/config.json
SHAPES = {
    "0.6B": Shape(1024, 28, 16, 8, 128, 3072, 151_936, tied=True),
    "1.7B": Shape(2048, 28, 16, 8, 128, 6144, 151_936, tied=True),
    "4B": Shape(2560, 36, 32, 8, 128, 9728, 151_936, tied=True),
    "8B": Shape(4096, 36, 32, 8, 128, 12_288, 151_936, tied=False),
}

# What torch reports as the total memory of a T4, an L4, and both sizes of the A100
CARDS = {"16 GB": 14.7, "24 GB": 22.1, "40 GB": 39.5, "80 GB": 79.2}


class Estimate:
    """What no formula gives. Each figure is meant to be rather too high than too low."""

    trainer = 1.0 * GB  # the process that trains: CUDA context, cuBLAS workspaces
    asleep = 1.5 * GB  # vLLM asleep at level 1: CUDA context and captured graphs stay; less with --enforce-eager
    process = 0.5 * GB  # a second process with a model: CUDA context
    unused = 0.05  # share of the card that fragmentation makes useless
    logits = 2 * 4096 * 32_768 * FP32  # TRL 1.16 projects tiles of 4,096 tokens × 32,768 words; and their gradient

    @staticmethod
    def reading(shape: Shape, tokens: int) -> float:
        """The largest layer of one forward pass without gradients: gate, up and their product, and four of hidden size."""
        return tokens * (3 * shape.intermediate + 4 * shape.hidden) * BF16

    @staticmethod
    def training(shape: Shape, tokens: int) -> float:
        """With gradient checkpointing: each layer's input in bf16, and one layer whole, counted in float32."""
        queries = shape.heads * shape.head_dim
        one = tokens * (10 * shape.hidden + 4 * queries + 5 * shape.intermediate) * FP32
        return shape.layers * tokens * shape.hidden * BF16 + one


@dataclass(frozen=True)
class Sizes:
    """One step of the trainer, and one batch of the judge."""

    answers: int = 16
    prompt: int = 512
    answer: int = 1024
    micro_batch: int = 4  # per_device_train_batch_size
    judge_prompt: int = 2048
    judge_answer: int = 512


@dataclass(frozen=True)
class Use:
    """Bytes by phase: what is always there, and what comes on top while the policy writes, is judged, and learns."""

    always: float
    writing: float
    judging: float
    learning: float
    cpu: float = 0.0

    def peak(self) -> float:
        """The most at any time."""
        return self.always + max(self.writing, self.judging, self.learning)


def policy(shape: Shape, sizes: Sizes, *, lora: bool) -> Use:
    """The policy alone, generating with transformers, the base in bf16 with an adapter or all weights trained in float32."""
    trained, frozen = (shape.lora_parameters(), shape.parameters()) if lora else (shape.parameters(), 0)
    weights = trained * KEPT + frozen * BF16
    writing = shape.cache_bytes(sizes.answers * (sizes.prompt + sizes.answer))
    writing += Estimate.reading(shape, sizes.answers * sizes.prompt)
    learning = Estimate.training(shape, sizes.micro_batch * (sizes.prompt + sizes.answer)) + Estimate.logits
    learning += trained * (FP32 + BF16)  # gradients, and autocast's copies of the weights
    return Use(Estimate.trainer + weights, writing, 0.0, learning)


def judging(shape: Shape, sizes: Sizes) -> float:
    """One batch of judgements in transformers, beyond the judge's weights: all its caches at once."""
    cache = shape.cache_bytes(sizes.answers * (sizes.judge_prompt + sizes.judge_answer))
    return cache + Estimate.reading(shape, sizes.answers * sizes.judge_prompt)


def judges(base: str, sizes: Sizes, *, lora: bool) -> dict[str, Use]:
    """What each choice of a judge adds, in the order of recommendation."""
    found = {"an endpoint elsewhere": Use(0, 0, 0, 0)}
    if lora:
        found["`AdapterJudge`: the policy's own base"] = Use(0, 0, judging(SHAPES[base], sizes), 0)
    for name in ("4B", "8B"):
        shape, tokens = SHAPES[name], sizes.answers * (sizes.judge_prompt + sizes.judge_answer)
        weights = shape.parameters() * BF16
        awake = weights + shape.cache_bytes(tokens) + Estimate.reading(shape, 8192)  # vLLM reads prompts in pieces
        found[f"vLLM that sleeps, {name}"] = Use(Estimate.asleep, 0, awake, 0, cpu=weights)
    for name in ("1.7B", "4B", "8B"):
        shape = SHAPES[name]
        for kind, weights in (("bf16", shape.parameters() * BF16), ("4-bit", shape.four_bit_bytes())):
            found[f"a second model, {name} in {kind}"] = Use(weights + Estimate.process, 0, judging(shape, sizes), 0)
    return found


def together(own: Use, other: Use) -> Use:
    """Both on one card."""
    fields = ("always", "writing", "judging", "learning", "cpu")
    return Use(**{name: getattr(own, name) + getattr(other, name) for name in fields})


def verdict(use: Use, card: float) -> str:
    """Whether it fits, and what is left."""
    left = card * (1 - Estimate.unused) - use.peak() / GB
    return f"fits with {left:.1f} GB to spare" if left >= 0 else "no"


def lines(*rows: list[str]) -> str:
    """A Markdown table, its head first."""
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rest))


def parts(sizes: Sizes) -> str:
    """What the policies alone are made of."""
    rows = [["policy", "parameters", "weights and Adam", "+ writing", "+ learning", "at the peak"]]
    for name, lora in POLICIES:
        shape, use = SHAPES[name], policy(SHAPES[name], sizes, lora=lora)
        figures = (use.always - Estimate.trainer, use.writing, use.learning, use.peak())
        row = [title(name, lora=lora), f"{shape.parameters():,}"]
        rows.append([*row, *(f"{figure / GB:.1f} GB" for figure in figures)])
    return lines(*rows)


POLICIES = (("0.6B", True), ("1.7B", True), ("4B", True), ("8B", True), ("0.6B", False), ("1.7B", False))


def title(name: str, *, lora: bool) -> str:
    """A policy in words."""
    return f"{name}, {f'LoRA of rank {RANK}' if lora else 'all weights'}"


def tables(sizes: Sizes) -> str:
    """A table for each policy: the judges, and the cards."""
    text = [parts(sizes)]
    for name, lora in POLICIES:
        own = policy(SHAPES[name], sizes, lora=lora)
        rows = [["judge", "at the peak", *CARDS, "CPU memory while it sleeps"]]
        for judge, other in judges(name, sizes, lora=lora).items():
            both = together(own, other)
            cpu = f"{both.cpu / GB:.1f} GB" if both.cpu else "none"
            rows.append([judge, f"{both.peak() / GB:.1f} GB", *(verdict(both, c) for c in CARDS.values()), cpu])
        text.append(f"**Policy: {title(name, lora=lora)}**\n\n{lines(*rows)}")
    return "\n\n".join(text)


def main() -> int:
    """Print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in vars(Sizes()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--write", type=Path, help="a document with <!-- memory --> and <!-- end of memory -->")
    given = vars(parser.parse_args())
    path = given.pop("write")
    text = tables(Sizes(**given))
    print(text)
    if path:
        write(path, "memory", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
