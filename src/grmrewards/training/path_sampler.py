"""Reasoning paths of a judge on preferences, sampled in bulk: by the machinery of every reward, with its record and replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from grmrewards import arguments
from grmrewards.bulk import parts
from grmrewards.errors import ConfigError
from grmrewards.reward import Reward
from grmrewards.training.likelihoods import Learnable, learnable
from grmrewards.training.verdicts import MARKS, TARGETS, Shown, read_verdict
from grmrewards.types import Group, Judge, Reply

ENOUGH = 64  # samples none of which is of the form that was asked for, after which no more are asked for


class PathSampler(Reward):
    """Asks a judge for samples on each pair. The score is the share of right ones; `found` has the rows by their number.

    The target stands for the completion: there is one row, and one group, a pair.
    """

    family: ClassVar[str] = "reasongrm"
    marks: ClassVar[tuple[str, ...]] = MARKS

    def __init__(
        self, judge: Judge, *, samples: int, temperature: float, think: bool, max_tokens: int | None, **shared: Any
    ) -> None:
        self.samples = arguments.whole("samples", samples)
        self.temperature = arguments.number("temperature", temperature, least=0.0)
        self.think = arguments.one_of("think", think, (True, False))
        self.max_tokens = arguments.whole("max_tokens", max_tokens, optional=True)
        self.counts: Counter[str] = Counter()
        self.found: dict[int, dict[str, Any]] = {}
        super().__init__(judge, name="select_reasoning", group_size=1, scale="raw", on_failure="none", **shared)

    def columns(self) -> list[str | None]:
        return ["number", "answer_a", "answer_b", *super().columns()]

    def rows(self, pairs: Sequence[Shown], batch_size: int) -> list[dict[str, Any]]:
        """The rows of all pairs that could be sampled, in order."""
        for numbers in parts(range(len(pairs)), name=self.name, size=batch_size):
            some = [pairs[i] for i in numbers]
            prompts = [[{"role": m.role, "content": m.content} for m in one.prompt] for one in some]
            answers: dict[str, Any] = {
                "answer_a": [one.answer_a for one in some],
                "answer_b": [one.answer_b for one in some],
            }
            self(prompts, [one.target for one in some], number=list(numbers), **answers)
            self._check(last=numbers[-1] == len(pairs) - 1)
        return [self.found[number] for number in sorted(self.found)]

    async def score(self, group: Group) -> list[float | None]:
        (target,), columns = group.responses, group.columns
        if target not in TARGETS:  # whether a pair that is too long would fit with an empty response: it is left out
            return [None]
        messages = self.messages(group, answer_a=columns["answer_a"][0], answer_b=columns["answer_b"][0])
        how: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens, "top_logprobs": 1}
        votes = await self.ask(messages, self._said, n=self.samples, about=[0], **how)
        replies = [vote.reply for vote in votes if vote.reply is not None]
        if not replies:
            return [None]
        row = self._row(str(messages[0].content), target, replies)
        self.found[columns["number"][0]] = row
        return [row["right"] / row["samples"]]

    def _said(self, reply: Reply) -> str:
        return read_verdict(reply, think=self.think).said

    def _row(self, prompt: str, target: str, replies: Sequence[Reply]) -> dict[str, Any]:
        right = [reply for reply in replies if self._said(reply) == target]
        paths = [path for reply in right if (path := learnable(reply, think=self.think))]
        self._count(replies, right=len(right), learnable=len(paths))
        best: Learnable | None = max(paths, key=lambda path: path.r_star, default=None)
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": best.text}] if best else None,
            "target": target,
            "validity": best.validity if best else None,
            "consistency": best.consistency if best else None,
            "r_star": best.r_star if best else None,
            "right": len(right),
            "samples": len(replies),
        }

    def _count(self, replies: Sequence[Reply], **found: int) -> None:
        if any(reply.text.strip() for reply in replies) and not any(reply.logprobs for reply in replies):
            raise ConfigError(
                f"{len(replies)} answers without log-probabilities, of which R* is made. TransformersJudge and VLLMJudge give "
                "them, and an OpenAIJudge on vLLM, SGLang or llama.cpp; `transformers serve` and most hosted models that "
                "reason do not."
            )
        thought = [bool(reply.reasoning or "</think>" in reply.text) for reply in replies]
        finished = [read_verdict(reply, think=self.think).finished for reply in replies]
        fit = sum(done and t == self.think for done, t in zip(finished, thought, strict=True))
        self.counts.update(samples=len(replies), thought=sum(thought), fit=fit, **found)

    def _check(self, *, last: bool) -> None:
        """Raise `ConfigError` where no sample is of the form that was asked for."""
        seen = self.counts["samples"]
        if self.counts["fit"] or not seen or not (last or seen >= ENOUGH):
            return
        if not self.think:
            raise ConfigError(
                f"think=False, but {self.counts['thought']} of {seen} samples have a </think>; pass think=True."
            )
        raise ConfigError(
            f"none of {seen} samples comes to the end of its reasoning (</think>). Let the judge think "
            '(chat_template_kwargs={"enable_thinking": True}) and raise max_tokens, or pass think=False for a model without '
            "<think>."
        )

    def told(self) -> str:
        """What was sampled."""
        counts = self.counts
        return (
            f"{counts['samples']} samples, {counts['right']} right, of which {counts['learnable']} can be learnt from"
        )
