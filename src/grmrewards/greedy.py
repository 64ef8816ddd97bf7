"""What a policy answers by itself: at each place its likeliest token, no sampling.

Such an answer is the baseline that ReMax compares a sample with (arXiv 2310.10505). The policy may be in the middle of a
training: all that is changed for the answers is put back after them, also where they fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError


def greedy_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    *,
    max_new_tokens: int,
    batch_size: int = 16,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    max_prompt_tokens: int | None = None,
) -> list[str]:
    """The greedy answer of `model` to each prompt, as the text that a reward sees of a completion.

    Args:
        model: A causal language model of transformers, bare or with PEFT's adapters, which stay on.
        tokenizer: Its tokenizer or processor; a list of messages is rendered with its chat template.
        prompts: Texts, or lists of messages with a role and a text.
        max_new_tokens: The longest answer, in tokens.
        batch_size: How many prompts are answered at once.
        chat_template_kwargs: Passed to the chat template.
        max_prompt_tokens: Of a longer prompt the last tokens are kept; None: all of them.

    Nothing is sampled and no penalty for repetition is applied. Modes, gradient checkpointing, generation settings and
    random state are as before afterwards. Raises `ConfigError` where the weights are split over processes (ZeRO-3, FSDP)
    or a prompt is not text.

    >>> answers = greedy_answers(model, tokenizer, dataset["prompt"], max_new_tokens=256)  # doctest: +SKIP
    """
    arguments.installed("greedy_answers", "torch", "transformers", extra="local")
    arguments.whole("max_new_tokens", max_new_tokens)
    arguments.whole("batch_size", batch_size)
    limit = arguments.whole("max_prompt_tokens", max_prompt_tokens, optional=True)
    _refuse_split(model)
    ids = [_encoded(tokenizer, prompt, chat_template_kwargs or {})[-(limit or 0) :] for prompt in prompts]
    by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # so that a batch holds little padding
    answers = [""] * len(ids)
    text = getattr(tokenizer, "tokenizer", tokenizer)
    with _answering(model, text, max_new_tokens) as settings:
        for start in range(0, len(ids), batch_size):
            rows = by_length[start : start + batch_size]
            for i, answer in zip(rows, _answer(model, [ids[i] for i in rows], settings), strict=True):
                answers[i] = text.decode(answer, skip_special_tokens=True)
    return answers


def _encoded(tokenizer: Any, prompt: Any, template_kwargs: Mapping[str, Any]) -> list[int]:
    """The token ids of a prompt, as TRL's trainers put it to their policy."""
    text = getattr(tokenizer, "tokenizer", tokenizer)
    if isinstance(prompt, str):
        return list(text(prompt)["input_ids"])
    _refuse_other_than_text(prompt)
    rendered = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True, **template_kwargs)
    return list(text(rendered, add_special_tokens=False)["input_ids"])


def _refuse_other_than_text(prompt: Any) -> None:
    turns: Any = prompt if isinstance(prompt, (list, tuple)) and prompt else [None]
    if not all(isinstance(turn, Mapping) for turn in turns):
        raise ConfigError(f"a prompt must be a text or a list of messages, not {str(prompt)[:60]!r}.")
    blocks = [block for turn in turns if isinstance(turn.get("content"), (list, tuple)) for block in turn["content"]]
    kinds = {str(block.get("type")) for block in blocks if isinstance(block, Mapping)} - {"text"}
    if kinds:
        raise ConfigError(f"a prompt has parts of kind {sorted(kinds)}; greedy answers can be had to text alone.")


def _refuse_split(model: Any) -> None:
    split = any(hasattr(weight, "ds_id") or type(weight).__name__ == "DTensor" for weight in model.parameters())
    if split or any("FullyShardedDataParallel" in type(module).__name__ for module in model.modules()):
        raise ConfigError(
            "the policy's weights are split over processes (ZeRO-3 or FSDP), so none of them can answer with them alone. "
            "Use ZeRO-2 or LoRA on whole weights; or write the baselines into the dataset before training."
        )


def _answer(model: Any, rows: Sequence[Sequence[int]], settings: Any) -> list[list[int]]:
    """The ids that follow each row, up to and with the one that ends the answer."""
    import torch

    width = max(map(len, rows))
    device = next(model.parameters()).device
    ids = torch.tensor([[settings.pad_token_id] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    grown = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    return [_until(row, settings.eos_token_id) for row in grown[:, width:].tolist()]


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    """The ids without what fills a row up after its end."""
    return ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids)) + 1]


@contextmanager
def _answering(model: Any, tokenizer: Any, max_new_tokens: int) -> Iterator[Any]:
    """The model in eval and inference mode with a cache, and the settings to generate with.

    Gradient checkpointing makes layers drop their cache without a word, and what is generated then is wrong. It is
    switched off layer by layer: PEFT and Trainer hang more on the model's own switch than that.
    """
    import torch

    owner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = owner.generation_config
    modes = [(module, module.training) for module in model.modules()]
    checkpointed = [module for module in model.modules() if vars(module).get("gradient_checkpointing")]
    owner.generation_config = settings = _settings(before, tokenizer, max_new_tokens)
    try:
        for module in checkpointed:
            module.gradient_checkpointing = False
        model.eval()
        with torch.inference_mode():
            yield settings
    finally:
        owner.generation_config = before
        for module in checkpointed:
            module.gradient_checkpointing = True
        for module, training in modes:  # a part may be in another mode than the whole
            module.training = training


def _settings(own: Any, tokenizer: Any, max_new_tokens: int) -> Any:
    """Greedy generation. It stands in for the model's own settings: transformers would fill in from those, penalties too."""
    from transformers import GenerationConfig

    stops = own.eos_token_id if isinstance(own.eos_token_id, (list, tuple)) else [own.eos_token_id]
    ends = list(dict.fromkeys(stop for stop in [tokenizer.eos_token_id, *stops] if stop is not None))
    pad = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        eos_token_id=ends,
        pad_token_id=pad,
        disable_compile=True,
    )
