"""Listwise GRM: the whole group in one prompt, several ballots, averaged (DeepSeek-GRM / SPCT, arXiv 2504.02495).

One text judges all responses (Eq. 7), `k` ballots are combined (Eq. 14: the responses shuffled before each), so that a
response's score tells how it stands among its siblings. `votes` calls a group, whatever its size.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from grmrewards import arguments, parsing, scoring
from grmrewards.reward import Reward
from grmrewards.rollouts import distinct
from grmrewards.runner import together
from grmrewards.types import Group, Judge, Reply


class ListwiseReward(Reward):
    """Scores 1 to 10 for all responses of a group at once, the mean over the ballots with the right count of scores.

    Args:
        judge: The judge.
        votes: Ballots a group.
        min_votes: So many of them must be usable, or the group is unscored.
        shuffle: Show the responses in another order on each ballot; scores are mapped back.
        orders: How many orders the ballots are split over; by default one each. 2 is one order and its reverse, so that
            a server answers many ballots from one prompt.
        **shared: The arguments of `Reward`.

    >>> from grmrewards import ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: r"Scores: \\boxed{8, 8}")
    >>> ListwiseReward(judge, votes=2, scale="raw")(prompts=["1+1?"] * 3, completions=["2", "two", "2"])
    [8.0, 8.0, 8.0]
    """

    family: ClassVar[str] = "listwise"
    score_range: ClassVar[tuple[float, float]] = (1.0, 10.0)
    marks: ClassVar[tuple[str, ...]] = ("question", "responses")

    def __init__(
        self,
        judge: Judge,
        *,
        votes: int = 8,
        min_votes: int = 1,
        shuffle: bool = True,
        orders: int | None = None,
        **shared: Any,
    ) -> None:
        self.votes, self.min_votes = arguments.votes(votes, min_votes)
        self.shuffle = arguments.one_of("shuffle", shuffle, (True, False))
        self.orders = arguments.whole("orders", orders, optional=True)
        super().__init__(judge, **shared)

    async def score(self, group: Group) -> list[float | None]:
        firsts, places = distinct(group.responses)
        ballots = Counter(self._orders(group, len(firsts)))
        counted = await together(self._vote(group, firsts, order, n) for order, n in ballots.items())
        scores_VG = [ballot for ballots in counted for ballot in ballots]
        if len(scores_VG) < self.min_votes:
            return [None] * len(places)
        scores = scoring.mean_over_votes(scores_VG, len(firsts))
        return [scores[place] for place in places]

    def _orders(self, group: Group, size: int) -> list[tuple[int, ...]]:
        """The order of the responses on each ballot: random ones, each followed by its reverse, decided by the content."""
        if not self.shuffle:
            return [tuple(range(size))] * self.votes
        rng = random.Random(self.content_seed((group.prompt, group.responses)))
        orders: list[tuple[int, ...]] = []
        while len(orders) < (self.orders or self.votes):
            order = tuple(rng.sample(range(size), size))
            orders += [order, order[::-1]]
        orders = orders[: self.orders or self.votes]
        return [orders[vote % len(orders)] for vote in range(self.votes)]

    async def _vote(self, group: Group, firsts: Sequence[int], order: Sequence[int], n: int) -> list[list[float]]:
        """The usable of `n` ballots in one order, their scores mapped back to the order of `firsts`."""
        low, high = self.score_range

        def read(reply: Reply) -> list[float]:
            shown = parsing.boxed_scores(reply, len(order), low=low, high=high)
            return [score for _, score in sorted(zip(order, shown, strict=True))]

        messages = self.messages(group, responses=[group.responses[firsts[place]] for place in order])
        votes = await self.ask(messages, read, n=n, temperature=0.5, about=range(len(group.responses)))
        return [vote.value for vote in votes if vote.value is not None]
