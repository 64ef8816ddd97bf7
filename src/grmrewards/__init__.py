"""Generative reward models as reward functions for TRL's `GRPOTrainer`.

    from grmrewards import IPGRMReward, TransformersJudge

    trainer = GRPOTrainer(model=..., reward_funcs=[IPGRMReward(TransformersJudge("Qwen/Qwen3-8B"))], ...)

Names are loaded when they are first used: importing the package loads neither torch nor transformers nor openai.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grmrewards.errors import (
        ConfigError,
        ContextOverflow,
        FatalJudgeError,
        GRMError,
        JudgeError,
        JudgeOutage,
        ParseError,
        TransportError,
    )
    from grmrewards.families.gram import GRAMReward
    from grmrewards.families.ipgrm import IPGRMReward
    from grmrewards.families.irpm import IRPMReward
    from grmrewards.families.listwise import ListwiseReward
    from grmrewards.judges.adapter import AdapterJudge
    from grmrewards.judges.openai import OpenAIJudge
    from grmrewards.judges.scripted import ScriptedJudge
    from grmrewards.judges.transformers import TransformersJudge
    from grmrewards.judges.vllm import VLLMJudge
    from grmrewards.reward import Reward
    from grmrewards.shaping import with_auxiliary
    from grmrewards.types import Group, Judge, Message, Part, Reply, TokenLogprob, Vote

__version__ = "0.1.0"

__all__ = [
    "AdapterJudge",
    "ConfigError",
    "ContextOverflow",
    "FatalJudgeError",
    "GRAMReward",
    "GRMError",
    "Group",
    "IPGRMReward",
    "IRPMReward",
    "Judge",
    "JudgeError",
    "JudgeOutage",
    "ListwiseReward",
    "Message",
    "OpenAIJudge",
    "ParseError",
    "Part",
    "Reply",
    "Reward",
    "ScriptedJudge",
    "TokenLogprob",
    "TransformersJudge",
    "TransportError",
    "VLLMJudge",
    "Vote",
    "__version__",
    "with_auxiliary",
]

_HOME = {
    "AdapterJudge": "judges.adapter",
    "GRAMReward": "families.gram",
    "Group": "types",
    "IPGRMReward": "families.ipgrm",
    "IRPMReward": "families.irpm",
    "Judge": "types",
    "ListwiseReward": "families.listwise",
    "Message": "types",
    "OpenAIJudge": "judges.openai",
    "Part": "types",
    "Reply": "types",
    "Reward": "reward",
    "ScriptedJudge": "judges.scripted",
    "TokenLogprob": "types",
    "TransformersJudge": "judges.transformers",
    "VLLMJudge": "judges.vllm",
    "Vote": "types",
    "with_auxiliary": "shaping",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'grmrewards' has no attribute {name!r}; its names are {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"grmrewards.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
