"""The text side of a local judge that sees: prompts with images to token ids and pixels, by the model's own processor."""

from __future__ import annotations

import copy
import functools
import hashlib
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AutoProcessor

from grmrewards.errors import ConfigError
from grmrewards.judges import images, loading
from grmrewards.judges.chat import Chat
from grmrewards.types import Message, Part

IMAGE_TOKENS = ("image_token", "boi_token", "eoi_token", "video_token", "fake_image_token", "global_image_tag")


class Prompt(list[int]):
    """The token ids of a prompt, with all that its processor made of it: tensors by name, each of one row."""

    def __init__(self, ids: Sequence[int], inputs: Mapping[str, torch.Tensor]) -> None:
        super().__init__(ids)
        self.inputs = dict(inputs)

    def followed_by(self, tokens: Sequence[int], *, without: int = 0) -> Prompt:
        """The prompt with the beginning of an answer, `without` so many of its last tokens."""
        return Prompt([*self[: len(self) - without], *tokens], self.inputs)

    def form(self) -> tuple[Any, ...]:
        """What prompts must have in common to share a batch."""
        apart = {name: tuple(t.shape[1:]) for name, t in sorted(self.inputs.items()) if not self.by_token(name)}
        return tuple(sorted(self.inputs)), tuple(apart.items())

    def by_token(self, name: str) -> bool:
        """Whether an input has a column for each token of the prompt."""
        tensor, ids = self.inputs[name], self.inputs["input_ids"]
        return not tensor.is_floating_point() and tensor.shape[:2] == ids.shape


class Sight(Chat):
    """A processor with its chat template."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        super().__init__(source)
        self.processor = load_processor(source)
        self._kept: weakref.WeakValueDictionary[Any, torch.Tensor] = weakref.WeakValueDictionary()

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt, rendered up to where its answer begins or goes on, with its images as the model takes them."""
        shown = [images.pixels(part.data) for message in messages for part in _pictures(message)]
        extra = {"images": [shown]} if shown else {}
        inputs = self.processor(text=[self._rendered(messages)], return_tensors="pt", add_special_tokens=False, **extra)
        tensors = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        prompt = Prompt(tensors["input_ids"][0].tolist(), tensors)
        self._share(prompt, tuple((image.size, hashlib.sha256(image.tobytes()).digest()) for image in shown))
        return prompt

    def _share(self, prompt: Prompt, shown: tuple[Any, ...]) -> None:
        """Keep the pixels once for all prompts that show the same images: those of a group are megabytes each."""
        for name in [name for name in prompt.inputs if not prompt.by_token(name)]:
            prompt.inputs[name] = self._kept.setdefault((shown, name), prompt.inputs[name])

    def choices(
        self, messages: Sequence[Message], choices: Sequence[str]
    ) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
        """As `Chat.choices`, which knows an image as one token: what stands after the last one is the same."""
        prompt = self.encode(messages)
        if messages[-1].role != "assistant":
            return prompt, tuple(tuple(self._ids(choice)) for choice in choices)
        assert isinstance(prompt, Prompt)
        ids, labels = super().choices(messages, choices)
        written = self._ids(self._rendered(messages))
        same = next((t for t, two in enumerate(zip(ids, written, strict=False)) if two[0] != two[1]), None)
        same = min(len(ids), len(written)) if same is None else same
        return prompt.followed_by(ids[same:], without=len(written) - same), labels

    def _content(self, message: Message) -> Any:
        return _parts(message, self.processor)


def _pictures(message: Message) -> list[Part]:
    return [] if isinstance(message.content, str) else [part for part in message.content if part.kind != "text"]


def _parts(message: Message, processor: Any) -> list[dict[str, str]]:
    """The content of a message as chat templates of such models take it."""
    parts = (Part("text", message.content),) if isinstance(message.content, str) else message.content
    for part in parts:
        if part.kind not in ("text", "image", "image_url"):
            raise ConfigError(f"a part of kind {part.kind!r}; a VisionJudge takes text and images.")
        if any(token in part.text for token in image_tokens(processor)):
            raise ConfigError(
                f"a text with one of {image_tokens(processor)}, by which the model is shown an image; put it otherwise in "
                "the template. In what is filled into a template it is made harmless."
            )
    return [{"type": "text", "text": part.text} if part.kind == "text" else {"type": "image"} for part in parts]


def image_tokens(processor: Any) -> list[str]:
    """The texts that stand for an image in a rendered prompt."""
    found = (getattr(processor, name, None) for name in IMAGE_TOKENS)
    return sorted({str(token) for token in found if isinstance(token, str) and token})


def load_processor(source: Mapping[str, Any]) -> Any:
    """The processor that was given, or that of the model's name. Raises `ConfigError` for one that takes no images."""
    processor = source["processor"]
    if processor is None:
        with loading.code_refused(source):
            processor = _processor(source["model"], source["revision"], source["trust_remote_code"])
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise ConfigError(
            f"{type(processor).__name__} takes no images; allowed is a processor with an image_processor and a tokenizer, as "
            "AutoProcessor loads it for a model that sees. For a model of text take a TransformersJudge."
        )
    return processor


def tokenizer_of(processor: Any) -> Any:
    """The processor's tokenizer, which has its chat template. What was given is left as it is."""
    tokenizer = copy.copy(processor.tokenizer)
    tokenizer.chat_template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    return tokenizer


@functools.lru_cache(maxsize=8)
def _processor(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    try:
        return AutoProcessor.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except ImportError as error:
        if "trust_remote_code" in str(error):
            raise
        raise ConfigError(
            f"the processor of {name!r} needs what is not installed: {str(error).strip()[:500]}"
        ) from error
