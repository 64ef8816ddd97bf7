"""Pairwise generative scores: two responses in one prompt, a critique, a score for each (Generative RLHF-V).

Grouped comparison (arXiv 2505.18531): a response's score is its mean over its games with the others of the group, each
played in both orders, `S_i = 1/(2(k-1)) sum_j [s(y_i | y_i, y_j) + s(y_i | y_j, y_i)]`. The prompt is that of
`ListwiseReward` with two responses, so that what differs from it is the comparison alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from grmrewards import arguments, pairing, parsing
from grmrewards.prompts import warn_if_trained_with_another
from grmrewards.reward import Reward
from grmrewards.rollouts import distinct
from grmrewards.runner import together
from grmrewards.types import CALL, Group, Judge, Reply

Rows = Sequence[int]  # of the group, that hold one text


class PairwiseReward(Reward):
    """Scores 1 to 10: what a judge gives each response beside another one, the mean over its opponents in the group.

    Equal texts are one response, and a group that has only one gets 5.5 without a judge. A pair that lost an order counts
    for neither of the two.

    Args:
        judge: The judge.
        opponents: How many others each response meets, at random (one more where both the group and the number are odd).
            "anchor": one of the group, at random, meets all others, 2(G - 1) calls; scores that were given beside one
            opponent compare less well, since judges spread them by how good that one is. None: all pairs, G(G - 1) calls.
        both_orders: Show each pair in both orders, which cancels a liking for a place. False halves the cost.
        votes: Ballots a pair and order, averaged; they share a call.
        temperature: None: 0 at one vote, 1.0 above.
        template: The prompt: a text, a path, or None for that of `ListwiseReward`.
        **shared: The other arguments of `Reward`.

    >>> from grmrewards import ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: r"Scores: \\boxed{9, 5}")  # likes the first place
    >>> PairwiseReward(judge, scale="raw")(prompts=["1+1?"] * 2, completions=["2", "3"])
    [7.0, 7.0]
    """

    family: ClassVar[str] = "pairwise"
    score_range: ClassVar[tuple[float, float]] = (1.0, 10.0)
    as_given: bool = False  # each pair once, the earlier response of the group first
    marks: ClassVar[tuple[str, ...]] = ("question", "responses")

    def __init__(
        self,
        judge: Judge,
        *,
        opponents: pairing.Opponents = None,
        both_orders: bool = True,
        votes: int = 1,
        temperature: float | None = None,
        template: str | Path | None = None,
        **shared: Any,
    ) -> None:
        self.opponents = pairing.check_opponents(opponents)
        self.both_orders = arguments.one_of("both_orders", both_orders, (True, False))
        self.votes = arguments.whole("votes", votes)
        given = arguments.number("temperature", temperature, least=0.0, optional=True)
        self.temperature: float = (0.0 if votes == 1 else 1.0) if given is None else given
        super().__init__(judge, template="listwise" if template is None else template, **shared)
        if template is None:
            warn_if_trained_with_another(str(getattr(judge, "model", "")))

    def show_as_given(self) -> None:
        self.as_given = True

    async def score(self, group: Group) -> list[float | None]:
        firsts, places = distinct(group.responses)
        if len(firsts) == 1:
            return [sum(self.score_range) / 2] * len(places)
        rows = [[i for i, place in enumerate(places) if place == p] for p in range(len(firsts))]
        pairs = pairing.pairs(len(firsts), self.opponents, self.content_seed((group.prompt, group.responses)))
        found = await together(self._game(group, rows[i], rows[j]) for i, j in pairs)
        games = {pair: game for pair, game in zip(pairs, found, strict=True) if game is not None}
        if len(pairs) == len(firsts) * (len(firsts) - 1) // 2:
            self._count_cycles(games, len(firsts))
        scores = pairing.mean_scores(games, len(firsts))
        return [scores[place] for place in places]

    async def better(self, group: Group, i: int, j: int) -> float | None:
        """1 where response i gets the higher score of the two in their game, 0 where j does, else 0.5; None if lost."""
        game = (1.0, 1.0) if group.responses[i] == group.responses[j] else await self._game(group, [i], [j])
        return None if game is None else pairing.won(game)

    async def _game(self, group: Group, first: Rows, second: Rows) -> pairing.Game | None:
        """The mean scores of both over the orders; None where one of the orders was lost."""
        shown = self._orders(group, first, second)
        given = await together(self._scores(group, *order) for order in shown)
        orders = [scores for scores in given if scores is not None]
        if len(orders) < len(shown):
            return None
        orders = [s if order[0] is first else (s[1], s[0]) for order, s in zip(shown, orders, strict=True)]
        self._count_flips(orders)
        of_first, of_second = zip(*orders, strict=True)
        return statistics.fmean(of_first), statistics.fmean(of_second)

    def _orders(self, group: Group, first: Rows, second: Rows) -> list[tuple[Rows, Rows]]:
        """Both orders; or one that the content decides, so that no place belongs to a row of the batch."""
        if self.as_given:
            return [(first, second)]
        if self.both_orders:
            return [(first, second), (second, first)]
        low, high = sorted((first, second), key=lambda rows: group.responses[rows[0]])
        swapped = self.content_seed((group.responses[low[0]], group.responses[high[0]])) % 2 == 1
        return [(high, low) if swapped else (low, high)]

    async def _scores(self, group: Group, first: Rows, second: Rows) -> pairing.Game | None:
        """The mean scores of both over the votes, shown in this order; None where no vote could be used."""
        low, high = self.score_range

        def read(reply: Reply) -> list[float]:
            return parsing.boxed_scores(reply, 2, low=low, high=high)

        pair = [group.responses[first[0]], group.responses[second[0]]]
        messages = self.messages(group, row=first[0], responses=pair)
        about = [*first, *second]
        votes = await self.ask(messages, read, n=self.votes, temperature=self.temperature, about=about)
        ballots = [vote.value for vote in votes if vote.value is not None]
        if not ballots:
            return None
        of_first, of_second = zip(*ballots, strict=True)
        return statistics.fmean(of_first), statistics.fmean(of_second)

    def _count_flips(self, orders: Sequence[pairing.Game]) -> None:
        """How often the two orders name different winners; a tie in one of them is none."""
        if (call := CALL.get()) is not None and len(orders) == 2:
            call.counts.update(pairs_in_both_orders=1, flips={*map(pairing.won, orders)} == {0.0, 1.0})

    def _count_cycles(self, games: Mapping[pairing.Pair, pairing.Game], size: int) -> None:
        """How often the winners among three responses go in a circle."""
        if (call := CALL.get()) is not None:
            cyclic, triples = pairing.cycles({pair: pairing.won(game) for pair, game in games.items()}, size)
            call.counts.update(cyclic_triples=cyclic, triples=triples)
