"""A loaded model as an engine (`rows.Engine`): rows of token ids in, sampled ids or log-probabilities out.

The same object serves in the caller's process and in one of its own (`isolated`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

from grmrewards.judges import patches
from grmrewards.judges.choosing import Contexts
from grmrewards.judges.fingerprint import fingerprint
from grmrewards.judges.memory import give_back, last_resort, out_of_memory
from grmrewards.judges.plain import Plain
from grmrewards.judges.rows import Answer, Choice, Logprobs, More, Row, no_more
from grmrewards.judges.sharing import Shared, runner

NO_WINDOW = 1 << 20  # tokens, for models that state none
DTYPE = "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"


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
        self._runner: Shared | Plain | None = None

    def generate(
        self,
        rows: Sequence[Row],
        *,
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More = no_more,
    ) -> None:
        """As `Engine.generate`."""
        with self._judging() as runner:
            runner.generate(rows, stops=self.stops, stop=stop, deliver=deliver, more=more)

    def choice_logprobs(
        self, rows: Sequence[Choice], *, stop: threading.Event, deliver: Callable[[int, Logprobs], None]
    ) -> None:
        """As `Engine.choice_logprobs`."""
        contexts = Contexts(rows, deliver)
        with self._judging() as runner:
            for ending, logits in runner.ends(contexts.ids, stop):
                total = logits.logsumexp(dim=-1)
                for context in ending:
                    tokens = torch.tensor(contexts.wanted(context), device=logits.device)
                    contexts.take(context, (logits[tokens] - total).tolist())

    def fingerprint(self) -> str:
        """That of the weights: read once where this object alone has them, each time where a trainer may change them."""
        if not self._print or not self._fixed:
            self._print = fingerprint(self.model)
        return self._print

    def release(self) -> None:
        """Give back the GPU memory that was kept in reserve: the policy's generation needs it."""
        give_back(self.model.device)

    @contextmanager
    def _judging(self) -> Iterator[Shared | Plain]:
        """Inference and eval mode, on the model's GPU; the mode it was in comes back whatever happens.

        Gives what runs the model. Unsloth may have come since it was loaded: it is looked for again.
        """
        patches.refuse_patched(self.model)
        modes = [(module, module.training) for module in self.model.modules()]
        if self.model.device.type == "cuda":
            torch.cuda.set_device(self.model.device)  # the current device is a matter of the thread
        self.model.eval()
        try:
            with torch.inference_mode():
                self._runner = self._runner or runner(self.model, pad=self.pad)
                yield self._runner
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise last_resort(error, self.model.device) from error
            raise
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
            source["model"], **{DTYPE: source["dtype"] or "auto"}, **hub, **source["model_kwargs"]
        )
    if source["dtype"] in (None, "auto") and computes_in_half(model, device):
        model = model.half()
    there = "device_map" in source["model_kwargs"] or model.device == torch.device(device)
    return (model if there else model.to(device)).eval()


def computes_in_half(model: Any, device: str) -> bool:
    """Whether a model that is stored in bfloat16 is better run in float16: on GPUs that only emulate the former (T4, V100).

    Where its numbers do not fit, sampling says so. Quantised weights are left as they are.
    """
    stored = model.dtype == torch.bfloat16 and not getattr(model, "is_quantized", False)
    return (
        stored
        and device.startswith("cuda")
        and not torch.version.hip
        and torch.cuda.get_device_capability(device) < (8, 0)
    )


def _refuse_patched_family(config: Any) -> None:
    family = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if isinstance(family, type):  # or else the model comes with code of its own, which nobody patches
        patches.refuse_patched_family(family)
