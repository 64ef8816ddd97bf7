"""`VerdictReward`: trains a pairwise judge that thinks and then says [[A]] or [[B]] (ReasonGRM, arXiv 2506.16712).

    rows = verdict_rows(load_dataset("nvidia/HelpSteer3", split="train"), min_strength=2)
    reward = VerdictReward(eos_token_id=tokenizer.eos_token_id)
    GRPOTrainer(model="Qwen/Qwen3-8B", reward_funcs=[reward], args=args, train_dataset=rows)

The stages of the paper: reinforcement learning from nothing (the lines above); fine-tuning on the likeliest right reasoning
of each prompt (`select_reasoning`); reinforcement learning on what is hard (`hard_examples`, with the same reward).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grmrewards import arguments, naming, rollouts, texts
from grmrewards.errors import ConfigError
from grmrewards.training.verdicts import TARGETS, Verdict, read_verdict
from grmrewards.types import Reply

_REASONING = ("reasoning_content", "reasoning", "thinking")  # keys of a message that chat formats have it under


class VerdictReward:
    """A reward function for TRL over a judge's own completions (column `target`), with the published values by default.

    Args:
        right: For a completion whose text after `</think>` is the target and nothing else.
        inexact: Where only its last [[A]] or [[B]] is the target.
        wrong: For the other verdict, and for none.
        unfinished: For reasoning without end, and for a completion that was cut off.
        eos_token_id: The token, or the tokens, that end an answer. TRL passes completions as text, without it; with this
            a completion whose last token is another one was cut off.
        max_tokens: Without `eos_token_id`: a completion of so many tokens was cut off (`max_completion_length`). With
            neither, only reasoning without end is noticed, and reasoning that quotes a `</think>` may pass for finished.
        think: False for a model that reasons without `<think>`: the completion must end with the verdict.
        name: The name in the trainer's logs.

    Each completion may be a text or messages, also with the reasoning in a field of its own. Raises `ConfigError` for wrong
    arguments, a target other than "[[A]]" and "[[B]]", and where token ids are needed and not passed.

    >>> reward = VerdictReward()
    >>> said = ["So.</think>\\n\\n[[A]]", "So.</think> It is [[A]].", "So.</think>[[B]]", "So"]
    >>> reward(prompts=["?"] * 4, completions=said, target=["[[A]]"] * 4)
    [1.0, 0.1, -0.9, -1.0]
    """

    def __init__(
        self,
        *,
        right: float = 1.0,
        inexact: float = 0.1,
        wrong: float = -0.9,
        unfinished: float = -1.0,
        eos_token_id: int | Sequence[int] | None = None,
        max_tokens: int | None = None,
        think: bool = True,
        name: str = "verdict",
    ) -> None:
        values = {"right": right, "inexact": inexact, "wrong": wrong, "unfinished": unfinished}
        self.values = {key: float(arguments.number(key, value, least=-math.inf)) for key, value in values.items()}
        ends = () if eos_token_id is None else [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id
        self.ends = frozenset(arguments.whole("eos_token_id", end, least=0) for end in ends)
        self.max_tokens = arguments.whole("max_tokens", max_tokens, optional=True)
        self.think = arguments.one_of("think", think, (True, False))
        self.name = arguments.word("name", name)
        self.__name__ = naming.unique(self.name, self)

    def __call__(
        self,
        /,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """One reward a judgement. Metrics are of this process's rows; trainers average them over all."""
        targets = rollouts.column(kwargs, "target", len(completions))
        if unknown := {*map(str, targets)} - {*TARGETS}:
            raise ConfigError(
                f"column target: {sorted(unknown)[:4]}; allowed are '[[A]]' and '[[B]]' (`verdict_rows`)."
            )
        found = [read_verdict(reply, think=self.think) for reply in self._replies(completions, completion_ids)]
        if log_extra:
            log_extra(f"{self.__name__}/verdict", [one.said or None for one in found])
        if log_metric and found:
            lengths = completion_ids if completion_ids is not None else [_reply(c).text.split() for c in completions]
            for key, value in _figures(found, targets, list(map(len, lengths))).items():
                log_metric(f"{self.__name__}/{key}", value)
        return [self._reward(one, target) for one, target in zip(found, targets, strict=True)]

    def _replies(self, completions: Sequence[Any], ids: Sequence[Sequence[int]] | None) -> list[Reply]:
        if ids is None and (self.ends or self.max_tokens):
            raise ConfigError("eos_token_id= and max_tokens= need completion_ids, which TRL passes; here are none.")
        each = ids if ids is not None else [()] * len(completions)
        rows = zip(completions, each, strict=True)
        return [_reply(c, "length" if ids is not None and self._cut_off(i) else "stop") for c, i in rows]

    def _cut_off(self, ids: Sequence[int]) -> bool:
        if self.ends:
            return not len(ids) or int(ids[-1]) not in self.ends
        return self.max_tokens is not None and len(ids) >= self.max_tokens

    def _reward(self, verdict: Verdict, target: str) -> float:
        if not verdict.finished:
            return self.values["unfinished"]
        if verdict.said != target:
            return self.values["wrong"]
        return self.values["right" if verdict.exact else "inexact"]


def _reply(completion: Any, finish_reason: str = "stop") -> Reply:
    """A completion as a judge's answer: a text, or the last message of the assistant."""
    if completion is None or isinstance(completion, str):
        return Reply(texts.clean(completion or ""), finish_reason=finish_reason)
    turns = [completion] if isinstance(completion, Mapping) else list(completion)
    said = [turn for turn in turns if turn.get("role", "assistant") == "assistant"]
    if not said:
        return Reply("", finish_reason=finish_reason)
    reasoning = next((str(said[-1][key]) for key in _REASONING if said[-1].get(key)), "")
    return Reply(texts.turn_text(said[-1]), reasoning, finish_reason)


def _figures(found: Sequence[Verdict], targets: Sequence[str], lengths: Sequence[int]) -> dict[str, float]:
    """What is logged of a batch: shares in [0, 1], and the mean length in tokens (in words without token ids)."""
    right = [one.said == target for one, target in zip(found, targets, strict=True)]
    return {
        "accuracy": statistics.fmean(right),
        "exact": statistics.fmean(one.exact for one in found),
        "unfinished": statistics.fmean(not one.finished for one in found),
        "length": statistics.fmean(lengths),
    }
