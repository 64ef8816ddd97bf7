"""GRAM: which of two responses is better, by the probabilities of "A" and "B" (arXiv 2506.14175).

One forward pass a pair and order, no generated text: `p = 1/2 [sigma(zA1 - zB1) + sigma(zB2 - zA2)]` over both orders
(methods 3.1; the published demo normalises over the wrong axis). Against a baseline answer from the dataset, or within
the group: the mean probability of beating the others (Generative RLHF-V, grouped comparison).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

from grmrewards import arguments, scoring, texts
from grmrewards.errors import ConfigError
from grmrewards.reward import Reward
from grmrewards.rollouts import distinct
from grmrewards.runner import together
from grmrewards.types import CALL, Group, Judge

LABELS = ("A", "B")


class GRAMReward(Reward):
    """Scores 0 to 1: the probability of being preferred. A group of one, and equal texts among themselves, get 0.5.

    Args:
        judge: A judge that gives log-probabilities.
        baseline_column: A dataset column with the answer to compare with. 2G comparisons a group.
        opponents: Without a baseline, how many others each response meets, at random (one more where both the group
            and the number are odd); None: all of them, G(G - 1) comparisons a group.
        both_orders: Compare each pair in both orders, which cancels a liking for the first place. False halves the cost.
        **shared: The arguments of `Reward`.

    >>> from grmrewards import ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: "A")  # always the first
    >>> GRAMReward(judge)(prompts=["1+1?"] * 2, completions=["2", "3"])
    [0.5, 0.5]
    """

    family: ClassVar[str] = "gram"
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    marks: ClassVar[tuple[str, ...]] = ("question", "answer_a", "answer_b")

    def __init__(
        self,
        judge: Judge,
        *,
        baseline_column: str | None = None,
        opponents: int | None = None,
        both_orders: bool = True,
        **shared: Any,
    ) -> None:
        self.baseline_column = arguments.word("baseline_column", baseline_column)
        self.pointwise = baseline_column is not None
        self.opponents = arguments.whole("opponents", opponents, optional=True)
        self.both_orders = arguments.one_of("both_orders", both_orders, (True, False))
        if baseline_column and opponents:
            raise ConfigError(
                f"opponents={opponents} has no meaning with baseline_column={baseline_column!r}; pass one of them."
            )
        if check := getattr(judge, "check_choices", None):
            check(LABELS)
        super().__init__(judge, **shared)

    def columns(self) -> list[str | None]:
        return [*super().columns(), self.baseline_column]

    async def score(self, group: Group) -> list[float | None]:
        if self.baseline_column:
            return await self._against_baseline(group)
        return await self._within_group(group)

    async def _against_baseline(self, group: Group) -> list[float | None]:
        baselines_G = [texts.answer(value) for value in group.columns[self.baseline_column or ""]]
        firsts, places = distinct(list(zip(group.responses, baselines_G, strict=True)))
        same = [[i for i, place in enumerate(places) if place == p] for p in range(len(firsts))]
        found = await together(
            self._preference(group, rows, group.responses[rows[0]], baselines_G[rows[0]]) for rows in same
        )
        return [found[place] for place in places]

    async def _within_group(self, group: Group) -> list[float | None]:
        texts_G = group.responses
        if len(texts_G) == 1:
            return [0.5]
        pairs = [(i, j) if texts_G[i] <= texts_G[j] else (j, i) for i, j in self._pairs(group, len(texts_G))]
        firsts, places = distinct([(texts_G[i], texts_G[j]) for i, j in pairs])  # equal texts meet one opponent once
        rows = {text: [i for i, other in enumerate(texts_G) if other == text] for text in texts_G}
        met = [(texts_G[i], texts_G[j]) for i, j in (pairs[at] for at in firsts)]
        found = await together(self._preference(group, rows[a], a, b, against=rows[b]) for a, b in met)
        known = {pair: p for pair, at in zip(pairs, places, strict=True) if (p := found[at]) is not None}
        return scoring.win_rates(known, len(texts_G))

    def _pairs(self, group: Group, size: int) -> list[tuple[int, int]]:
        """All pairs; or, on a random ring, each response with the next ones, so that all meet equally many."""
        if self.opponents is None or self.opponents >= size - 1:
            return [(i, j) for i in range(size) for j in range(i + 1, size)]
        ring = random.Random(self.content_seed((group.prompt, group.responses))).sample(range(size), size)
        steps = [*range(1, self.opponents // 2 + 1)]
        if self.opponents % 2:  # the one across the ring, who is the same for both; in an odd ring there is none
            steps.append(size // 2 if size % 2 == 0 else self.opponents // 2 + 1)
        met = {frozenset((ring[at], ring[(at + step) % size])) for step in steps for at in range(size)}
        return sorted((min(pair), max(pair)) for pair in met)

    async def _preference(
        self, group: Group, rows: Sequence[int], first: str, second: str, against: Sequence[int] = ()
    ) -> float | None:
        """P(first is better than second), or None. Equal texts need no judge."""
        if first == second:
            return 0.5
        about = [*rows, *against]
        # One order: which of the two is A is decided by the content, so that no place belongs to a row of the batch.
        swaps = (False, True) if self.both_orders else (self.content_seed((first, second)) % 2 == 1,)
        orders = await together(self._compare(group, about, first, second, swapped) for swapped in swaps)
        logprobs = [order for order in orders if order is not None]
        if len(logprobs) < len(orders):
            return None
        self._count_flips(logprobs)
        p = scoring.preference(logprobs)
        opponent = f"response {against[0] + 1}" if against else "the baseline"
        self.note("critique", rows, f"P(better than {opponent}) = {p:.3f}")
        self.note("critique", against, f"P(better than response {rows[0] + 1}) = {1 - p:.3f}")
        return p

    async def _compare(
        self, group: Group, about: Sequence[int], first: str, second: str, swapped: bool
    ) -> tuple[float, float] | None:
        """The log-probabilities of first and second in one order; None if they could not be had."""
        a, b = (second, first) if swapped else (first, second)
        vote = await self.choose(self.messages(group, row=about[0], answer_a=a, answer_b=b), LABELS, about=about)
        if vote.value is None:
            return None
        log_a, log_b = vote.value
        return (log_b, log_a) if swapped else (log_a, log_b)

    def _count_flips(self, logprobs: Sequence[tuple[float, float]]) -> None:
        """How often the two orders disagree about the winner."""
        if (call := CALL.get()) is not None and len(logprobs) == 2:
            (first, second), (first_swapped, second_swapped) = logprobs
            call.counts["pairs_in_both_orders"] += 1
            call.counts["flips"] += (first > second) != (first_swapped > second_swapped)
