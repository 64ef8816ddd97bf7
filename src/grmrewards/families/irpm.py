"""IRPM: each response alone, a critique and then a score, several votes averaged (arXiv 2601.00677).

The judge samples `(c, s) ~ pi(. | q, y)`; its score is a random utility, and the mean of k samples is a better one
(section 2.8: temperature 0 at k = 1, 1.0 above). `votes` calls a response, no response sees another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from grmrewards import parsing
from grmrewards.polls import Poll, Unit
from grmrewards.rollouts import distinct
from grmrewards.types import Group, Reply
from grmrewards.voted import VotedReward


class IRPMReward(VotedReward):
    """Scores 0 to 10 for each response, from votes on it alone.

    Args:
        judge: The judge.
        **votes: The arguments of `VotedReward`: votes, min_votes, score, aggregate and so on. One vote by default.
        **shared: The arguments of `Reward`.

    >>> from grmrewards import ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: "<critique>Right.</critique><score>9</score>")
    >>> IRPMReward(judge)(prompts=["1+1?"], completions=["2"])
    [0.9]
    """

    family: ClassVar[str] = "irpm"
    score_range: ClassVar[tuple[float, float]] = (0.0, 10.0)
    marks: ClassVar[tuple[str, ...]] = ("question", "response")
    decimals: ClassVar[int] = 1
    pointwise = True

    async def score(self, group: Group) -> list[float | None]:
        firsts, places = distinct(group.responses)
        rows_of = [[i for i, place in enumerate(places) if place == p] for p in range(len(firsts))]
        scores = await self.voted([self._unit(group, rows, p) for p, rows in enumerate(rows_of)], len(firsts))
        return [scores[place] for place in places]

    def _unit(self, group: Group, rows: Sequence[int], place: int) -> Unit:
        """What is asked about the response that stands at `rows` (equal texts are judged once)."""
        response = group.responses[rows[0]]
        messages = self.messages(group, row=rows[0], response=response)
        return Unit([Poll(group.prompt, (response,), messages, self._read, _find, (place,), rows)])

    def _read(self, reply: Reply) -> list[float]:
        low, high = type(self).score_range
        return [parsing.tagged_score(reply, "score", low=low, high=high)]


def _find(reply: Reply) -> list[tuple[int, int]]:
    return [parsing.tagged_span(reply, "score")]
