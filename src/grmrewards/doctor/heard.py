"""A journal in memory: what a judge said in a call of a reward, in tokens, and why a completion has no score.

It stands where a reward keeps its record (`reward.journal`), and is told of the same things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grmrewards.batch import JUDGING, Batch
from grmrewards.journal import Journal, Judgement
from grmrewards.types import Judge, Message, Vote


@dataclass(frozen=True)
class Answer:
    """One answer that was asked for. `prompt_tokens` is 0 where another answer of the same request has them."""

    kind: str  # "critique", "principles", "score" (what follows a begun answer), "choice"
    prompt_tokens: int
    completion_tokens: int
    cut_off: bool
    error: str  # why it could not be used


@dataclass(frozen=True)
class Judged:
    """One completion: its score on the judge's own scale, what the judge wrote about it, and why it has no score."""

    score: float | None
    critique: str | None
    unscored: str | None


class Heard(Journal):
    """All that was said since it was made; `completions` are those of all calls, in their order.

    >>> from grmrewards import IRPMReward, ScriptedJudge
    >>> reward = IRPMReward(ScriptedJudge(lambda messages: "no idea"), on_failure="none", max_failures=1.0)
    >>> reward.journal = heard = Heard()
    >>> reward(prompts=["1+1?"], completions=["2"]), heard.judged[0].unscored
    ([None], "no <score> in the answer, which ends: 'no idea'")
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.answers: list[Answer] = []
        self.judged: list[Judged] = []
        self.values: dict[str, list[float]] = {}  # figures of the calls, by name
        self.lost: dict[int, list[str]] = {}  # of the rows of the call that goes on

    def begin(self) -> None:
        self.lost = {}

    async def judgement(
        self, name: str, judge: Judge, messages: Sequence[Message], *, about: Sequence[int], kind: str, **sampling: Any
    ) -> Judgement:
        judging = JUDGING.get()
        return _Listening(self, {"rows": [judging.rows[i] for i in about] if judging else [], "kind": kind})

    def hear(self, votes: Sequence[Vote[Any]], *, rows: Sequence[int], kind: str) -> None:
        """Take note of votes on these rows."""
        for vote in votes:
            if vote.error:
                for row in rows:
                    self.lost.setdefault(row, []).append(vote.error)
            if vote.reply is not None:
                tokens = (vote.reply.prompt_tokens, vote.reply.completion_tokens)
                self.answers.append(Answer(kind, *tokens, vote.reply.finish_reason == "length", vote.error))

    def completions(self, name: str, batch: Batch, rewards: Sequence[float | None], own: range) -> None:
        for figure, values in batch.call.values.items():
            self.values.setdefault(figure, []).extend(values)
        written = batch.notes.get("critique", {})
        for row in own:
            score = batch.scores[row]
            critique = "\n\n".join(written[row]) if row in written else None
            self.judged.append(Judged(score, critique, self._why(row, batch) if score is None else None))

    def _why(self, row: int, batch: Batch) -> str:
        """The commonest reason of this row, else that of the call, as when its deadline passed."""
        reasons = Counter(self.lost.get(row) or batch.call.failures.elements())
        return reasons.most_common(1)[0][0] if reasons else "no reason recorded"


@dataclass
class _Listening(Judgement):
    """A judgement whose votes are told to the journal, and written nowhere."""

    journal: Heard = field(default_factory=Heard)

    def keep(self, votes: Sequence[Vote[Any]], *, round_: int = 0) -> None:
        self.journal.hear(votes, **self.place)
