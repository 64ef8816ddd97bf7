"""How rows of different lengths are cut into batches: little padding, few passes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def cut(lengths: Sequence[int], *, overhead: int, limit: int) -> list[list[int]]:
    """The rows, by number, in batches whose cost is least.

    Each row is padded to the longest of its batch, so a batch costs its rows times that length, and `overhead` tokens
    for being a pass of its own: what it takes to read the weights and start the kernels. No batch has more than `limit`
    tokens, padding included, unless one row has more alone. Among rows in the order of their lengths, the best cuts are
    found exactly, in as many steps as rows times the most that go into one batch.

    >>> cut([90, 210, 100, 200], overhead=32, limit=10_000)
    [[0, 2], [3, 1]]
    >>> cut([90, 210, 100, 200], overhead=10_000, limit=10_000)
    [[0, 2, 3, 1]]
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    costs, froms = [0.0], [0]
    for last, row in enumerate(order, 1):
        longest, best, best_from = max(1, lengths[row]), math.inf, last - 1
        for first in range(last - 1, max(-1, last - 1 - max(1, limit // longest)), -1):
            cost = costs[first] + (last - first) * longest + overhead
            if cost < best:
                best, best_from = cost, first
        costs.append(best)
        froms.append(best_from)
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.append(order[froms[end] : end])
        end = froms[end]
    return batches[::-1]
