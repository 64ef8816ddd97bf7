"""The text side of a local judge: messages in, token ids out, and sampled ids back to replies.

It stays in the caller's process wherever the model runs: encoding a prompt needs no round trip, and a tokenizer that
was given as an object, with whatever a training library hung on it, never has to travel.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer

from grmrewards.errors import ConfigError
from grmrewards.types import Message, Reply, TokenLogprob

if TYPE_CHECKING:
    from grmrewards.judges.sampling import Answer, Step


class Chat:
    """A tokenizer with its chat template."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.tokenizer = load_tokenizer(source)
        self.template_kwargs = dict(source["chat_template_kwargs"])

    @property
    def special_ids(self) -> dict[str, int | None]:
        """What a model has to know of its tokenizer: the tokens that end an answer and fill a row up."""
        return {"end": self.tokenizer.eos_token_id, "pad": self.tokenizer.pad_token_id}

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

    def reply(self, answer: Answer, prompt_tokens: int) -> Reply:
        """A sampled answer as text, its reasoning set apart."""
        reasoning, closed, after = self.tokenizer.decode(answer.tokens, skip_special_tokens=True).rpartition("</think>")
        return Reply(
            text=after.strip(),
            reasoning=reasoning.replace("<think>", "").strip() if closed else "",
            finish_reason="stop" if answer.ended else "length",
            logprobs=tuple(map(self._token_logprob, answer.tokens, answer.steps)),
            prompt_tokens=prompt_tokens,
            completion_tokens=len(answer.tokens) + answer.ended,
        )

    def _token_logprob(self, token: int, step: Step) -> TokenLogprob:
        top = {self.tokenizer.decode([i]): logprob for i, logprob in step.top}
        return TokenLogprob(self.tokenizer.decode([token]), step.logprob, top)


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


def _text(message: Message) -> str:
    if not isinstance(message.content, str):
        raise ConfigError("a TransformersJudge reads text alone; this message has other parts.")
    return message.content
