"""A loaded sequence classifier with one output: rows of token ids in, one number a row out (for `MetaRewardModel`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from grmrewards.errors import ConfigError, FatalJudgeError
from grmrewards.judges.loading import code_refused
from grmrewards.judges.memory import out_of_memory
from grmrewards.judges.network import DTYPE, computes_in_half, own_device
from grmrewards.judges.patches import refuse_patched


def load(source: Mapping[str, Any]) -> Any:
    """The model that was given, or the named one, loaded without moving the global random state."""
    if isinstance(source["model"], str):
        with code_refused(source):
            model = _load_named(source)
    else:
        model = source["model"]
    if model.config.num_labels != 1:
        raise ConfigError(
            f"{source['model'] if isinstance(source['model'], str) else type(model).__name__} gives "
            f"{model.config.num_labels} numbers; allowed is a model with one output (num_labels=1 when it was trained)."
        )
    return model


def _load_named(source: Mapping[str, Any]) -> Any:
    device = own_device(source["device"])
    hub = {name: source[name] for name in ("revision", "trust_remote_code")}
    with torch.random.fork_rng(devices=[]):
        model, found = AutoModelForSequenceClassification.from_pretrained(
            source["model"],
            output_loading_info=True,
            **{DTYPE: source["dtype"] or "auto"},
            **hub,
            **source["model_kwargs"],
        )
    if missing := sorted({*found["missing_keys"]} & {name for name, _ in model.named_parameters()}):
        raise ConfigError(
            f"{source['model']!r} lacks {', '.join(missing[:3])}, so its ratings would be random; allowed is a trained "
            "sequence classifier with one output. examples/meta_model/train_meta.py makes one of a judge."
        )
    if source["dtype"] in (None, "auto") and computes_in_half(model, device):
        model = model.half()
    there = "device_map" in source["model_kwargs"] or model.device == torch.device(device)
    return (model if there else model.to(device)).eval()


def logits(model: Any, rows: Sequence[list[int]], pad: int, batch_size: int) -> list[float]:
    """One number a row. Rows of like length go together, and what fills them up comes behind them, seen by none."""
    found = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with _rating(model, pad):
        for chosen in (order[i : i + batch_size] for i in range(0, len(order), batch_size)):
            longest = len(rows[chosen[-1]])
            ids = torch.tensor([rows[i] + [pad] * (longest - len(rows[i])) for i in chosen], device=model.device)
            lengths = torch.tensor([[len(rows[i])] for i in chosen], device=model.device)
            mask = (torch.arange(longest, device=model.device) < lengths).long()
            numbers = model(input_ids=ids, attention_mask=mask).logits.float().flatten().tolist()
            for i, number in zip(chosen, numbers, strict=True):
                found[i] = number
    return found


@contextmanager
def _rating(model: Any, pad: int) -> Iterator[None]:
    """Inference and eval mode, on the model's GPU, with a config that knows `pad`; all is as before afterwards."""
    _refuse_patched(model)
    config, modes = model.config.get_text_config(), [(module, module.training) for module in model.modules()]
    known, config.pad_token_id = config.pad_token_id, pad
    if model.device.type == "cuda":
        torch.cuda.set_device(model.device)  # the current device is a matter of the thread
    model.eval()
    try:
        with torch.inference_mode():
            yield
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise FatalJudgeError(
                f"memory ran out on {model.device} over the rating of votes ({error}); lower batch_size= or max_length=."
            ) from error
        raise
    finally:
        config.pad_token_id = known
        for module, training in modes:  # a part may be in another mode than the whole
            module.training = training


def _refuse_patched(model: Any) -> None:
    """Raise `ConfigError` where Unsloth changed what the model computes."""
    try:
        refuse_patched(model)
    except ConfigError as error:
        raise ConfigError(
            "Unsloth has replaced the forward of this meta reward model's classes in this process, so it would not compute "
            "what it was trained to; allowed is one of another model family than the policy's."
        ) from error
