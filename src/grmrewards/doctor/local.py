"""What a judge on this machine is and can do."""

from __future__ import annotations

from dataclasses import dataclass

from grmrewards.judges.transformers import TransformersJudge


@dataclass(frozen=True)
class LocalModel:
    """A loaded model. None where it runs in a process of its own, or states nothing."""

    model: str
    context: int | None  # tokens of the longest prompt with its answer
    parameters: int | None
    device: str | None
    dtype: str | None
    logprobs: bool = True  # exact, of any text

    def report(self) -> str:
        """One fact a line, as of a server."""
        size = "unknown" if self.parameters is None else f"{self.parameters:,}"
        facts = {
            "logprobs": "exact, of any text; GRAMReward and score='expected' can use it",
            "context length": "unknown" if self.context is None else f"{self.context:,} tokens",
            "parameters": size,
            "device": self.device or "unknown",
            "dtype": self.dtype or "unknown",
        }
        return "\n".join(
            [f"{self.model!r} on this machine:", *(f"  - {name}: {what}." for name, what in facts.items())]
        )


def look(judge: TransformersJudge, name: str) -> LocalModel:
    """Load the model of `judge`, if it is not loaded yet, and see what it is. Raises what loading raises."""
    from grmrewards.judges.network import NO_WINDOW

    network = judge._load().result().network
    model = getattr(network, "model", None)
    return LocalModel(
        model=name,
        context=None if network.window >= NO_WINDOW else network.window,
        parameters=None if model is None else sum(weights.numel() for weights in model.parameters()),
        device=None if model is None else str(model.device),
        dtype=None if model is None else str(model.dtype).removeprefix("torch."),
    )
