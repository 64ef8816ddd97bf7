"""The forward passes of a local judge: batches of token ids in, sampled ids or log-probabilities out.

The same object serves in the caller's process and in one of its own (`isolated`).
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

from grmrewards.judges import patches
from grmrewards.judges.fingerprint import fingerprint
from grmrewards.judges.sampling import Answer, Sampler, Step, Stopped

NO_WINDOW = 1 << 20  # tokens, for models that state none
_DTYPE = "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"


class Network:
    """A loaded judge. Not for concurrent use: its owner lets one batch in at a time."""

    lost = False  # as a process of its own may be

    def __init__(self, source: Mapping[str, Any], *, end: int | None, pad: int | None) -> None:
        self.model = _load_model(source)
        self._fixed, self._print = isinstance(source["model"], str), ""
        patches.refuse_patched(self.model)
        config = self.model.config.get_text_config()
        self.window = int(getattr(config, "max_position_embeddings", None) or NO_WINDOW)
        stops = self.model.generation_config.eos_token_id
        stops = stops if isinstance(stops, list) else [stops]
        self.stops = {stop for stop in [*stops, end] if stop is not None}
        self.pad = next((i for i in (pad, *sorted(self.stops)) if i is not None), 0)

    def generate(
        self,
        rows: Sequence[tuple[list[int], int]],
        *,
        temperature: float,
        max_new_tokens: int,
        top_logprobs: int,
        stop: threading.Event,
    ) -> list[Answer]:
        """One answer for each (prompt ids, seed), sampled at `temperature` over the whole vocabulary."""
        inputs = self._padded([ids for ids, _ in rows])
        seeds = [seed for _, seed in rows]
        with self._judging() as vocabulary:
            sampler = Sampler(temperature, seeds, inputs["input_ids"].device, top_logprobs, vocabulary)
            output = self.model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,  # the sampler adds the noise, and argmax does the rest
                temperature=None,
                top_p=None,
                top_k=None,
                use_cache=True,
                pad_token_id=self.pad,
                logits_processor=[sampler],
                stopping_criteria=[Stopped(stop)],
            )
        answers = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._answer(answer, [step[row] for step in sampler.steps]) for row, answer in enumerate(answers)]

    def choice_logprobs(
        self, rows: Sequence[list[int]], labels: Sequence[tuple[int, ...]]
    ) -> list[list[tuple[float, ...]]]:
        """For each prompt and each label, the log-probability of the label's tokens. One forward pass a distinct start.

        Labels of one token, as GRAM has them, share one row a prompt.
        """
        starts = list(dict.fromkeys(label[:-1] for label in labels))
        keep = max(map(len, starts)) + 1
        inputs = self._padded([[*ids, *start] for ids in rows for start in starts])
        with self._judging() as vocabulary:
            logits = self.model(**inputs, use_cache=False, **self._extras(inputs, keep)).logits
            patches.refuse_hidden_states(logits.shape[-1], vocabulary)
            logprobs = torch.log_softmax(logits[:, -keep:].float(), dim=-1)
        found = []
        for r in range(len(rows)):
            at = {start: logprobs[r * len(starts) + s] for s, start in enumerate(starts)}
            found.append(
                [
                    tuple(at[label[:-1]][t - len(label), token].item() for t, token in enumerate(label))
                    for label in labels
                ]
            )
        return found

    def fingerprint(self) -> str:
        """That of the weights: read once where this object alone has them, each time where a trainer may change them."""
        if not self._print or not self._fixed:
            self._print = fingerprint(self.model)
        return self._print

    def release(self) -> None:
        """Give back the GPU memory that was kept in reserve: the policy's generation needs it."""
        if self.model.device.type == "cuda":
            with torch.cuda.device(self.model.device):
                torch.cuda.empty_cache()

    def _padded(self, rows: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """Left-padded ids and their mask, on the model's device."""
        longest = max(map(len, rows))
        ids = [[self.pad] * (longest - len(row)) + row for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}

    def _extras(self, inputs: Mapping[str, torch.Tensor], keep: int) -> dict[str, Any]:
        """Positions counted from the first real token, and only the last rows through the LM head, where the model can."""
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        extras = {"position_ids": positions, "logits_to_keep": keep}
        return {name: value for name, value in extras.items() if _takes(type(self.model).forward, name)}

    def _answer(self, sampled: list[int], steps: list[Step]) -> Answer:
        end = next((i for i, token in enumerate(sampled) if token in self.stops), len(sampled))
        return Answer(sampled[:end], end < len(sampled), steps[:end])

    @contextmanager
    def _judging(self) -> Iterator[int]:
        """Inference and eval mode, on the model's GPU; the mode it was in comes back whatever happens.

        Gives the width that logits must have. Unsloth may have come since the model was loaded: it is looked for again.
        """
        patches.refuse_patched(self.model)
        modes = [(module, module.training) for module in self.model.modules()]
        if self.model.device.type == "cuda":
            torch.cuda.set_device(self.model.device)  # the current device is a matter of the thread
        self.model.eval()
        try:
            with torch.inference_mode():
                yield patches.vocabulary(self.model)
        finally:
            for module, training in modes:  # a part may be in another mode than the whole
                module.training = training


def choose_device(asked: str | None, *, gpus: int, local_rank: str | None) -> str:
    """Where a model goes: where it was asked to, or else to this rank's own GPU among those that are there.

    A plain "cuda" means the thread's current GPU, which on every thread but the trainer's is the first one: on several
    ranks all judges would share it. Where each rank sees its own GPU alone, its rank counts on from there.
    """
    if gpus == 0 or asked not in (None, "cuda"):
        return asked or "cpu"
    return f"cuda:{max(0, int(local_rank or 0)) % gpus}"


def own_device(asked: str | None) -> str:
    """`choose_device` on this machine, as this rank."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return choose_device(asked, gpus=gpus, local_rank=os.environ.get("LOCAL_RANK"))


def _load_model(source: Mapping[str, Any]) -> Any:
    """The model that was given, or the named one, loaded without moving the global random state."""
    if not isinstance(source["model"], str):
        return source["model"]
    hub = {name: source[name] for name in ("revision", "trust_remote_code")}
    if "unsloth" in sys.modules:
        _refuse_patched_family(AutoConfig.from_pretrained(source["model"], **hub))
    device = own_device(source["device"])
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # quantised weights are put on the thread's current one
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_pretrained(
            source["model"], **{_DTYPE: source["dtype"] or "auto"}, **hub, **source["model_kwargs"]
        )
    there = "device_map" in source["model_kwargs"] or model.device == torch.device(device)
    return (model if there else model.to(device)).eval()


def _refuse_patched_family(config: Any) -> None:
    family = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if isinstance(family, type):  # or else the model comes with code of its own, which nobody patches
        patches.refuse_patched_family(family)


@functools.lru_cache(maxsize=64)
def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters
