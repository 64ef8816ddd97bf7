"""Sampling that depends on a row's seed alone, and stopping when nobody waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import LogitsProcessor, StoppingCriteria

from grmrewards.judges import patches


class Step(NamedTuple):
    """One sampled token: its log-probability at T = 1, and the likeliest tokens with theirs."""

    logprob: float
    top: list[tuple[int, float]]


class Answer(NamedTuple):
    """A sampled answer: its tokens without the one that ended it, and a `Step` for each where they were asked for."""

    tokens: list[int]
    ended: bool  # or else cut off
    steps: list[Step]


class Sampler(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """Gumbel-max sampling: argmax of `logits / T + Gumbel noise` is a sample of softmax(logits / T).

    The noise of a row comes from a generator of its own, so that a judgement depends on its seed alone: not on which
    requests share its batch, and not on the global random state, which belongs to the policy. With `top`, each step is
    kept with its log-probabilities.
    """

    def __init__(
        self, temperature: float, seeds: Sequence[int], device: torch.device, top: int, vocabulary: int
    ) -> None:
        self.temperature, self.top, self.vocabulary = temperature, top, vocabulary
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.steps: list[list[Step]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        patches.refuse_hidden_states(scores.shape[-1], self.vocabulary)
        noisy = self._noisy(scores.float()) if self.temperature else scores
        if self.top:
            self._keep(torch.log_softmax(scores.float(), dim=-1), noisy.argmax(dim=-1, keepdim=True))
        return noisy

    def _noisy(self, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(scores)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores / self.temperature - noise.log()

    def _keep(self, logprobs: torch.Tensor, chosen: torch.Tensor) -> None:
        values, tokens = (t.tolist() for t in logprobs.topk(min(self.top, logprobs.shape[-1])))
        rows = zip(logprobs.gather(-1, chosen).squeeze(-1).tolist(), tokens, values, strict=True)
        self.steps.append([Step(logprob, list(zip(ids, lps, strict=True))) for logprob, ids, lps in rows])


class Stopped(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
    """Ends generation when nobody waits for it any more."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.stop.is_set(), device=input_ids.device)
