"""Several processes: what must hold before each may judge the rows that it was given.

TRL hands each process a slice of the batch, and a slice may cut a group in two.
"""

from __future__ import annotations

import sys

from grmrewards.errors import ConfigError


def world_size() -> int:
    """How many processes train together, by torch's word where it is loaded, else by the launcher's."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    return 1


def require_whole_groups(rows: int, group_size: int | None) -> None:
    """Raise `ConfigError` where a group may be split over processes: a part of a group cannot be judged as the whole."""
    if world_size() == 1 or (group_size and rows % group_size == 0):
        return
    raise ConfigError(
        f"{world_size()} processes with {rows} completions each and group_size={group_size}: a group may be split over "
        f"them. Pass group_size=num_generations, and choose per_device_train_batch_size * steps_per_generation as a "
        f"multiple of num_generations."
    )
