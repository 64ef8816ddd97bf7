"""What a reward writes into its record, and what it takes out of it instead of asking a judge again.

A line holds the key of its judgement: judge, prompt and sampling, with the number of the vote beside it. A judge that was
retrained has another identity and so other keys, even under its old name.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grmrewards import arguments, ranks, record, texts
from grmrewards.batch import JUDGING, Batch
from grmrewards.errors import ConfigError
from grmrewards.keys import content_key, identity, message_parts
from grmrewards.record import Entry, Replay
from grmrewards.signals import Flag
from grmrewards.types import CALL, Judge, Message, Reply, TokenLogprob, Vote


class Journal:
    """The record of one reward. Without a path it does nothing. Its pickle carries the arguments alone."""

    def __init__(self, path: str | Path | None, *, replay: bool = False) -> None:
        self.path = arguments.path("log_path", path)
        self.replay = arguments.one_of("replay", replay, (True, False))
        if replay and path is None:
            raise ConfigError("replay=True without log_path=; say which record holds the finished judgements.")
        self._replay = Replay(path) if replay and path is not None else None

    def begin(self) -> None:
        """Look what this and other processes have recorded since the last call."""
        if self._replay:
            self._replay.catch_up()

    async def judgement(
        self, name: str, judge: Judge, messages: Sequence[Message], *, about: Sequence[int], kind: str, **sampling: Any
    ) -> Judgement:
        """What is known of a judgement before it is asked for. Raises `JudgeError` where the judge cannot be named."""
        if self.path is None:
            return Judgement(self)
        judging = JUDGING.get()
        place: Entry = {
            "name": name,
            "step": judging.batch.step if judging else None,
            "rows": [judging.rows[i] for i in about] if judging else list(about),
            "kind": kind,
            "judge": str(getattr(judge, "model", type(judge).__name__)),
            "sampling": sampling,
        }
        place["key"] = content_key(
            v=record.VERSION, kind=kind, judge=await identity(judge), messages=message_parts(messages), **sampling
        )
        return Judgement(self, place, self._replay.answers(place["key"]) if self._replay else ())

    def completions(self, name: str, batch: Batch, rewards: Sequence[float | None], own: range) -> None:
        """One line for each of this process's `own` rows: prompt, response, score, reward, and what the judge wrote."""
        if self.path is None:
            return
        group_of = {i: number for number, group in enumerate(batch.groups) for i in group}
        for i in own:
            row = batch.rows[i]
            entry = {
                "type": "completion",
                "time": time.time(),
                "name": name,
                "step": batch.step,
                "row": i,
                "group": group_of[i],
                "prompt": texts.question(row.prompt),
                "response": row.response,
                "score": batch.scores[i],
                "reward": rewards[i],
                **{kind: "\n\n".join(notes.get(i, ())) for kind, notes in batch.notes.items()},
            }
            self.append([entry])

    def call(self, name: str, batch: Batch, figures: Mapping[str, float], flags: Sequence[Flag]) -> None:
        """One line for the whole call, from one process: its metrics, and the flags that the monitor raised."""
        if self.path is None or ranks.rank():
            return
        told = [{"signal": flag.signal, "message": flag.message} for flag in flags]
        entry = {
            "type": "call",
            "time": time.time(),
            "name": name,
            "step": batch.step,
            "figures": figures,
            "flags": told,
        }
        self.append([{**entry, "completions": len(batch.rows), "groups": len(batch.groups)}])

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """A full disk costs the record, not the run."""
        if self.path is None or not entries:
            return
        try:
            record.append(self.path, *entries)
        except OSError as error:
            warnings.warn(f"the record {self.path} cannot be written: {error}", stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "replay": self.replay}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # unpickling is a fresh start


@dataclass
class Judgement:
    """One prompt that is put to a judge: the answers that the record has, and where new ones go."""

    journal: Journal
    place: Entry = field(default_factory=dict)
    known: Sequence[Entry] = ()

    def replies(self) -> list[tuple[int, Reply]]:
        """The recorded answers, each with the round in which it was asked for; the newest first, which count first."""
        found = [(entry["round"], _reply(entry)) for entry in reversed(self.known)]
        _count_replayed(len(found))
        return found

    def choice(self) -> Vote[tuple[tuple[float, ...], ...]] | None:
        """The recorded log-probabilities of the choices."""
        if not self.known:
            return None
        _count_replayed(1)
        entry = self.known[-1]
        # "-inf" is how the record writes what JSON has no number for
        value = None if entry["error"] else tuple(tuple(map(float, logprobs)) for logprobs in entry["value"])
        return Vote(value, _reply(entry), entry["error"] or "")

    def keep(self, votes: Sequence[Vote[Any]], *, round_: int = 0) -> None:
        """Write votes down as soon as they are known, in one piece."""
        if self.journal.path is None:
            return
        number = len(self.known)
        entries = [self._line(vote, number + i, round_) for i, vote in enumerate(votes)]
        self.known = [*self.known, *entries]
        self.journal.append(entries)

    def _line(self, vote: Vote[Any], number: int, round_: int) -> Entry:
        reply = vote.reply
        return {
            "type": "vote",
            "time": time.time(),
            **self.place,
            "vote": number,
            "round": round_,
            "answered": reply is not None,
            "text": reply.text if reply else None,
            "reasoning": reply.reasoning if reply else None,
            "finish_reason": reply.finish_reason if reply else None,
            "tokens": [reply.prompt_tokens, reply.completion_tokens] if reply else None,
            "logprobs": [[t.token, t.logprob, dict(t.top)] for t in reply.logprobs] if reply else None,
            "value": vote.value,
            "error": vote.error or None,
        }


def _reply(entry: Entry) -> Reply:
    tokens = entry.get("logprobs") or ()
    return Reply(
        text=entry["text"],
        reasoning=entry.get("reasoning") or "",
        finish_reason=entry.get("finish_reason") or "stop",
        logprobs=tuple(
            TokenLogprob(token, float(lp), {t: float(v) for t, v in top.items()}) for token, lp, top in tokens
        ),
    )


def _count_replayed(answers: int) -> None:
    if call := CALL.get():
        call.counts["replayed"] += answers
