"""Training the judge itself: rewards over its judgements, and the data to train it on.

    from grmrewards.training import IntergroupReward, preference_pairs

    dataset = preference_pairs(preferences, args=args)
    GRPOTrainer(model="Qwen/Qwen3-8B", reward_funcs=[IntergroupReward("mean")], args=args, train_dataset=dataset)

All that is returned are `datasets.Dataset` objects and reward functions for TRL's own trainers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grmrewards.training.collapse import CollapseWatch
    from grmrewards.training.intergroup import intergroup_rewards
    from grmrewards.training.irpm import IntergroupReward
    from grmrewards.training.pairs import check_batches, preference_pairs
    from grmrewards.training.preferences import Preference, read_preferences

_HOME = {
    "CollapseWatch": "collapse",
    "IntergroupReward": "irpm",
    "Preference": "preferences",
    "check_batches": "pairs",
    "intergroup_rewards": "intergroup",
    "preference_pairs": "pairs",
    "read_preferences": "preferences",
}

__all__ = [
    "CollapseWatch",
    "IntergroupReward",
    "Preference",
    "check_batches",
    "intergroup_rewards",
    "preference_pairs",
    "read_preferences",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'grmrewards.training' has no attribute {name!r}; its names are {', '.join(__all__)}."
        )
    return getattr(importlib.import_module(f"grmrewards.training.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
