"""TRL's GRPOTrainer on a CPU, on a policy made here: as it is, or with responses that a test has chosen."""

import dataclasses
import tempfile

import cpu_loss

import tiny

GROUP_SIZE = 4
SHORT = {  # a short run on a CPU
    "num_generations": GROUP_SIZE,
    "max_completion_length": 8,
    "gradient_accumulation_steps": 1,  # two in Unsloth
    "logging_steps": 1,
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "fp16": False,
    "optim": "adamw_torch",  # Unsloth's default needs bitsandbytes
    "save_strategy": "no",
    "gradient_checkpointing": False,
    "disable_tqdm": True,
    "seed": 0,
}


def takes(option):
    """Whether this TRL's GRPOConfig has `option`."""
    from trl import GRPOConfig

    return option in {field.name for field in dataclasses.fields(GRPOConfig)}


def trainer(
    rewards, rows, *, eval_rows=None, peft_config=None, embedding_scale=1, model=None, tokenizer=None, **changes
):
    """A GRPOTrainer for `rewards` on a dataset of `rows`; `changes` are made to its config."""
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    cpu_loss.provide()
    torch.set_num_threads(1)
    if model is None:
        model, tokenizer = tiny.model_and_tokenizer()
    model.model.embed_tokens.weight.data.mul_(embedding_scale)
    settings = {**SHORT, "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": GROUP_SIZE}
    return GRPOTrainer(
        model=model,
        reward_funcs=list(rewards),  # TRL changes the list that it is given
        args=GRPOConfig(**{**settings, **changes}),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(eval_rows) if eval_rows else None,
        processing_class=tokenizer,
        peft_config=peft_config,
    )


def advantages(rewards, responses, columns=None, **changes):
    """The advantages that the trainer itself computes where the policy's samples are `responses`, groups in a row."""
    import torch

    rows = [
        {"prompt": [{"role": "user", "content": f"question {i // GROUP_SIZE}"}], **(columns or {})}
        for i in range(len(responses))
    ]
    made = trainer(rewards, rows, per_device_train_batch_size=len(responses), **changes)
    tokenizer = made.processing_class
    ids = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in responses]
    width = max(map(len, ids))
    sampled = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in ids])
    made.model.generate = lambda input_ids, **_: torch.cat([input_ids, sampled], dim=1)
    made.model.train()
    return made._generate_and_score_completions(rows)["advantages"].tolist()
