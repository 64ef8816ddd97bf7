"""Keys and values of a batch of rows, in one piece and written in place: a cache of transformers that rows join and leave.

Every row ends at the same column, so that the last column is the last token of each, none lies between a row's tokens,
and windows of attention that are counted in columns mean what they say. What stands before a row's first token is masked.

Shapes: a plane holds the keys or values of the n layers that share shape, type and device, [n, B, heads, T, dim].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import cache_utils

Segment = list[torch.Tensor]  # some tokens of one row: for each plane [n, heads, tokens, dim]


class Kind(NamedTuple):
    """What layers of one plane have in common."""

    heads: int
    dim: int
    dtype: torch.dtype
    device: torch.device


class Layout:
    """Where each layer's keys and values stand. Made of a cache that the model itself has filled."""

    def __init__(self, filled: Any) -> None:
        self.kinds: list[Kind] = []
        self.counts: list[int] = []
        self.places = [(self._place(layer.keys), self._place(layer.values)) for layer in filled.layers]

    def _place(self, tensor: torch.Tensor) -> tuple[int, int]:
        kind = Kind(tensor.shape[1], tensor.shape[3], tensor.dtype, tensor.device)
        if kind not in self.kinds:
            self.kinds.append(kind)
            self.counts.append(0)
        plane = self.kinds.index(kind)
        self.counts[plane] += 1
        return plane, self.counts[plane] - 1

    @property
    def bytes_a_token(self) -> int:
        """Of keys and values, over all layers."""
        sizes = [
            n * kind.heads * kind.dim * kind.dtype.itemsize for n, kind in zip(self.counts, self.kinds, strict=True)
        ]
        return sum(sizes)


class Buffer:
    """The keys and values of B rows in T columns; the next pass writes its own from column `past` on."""

    def __init__(
        self, layout: Layout, rows: Sequence[Sequence[Segment]], *, ends: Sequence[int], past: int, columns: int
    ) -> None:
        """Put the segments of each row one after the other, so that the last one ends at column `ends[row]`."""
        self.layout, self.past, self.columns = layout, past, columns
        self.planes = [
            torch.empty(n, len(rows), kind.heads, columns, kind.dim, dtype=kind.dtype, device=kind.device)
            for n, kind in zip(layout.counts, layout.kinds, strict=True)
        ]
        self.written: torch.Tensor | None = None  # [B, q], where a pass is padded: which of its columns are tokens
        for row, (segments, end) in enumerate(zip(rows, ends, strict=True)):
            self._fill(row, segments, end)

    def _fill(self, row: int, segments: Sequence[Segment], end: int) -> None:
        for segment in reversed(segments):
            start = end - segment[0].shape[2]
            for plane, part in zip(self.planes, segment, strict=True):
                plane[:, row, :, start:end] = part
            end = start
        for plane in self.planes:
            plane[:, row, :, :end] = 0  # masked, but what is not a number would be one nowhere

    def segment(self, row: int, start: int, end: int) -> Segment:
        """The columns `start` to `end` of one row: no copy."""
        return [plane[:, row, :, start:end] for plane in self.planes]

    def cache(self) -> Any:
        """The same as what models of transformers take for `past_key_values`."""
        return cache_utils.Cache(layers=[_Layer(self, *place) for place in self.layout.places])


class _Layer(getattr(cache_utils, "DynamicLayer", object)):  # type: ignore[misc]  # older versions have none
    """One layer of a `Buffer`, in the form that transformers asks for."""

    def __init__(self, buffer: Buffer, key: tuple[int, int], value: tuple[int, int]) -> None:
        super().__init__()
        self.buffer = buffer
        self.keys, self.values = (buffer.planes[plane][n] for plane, n in (key, value))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, end = self.buffer.past, self.buffer.past + key_states.shape[2]
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            region = kept[:, :, start:end]
            if self.buffer.written is not None:  # padding must not stand where a row's earlier tokens do
                new = torch.where(self.buffer.written[:, None, :, None].to(new.device), new, region)
            region.copy_(new)
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self, *_: Any) -> int:
        return self.buffer.past

    def get_mask_sizes(self, query: Any, *_: Any) -> tuple[int, int]:
        """How many columns there are with those of this pass (older versions give their positions), and where they begin."""
        return self.buffer.past + (query if isinstance(query, int) else query.shape[0]), 0
