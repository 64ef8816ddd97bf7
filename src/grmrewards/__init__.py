"""Generative reward models as reward functions for TRL's `GRPOTrainer`.

    from grmrewards import IPGRMReward, TransformersJudge

    trainer = GRPOTrainer(model=..., reward_funcs=[IPGRMReward(TransformersJudge("Qwen/Qwen3-8B"))], ...)

Names are loaded when they are first used: importing the package loads neither torch nor transformers nor openai.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grmrewards.ballots import Ballot, likelihood
    from grmrewards.baselines import GreedyBaselines
    from grmrewards.errors import (
        ConfigError,
        ContextOverflow,
        FatalJudgeError,
        GRMError,
        JudgeError,
        JudgeOutage,
        ParseError,
        RewardHacked,
        TransportError,
    )
    from grmrewards.families.gram import GRAMReward
    from grmrewards.families.ipgrm import IPGRMReward
    from grmrewards.families.irpm import IRPMReward
    from grmrewards.families.listwise import ListwiseReward
    from grmrewards.families.pairwise import PairwiseReward
    from grmrewards.greedy import greedy_answers
    from grmrewards.judges.adapter import AdapterJudge
    from grmrewards.judges.openai import OpenAIJudge
    from grmrewards.judges.scripted import ScriptedJudge
    from grmrewards.judges.transformers import TransformersJudge
    from grmrewards.judges.vision import VisionJudge
    from grmrewards.judges.vllm import VLLMJudge
    from grmrewards.meta import MetaRewardModel
    from grmrewards.monitor import Monitor
    from grmrewards.reward import Reward
    from grmrewards.selection import Selection, best_of_n
    from grmrewards.shaping import with_auxiliary
    from grmrewards.signals import Flag
    from grmrewards.types import Group, Judge, Message, Part, Reply, TokenLogprob, Vote
    from grmrewards.voted import VotedReward

__version__ = "0.1.0"

__all__ = [
    "AdapterJudge",
    "Ballot",
    "ConfigError",
    "ContextOverflow",
    "FatalJudgeError",
    "Flag",
    "GRAMReward",
    "GRMError",
    "GreedyBaselines",
    "Group",
    "IPGRMReward",
    "IRPMReward",
    "Judge",
    "JudgeError",
    "JudgeOutage",
    "ListwiseReward",
    "Message",
    "MetaRewardModel",
    "Monitor",
    "OpenAIJudge",
    "PairwiseReward",
    "ParseError",
    "Part",
    "Reply",
    "Reward",
    "RewardHacked",
    "ScriptedJudge",
    "Selection",
    "TokenLogprob",
    "TransformersJudge",
    "TransportError",
    "VLLMJudge",
    "VisionJudge",
    "Vote",
    "VotedReward",
    "__version__",
    "best_of_n",
    "greedy_answers",
    "likelihood",
    "with_auxiliary",
]

_HOME = {
    "AdapterJudge": "judges.adapter",
    "Ballot": "ballots",
    "Flag": "signals",
    "GRAMReward": "families.gram",
    "GreedyBaselines": "baselines",
    "Group": "types",
    "IPGRMReward": "families.ipgrm",
    "IRPMReward": "families.irpm",
    "Judge": "types",
    "ListwiseReward": "families.listwise",
    "Message": "types",
    "MetaRewardModel": "meta",
    "Monitor": "monitor",
    "OpenAIJudge": "judges.openai",
    "PairwiseReward": "families.pairwise",
    "Part": "types",
    "Reply": "types",
    "Reward": "reward",
    "ScriptedJudge": "judges.scripted",
    "Selection": "selection",
    "TokenLogprob": "types",
    "TransformersJudge": "judges.transformers",
    "VLLMJudge": "judges.vllm",
    "VisionJudge": "judges.vision",
    "Vote": "types",
    "VotedReward": "voted",
    "best_of_n": "selection",
    "greedy_answers": "greedy",
    "likelihood": "ballots",
    "with_auxiliary": "shaping",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'grmrewards' has no attribute {name!r}; its names are {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"grmrewards.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
