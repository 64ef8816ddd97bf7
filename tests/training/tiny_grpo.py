"""A whole training run in one process: TRL's GRPOTrainer, a policy made here, and a scripted judge that likes vowels.

    python tests/training/tiny_grpo.py script|thread

Each family trains in turn; printed is, as JSON, the mean share of vowels in the first and in the last steps' responses, as
the record has them: what the policy did, not what the judge said of it. `test_training.py` runs it, also from a notebook.
"""

import importlib
import json
import os
import re
import statistics
import sys
import tempfile
import threading
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny  # found by the line above, as this file is run as a script and from a notebook

STEPS, GROUP_SIZE, PROMPTS = 24, 8, ["yes", "no", "question", "the fox"]
PRINCIPLES = "Evaluation Principles:\n1. [Vowels] (Weight: 100%): the more, the better."


def vowels(text):
    """The share of vowels among the characters, 0 to 1."""
    return sum(c in "aeiou" for c in text) / max(len(text), 1)


def reply(messages):
    """What a judge that likes vowels answers to the default prompt of any family."""
    prompt = messages[0].content
    if "[The Start of Assistant A's Answer]" in prompt:
        a, b = re.findall(r"\[The Start of Assistant [AB]'s Answer\]\n(.*?)\n\[The End", prompt, re.DOTALL)
        return "A" if vowels(a) > vowels(b) else "B"
    if "[The Begin of Response 1]" in prompt:
        shown = re.findall(r"\[The Begin of Response [0-9]+\]\n(.*?)\n\[The End of Response", prompt, re.DOTALL)
        return "Scores: \\boxed{" + ", ".join(f"{1 + 9 * vowels(text):.2f}" for text in shown) + "}"
    if "[The Begin of Response]" in prompt:
        shown = re.search(r"\[The Begin of Response\]\n(.*?)\n\[The End of Response\]", prompt, re.DOTALL)[1]
        return f"Score: \\boxed{{{1 + 9 * vowels(shown):.2f}}}"
    if "<critique>" in prompt:
        return f"<critique>Vowels.</critique><score>{10 * vowels(prompt.rpartition('[Response]')[2]):.2f}</score>"
    return PRINCIPLES


def train(*rewards, policy=None, rows=None, **changes):
    """Train on `rewards` and return the trainer: another `policy` or `rows` of data, `changes` to its config."""
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(1)
    model, processor = policy or tiny.model_and_tokenizer()
    settings = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": 16,
        "num_generations": GROUP_SIZE,
        "max_completion_length": 12,
        "max_steps": STEPS,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",  # Unsloth's default needs bitsandbytes
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "log_completions": True,  # writes the critiques of log_extra into a table, which breaks on a wrong column
        "seed": 0,
    }
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=list(rewards),
        args=GRPOConfig(**{**settings, **changes}),
        train_dataset=Dataset.from_list(rows or [{"prompt": question(p)} for p in PROMPTS * 40]),
        processing_class=processor,
    )
    trainer.train()
    return trainer


def question(text):
    """A prompt that asks `text`."""
    return [{"role": "user", "content": text}]


def families():
    """One reward of each family, with the scripted judge."""
    from grmrewards import GRAMReward, IPGRMReward, IRPMReward, ListwiseReward, ScriptedJudge

    judge = ScriptedJudge(reply)
    return [
        IPGRMReward(judge, group_size=GROUP_SIZE, log_path=_journal()),
        ListwiseReward(judge, votes=2, group_size=GROUP_SIZE, log_path=_journal()),
        IRPMReward(judge, group_size=GROUP_SIZE, log_path=_journal()),
        GRAMReward(judge, group_size=GROUP_SIZE, log_path=_journal()),
    ]


def main():
    """Train with each family: {family: {"first": share, "last": share, "logged": names of its metrics}}."""
    if first := os.environ.get("IMPORT_FIRST"):  # Unsloth's CPU backend, without which TRL 1.15 trains on GPUs only
        importlib.import_module(first)
    from grmrewards import record

    results = {}
    for reward in families():
        trainer = train(reward)
        shares = [vowels(e["response"]) for e in record.read(reward.log_path) if e["type"] == "completion"]
        fifth = len(shares) // 5
        logged = sorted({key for row in trainer.state.log_history for key in row if reward.__name__ in key})
        results[reward.family] = {
            "first": statistics.fmean(shares[:fifth]),
            "last": statistics.fmean(shares[-fifth:]),
            "completions": len(shares),
            "logged": logged,
            "trainer": type(trainer).__module__,
        }
    return results


def _journal():
    return Path(tempfile.mkdtemp()) / "record.jsonl"


if __name__ == "__main__":
    if sys.argv[1] == "thread":
        found = []
        worker = threading.Thread(target=lambda: found.append(main()))
        worker.start()
        worker.join()
        print(json.dumps(found[0]))
    else:
        print(json.dumps(main()))
