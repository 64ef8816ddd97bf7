"""Muon, batched: all matrices of one shape are orthogonalised together, which on a CPU is most of its cost.

Nothing to run. Used for the weight matrices in `train.py`; with AdamW alone the judge did not learn in the time given.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class BatchedMuon:
    """Momentum, then for each matrix the nearest orthogonal one, approached by a few Newton-Schulz steps."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, rounds: int = 4) -> None:
        self.lr, self.momentum, self.rounds = lr, momentum, rounds
        self._groups: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for matrix in matrices:
            self._groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self._momenta = {shape: torch.zeros(len(group), *shape) for shape, group in self._groups.items()}

    @torch.no_grad()
    def step(self) -> None:
        for shape, group in self._groups.items():
            gradient = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            momentum = self._momenta[shape].lerp_(gradient, 1 - self.momentum)
            update = self._orthogonal(gradient.lerp(momentum, self.momentum))
            scale = self.lr * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, change in zip(group, update, strict=True):
                matrix.sub_(change, alpha=scale)

    def _orthogonal(self, stack: Tensor) -> Tensor:
        tall = stack.shape[1] > stack.shape[2]
        x = stack.mT if tall else stack
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(self.rounds):
            gram = x @ x.mT
            x = 3.4445 * x + (2.0315 * (gram @ gram) - 4.7750 * gram) @ x
        return x.mT if tall else x
