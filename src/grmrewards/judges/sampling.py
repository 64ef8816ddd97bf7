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
                self.draw(torch.empty_like(like))

    def penalised(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits without what the text has too much of."""
        if self.seen is None:
            return logits
        return torch.where(self.seen, torch.where(logits < 0, logits * self.penalty, logits / self.penalty), logits)

    def draw(self, noise: torch.Tensor) -> None:
        """Fill `noise` with what the next token is drawn by."""
        noise.exponential_(generator=self.generator)

    def saw(self, token: int) -> None:
        """It stands in the text from now on."""
        if self.seen is not None:
            self.seen[token] = True


def noisy(logits: torch.Tensor, samplers: Sequence[Sampler]) -> torch.Tensor:
    """Numbers whose argmax is each row's next token, [B, vocabulary] as the logits."""
    if any(sampler.seen is not None for sampler in samplers):
        logits = torch.stack([sampler.penalised(row) for sampler, row in zip(samplers, logits, strict=True)])
    hot = [i for i, sampler in enumerate(samplers) if sampler.generator is not None]
    if not hot:
        return logits
    noise = logits.new_empty(len(hot), logits.shape[1])
    for i, row in zip(hot, noise, strict=True):
        samplers[i].draw(row)
    temperatures = torch.tensor([samplers[i].temperature for i in hot], device=logits.device)[:, None]
    if len(hot) == len(samplers):
        return logits / temperatures - noise.log()
    return logits.index_copy(0, torch.tensor(hot, device=logits.device), logits[hot] / temperatures - noise.log())


def sampled(logits: torch.Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of each row, of logits [B, vocabulary]. Raises `FatalJudgeError` where they are no numbers."""
    largest, found = noisy(logits, samplers).max(dim=-1)
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
