"""What a call says of itself: a row of metrics, a column of critiques, one sentence in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grmrewards import ranks, tally, tensorboard
from grmrewards.batch import Batch

log = logging.getLogger("grmrewards")


def report(
    name: str,
    batch: Batch,
    rewards: Sequence[float | None],
    figures: Mapping[str, float],
    own: range,
    log_extra: Callable[[str, list[Any]], None] | None,
    log_metric: Callable[[str, float], None] | None,
) -> None:
    """Tell the trainer's log and ours. Columns and metrics carry the reward's name: two rewards must not share a key.

    Figures are of the whole call, which trainers average over the ranks; the column has this process's `own` rows.
    """
    if log_metric:
        for key, value in figures.items():
            log_metric(f"{name}/{key}", value)
    if log_extra:  # one text or None a row: TRL's table breaks on columns of mixed types or of another length
        critiques = batch.notes.get("critique", {})
        log_extra(f"{name}/critique", ["\n\n".join(critiques[i]) if i in critiques else None for i in own])
    if ranks.rank():
        return  # one process speaks for all
    tensorboard.tell(name, batch, rewards, log_extra)
    unscored = sum(score is None for score in batch.scores)
    done = f"{name}: {len(batch.rows)} completions in {len(batch.groups)} groups, {unscored} unscored"
    log.info("%s; %d calls, %d tokens, %.1f s", done, figures["calls"], figures["tokens"], figures["seconds"])
    if unscored:
        log.warning("%s: %s", done, tally.reasons(batch.call))
