"""What no engine can beat on this model and machine: forward passes alone, with nothing around them.

    prefill    the tokens that must be read, in rows of 512, through the layers and no further
    decode     one token a row and step, beside a cache that is there and never grows

Measured in the same process and the same rounds as what they bound. No text, no sampling, no bookkeeping, and attention to
no more than 512 tokens before.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

ROW = 512


def prefill(model: Any, tokens: int) -> None:
    """Read `tokens` tokens."""
    while tokens > 0:
        model.model(torch.ones(1, min(ROW, tokens), dtype=torch.long), use_cache=False)
        tokens -= ROW


def decode(model: Any, *, rows: int, context: int, steps: int) -> None:
    """Write `steps` tokens in each of `rows` texts that are about `context` tokens long."""
    cache, token = frozen(model, rows, context), torch.ones(rows, 1, dtype=torch.long)
    position = torch.full((rows, 1), context)
    for _ in range(steps):
        model(token, past_key_values=cache, position_ids=position, logits_to_keep=1).logits.argmax(-1)


def frozen(model: Any, rows: int, context: int) -> DynamicCache:
    """A full cache that takes nothing more in: copying it, as a growing one is, costs what a better one would not."""
    cache, config = DynamicCache(config=model.config), model.config
    shape = (rows, config.num_key_value_heads, context, config.head_dim)
    for number in range(config.num_hidden_layers):
        cache.update(torch.zeros(shape), torch.zeros(shape), number)
    layers: Any = cache.layers
    for layer in layers:
        layer.update = lambda *given, layer=layer, **named: (layer.keys, layer.values)
    return cache
