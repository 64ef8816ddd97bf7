"""Names of rewards, each its own: trainers merge the metrics of reward functions that share one."""

from __future__ import annotations

import itertools
import weakref

_living: weakref.WeakValueDictionary[str, object] = weakref.WeakValueDictionary()


def unique(name: str, owner: object) -> str:
    """`name` for `owner`, with a number where a living reward has it."""
    numbered = (name if i == 1 else f"{name}_{i}" for i in itertools.count(1))
    free = next(candidate for candidate in numbered if candidate not in _living)
    _living[free] = owner
    return free
