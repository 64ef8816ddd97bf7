"""TRL's trainers as one rank of several, started by torchrun; what each reward was passed and gave goes to a file.

    torchrun --nproc_per_node=2 tests/ranks/train_on_ranks.py FOLDER JOB...

A job is a key of `JOBS`. `test_training_on_ranks.py` starts it, and puts the slices of all ranks together again.
"""

import dataclasses
import faulthandler
import importlib
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "training")]

import cpu_loss  # noqa: E402 - found by the line above, as this file is run as a script
import rule  # noqa: E402
import trainers  # noqa: E402

import tiny  # noqa: E402

G = 4
QUESTIONS = ["yes", "yes", "question", "the fox", "no", "the dog", "lazy", "over"]  # one that follows itself
GRPO = ("trl", "GRPO")
JOBS = {  # trainer, rows on each rank, options
    "grpo-whole": (*GRPO, 4, {}),
    "grpo-halves": (*GRPO, 2, {}),
    "grpo-uneven": (*GRPO, 6, {}),
    "grpo-accumulated": (*GRPO, 2, {"gradient_accumulation_steps": 2}),
    "grpo-evaluated": (*GRPO, 4, {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 2}),
    "grpo-tools-halves": (*GRPO, 2, {"tools": ["add"]}),
    "grpo-environments-halves": (*GRPO, 2, {"environment_factory": "GardenWithAGate"}),
    "rloo-halves": ("trl", "RLOO", 2, {"beta": 0.0}),
    "gmpo-halves": ("trl.experimental.gmpo", "GMPO", 2, {}),
    "sdpo-halves": ("trl.experimental.sdpo", "SDPO", 2, {"teacher_model_kind": "live"}),
    "online_dpo": ("trl.experimental.online_dpo", "OnlineDPO", 2, {"max_new_tokens": 8}),
    "a2po": ("trl.experimental.a2po", "A2PO", 2, {"num_value_samples": G}),
    "local-judge": (*GRPO, 2, {}),
}
SPLIT = [job for job in JOBS if "halves" in job or "uneven" in job] + ["grpo-evaluated", "local-judge"]


def rewards(job):
    """The rewards of a job: one of each family, or one with a local judge, a model on each rank."""
    if job == "local-judge":
        from grmrewards import TransformersJudge

        return [rule.RecordingIPGRM(TransformersJudge.embedded(), group_size=G)]
    if job in ("online_dpo", "a2po"):  # no groups of G in a row
        return [rule.reward(family, group_key="row" if job == "a2po" else None) for family in rule.FAMILIES]
    return [rule.reward(family, group_size=G) for family in rule.FAMILIES]


def train(job, folder):
    """Two steps, and what each reward saw on this rank."""
    from datasets import Dataset

    module, name, rows, options = JOBS[job]
    judged = rewards(job)
    if "tools" in options or "environment_factory" in options:
        return {"trainer": type(with_tools(judged, rows, folder / job, **options)).__name__, **calls(judged)}
    found = importlib.import_module(module)
    trainer, config = getattr(found, f"{name}Trainer"), getattr(found, f"{name}Config")
    model, tokenizer = tiny.model_and_tokenizer()
    columns = {
        "prompt": [
            [{"role": "user", "content": f"Name 2 animals, {q}" if job == "local-judge" else q}] for q in QUESTIONS
        ]
    }
    data = Dataset.from_dict({**columns, "row": [f"row {i}" for i in range(len(QUESTIONS))]})
    made = trainer(
        model=model,
        reward_funcs=list(judged),
        args=settings(config, folder / job, per_device_train_batch_size=rows, **options),
        train_dataset=data,
        eval_dataset=data.select(range(3)) if "eval_strategy" in options else None,
        processing_class=tokenizer,
    )
    made.train()
    return {"trainer": type(made).__name__, **calls(judged)}


def with_tools(judged, rows, folder, tools=(), environment_factory=None):
    """A step with a policy that calls a tool, or looks once more around its environment."""
    import test_trainers

    batch = {"per_device_train_batch_size": rows}
    if environment_factory is None:
        call, more = (
            {"name": "add", "arguments": {"a": 30, "b": 12}},
            {"tools": [getattr(test_trainers, t) for t in tools]},
        )
    else:
        call, more = {"name": "look", "arguments": {}}, {"environment_factory": getattr(rule, environment_factory)}
    return test_trainers.with_tools(folder, judged, QUESTIONS, call, batch, **more)


def calls(judged):
    return {reward.family: [as_data(*call) for call in reward.calls] for reward in judged}


def settings(config, folder, **changes):
    usual = {**trainers.SHORT, "output_dir": str(folder), "max_steps": 2, "ddp_timeout": 60}
    known = {field.name for field in dataclasses.fields(config)}
    return config(**{name: value for name, value in usual.items() if name in known} | changes)


def as_data(given, values):
    return {"rewards": values, **{name: given[name] for name in ("prompts", "completions", "row")}}


def main(folder, *jobs, train=train):
    """Run the jobs and write what `train` returns of each, for this rank."""
    import torch

    torch.set_num_threads(1)
    cpu_loss.provide()
    results = {job: train(job, Path(folder)) for job in jobs}
    (Path(folder) / f"rank{os.environ['RANK']}.json").write_text(json.dumps(results))
    torch.distributed.barrier()  # the launcher ends all ranks as soon as one is gone that did not leave in order
    faulthandler.dump_traceback_later(30, exit=True)  # it may wait for ever for a thread that waits for the interpreter
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
