"""The forward passes of a local judge: a model and its tokenizer, batches in, texts or log-probabilities out."""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import AutoModelForCausalLM, AutoTokenizer

from grmrewards.errors import ConfigError
from grmrewards.judges.sampling import Sampler, Step, Stopped
from grmrewards.types import Message, Reply, TokenLogprob

NO_WINDOW = 1 << 20  # tokens, for models that state none
_DTYPE = "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"


class Network:
    """A loaded judge. Not for concurrent use: its owner lets one batch in at a time."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.tokenizer = load_tokenizer(source)
        self.model = _load_model(source)
        self.template_kwargs = dict(source["chat_template_kwargs"])
        config = self.model.config.get_text_config()
        self.window = int(getattr(config, "max_position_embeddings", None) or NO_WINDOW)
        stops = self.model.generation_config.eos_token_id
        stops = stops if isinstance(stops, list) else [stops]
        self.stops = {stop for stop in [*stops, self.tokenizer.eos_token_id] if stop is not None}
        self.pad = next((i for i in (self.tokenizer.pad_token_id, *sorted(self.stops)) if i is not None), 0)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a prompt, rendered with the model's chat template up to where its answer begins."""
        turns = [{"role": message.role, "content": _text(message)} for message in messages]
        goes_on = messages[-1].role == "assistant"
        text = self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            **self.template_kwargs,
        )
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def label(self, choice: str) -> tuple[int, ...]:
        """The token ids of a choice."""
        return tuple(self.tokenizer(choice, add_special_tokens=False)["input_ids"])

    def generate(
        self,
        rows: Sequence[tuple[list[int], int]],
        *,
        temperature: float,
        max_new_tokens: int,
        top_logprobs: int,
        stop: threading.Event,
    ) -> list[Reply]:
        """One answer for each (prompt ids, seed), sampled at `temperature` over the whole vocabulary."""
        inputs = self._padded([ids for ids, _ in rows])
        sampler = Sampler(temperature, [seed for _, seed in rows], inputs["input_ids"].device, top_logprobs)
        with self._judging():
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
        return [
            self._reply(answer, len(ids), [step[row] for step in sampler.steps])
            for row, (answer, (ids, _)) in enumerate(zip(answers, rows, strict=True))
        ]

    def choice_logprobs(
        self, rows: Sequence[list[int]], labels: Sequence[tuple[int, ...]]
    ) -> list[list[tuple[float, ...]]]:
        """For each prompt and each label, the log-probability of the label's tokens. One forward pass a distinct start.

        Labels of one token, as GRAM has them, share one row a prompt.
        """
        starts = list(dict.fromkeys(label[:-1] for label in labels))
        keep = max(map(len, starts)) + 1
        inputs = self._padded([[*ids, *start] for ids in rows for start in starts])
        with self._judging():
            logits = self.model(**inputs, use_cache=False, **self._extras(inputs, keep)).logits[:, -keep:].float()
            logprobs = torch.log_softmax(logits, dim=-1)
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

    def _reply(self, answer: list[int], prompt_tokens: int, steps: Sequence[Step]) -> Reply:
        end = next((i for i, token in enumerate(answer) if token in self.stops), len(answer))
        reasoning, closed, after = self.tokenizer.decode(answer[:end], skip_special_tokens=True).rpartition("</think>")
        return Reply(
            text=after.strip(),
            reasoning=reasoning.replace("<think>", "").strip() if closed else "",
            finish_reason="length" if end == len(answer) else "stop",
            logprobs=tuple(self._token_logprob(answer[i], step) for i, step in enumerate(steps[:end])),
            prompt_tokens=prompt_tokens,
            completion_tokens=min(end + 1, len(answer)),
        )

    def _token_logprob(self, token: int, step: Step) -> TokenLogprob:
        top = {self.tokenizer.decode([i]): logprob for i, logprob in step.top}
        return TokenLogprob(self.tokenizer.decode([token]), step.logprob, top)

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """Inference and eval mode, on the model's GPU; the mode it was in comes back whatever happens."""
        training = self.model.training
        if self.model.device.type == "cuda":
            torch.cuda.set_device(self.model.device)  # the current device is a matter of the thread
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.train(training)


def load_tokenizer(source: Mapping[str, Any]) -> Any:
    """The tokenizer that was given, or that of the model's name. Raises `ConfigError` where it has no chat template."""
    tokenizer = source["tokenizer"]
    if tokenizer is None:
        tokenizer = _tokenizer(source["model"], source["revision"], source["trust_remote_code"])
    if not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer of {source['model']!r} has no chat template, so a prompt cannot be put to it; set "
            "tokenizer.chat_template to the format that the model was trained with."
        )
    return tokenizer


@functools.lru_cache(maxsize=8)
def _tokenizer(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)


def structural_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The added tokens that are written with brackets or bars and without spaces: those of a chat format, not of text."""
    names = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    return tuple(sorted(name for name in names if re.search(r"[<>\[\]|｜]", name) and not re.search(r"\s", name)))


def _load_model(source: Mapping[str, Any]) -> Any:
    """The model that was given, or the named one, loaded without moving the global random state."""
    if not isinstance(source["model"], str):
        return source["model"]
    device = source["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_pretrained(
            source["model"],
            revision=source["revision"],
            trust_remote_code=source["trust_remote_code"],
            **{_DTYPE: source["dtype"] or "auto"},
            **source["model_kwargs"],
        )
    return (model if "device_map" in source["model_kwargs"] else model.to(device)).eval()


@functools.lru_cache(maxsize=64)
def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters


def _text(message: Message) -> str:
    if not isinstance(message.content, str):
        raise ConfigError("a TransformersJudge reads text alone; this message has other parts.")
    return message.content
