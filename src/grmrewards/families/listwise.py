"""Listwise GRM: the whole group in one prompt, several ballots, averaged (DeepSeek-GRM / SPCT, arXiv 2504.02495).

One text judges all responses (Eq. 7), `k` ballots are combined (Eq. 14: the responses shuffled before each), so that a
response's score tells how it stands among its siblings. `votes` calls a group, whatever its size.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any, ClassVar

from grmrewards import arguments, parsing
from grmrewards.polls import Poll, Unit
from grmrewards.rollouts import distinct
from grmrewards.types import Group, Judge, Reply
from grmrewards.voted import VotedReward


class ListwiseReward(VotedReward):
    """Scores 1 to 10 for all responses of a group at once, from ballots with the right count of scores.

    Args:
        judge: The judge.
        votes: Ballots a group.
        shuffle: Show the responses in another order on each ballot; scores are mapped back.
        orders: How many orders the ballots are split over; by default one each. 2 is one order and its reverse, so that
            a server answers many ballots from one prompt.
        **shared: The arguments of `VotedReward` and of `Reward`.

    >>> from grmrewards import ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: r"Scores: \\boxed{8, 8}")
    >>> ListwiseReward(judge, votes=2, scale="raw")(prompts=["1+1?"] * 3, completions=["2", "two", "2"])
    [8.0, 8.0, 8.0]
    """

    family: ClassVar[str] = "listwise"
    score_range: ClassVar[tuple[float, float]] = (1.0, 10.0)
    marks: ClassVar[tuple[str, ...]] = ("question", "responses")
    several: ClassVar[float] = 0.5
    single: ClassVar[float] = 0.5

    def __init__(
        self,
        judge: Judge,
        *,
        votes: int | tuple[int, int] = 8,
        shuffle: bool = True,
        orders: int | None = None,
        **shared: Any,
    ) -> None:
        self.shuffle = arguments.one_of("shuffle", shuffle, (True, False))
        self.orders = arguments.whole("orders", orders, optional=True)
        super().__init__(judge, votes=votes, **shared)

    def show_as_given(self) -> None:
        self.shuffle = False

    async def score(self, group: Group) -> list[float | None]:
        firsts, places = distinct(group.responses)
        orders = self._orders(group, len(firsts))
        shown = list(dict.fromkeys(orders))
        polls = [self._poll(group, firsts, order) for order in shown]
        scores = await self.voted([Unit(polls, [shown.index(order) for order in orders])], len(firsts))
        return [scores[place] for place in places]

    def _orders(self, group: Group, size: int) -> list[tuple[int, ...]]:
        """The order of the responses on each ballot: random ones, each followed by its reverse, decided by the content."""
        if not self.shuffle:
            return [tuple(range(size))] * self.most
        rng = random.Random(self.content_seed((group.prompt, group.responses)))
        orders: list[tuple[int, ...]] = []
        while len(orders) < (self.orders or self.most):
            order = tuple(rng.sample(range(size), size))
            orders += [order, order[::-1]]
        orders = orders[: self.orders or self.most]
        return [orders[vote % len(orders)] for vote in range(self.most)]

    def _poll(self, group: Group, firsts: Sequence[int], order: tuple[int, ...]) -> Poll:
        """What is asked with the responses in one order: `order` holds their places among `firsts`."""
        low, high = type(self).score_range
        responses = tuple(group.responses[firsts[place]] for place in order)
        read = functools.partial(parsing.boxed_scores, count=len(order), low=low, high=high)
        find = functools.partial(_find, count=len(order))
        about = range(len(group.responses))
        return Poll(group.prompt, responses, self.messages(group, responses=responses), read, find, order, about)


def _find(reply: Reply, *, count: int) -> list[tuple[int, int]]:
    return parsing.boxed_spans(reply, count)
