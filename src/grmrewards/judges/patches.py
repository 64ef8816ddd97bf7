"""Unsloth's patches of transformers, found before they can reach a score.

Unsloth replaces `forward` on the classes of a model family, for all models of the process: a judge of the policy's
family then runs code that was written for training the policy. With UNSLOTH_RETURN_HIDDEN_STATES=1 that code returns
hidden states where logits belong, which would turn the log-probabilities of two labels into noise that looks right.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any

from grmrewards.errors import ConfigError

INSTEAD = (
    "Give the model's name with isolate=True, which runs the judge in a process of its own, or judge with an "
    "OpenAIJudge on an endpoint."
)


def refuse_patched(model: Any) -> None:
    """Raise `ConfigError` where Unsloth replaced the forward of a module, on its class or on itself."""
    for module in model.modules():
        _refuse(type(module), type(module).forward, vars(module).get("forward"))


def refuse_patched_family(model_class: type) -> None:
    """The same for all classes that are written beside a model's: under some patches a model cannot even be loaded."""
    for part in list(vars(sys.modules[model_class.__module__]).values()):
        if isinstance(part, type):
            _refuse(part, getattr(part, "forward", None))


def _refuse(owner: type, *forwards: Any) -> None:
    if any(home.startswith("unsloth") for forward in forwards for home in _homes(forward)):
        raise ConfigError(
            f"Unsloth has replaced {owner.__name__}.forward in this process, so a judge of this family would not compute "
            f"what it was trained to; allowed is a model whose classes are those of transformers. {INSTEAD}"
        )


def refuse_hidden_states(width: int, vocabulary: int) -> None:
    """Raise `ConfigError` unless logits of this width are one number for each token of the vocabulary."""
    if width != vocabulary:
        raise ConfigError(
            f"the judge's logits hold {width} numbers a position; allowed are {vocabulary}, one for each of its tokens. "
            "Under Unsloth these are hidden states: unset UNSLOTH_RETURN_HIDDEN_STATES around the reward. " + INSTEAD
        )


def vocabulary(model: Any) -> int:
    """How many tokens the model's output layer scores."""
    head = model.get_output_embeddings()
    return int(getattr(head, "out_features", None) or model.config.get_text_config().vocab_size)


def _homes(function: Any) -> Iterator[str]:
    """The modules that a function and all that it wraps were written in."""
    while function is not None:
        yield str(getattr(function, "__module__", ""))
        within = function.func if isinstance(function, functools.partial) else None
        function = within or getattr(function, "__wrapped__", None)
