"""The label of a pairwise judge as a token: which one it is, what stands before it, and the loss on it. Needs torch alone.

`TwoLogitTrainer` is made of these. Prompts are encoded by the judge's own code (`judges.chat`), so that what precedes the
label in training is, token by token, what precedes it when `GRAMReward` reads its probability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from grmrewards import texts
from grmrewards.errors import ConfigError
from grmrewards.judges.chat import Chat
from grmrewards.training.gram import NO_THINKING
from grmrewards.types import Message

IGNORED = -100  # a position without a target


def label_ids(tokenizer: Any, labels: Sequence[str]) -> tuple[int, ...]:
    """The token of each label. Raises `ConfigError` unless each is one token of its own, and there are two or more.

    >>> label_ids(AutoTokenizer.from_pretrained("Qwen/Qwen3-8B"), ("A", "B"))  # doctest: +SKIP
    (32, 33)
    """
    ids = [tuple(tokenizer(label, add_special_tokens=False)["input_ids"]) for label in labels]
    if len(ids) < 2 or any(len(one) != 1 for one in ids) or len({*ids}) < len(ids):
        raise ConfigError(
            f"the tokenizer encodes labels={list(labels)} as {[list(one) for one in ids]}; allowed are two or more labels "
            "of which each is one token of its own. Choose others, and a template= that asks for them."
        )
    return tuple(one[0] for one in ids)


def encoded(row: Mapping[str, Any], tokenizer: Any, labels: Sequence[str]) -> dict[str, list[int]]:
    """A row of `gram_finetuning` as `input_ids` (prompt, label) and `completion_mask`, 1 at the label alone.

    Raises `ConfigError` for a prompt that is no list of messages, and a completion that is none of the labels.
    """
    prompt, said = row["prompt"], row["completion"]
    if isinstance(prompt, str):
        raise ConfigError("a prompt that is a text; allowed is a list of messages, as `gram_finetuning` makes it.")
    answer = texts.answer(said)
    if answer not in labels:
        raise ConfigError(f"the completion {str(said)[:80]!r}; allowed are {', '.join(map(repr, labels))} and no more.")
    known = {**NO_THINKING, **(row.get("chat_template_kwargs") or {})}
    chat = Chat({"model": "", "tokenizer": tokenizer, "chat_template_kwargs": known})
    messages = [Message(turn["role"], turn["content"]) for turn in prompt]
    ids, choices = chat.choices(messages, labels)
    label = choices[[*labels].index(answer)]
    if len(label) != 1:
        raise ConfigError(
            f"after the begun answer of its prompt, the label {answer!r} is {len(label)} tokens; allowed is 1."
        )
    return {"input_ids": [*ids, *label], "completion_mask": [0] * len(ids) + [1]}


@dataclass(frozen=True)
class OneLabel:
    """A data collator that keeps of another's `labels` (B, T) the first of each row, the label, and checks it.

    So the number of targets is the number of examples, which is what a trainer averages over. Padding may be on either
    side. Raises `ConfigError` for a row without a target, with one and nothing before it, and with a token that is no label.
    """

    collate: Callable[[Any], Any]
    ids: tuple[int, ...]
    name: Callable[[int], str] = str  # of a token, for messages

    def __call__(self, examples: Any) -> Any:
        batch = self.collate(examples)
        labels_BT = batch["labels"]
        targets_BT = labels_BT != IGNORED
        places_B = targets_BT.int().argmax(dim=1, keepdim=True)
        for target, token in zip(
            targets_BT.any(dim=1).tolist(), labels_BT.gather(1, places_B)[:, 0].tolist(), strict=True
        ):
            self._check(target, token)
        if (places_B == 0).any():
            raise ConfigError(
                "an example whose target is its first token, so nothing is asked; give the columns prompt and completion, or "
                "input_ids and completion_mask with completion_only_loss=True."
            )
        first_BT = torch.zeros_like(targets_BT).scatter(1, places_B, True)
        return {**batch, "labels": labels_BT.masked_fill(~first_BT, IGNORED)}

    def _check(self, target: bool, token: int) -> None:
        if not target:
            raise ConfigError("an example without a target, whose label was cut off; raise max_length.")
        if token not in self.ids:
            raise ConfigError(
                f"a completion that begins with the token {self.name(token)!r}; a judge reads the probabilities of "
                f"{' and '.join(repr(self.name(one)) for one in self.ids)} at that place."
            )


def label_loss(logits_BL: torch.Tensor, targets_B: torch.Tensor, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """The cross-entropy over the labels alone, shape (B,), in float32 or better.

    With two labels that is -log sigma(z_right - z_wrong), a Bradley-Terry loss on the log-odds that `GRAMReward` reads, and
    with smoothing e, (1 - e/2) of it and e/2 of that of the other label (GRAM, section 3).

    >>> label_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    tensor([0.1269])
    """
    if logits_BL.dtype in (torch.bfloat16, torch.float16):
        logits_BL = logits_BL.float()
    return cross_entropy(logits_BL, targets_B, reduction="none", label_smoothing=label_smoothing)
