"""What a call leaves behind: record lines, a row of metrics, a column of critiques, one sentence in the log."""

from __future__ import annotations

import hashlib
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards import ranks, record, tally, texts
from grmrewards.batch import JUDGING, Batch
from grmrewards.types import Message, Vote

log = logging.getLogger("grmrewards")


def record_votes(
    path: str | Path | None,
    name: str,
    votes: Sequence[Vote[Any]],
    messages: Sequence[Message],
    about: Sequence[int],
    kind: str,
) -> None:
    """One line a vote, as soon as it is known; the prompt by its hash, since all votes of a judgement share it."""
    if path is None:
        return
    judging = JUDGING.get()
    prompt = hashlib.sha256(repr(list(messages)).encode()).hexdigest()
    for vote in votes:
        entry = {
            "type": "vote",
            "time": time.time(),
            "name": name,
            "step": judging.batch.step if judging else None,
            "rows": [judging.rows[i] for i in about] if judging else list(about),
            "kind": kind,
            "prompt_sha256": prompt,
            "text": vote.reply.text if vote.reply else None,
            "reasoning": vote.reply.reasoning if vote.reply else None,
            "value": vote.value,
            "error": vote.error or None,
        }
        _append(path, entry)


def record_completions(
    path: str | Path | None, name: str, batch: Batch, rewards: Sequence[float | None], own: range
) -> None:
    """One line for each of this process's `own` rows: prompt, response, score, reward, and what the judge wrote."""
    if path is None:
        return
    for i in own:
        row = batch.rows[i]
        entry = {
            "type": "completion",
            "time": time.time(),
            "name": name,
            "step": batch.step,
            "row": i,
            "prompt": texts.question(row.prompt),
            "response": row.response,
            "score": batch.scores[i],
            "reward": rewards[i],
            **{kind: "\n\n".join(notes.get(i, ())) for kind, notes in batch.notes.items()},
        }
        _append(path, entry)


def _append(path: str | Path, entry: Mapping[str, Any]) -> None:
    """A full disk costs the record, not the run."""
    try:
        record.append(path, entry)
    except OSError as error:
        warnings.warn(f"the record {path} cannot be written: {error}", stacklevel=2)


def report(
    name: str,
    batch: Batch,
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
    unscored = sum(score is None for score in batch.scores)
    done = f"{name}: {len(batch.rows)} completions in {len(batch.groups)} groups, {unscored} unscored"
    log.info("%s; %d calls, %d tokens, %.1f s", done, figures["calls"], figures["tokens"], figures["seconds"])
    if unscored:
        log.warning("%s: %s", done, tally.reasons(batch.call))
