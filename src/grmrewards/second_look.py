"""A second judge's opinion on a sample of a call's groups, for the monitor. The same groups on every rank."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from grmrewards import keys, ranks, rollouts, texts
from grmrewards.batch import Batch
from grmrewards.errors import ConfigError, JudgeOutage

if TYPE_CHECKING:
    from grmrewards.reward import Reward

KEY = "asked_group"  # the column that tells the groups of a call that measures: one prompt may stand in several

log = logging.getLogger("grmrewards")


class Given(NamedTuple):
    """What a trainer passed for the rows of one process."""

    prompts: Sequence[Any]
    completions: Sequence[Any]
    columns: Mapping[str, Any]


def check(name: str, second: Any) -> None:
    """Raise `ConfigError` for what is no reward function."""
    if second is not None and (isinstance(second, type) or not callable(second)):
        raise ConfigError(
            f"{name}={second!r}; allowed is a reward, or a function with the signature of TRL's, or None."
        )


def ask(
    second: Callable[..., Any], sample: float, reward: Reward, batch: Batch, own: range, given: Given
) -> dict[int, float | None]:
    """What `second` gives the rows of a sample of groups, 0 to 1; None for what it left unscored.

    On several processes all must call it; each passes its `own` rows of the sample on, and gets to know all scores. A
    second judge that is down costs its opinion, not the run.
    """
    chosen = [k for k, group in enumerate(batch.groups) if _drawn(sample, reward, batch, group)]
    group_of = {i: k for k in chosen for i in batch.groups[k]}
    rows = sorted(i for i in group_of if i in own)
    if not group_of:
        return {}

    def work() -> dict[int, float | None]:
        return dict(
            zip(rows, _scores(second, [i - own.start for i in rows], [group_of[i] for i in rows], given), strict=True)
        )

    parts = ranks.on_every_rank(f"{reward.name}: second judge", work)
    return {i: value for part in parts for i, value in part.items()}


def _drawn(sample: float, reward: Reward, batch: Batch, group: Sequence[int]) -> bool:
    """Whether a group is in the sample: by its content, so that all ranks and a second run draw the same."""
    content = (texts.question(batch.rows[group[0]].prompt), [batch.rows[i].response for i in group])
    return random.Random(keys.content_seed(reward.seed, content)).random() < sample


def _scores(second: Callable[..., Any], rows: list[int], groups: list[int], given: Given) -> list[float | None]:
    judge: Any = getattr(second, "reward", second)  # of one with auxiliaries, the judge's
    low, high = getattr(judge, "score_range", (0.0, 1.0))
    if hasattr(judge, "measuring"):
        judge = second = judge.measuring(raw=True)
        if judge.deadline is None and math.isfinite(ranks.timeout()):
            judge.deadline = ranks.timeout() / 4  # half of it went to the first
    size = len(given.completions)
    columns = {
        name: _picked(values, rows) for name, values in given.columns.items() if rollouts.is_column(values, size)
    }
    columns[KEY] = groups
    prompts, completions = _picked(given.prompts, rows), _picked(given.completions, rows)
    try:
        found = second(prompts=prompts, completions=completions, **columns)
    except JudgeOutage as error:
        log.warning("the second judge of the monitor gave no opinion: %s", error)
        return [None] * len(rows)
    return [None if value is None or not math.isfinite(value) else (value - low) / (high - low) for value in found]


def _picked(values: Sequence[Any], rows: list[int]) -> list[Any]:
    return [values[i] for i in rows]
