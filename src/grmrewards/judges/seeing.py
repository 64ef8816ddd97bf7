"""A loaded model that sees as an engine (`rows.Engine`): prompts of `sight` in, sampled ids or log-probabilities out.

Prompts whose inputs have one form share a batch: inputs by token are padded on the left, those of images are put one
after another, as processors do it themselves.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from grmrewards.judges import loading, patches
from grmrewards.judges.choosing import Contexts
from grmrewards.judges.memory import Memory
from grmrewards.judges.network import DTYPE, Network, computes_in_half, own_device
from grmrewards.judges.passes import takes
from grmrewards.judges.plain import Plain
from grmrewards.judges.rows import Answer, Choice, Logprobs, More, Row, no_more
from grmrewards.judges.sight import Prompt


class SeeingNetwork(Network):
    """A loaded model that sees, as an engine."""

    def __init__(self, source: Mapping[str, Any], processor: Any, *, end: int | None, pad: int | None) -> None:
        super().__init__({**source, "model": _load_model(source)}, end=end, pad=pad)
        self._fixed = isinstance(source["model"], str)
        settings = processor.image_processor.to_json_string()
        self._settings = hashlib.sha256(settings.encode()).hexdigest()[:16]
        config = self.model.config.get_text_config()
        cost = 2 * config.num_hidden_layers * config.hidden_size * self.model.dtype.itemsize
        memory = Memory(self.model.device, bytes_a_token=cost)
        self._runner = _Batches(self.model, memory, vocabulary=patches.vocabulary(self.model), pad=self.pad)

    def generate(
        self,
        rows: Sequence[Row],
        *,
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More = no_more,
    ) -> None:
        """As `Engine.generate`, form by form. It does not ask for more."""
        for places in _alike([row.ids for row in rows]):

            def said(i: int, answer: Answer, places: list[int] = places) -> None:
                deliver(places[i], answer)

            super().generate([rows[i] for i in places], stop=stop, deliver=said)

    def choice_logprobs(
        self, rows: Sequence[Choice], *, stop: threading.Event, deliver: Callable[[int, Logprobs], None]
    ) -> None:
        """As `Engine.choice_logprobs`."""
        asked: list[tuple[Prompt, Contexts, int]] = []
        for r, row in enumerate(rows):

            def found(_: int, logprobs: Logprobs, r: int = r) -> None:
                deliver(r, logprobs)

            contexts = Contexts([row], found)
            starts = [ids[len(row.ids) :] for ids in contexts.ids]
            asked += [(_seen(row.ids).followed_by(start), contexts, i) for i, start in enumerate(starts)]
        with self._judging() as runner:
            for places in _alike([prompt for prompt, *_ in asked]):
                for (row_,), logits in runner.ends([asked[i][0] for i in places], stop):
                    _, contexts, i = asked[places[row_]]
                    tokens = torch.tensor(contexts.wanted(i), device=logits.device)
                    contexts.take(i, (logits[tokens] - logits.logsumexp(dim=-1)).tolist())

    def fingerprint(self) -> str:
        """That of the weights, and of how images are cut and scaled for them."""
        return f"{super().fingerprint()} {self._settings}"


class _Batches(Plain):
    """The passes of one model, each over prompts of one form."""

    def _padded(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        prompts = [_seen(row) for row in rows]
        longest = max(map(len, prompts))
        one_by_one = [dict(_columns(prompt, longest, self.pad)) for prompt in prompts]
        names = set(one_by_one[0])
        if not takes(type(self.model).forward, "token_type_ids"):
            names -= {"token_type_ids"}  # of the tokenizer alone: `generate` refuses what the model does not know
        return {name: self._placed(torch.cat([row[name] for row in one_by_one])) for name in names}

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """On the model's device, pixels in the model's own number format."""
        return tensor.to(self.model.device, self.model.dtype if tensor.is_floating_point() else tensor.dtype)

    def _last(self, rows: Sequence[Sequence[int]], batch: Sequence[int]) -> torch.Tensor:
        """Without positions of ours: in such models they follow from where the images stand."""
        last = {"logits_to_keep": 1} if takes(type(self.model).forward, "logits_to_keep") else {}
        logits: torch.Tensor = self.model(**self._padded([rows[i] for i in batch]), use_cache=False, **last).logits
        patches.refuse_hidden_states(logits.shape[-1], self.vocabulary)
        return logits[:, -1].float()


def _columns(prompt: Prompt, width: int, pad: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The inputs of a prompt, those by token `width` wide: what is on the left is masked, an answer is as its last token."""
    for name, tensor in prompt.inputs.items():
        if not prompt.by_token(name):
            yield name, tensor
            continue
        kept = tensor[:, : len(prompt)]
        middle = torch.cat([kept, *[kept[:, -1:]] * (len(prompt) - kept.shape[1])], dim=1)
        if name == "input_ids":
            middle = torch.tensor([list(prompt)])
        left = middle.new_full((1, width - len(prompt), *tensor.shape[2:]), pad if name == "input_ids" else 0)
        yield name, torch.cat([left, middle], dim=1)


def _seen(ids: Sequence[int]) -> Prompt:
    assert isinstance(ids, Prompt)
    return ids


def _alike(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The places of prompts that can share a batch, together."""
    by_form: dict[Any, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_form.setdefault(_seen(prompt).form(), []).append(i)
    return list(by_form.values())


def _load_model(source: Mapping[str, Any]) -> Any:
    """The model that was given, or the named one, loaded without moving the global random state."""
    if not isinstance(source["model"], str):
        return source["model"]
    hub = {name: source[name] for name in ("revision", "trust_remote_code")}
    device = own_device(source["device"])
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # quantised weights are put on the thread's current one
    with torch.random.fork_rng(devices=[]), loading.code_refused(source):
        model = AutoModelForImageTextToText.from_pretrained(
            source["model"], **{DTYPE: source["dtype"] or "auto"}, **hub, **source["model_kwargs"]
        )
    if source["dtype"] in (None, "auto") and computes_in_half(model, device):
        model = model.half()
    there = "device_map" in source["model_kwargs"] or model.device == torch.device(device)
    return (model if there else model.to(device)).eval()
