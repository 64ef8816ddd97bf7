"""Train a judge from preferences: IRPM's intergroup rewards, by TRL's own `GRPOTrainer`.

    python examples/judge_training/weaken.py --weakness length --seed 0 --out weak
    python examples/judge_training/train_irpm.py --judge weak --out trained
    IRPMReward(TransformersJudge("trained"))

The judge writes a critique and a score on the better and on the worse answer of a preference, four times each; a score is
rewarded that stands on the right side of the other answer's mean. Nothing else is known of the answers: their exact scores
are used to label the pairs, and to measure on held-out ones.

Held-out pairs in the right order before and after the 120 steps of the defaults, seeds 0 to 2, about two minutes of one core
each (`make judge-training`; the rules, the settings and their spread are in docs/judge_training.md):

    length      69.5 (66.4 to 71.4) -> 95.3 (94.9 to 95.6) %
    scale       51.5 (50.7 to 52.4) -> 91.8 (91.0 to 92.6) %
    critique    49.8 (43.4 to 53.5) -> 90.5 (89.4 to 92.0) %
    lenient     58.6 (58.4 to 58.8) -> 96.3 (94.8 to 97.2) %
    early       72.2 (70.9 to 73.9) -> 74.0 (72.6 to 75.5) %    refuted: preferences do not mend this

Refuted, too: --rule preference, which drives the scores of the first one to the ends of the scale and stays at 82 %.

With a judge and preferences of your own, `preferences` is the place to read yours in (TRL's format, HelpSteer3, scored
pairs). --random 1b trains a judge of a billion parameters with random weights for a few steps instead, to see what memory
and time that takes: --random 1b --lora --bf16 --steps 10 --out OUT.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from irpm_data import Agreement, agreement, preferences
from saving import save
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from grmrewards import TransformersJudge
from grmrewards.judges.embedded import JUDGE
from grmrewards.training import IntergroupReward, preference_pairs
from grmrewards.training.intergroup import KINDS

PAIRS = 12_000
LONGEST = 60  # tokens of a judgement
RANDOM = {  # layers, width, width within a layer
    "tiny": (2, 64, 128),
    "1b": (28, 1536, 6144),
}


class Curve(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Held-out agreement every so many steps, and the time that it took."""

    def __init__(self, every: int, tokenizer: Any) -> None:
        self.every, self.tokenizer, self.seconds = every, tokenizer, 0.0
        self.rows: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Measure where it is time."""
        if self.every and state.global_step % self.every == 0:
            started = time.process_time()
            found = agreement(TransformersJudge(model, self.tokenizer, max_new_tokens=LONGEST))
            self.seconds += time.process_time() - started
            self.rows.append({"step": state.global_step, **found._asdict()})
            print(f"step {state.global_step}: {found}", flush=True)


def main() -> None:
    """Measure, train, measure, save."""
    args = parse_arguments()
    logging.basicConfig(format="%(message)s")  # the warnings of the watch
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # TRL's and its own affair
    if args.random:
        return rehearse(args)
    torch.set_num_threads(1)
    before = agreement(judge_of(args.judge))
    trainer, curve = make_trainer(args)
    started = time.process_time()
    trainer.train()
    seconds = time.process_time() - started - curve.seconds
    save(trainer.model, args.judge, args.out)
    after = agreement(judge_of(args.out))
    record(args, before, after, curve, trainer.state, seconds)
    steps = f"{trainer.state.global_step} steps in {seconds:.0f} s"
    print(f"{args.judge}, {args.rule}, seed {args.seed}: {before} -> {after}; {steps}", flush=True)
    return None


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", type=Path, default=JUDGE, help="folder of the judge")
    parser.add_argument(
        "--random", choices=RANDOM, help="random weights of this size instead, on a GPU if there is one"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained judge")
    parser.add_argument("--rule", choices=(*KINDS, "bounded"), default="mean", help="bounded: preference with a bound")
    parser.add_argument("--bound", type=float, default=2.0, help="points beyond which a difference earns nothing more")
    parser.add_argument("--margin", type=float, help="points by which the other answer's statistic must be passed")
    parser.add_argument("--adaptive", type=float, default=0.0, help="more points for each unit of strength above 2")
    parser.add_argument(
        "--worst-case", action="store_true", help="count an unreadable score as 0 or 10, as in the paper"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--pairs", type=int, default=16, help="a step")
    parser.add_argument("--generations", type=int, default=4, help="judgements of each answer")
    parser.add_argument(
        "--rate", type=float, default=3e-4, help="the step size; 5e-6 is the paper's for 8 billion weights"
    )
    parser.add_argument("--mistaken", type=float, default=0.0, help="share of slight preferences that are wrong")
    parser.add_argument("--min-strength", type=float, help="weaker preferences are dropped, or have --weak-weight")
    parser.add_argument("--weak-weight", type=float, default=0.0)
    parser.add_argument("--measure", type=int, default=0, help="held-out agreement every so many steps")
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 16, which is merged at the end")
    parser.add_argument("--bf16", action="store_true")
    return parser.parse_args()


def judge_of(folder: Path) -> TransformersJudge:
    """A judge as it is used."""
    return TransformersJudge(str(folder), device="cpu", dtype=torch.float32, max_new_tokens=LONGEST)


def make_reward(args: argparse.Namespace) -> IntergroupReward:
    """The rule as the arguments have it."""
    kind, bound = ("preference", args.bound) if args.rule == "bounded" else (args.rule, None)
    return IntergroupReward(
        kind, bound=bound, margin=args.margin, adaptive=args.adaptive, worst_case=args.worst_case, max_tokens=None
    )


def make_trainer(args: argparse.Namespace, model: Any = None) -> tuple[GRPOTrainer, Curve]:
    """TRL's trainer; the judge is the policy, and a judgement a completion."""
    tokenizer = AutoTokenizer.from_pretrained(args.judge)
    model = model or AutoModelForCausalLM.from_pretrained(args.judge, dtype=torch.float32)
    model.warnings_issued = {}  # TRL 0.22 asks for it
    config = make_config(args)
    rows = preferences(PAIRS, 1000 + args.seed, mistaken=args.mistaken)
    chosen = {"min_strength": args.min_strength, "weak_weight": args.weak_weight}
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[make_reward(args)],
        args=config,
        train_dataset=preference_pairs(rows, args=config, tokenizer=tokenizer, seed=args.seed, **chosen),
        processing_class=tokenizer,
        peft_config=adapter() if args.lora else None,
        callbacks=[curve := Curve(args.measure, tokenizer)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, curve


def make_config(args: argparse.Namespace) -> GRPOConfig:
    """All pairs of a step in one batch; `shuffle_dataset=False`, since the pairs are shuffled already."""
    return GRPOConfig(
        output_dir=str(args.out / "trainer"),
        seed=args.seed,
        max_steps=args.steps,
        per_device_train_batch_size=2 * args.pairs * args.generations,
        num_generations=args.generations,
        max_completion_length=LONGEST,
        shuffle_dataset=False,
        learning_rate=args.rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=5,
        beta=0.0,
        temperature=1.0,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=not torch.cuda.is_available() or not args.random,
        bf16=args.bf16,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )


def adapter() -> Any:
    """LoRA by PEFT on all matrices."""
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def record(
    args: argparse.Namespace, before: Agreement, after: Agreement, curve: Curve, state: Any, seconds: float
) -> None:
    """What `benchmarks/judge_training.py` reads: the figures, and those of each step under training."""
    logged = [
        {key.partition("/")[2]: value for key, value in row.items() if "intergroup/" in key}
        for row in state.log_history
    ]
    found: dict[str, Any] = {name: str(value) for name, value in vars(args).items()}
    found |= {"before": before._asdict(), "after": after._asdict(), "curve": curve.rows, "seconds": round(seconds)}
    found["logged"] = [row for row in logged if row]
    (args.out / "training.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


def rehearse(args: argparse.Namespace) -> None:
    """A few steps of a judge with random weights: what a real one of that size needs."""
    layers, width, inner = RANDOM[args.random]
    tokenizer = AutoTokenizer.from_pretrained(args.judge)
    shape = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": inner}
    heads = {"num_attention_heads": width // 64, "num_key_value_heads": width // 64, "head_dim": 64}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    torch.manual_seed(args.seed)
    config = Qwen3Config(vocab_size=len(tokenizer), **shape, **heads, **ends)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if args.bf16 else torch.float32)
    trainer, _ = make_trainer(args, model)
    started = time.monotonic()
    trainer.train()
    step = (time.monotonic() - started) / trainer.state.global_step
    memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    size = sum(p.numel() for p in trainer.model.parameters())
    print(f"{size / 1e6:.0f} million parameters: {step:.2f} s a step, {memory:.1f} GiB of GPU memory at most")


if __name__ == "__main__":
    main()
