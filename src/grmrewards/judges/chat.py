"""The text side of a local judge: messages in, token ids out, and sampled ids back to replies.

It stays in the caller's process wherever the model runs: encoding a prompt needs no round trip, and a tokenizer that
was given as an object, with whatever a training library hung on it, never has to travel.
"""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer

from grmrewards.errors import ConfigError
from grmrewards.prompts import neutralise
from grmrewards.types import Message, Reply, TokenLogprob

if TYPE_CHECKING:
    from grmrewards.judges.rows import Answer, Step

REREAD = 200  # characters at the end of a begun answer that are encoded with each choice, at least


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
        """The token ids of a prompt, rendered with the model's chat template up to where its answer begins or goes on."""
        return self._ids(self._rendered(messages))

    def choices(
        self, messages: Sequence[Message], choices: Sequence[str]
    ) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
        """The token ids of a prompt, and those of each choice as its next words.

        After a begun answer a choice is read together with it, as the judge would write it: "7" after "8, " is the token
        " 7". Raises `ConfigError` for a choice that has no token of its own then.
        """
        if messages[-1].role != "assistant":
            return self.encode(messages), tuple(tuple(self._ids(choice)) for choice in choices)
        head, tail = self._cut(self._rendered(messages), choices[0])
        joint = [head + self._ids(tail + choice) for choice in choices]
        shared = next(
            (t for t, column in enumerate(zip(*joint, strict=False)) if len({*column}) > 1), min(map(len, joint))
        )
        empty = [choice for choice, ids in zip(choices, joint, strict=True) if len(ids) == shared]
        if empty:
            raise ConfigError(
                f"after the begun answer {tail[-20:]!r} the choice {empty[0]!r} has no token that the others of "
                f"{list(choices)} lack; give two or more different texts, of which none is empty."
            )
        return joint[0][:shared], tuple(tuple(ids[shared:]) for ids in joint)

    def _rendered(self, messages: Sequence[Message]) -> str:
        """A prompt as text. An answer that was begun follows raw: templates take white space off the ends of a turn."""
        turns = [{"role": message.role, "content": self._content(message)} for message in messages]
        begun = ""
        if messages[-1].role == "assistant":
            begun = _text(messages[-1])
            turns.pop()
        text: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, **self.template_kwargs
        )
        if text.rstrip().endswith("<think>") and begun.startswith("<think>"):  # a template that begins the reasoning
            begun = begun.removeprefix("<think>").lstrip("\n")
        return text + begun

    def _content(self, message: Message) -> Any:
        """The content of a message as its chat template takes it."""
        return _text(message)

    def _cut(self, text: str, choice: str) -> tuple[list[int], str]:
        """The ids of most of the text, and the rest, from one of its last spaces on: the part that is read with each choice."""
        at = max(0, text.rfind(" ", 0, -REREAD))
        head = self._ids(text[:at])
        whole = head + self._ids(text[at:] + choice) == self._ids(text + choice)  # or a token spans the cut
        return (head, text[at:]) if whole else ([], text)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

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
        top = {self.tokenizer.decode([i]): logprob for i, logprob in reversed(step.top)}  # of equal texts the likelier
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
    """What is a sign of the tokenizer's chat format, and not text: control tokens, and markers typed as plain text.

    Other added tokens are abbreviations of text, such as Gemma's `<table>` and runs of spaces.
    """
    version = (str(tokenizer.chat_template), len(tokenizer), str(tokenizer.eos_token))
    known = _STRUCTURAL.get(tokenizer)
    if known is None or known[0] != version:
        known = _STRUCTURAL[tokenizer] = (version, _structural(tokenizer))
    return known[1]


_STRUCTURAL: weakref.WeakKeyDictionary[Any, tuple[tuple[Any, ...], tuple[str, ...]]] = weakref.WeakKeyDictionary()


def _structural(tokenizer: Any) -> tuple[str, ...]:
    added = {str(token) for token in tokenizer.get_added_vocab()} | {*tokenizer.all_special_tokens}
    decoder = getattr(tokenizer, "added_tokens_decoder", {})
    special = {*tokenizer.all_special_tokens} | {str(token) for token in decoder.values() if token.special}
    template = str(tokenizer.chat_template)
    tokens = {token for token in added | special if _is_structural(token, token in special, template)}
    return tuple(sorted(tokens | _in_other_cases(tokenizer, tokens) | _typed_markers(tokenizer, tokens)))


def _is_structural(token: str, special: bool, template: str) -> bool:
    if not token.strip("▁ \t\r\n"):
        return False
    if special:
        return True
    named = len(token) > 1 and token in template and not re.fullmatch(r"[\w\s]+", token)
    return named or neutralise(token) != token


def _in_other_cases(tokenizer: Any, tokens: Set[str]) -> set[str]:
    """The tokens in their other case, where the tokenizer overlooks it: then it comes in two, and is broken in any."""
    swapped = sorted(token.swapcase() for token in tokens if token.swapcase() != token)
    ids = {*tokenizer(" ".join(swapped), add_special_tokens=False)["input_ids"]} if swapped else set()
    return {token for token in swapped if tokenizer.convert_tokens_to_ids(token.swapcase()) in ids - {None}} - tokens


# Markers that a chat template types as plain text: "### Instruction:", "USER:", Llama 2's "[INST]"

_SAID = "qjzx{i}xzjq"  # in no template


def _typed_markers(tokenizer: Any, tokens: Set[str]) -> set[str]:
    """The lines with which a chat template sets turns apart, unless no turn can begin without a control token."""
    ends = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}
    found: set[str] = set()
    for texts in _fixed_texts(tokenizer):
        for i, fixed in enumerate(texts):
            parts = _split(fixed, tokens)
            if not any(part in tokens - ends for part in parts):
                lines = [line for part in parts if part not in tokens for line in _edges(part)]
                found |= {*(lines if i else lines[-1:])}  # before the first turn may stand an introduction
    typed = {line for line in found if re.search(r"[^\W\d_]", line) and re.search(r"[^\w\s]", line)}
    return {line for line in typed if len(line) <= 60 and neutralise(line) == line} - tokens


def _split(text: str, tokens: Set[str]) -> list[str]:
    """`text` cut at control tokens, which are kept."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text) if tokens else [text]


def _edges(part: str) -> list[str]:
    """The first and the last line of a fixed text, without the sentences before on that line."""
    lines = [line.strip() for line in part.splitlines() if line.strip()]
    return [re.split(r"(?<=[.!?]) ", line)[-1] for line in lines[:1] + lines[-1:]]


def _fixed_texts(tokenizer: Any) -> Iterator[list[str]]:
    """What the chat template writes between the contents of a few conversations, and before and after them."""
    for roles in (["user"], ["system", "user", "assistant", "user"], ["user", "assistant", "user"]):
        turns = [{"role": role, "content": _SAID.format(i=i)} for i, role in enumerate(roles)]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception:  # a template refuses what it has no place for, in whatever way: it says nothing then
            continue
        yield re.split(_SAID.format(i="[0-9]"), text)


def _text(message: Message) -> str:
    if not isinstance(message.content, str):
        kinds = ", ".join(sorted({part.kind for part in message.content if part.kind != "text"}))
        raise ConfigError(
            f"this judge reads text alone, and the message holds other parts: {kinds}. Use a VisionJudge, or an OpenAIJudge on "
            "a server whose model sees."
        )
    return message.content
