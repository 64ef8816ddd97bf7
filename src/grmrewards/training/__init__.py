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
    from grmrewards.training.gram import gram_finetuning, gram_pretraining
    from grmrewards.training.intergroup import intergroup_rewards
    from grmrewards.training.ipgrm import decoupled_sft
    from grmrewards.training.irpm import IntergroupReward
    from grmrewards.training.pairs import check_batches, preference_pairs
    from grmrewards.training.preferences import Preference, read_preferences
    from grmrewards.training.reasongrm import VerdictReward
    from grmrewards.training.reasoning_paths import hard_examples, select_reasoning
    from grmrewards.training.spct import SPCTReward
    from grmrewards.training.spct_data import spct_rows
    from grmrewards.training.spct_samples import meta_ballot, meta_labels, rejective_samples
    from grmrewards.training.two_logits import TwoLogitTrainer
    from grmrewards.training.verdicts import verdict_rows

_HOME = {
    "CollapseWatch": "collapse",
    "IntergroupReward": "irpm",
    "Preference": "preferences",
    "SPCTReward": "spct",
    "TwoLogitTrainer": "two_logits",
    "VerdictReward": "reasongrm",
    "check_batches": "pairs",
    "decoupled_sft": "ipgrm",
    "gram_finetuning": "gram",
    "gram_pretraining": "gram",
    "hard_examples": "reasoning_paths",
    "intergroup_rewards": "intergroup",
    "meta_ballot": "spct_samples",
    "meta_labels": "spct_samples",
    "preference_pairs": "pairs",
    "read_preferences": "preferences",
    "rejective_samples": "spct_samples",
    "select_reasoning": "reasoning_paths",
    "spct_rows": "spct_data",
    "verdict_rows": "verdicts",
}

__all__ = [
    "CollapseWatch",
    "IntergroupReward",
    "Preference",
    "SPCTReward",
    "TwoLogitTrainer",
    "VerdictReward",
    "check_batches",
    "decoupled_sft",
    "gram_finetuning",
    "gram_pretraining",
    "hard_examples",
    "intergroup_rewards",
    "meta_ballot",
    "meta_labels",
    "preference_pairs",
    "read_preferences",
    "rejective_samples",
    "select_reasoning",
    "spct_rows",
    "verdict_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'grmrewards.training' has no attribute {name!r}; its names are {', '.join(__all__)}."
        )
    return getattr(importlib.import_module(f"grmrewards.training.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
