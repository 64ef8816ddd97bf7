"""IRPM: each response alone, a critique and then a score, several votes averaged (arXiv 2601.00677).

The judge samples `(c, s) ~ pi(. | q, y)`; its score is a random utility, and the mean of k samples is a better one
(section 2.8: temperature 0 at k = 1, 1.0 above). `votes` calls a response, no response sees another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from grmrewards import arguments, parsing, scoring
from grmrewards.reward import Reward
from grmrewards.rollouts import distinct
from grmrewards.runner import together
from grmrewards.types import Group, Judge, Reply


class IRPMReward(Reward):
    """Scores 0 to 10, the mean or median of the usable votes on each response.

    Args:
        judge: The judge.
        votes: Judgements a response.
        min_votes: So many of them must be usable, or the response is unscored.
        aggregate: "mean" or "median" over the usable votes.
        **shared: The arguments of `Reward`.

    >>> from grmrewards import ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: "<critique>Right.</critique><score>9</score>")
    >>> IRPMReward(judge)(prompts=["1+1?"], completions=["2"])
    [0.9]
    """

    family: ClassVar[str] = "irpm"
    score_range: ClassVar[tuple[float, float]] = (0.0, 10.0)
    marks: ClassVar[tuple[str, ...]] = ("question", "response")
    pointwise = True

    def __init__(
        self,
        judge: Judge,
        *,
        votes: int = 1,
        min_votes: int = 1,
        aggregate: Literal["mean", "median"] = "mean",
        **shared: Any,
    ) -> None:
        self.votes, self.min_votes = arguments.votes(votes, min_votes)
        self.aggregate = arguments.one_of("aggregate", aggregate, tuple(scoring.AGGREGATES))
        super().__init__(judge, **shared)

    async def score(self, group: Group) -> list[float | None]:
        firsts, places = distinct(group.responses)
        same = [[i for i, place in enumerate(places) if place == p] for p in range(len(firsts))]
        scores = await together(self._judge(group, rows) for rows in same)
        return [scores[place] for place in places]

    async def _judge(self, group: Group, rows: Sequence[int]) -> float | None:
        """The combined vote on the response that stands at `rows` (equal texts are judged once)."""
        messages = self.messages(group, row=rows[0], response=group.responses[rows[0]])
        votes = await self.ask(
            messages, self._read, n=self.votes, temperature=0.0 if self.votes == 1 else 1.0, about=rows
        )
        scores_V = [vote.value for vote in votes if vote.value is not None]
        return scoring.AGGREGATES[self.aggregate](scores_V) if len(scores_V) >= self.min_votes else None

    def _read(self, reply: Reply) -> float:
        low, high = self.score_range
        return parsing.tagged_score(reply, "score", low=low, high=high)
