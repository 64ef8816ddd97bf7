"""Train the embedded judge, and with --policy the embedded policy, from nothing on one CPU core.

    python examples/embedded_judge/train.py --seed 0 --seconds 450 --out embedded          # embedded/judge
    python examples/embedded_judge/train.py --seed 0 --out embedded --policy               # embedded/policy as well

The judge is a Qwen3 of half a million parameters that learns all five default templates at once, with the answers'
labels and scores as hints inside the prompt (`hints.py`). The policy is a smaller one, taught the answers of
`training_data.noisy_answer`, faults and all. `evaluate.py` then gives the held-out figures.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from batches import Sample, judge_batches, policy_batches
from muon import BatchedMuon
from safetensors.torch import save_file
from tokenizer import build_tokenizer, save_tokenizer
from torch.nn.functional import cross_entropy, rms_norm
from training_data import KINDS, template
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM


@dataclass
class Clock:
    """How far a training run is: 0 at its start, 1 when its time is up."""

    seconds: float
    start: float = 0.0

    def __post_init__(self) -> None:
        self.start = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    @property
    def share(self) -> float:
        return self.elapsed / self.seconds


def main() -> None:
    """Train what the arguments ask for."""
    args = parse_arguments()
    torch.set_num_threads(1)
    if not args.only_policy:
        train_judge(args.seed, args.seconds, args.out / "judge", args.hint_weight)
    if args.policy or args.only_policy:
        train_policy(args.seed, args.policy_seconds, args.out / "policy")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=450, help="training time of the judge")
    parser.add_argument("--out", type=Path, default=Path("embedded"), help="folder for judge/ and policy/")
    parser.add_argument("--policy", action="store_true", help="train the policy after the judge")
    parser.add_argument("--only-policy", action="store_true", help="train the policy alone")
    parser.add_argument("--policy-seconds", type=float, default=90)
    parser.add_argument("--hint-weight", type=float, default=0.3, help="weight of the hints; 0 leaves them out")
    return parser.parse_args()


def train_judge(seed: int, seconds: float, folder: Path, hint_weight: float) -> None:
    """Train a judge and write its folder with a first card; `evaluate.py` adds the figures."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, layers=4)
    clock = Clock(seconds)
    batches = judge_batches(random.Random(100 + seed), tokenizer, lambda: clock.share, hint_weight)
    steps, examples = fit(model, batches, clock, pad=tokenizer.pad_token_id)
    save_model(model, tokenizer, folder)
    card = {
        "seed": seed,
        "steps": steps,
        "examples": examples,
        "seconds": round(clock.elapsed),
        "parameters": model.num_parameters(),
        "templates": {kind: template(kind).digest for kind in KINDS},
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def train_policy(seed: int, seconds: float, folder: Path) -> None:
    """Teach a policy to answer as badly as `noisy_answer` does."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(chunks=False)
    model = build_model(tokenizer, layers=3)
    clock = Clock(seconds)
    fit(model, policy_batches(random.Random(200 + seed), tokenizer), clock, pad=tokenizer.pad_token_id)
    save_model(model, tokenizer, folder)


def build_model(tokenizer: PreTrainedTokenizerFast, layers: int) -> Qwen3ForCausalLM:
    """An untrained Qwen3 with some 0.11 million parameters in each layer."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=96,
            num_hidden_layers=layers,
            intermediate_size=256,
            num_attention_heads=3,
            num_key_value_heads=3,
            head_dim=32,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.05,
        )
    )


def fit(model: Qwen3ForCausalLM, batches: Iterator[list[Sample]], clock: Clock, pad: int) -> tuple[int, int]:
    """Muon for the matrices, AdamW for the rest, until the time is up. Returns steps and examples."""
    named = [(name, p, p.ndim == 2 and "embed" not in name) for name, p in model.named_parameters()]
    muon = BatchedMuon([p for _, p, matrix in named if matrix], lr=0.03)
    adam = torch.optim.AdamW([p for _, p, matrix in named if not matrix], lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    model.train()
    steps = examples = 0
    for batch in batches:
        if clock.share >= 1:
            break
        schedule = min(1.0, (steps + 1) / 50) * min(1.0, max(0.02, (1 - clock.share) / 0.45))
        muon.lr, adam.param_groups[0]["lr"] = 0.03 * schedule, 3e-3 * schedule
        loss = batch_loss(model, batch, pad)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        steps, examples = steps + 1, examples + len(batch)
        if steps % 250 == 0:
            print(f"{clock.elapsed:.0f} s  step {steps}  examples {examples}  loss {loss.item():.4f}", flush=True)
    return steps, examples


def batch_loss(model: Qwen3ForCausalLM, batch: list[Sample], pad: int) -> torch.Tensor:
    """The weighted mean of the cross entropy over the trained positions, and the mean over the early hints."""
    longest = max(len(sample.ids) for sample in batch)
    ids = torch.tensor([sample.ids + [pad] * (longest - len(sample.ids)) for sample in batch])
    hidden = model.model(input_ids=ids, use_cache=False, output_hidden_states=True)
    losses = token_losses(model, hidden.last_hidden_state, [sample.targets for sample in batch])
    weights = torch.tensor([weight for sample in batch for _, _, weight in sample.targets])
    loss = (losses * weights).sum() / weights.sum()
    if any(sample.early for sample in batch):
        first = rms_norm(hidden.hidden_states[1], (model.config.hidden_size,))
        loss = loss + 0.3 * token_losses(model, first, [sample.early for sample in batch]).mean()
    return loss


def token_losses(model: Qwen3ForCausalLM, hidden: torch.Tensor, targets: Sequence[Sequence[Any]]) -> torch.Tensor:
    """The cross entropy at each (position, token, ...) of each row."""
    trained = [(row, target[0], target[1]) for row, several in enumerate(targets) for target in several]
    rows, positions, tokens = (list(column) for column in zip(*trained, strict=True))
    return cross_entropy(model.lm_head(hidden[rows, positions]), torch.tensor(tokens), reduction="none")


def save_model(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Weights in bf16, to be computed with in fp32; a config that transformers 4.56 and 5 read alike."""
    save_tokenizer(tokenizer, folder)
    config = model.config.to_dict() | {"rope_theta": 10000.0, "dtype": "float32", "architectures": ["Qwen3ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    model.generation_config.save_pretrained(folder)


if __name__ == "__main__":
    main()
