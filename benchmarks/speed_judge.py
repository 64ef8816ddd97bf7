"""The judge under test and the plain model beside it: questions put to both, and how far their answers differ.

The judge is used as a reward uses it, through `generate` and `choice_logprobs`, all questions at once. Each run gets a new
one, so that nothing which an earlier run left in its memory is counted as speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import torch
from speed_clock import CLOSE, Way
from speed_model import Sizes, ids, model, tokenizer

from grmrewards import Message, Reply, TransformersJudge

Asked = Callable[[TransformersJudge], Coroutine[Any, Any, Any]]


class Judged:
    """A model, its tokenizer, and judges on them."""

    def __init__(self, sizes: Sizes, *, seed: int = 0) -> None:
        self.sizes, self.seed = sizes, seed
        self.model, self.tokenizer = model(sizes, seed=seed), tokenizer()

    def ids(self, text: str) -> list[int]:
        """The token ids of a text."""
        return ids(self.tokenizer, text)

    def judge(self) -> TransformersJudge:
        """A new judge that has been asked something."""
        judge = TransformersJudge(self.model, self.tokenizer, max_new_tokens=4096)
        run(judge, lambda judge: judge.choice_logprobs([Message("user", "t5000 t5001")], ("A",)))
        return judge

    def way(self, asked: Asked) -> Way:
        """A run of a new judge."""

        def ready() -> Callable[[], object]:
            judge = self.judge()
            return lambda: run(judge, asked)

        return ready

    def plain(self, call: Callable[[], object]) -> Way:
        """A run of the model without a judge."""

        def inferring() -> object:
            with torch.inference_mode():
                return call()

        return lambda: inferring

    @torch.inference_mode()
    def logprobs(self, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
        """Over all words, at each place of `answer`, by one forward pass of the whole text."""
        logits = self.model(torch.tensor([[*prompt, *answer]]), logits_to_keep=len(answer) + 1).logits[0, :-1]
        return torch.log_softmax(logits.float(), dim=-1)

    def choices(self, prompt: Sequence[int], choices: Sequence[str]) -> list[list[float]]:
        """The log-probability of each token of each choice, one forward pass for each distinct beginning."""
        starts: dict[tuple[int, ...], torch.Tensor] = {}
        found = []
        for label in map(self.ids, choices):
            start = tuple(label[:-1])
            if start not in starts:
                starts[start] = self.logprobs(prompt, label if start else [0])
            found.append([starts[start][place, token].item() for place, token in enumerate(label)])
        return found

    def difference(self, texts: Sequence[str], replies: Sequence[Reply]) -> float:
        """The largest between what a reply says of its tokens' log-probabilities and one forward pass over it."""
        worst = 0.0
        for text, reply in zip(texts, replies, strict=True):
            answer = self.ids(reply.text)
            right = self.logprobs(self.ids(text), answer)[range(len(answer)), answer]
            said = torch.tensor([step.logprob for step in reply.logprobs])
            worst = max(worst, (right - said).abs().max().item())
        return worst

    def greedy(self, text: str, reply: Reply) -> bool:
        """Whether the likeliest token by one forward pass, at each place, is the one that was written."""
        answer = self.ids(reply.text)
        rows = self.logprobs(self.ids(text), answer)
        return bool((rows.max(dim=-1).values - rows[range(len(answer)), answer] < CLOSE).all())

    def texts(self, answers: Sequence[Sequence[int]]) -> list[str]:
        """Token ids as the judge would give them."""
        return [self.tokenizer.decode(answer) for answer in answers]


def run(judge: TransformersJudge, asked: Asked) -> Any:
    """What the judge says, on an event loop of its own."""

    async def entered() -> Any:
        async with judge:
            return await asked(judge)

    return asyncio.run(entered())


def choosing(texts: Sequence[str], choices: Sequence[str]) -> Asked:
    """All prompts at once, for the log-probabilities of `choices`."""

    async def asked(judge: TransformersJudge) -> Any:
        return await asyncio.gather(*(judge.choice_logprobs([Message("user", text)], choices) for text in texts))

    return asked


def writing(texts: Sequence[str], **sampling: Any) -> Asked:
    """All prompts at once, for sampled answers; one list of replies a prompt."""

    async def asked(judge: TransformersJudge) -> Any:
        return await asyncio.gather(*(judge.generate([Message("user", text)], **sampling) for text in texts))

    return asked
