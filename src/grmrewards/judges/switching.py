"""A model's adapters switched off, or another one on, and all of it put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from grmrewards.errors import ConfigError


def layers(model: Any) -> Iterator[Any]:
    """The modules of a model that hold adapters: LoRA's layers, and those that PEFT trains a whole copy of."""
    return (module for module in model.modules() if hasattr(type(module), "adapter_layer_names"))


@contextmanager
def switched(model: Any, adapter: str | None) -> Iterator[None]:
    """Within it, `model` is its base (None), or its base with `adapter` alone.

    PEFT's own switches also decide which weights are trained: that is put back, too, weight by weight.
    """
    found = list(layers(model))
    _refuse_merged(found)
    _refuse_split(model)
    before = [(layer, list(layer.active_adapters), layer.disable_adapters) for layer in found]
    trained = [(weight, weight.requires_grad) for layer in found for weight in layer.parameters()]
    try:
        for layer in found:
            _switch(layer, adapter)
        yield
    finally:
        for layer, active, disabled in before:
            layer.set_adapter(active)
            layer.enable_adapters(not disabled)
        for weight, wants_gradient in trained:
            weight.requires_grad_(wants_gradient)


def adapters(model: Any) -> set[str]:
    """The names of all adapters in a model."""
    return {name for layer in layers(model) for name in _adapters_of(layer)}


def _switch(layer: Any, adapter: str | None) -> None:
    if adapter is None or adapter not in _adapters_of(layer):
        layer.enable_adapters(False)
    else:
        layer.set_adapter([adapter])
        layer.enable_adapters(True)


def _adapters_of(layer: Any) -> set[str]:
    return {name for kind in layer.adapter_layer_names for name in getattr(layer, kind, {})}


def _refuse_merged(found: list[Any]) -> None:
    if any(getattr(layer, "merged", False) for layer in found):
        raise ConfigError(
            "the policy's adapter is merged into its base weights, so there is no base to judge with. Unmerge it "
            "(model.unmerge_adapter()) before rewards are called."
        )


def _refuse_split(model: Any) -> None:
    for weight in model.parameters():
        if hasattr(weight, "ds_id") or type(weight).__name__ == "DTensor":
            raise ConfigError(
                "the policy's weights are split over processes (ZeRO-3 or FSDP), so one of them cannot judge with them "
                "alone. Use ZeRO-2, or judge with an OpenAIJudge on an endpoint."
            )
