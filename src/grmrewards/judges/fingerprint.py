"""The fingerprint of loaded weights: what `save_pretrained` would write, in one line of text.

A checksum of integers over the bytes of each tensor, computed where the tensor is: no float arithmetic whose order could
matter, no copy of the model, no random number. Each 8 bytes are mixed with their position, so that two values, rows or
tensors that change places change it. It tells models apart; it is no protection against somebody who forges one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from typing import Any

import torch

CHUNK, CHUNK_ON_GPU = 1 << 20, 1 << 25  # bytes looked at at once; it costs a few times this in memory
_MIX = (-7046029254386353131, -4658895280553007687, -7723592293110705685)  # odd, from splitmix64; int64 wraps around


def fingerprint(model: Any, *, without: Set[str] = frozenset()) -> str:
    """The names, shapes, number formats and checksums of all parameters and stored buffers, but for the adapters `without`.

    Tied weights count once. Buffers that no checkpoint holds (frequencies of rotary positions) follow from the
    configuration, and some change while a model runs: they are left out. Weights that were given to a disk or to another
    memory are read from there; where they cannot be, their name says so.
    """
    digest, seen = hashlib.sha256(), set()
    with torch.inference_mode():
        for name, tensor in sorted(_tensors(model)):
            if not without.isdisjoint(name.split(".")):
                continue
            place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if tensor.is_meta or not tensor.numel() or place not in seen:
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {checksum(tensor)}\n".encode())
            seen.add(place)
    return digest.hexdigest()[:32]


def checksum(tensor: torch.Tensor) -> str:
    """A position-sensitive checksum of the bytes of one tensor."""
    if tensor.is_meta:
        return "not in memory"
    whole = tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor.new_zeros(0)
    size = CHUNK if whole.device.type == "cpu" else CHUNK_ON_GPU
    sums = [_sum(whole[start : start + size], start // 8) for start in range(0, len(whole), size)]
    return f"{sum(int(part) for part in sums) % 2**64:016x}"


def _sum(part: torch.Tensor, first: int) -> torch.Tensor:
    """Of each 8 bytes and their position a number that depends on all bits of both; the sum of these, modulo 2^64."""
    words = torch.cat([part, part.new_zeros(-len(part) % 8)]).view(torch.int64)
    mixed = torch.arange(first, first + len(words), device=part.device).mul_(_MIX[0]).bitwise_xor_(words)
    for factor, shift in zip(_MIX[1:], (29, 32), strict=True):
        mixed.mul_(factor)
        mixed.bitwise_xor_(mixed >> shift)
    return mixed.sum()


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """All that a checkpoint would hold, quantised tensors as the plain ones that they are made of."""
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            offloaded = _offloaded(model, name) if value.is_meta else None
            yield from _plain(name, value if offloaded is None else offloaded)


def _plain(name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield name, tensor
        return
    for inner in flatten()[0]:
        yield from _plain(f"{name}.{inner}", getattr(tensor, inner))


def _offloaded(model: Any, name: str) -> torch.Tensor | None:
    """A tensor that `accelerate` brings in for a forward pass only."""
    owner, _, leaf = name.rpartition(".")
    hook = getattr(model.get_submodule(owner), "_hf_hook", None)
    for one in getattr(hook, "hooks", (hook,)):
        if (kept := getattr(one, "weights_map", None)) is not None:
            found: torch.Tensor = kept[leaf]
            return found
    return None
