"""Asking a judge about a whole dataset: in parts, each one call of a reward, so that a deadline is never one for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from grmrewards import ranks
from grmrewards.errors import ConfigError
from grmrewards.judging import Progress

T = TypeVar("T")
AT_ONCE = 128  # prompts: they keep an endpoint busy, and a slow judge within the deadline of a call


def parts(items: Sequence[T], *, name: str, size: int = AT_ONCE) -> Iterator[Sequence[T]]:
    """`items` in parts of `size`, with a progress bar over all. Raises `ConfigError` on several processes.

    >>> [len(part) for part in parts(range(200), name="two parts")]
    [128, 72]
    """
    if ranks.world_size() > 1:
        raise ConfigError(
            f"{name} on {ranks.world_size()} processes; make the dataset on one, before training. For several GPUs, serve the "
            "judge (vLLM) and pass an OpenAIJudge."
        )
    with Progress(total=len(items), desc=name, unit="prompt", delay=5) as bar:
        for start in range(0, len(items), size):
            part = items[start : start + size]
            yield part
            bar.update(len(part))
