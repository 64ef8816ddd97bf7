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
from grmrewards.runner import together
from grmrewards.types import CALL, Group, Judge

LABELS = ("A", "B")


class GRAMReward(Reward):
    """Scores 0 to 1: the probability of being preferred. A group of one, and equal texts among themselves, get 0.5.

    Args:
        judge: A judge that gives log-probabilities.
        baseline_column: A dataset column with the answer to compare with. 2G comparisons a group.
        opponents: Without a baseline, how many others each response meets, at random; None: all of them,
            G(G - 1) comparisons a group.
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
        return await together(
            self._preference(group, i, response, baselines_G[i]) for i, response in enumerate(group.responses)
        )

    async def _within_group(self, group: Group) -> list[float | None]:
        size = len(group.responses)
        if size == 1:
            return [0.5]
        pairs = self._pairs(group, size)
        found = await together(
            self._preference(group, i, group.responses[i], group.responses[j], against=j) for i, j in pairs
        )
        known = {pair: p for pair, p in zip(pairs, found, strict=True) if p is not None}
        return scoring.win_rates(known, size)

    def _pairs(self, group: Group, size: int) -> list[tuple[int, int]]:
        """All pairs; or, on a random ring, each response with the next ones, so that all meet equally many."""
        if self.opponents is None or self.opponents >= size - 1:
            return [(i, j) for i in range(size) for j in range(i + 1, size)]
        ring = random.Random(self.content_seed((group.prompt, group.responses))).sample(range(size), size)
        steps = range(1, (self.opponents + 1) // 2 + 1)
        met = {frozenset((ring[at], ring[(at + step) % size])) for step in steps for at in range(size)}
        return sorted((min(pair), max(pair)) for pair in met)

    async def _preference(
        self, group: Group, row: int, first: str, second: str, against: int | None = None
    ) -> float | None:
        """P(first is better than second), or None. Equal texts need no judge."""
        if first == second:
            return 0.5
        about = [row] if against is None else [row, against]
        # One order: which of the two is A is decided by the content, so that no place belongs to a row of the batch.
        swaps = (False, True) if self.both_orders else (self.content_seed((first, second)) % 2 == 1,)
        orders = await together(self._compare(group, about, first, second, swapped) for swapped in swaps)
        logprobs = [order for order in orders if order is not None]
        if len(logprobs) < len(orders):
            return None
        self._count_flips(logprobs)
        p = scoring.preference(logprobs)
        self.note(
            "critique",
            about[:1],
            f"P(better than {'the baseline' if against is None else f'response {against + 1}'}) = {p:.3f}",
        )
        self.note("critique", about[1:], f"P(better than response {row + 1}) = {1 - p:.3f}")
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
