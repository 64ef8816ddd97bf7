"""Asking a judge about a whole dataset: in parts, each one call of a reward, so that a deadline is never one for all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from grmrewards import ranks
from grmrewards.errors import ConfigError
from grmrewards.journal import Journal
from grmrewards.judging import Progress
from grmrewards.reward import Reward
from grmrewards.second_look import KEY
from grmrewards.shaping import Shaped

T = TypeVar("T")
AT_ONCE = 128  # prompts: they keep an endpoint busy, and a slow judge within the deadline of a call
COMPLETIONS = 1024  # of all groups of a part


@dataclass(frozen=True)
class Asked:
    """One prompt and the completions that are judged side by side, with what the dataset's columns say of them all."""

    prompt: Any
    completions: Sequence[Any]
    columns: Mapping[str, Any] = field(default_factory=dict)


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
    with Progress(total=len(items), desc=name, unit="prompt", delay=2) as bar:
        for start in range(0, len(items), size):
            part = items[start : start + size]
            yield part
            bar.update(len(part))


def measured(
    reward: Callable[..., Any], *, record: str | Path | None = None, raw: bool = False, as_given: bool = False
) -> Callable[..., Any]:
    """A copy of `reward`, also of one with auxiliaries, for measuring its judge; another function as it is.

    What is unscored stays None, failures end nothing but where not one request was answered, and groups are told by
    `KEY`. With `record`, finished judgements are kept in that file and taken from it. `raw`: on the judge's own scale (beside
    auxiliaries, whose weights are in units of the reward's scale, on that).
    `as_given`: families that compare show a group in its own order and once, instead of cancelling the effect of places.
    """
    if isinstance(reward, Shaped):
        shaped = copy.copy(reward)
        shaped.reward = cast(Reward, measured(reward.reward, record=record, as_given=as_given))
        return shaped
    if not isinstance(reward, Reward):
        return reward
    asked = reward.measuring(raw=raw)
    if record is not None:
        asked.log_path, asked.journal = record, Journal(record, replay=True)
    if as_given:
        asked.show_as_given()
    return asked


def judging(reward: Callable[..., Any]) -> Reward | None:
    """The reward of this package that is asked: itself, or the one beside auxiliaries; None for another function."""
    inner = reward.reward if isinstance(reward, Shaped) else reward
    return inner if isinstance(inner, Reward) else None


def alone(reward: Callable[..., Any]) -> bool:
    """Whether each completion is judged without the others; so it is taken to be where a function says nothing of it."""
    judge = judging(reward)
    return judge.pointwise if judge else bool(getattr(reward, "pointwise", True))


def scores(
    reward: Callable[..., Any], groups: Sequence[Asked], *, name: str, **call: Any
) -> Iterator[list[float | None]]:
    """What `reward` gives each completion of each group, in order; None where it has no score, or no finite one.

    Asked in parts, with a bar. `reward` should be `measured`; `call` is passed on, such as log_metric. Raises `ConfigError`
    where it returns another number of rewards, and what it raises.
    """
    most = max((len(asked.completions) for asked in groups), default=1)
    for part in parts(groups, name=name, size=max(1, min(AT_ONCE, COMPLETIONS // max(most, 1)))):
        rows = [(k, asked, completion) for k, asked in enumerate(part) for completion in asked.completions]
        names = {column for _, asked, _ in rows for column in asked.columns}
        columns: dict[str, Any] = {name: [asked.columns.get(name) for _, asked, _ in rows] for name in names}
        if judging(reward):
            columns[KEY] = [k for k, _, _ in rows]
        prompts, completions = [asked.prompt for _, asked, _ in rows], [completion for _, _, completion in rows]
        found = list(reward(prompts=prompts, completions=completions, **columns, **call))
        if len(found) != len(rows):
            raise ConfigError(f"reward={reward!r:.80} returned {len(found)} rewards for {len(rows)} completions.")
        values = iter(found)
        for asked in part:
            yield [_finite(next(values)) for _ in asked.completions]


def _finite(value: Any) -> float | None:
    """A reward as a number; what is no number, or no finite one, is none."""
    return None if value is None or not math.isfinite(float(value)) else float(value)
