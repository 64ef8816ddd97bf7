"""One forward pass of a judge over rows that are partly in memory: token ids in, the logits after the last of each out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch

from grmrewards.judges import patches
from grmrewards.judges.cache import Buffer, Layout


class Passes:
    """The passes of one model."""

    def __init__(self, model: Any, layout: Layout, *, vocabulary: int, pad: int) -> None:
        self.model, self.layout, self.vocabulary, self.pad = model, layout, vocabulary, pad
        self.device: torch.device = model.device
        self._takes = {name for name in ("logits_to_keep", "position_ids") if takes(type(model).forward, name)}

    def read(
        self, buffer: Buffer, news: Sequence[Sequence[int]], lengths: Sequence[int], *, last: int = 1
    ) -> torch.Tensor:
        """The logits after the `last` of each row's new ids, [B, last, vocabulary]; they are in `buffer` from then on.

        `lengths` are those of the whole rows, the new ids among them. The new ids end at column `past` + q, q being the
        most that a row has of them; in a row with fewer, padding stands before them and is written nowhere.
        """
        longest, end = max(map(len, news)), buffer.past + max(map(len, news))
        ids = torch.tensor([[self.pad] * (longest - len(new)) + list(new) for new in news], device=self.device)
        columns = torch.arange(end, device=self.device)
        lengths_B1 = torch.tensor(lengths, device=self.device)[:, None]
        positions = (columns[-longest:] - (end - lengths_B1)).clamp(min=0)
        if min(map(len, news)) < longest:
            news_B1 = torch.tensor([len(new) for new in news], device=self.device)[:, None]
            buffer.written = columns[-longest:] >= end - news_B1
        logits = self._logits(buffer, ids, columns >= end - lengths_B1, positions, last)
        buffer.written = None
        buffer.past = end
        return logits

    def _logits(
        self, buffer: Buffer, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, last: int
    ) -> torch.Tensor:
        wished = {"logits_to_keep": last, "position_ids": positions}  # only the last columns through the LM head
        output = self.model(
            input_ids=ids,
            attention_mask=mask.long(),
            past_key_values=buffer.cache(),
            use_cache=True,
            **{name: value for name, value in wished.items() if name in self._takes},
        )
        patches.refuse_hidden_states(output.logits.shape[-1], self.vocabulary)
        logits: torch.Tensor = output.logits[:, -last:].float()
        return logits


@functools.lru_cache(maxsize=64)
def takes(function: Any, name: str) -> bool:
    """Whether a function has a parameter of this name."""
    return name in inspect.signature(function).parameters
