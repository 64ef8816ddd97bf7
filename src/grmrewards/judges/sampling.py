"""Sampling that depends on a row's seed alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from grmrewards.errors import FatalJudgeError
from grmrewards.judges.rows import Row, Step


class Sampler:
    """Gumbel-max sampling for one row: argmax of `logits / T + Gumbel noise` is a sample of softmax(logits / T).

    The noise comes from a generator of the row's own, so that a judgement depends on its seed alone: not on which
    requests share its batch, and not on the global random state, which belongs to the policy. `penalty` is what the
    model's own settings ask for: the logits of tokens that stand in the text already are divided by it, negative ones
    multiplied.
    """

    def __init__(self, row: Row, written: Sequence[int], like: torch.Tensor, *, penalty: float) -> None:
        """As it stands after `written`, for logits like `like`."""
        self.temperature, self.penalty = row.temperature, penalty
        self.seen: torch.Tensor | None = None
        self.generator: torch.Generator | None = None
        if penalty != 1.0:
            self.seen = torch.zeros_like(like, dtype=torch.bool)
            self.seen[torch.tensor([*row.ids, *written], device=like.device)] = True
        if row.temperature:
            self.generator = torch.Generator(like.device).manual_seed(row.seed)
            for _ in written:
                self._noise(like)

    @property
    def greedy(self) -> bool:
        """Whether the logits themselves decide."""
        return self.seen is None and self.generator is None

    def noisy(self, logits: torch.Tensor) -> torch.Tensor:
        """Numbers whose argmax is the next token."""
        if self.seen is not None:
            penalised = torch.where(logits < 0, logits * self.penalty, logits / self.penalty)
            logits = torch.where(self.seen, penalised, logits)
        return logits if self.generator is None else logits / self.temperature - self._noise(logits).log()

    def saw(self, token: int) -> None:
        """It stands in the text from now on."""
        if self.seen is not None:
            self.seen[token] = True

    def _noise(self, like: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(like).exponential_(generator=self.generator)


def sampled(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of each row, of logits [B, vocabulary]. Raises `FatalJudgeError` where they are no numbers."""
    if not all(sampler.greedy for sampler in samplers):
        logits = torch.stack([sampler.noisy(row) for sampler, row in zip(samplers, logits, strict=True)])
    largest, found = logits.max(dim=-1)
    if not math.isfinite(sum(largest.tolist())):
        raise FatalJudgeError(
            "the judge's logits are not numbers, so nothing that it says means anything. Mostly its numbers do not fit into "
            "float16: pass dtype=torch.bfloat16, or torch.float32."
        )
    tokens: list[int] = found.tolist()
    for sampler, token in zip(samplers, tokens, strict=True):
        sampler.saw(token)
    return tokens


def steps(logits: torch.Tensor, tokens: Sequence[int], top: int) -> list[Step]:
    """What is told of the tokens that were sampled from logits [B, vocabulary]: their log-probabilities at T = 1."""
    logprobs = torch.log_softmax(logits, dim=-1)
    values, ids = (t.tolist() for t in logprobs.topk(min(top, logprobs.shape[-1])))
    chosen = logprobs.gather(-1, torch.tensor(tokens, device=logits.device)[:, None]).squeeze(-1).tolist()
    return [Step(lp, list(zip(row, lps, strict=True))) for lp, row, lps in zip(chosen, ids, values, strict=True)]
