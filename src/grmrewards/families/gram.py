"""GRAM: which of two responses is better, by the probabilities of "A" and "B" (arXiv 2506.14175).

One forward pass a pair and order, no generated text: `p = 1/2 [sigma(zA1 - zB1) + sigma(zB2 - zA2)]` over both orders
(methods 3.1; the published demo normalises over the wrong axis). Against a baseline answer from the dataset, or within
the group: the mean probability of beating the others (Generative RLHF-V, grouped comparison).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from grmrewards import arguments, pairing, scoring, texts
from grmrewards.asking import total
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
            and the number are odd). "anchor": one of the group, at random, meets all others, 2(G - 1) comparisons; a
            response gets its probability to beat that one, which itself gets 0.5. None: all pairs, G(G - 1) comparisons.
        both_orders: Compare each pair in both orders, which cancels a liking for the first place. False halves the cost.
        first_judge: A cheaper judge that compares each pair first; `judge` compares, and counts, only where the first one
            failed or is undecided.
        undecided: The first judge is undecided where it gives the worse of a pair a probability above this, 0 to 0.5. It
            is what that judge claims, not how often it is wrong: an overconfident one is asked too rarely for a second
            opinion.
        **shared: The arguments of `Reward`.

    >>> from grmrewards import ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: "A")  # always the first
    >>> GRAMReward(judge)(prompts=["1+1?"] * 2, completions=["2", "3"])
    [0.5, 0.5]
    """

    family: ClassVar[str] = "gram"
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    as_given: bool = False  # each pair once, the earlier response of the group first
    marks: ClassVar[tuple[str, ...]] = ("question", "answer_a", "answer_b")

    def __init__(
        self,
        judge: Judge,
        *,
        baseline_column: str | None = None,
        opponents: pairing.Opponents = None,
        both_orders: bool = True,
        first_judge: Judge | None = None,
        undecided: float = 0.2,
        **shared: Any,
    ) -> None:
        self.baseline_column = arguments.word("baseline_column", baseline_column)
        self.pointwise = baseline_column is not None
        self.opponents = pairing.check_opponents(opponents)
        self.both_orders = arguments.one_of("both_orders", both_orders, (True, False))
        self.first_judge: Judge | None = None if first_judge is None else arguments.judge("first_judge", first_judge)
        self.undecided = arguments.number("undecided", undecided, least=0.0, most=0.5)
        if baseline_column and opponents:
            raise ConfigError(
                f"opponents={opponents!r} has no meaning with baseline_column={baseline_column!r}; pass one of them."
            )
        if first_judge is judge:
            raise ConfigError("first_judge= and judge= are one and the same; allowed is a cheaper judge, or None.")
        for asked in (judge, first_judge):
            if check := getattr(asked, "check_choices", None):
                check(LABELS)
        super().__init__(judge, **shared)

    def judges(self) -> list[Judge]:
        return [*super().judges(), *([self.first_judge] if self.first_judge is not None else [])]

    def columns(self) -> list[str | None]:
        return [*super().columns(), self.baseline_column]

    def show_as_given(self) -> None:
        self.as_given = True

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
        size, seed = len(group.responses), self.content_seed((group.prompt, group.responses))
        if size == 1:
            return [0.5]
        pairs = pairing.pairs(size, self.opponents, seed)
        known = await self._known(group, pairs)
        if len(pairs) == size * (size - 1) // 2:
            self._count_cycles(group, known)
        if self.opponents == "anchor":
            return pairing.against_anchor(known, pairing.anchor(size, seed), size)
        return pairing.win_rates(known, size)

    async def _known(self, group: Group, pairs: Sequence[pairing.Pair]) -> dict[pairing.Pair, float]:
        """P(i is better than j) for those of `pairs` where it could be had, each pair as (i, j) or (j, i)."""
        texts_G = group.responses
        if not self.as_given:
            pairs = [(i, j) if texts_G[i] <= texts_G[j] else (j, i) for i, j in pairs]
        firsts, places = distinct([(texts_G[i], texts_G[j]) for i, j in pairs])  # equal texts meet one opponent once
        rows = {text: [i for i, other in enumerate(texts_G) if other == text] for text in texts_G}
        met = [(texts_G[i], texts_G[j]) for i, j in (pairs[at] for at in firsts)]
        found = await together(self._preference(group, rows[a], a, b, against=rows[b]) for a, b in met)
        return {pair: p for pair, at in zip(pairs, places, strict=True) if (p := found[at]) is not None}

    async def better(self, group: Group, i: int, j: int) -> float | None:
        """P(response i is better than response j), with no baseline; None where it could not be had."""
        low, high = sorted((i, j), key=lambda row: group.responses[row])  # as within a group: either way one question
        p = await self._preference(group, [low], group.responses[low], group.responses[high], against=[high])
        return p if p is None or low == i else 1 - p

    async def _preference(
        self, group: Group, rows: Sequence[int], first: str, second: str, against: Sequence[int] = ()
    ) -> float | None:
        """P(first is better than second), or None. Equal texts need no judge."""
        if first == second:
            return 0.5
        p = await self._judged(group, [*rows, *against], first, second)
        if p is not None:
            opponent = f"response {against[0] + 1}" if against else "the baseline"
            self.note("critique", rows, f"P(better than {opponent}) = {p:.3f}")
            self.note("critique", against, f"P(better than response {rows[0] + 1}) = {1 - p:.3f}")
        return p

    async def _judged(self, group: Group, about: Sequence[int], first: str, second: str) -> float | None:
        """What the first judge says where there is one and it is sure enough, else what `judge` says."""
        if self.first_judge is not None:
            p = await self._in_orders(self.first_judge, group, about, first, second)
            sure = p is not None and min(p, 1 - p) <= self.undecided
            if (call := CALL.get()) is not None:
                call.counts.update(first_pairs=1, second_pairs=not sure)
            if sure:
                return p
        return await self._in_orders(self.judge, group, about, first, second)

    async def _in_orders(
        self, judge: Judge, group: Group, about: Sequence[int], first: str, second: str
    ) -> float | None:
        """P(first is better than second) by one judge; None unless all orders could be had."""
        # One order: which of the two is A is decided by the content, so that no place belongs to a row of the batch.
        single = (False if self.as_given else self.content_seed((first, second)) % 2 == 1,)
        swaps = (False, True) if self.both_orders and not self.as_given else single
        orders = await together(self._compare(judge, group, about, first, second, swapped) for swapped in swaps)
        logprobs = [order for order in orders if order is not None]
        if len(logprobs) < len(orders):
            return None
        self._count_flips(logprobs)
        return scoring.preference(logprobs)

    async def _compare(
        self, judge: Judge, group: Group, about: Sequence[int], first: str, second: str, swapped: bool
    ) -> tuple[float, float] | None:
        """The log-probabilities of first and second in one order; None if they could not be had."""
        a, b = (second, first) if swapped else (first, second)
        messages = self.messages(group, row=about[0], answer_a=a, answer_b=b)
        vote = await self.choose(messages, LABELS, about=about, judge=judge)
        if vote.value is None:
            return None
        log_a, log_b = map(total, vote.value)
        return (log_b, log_a) if swapped else (log_a, log_b)

    def _count_flips(self, logprobs: Sequence[tuple[float, float]]) -> None:
        """How often the two orders disagree about the winner."""
        if (call := CALL.get()) is not None and len(logprobs) == 2:
            (first, second), (first_swapped, second_swapped) = logprobs
            call.counts["pairs_in_both_orders"] += 1
            call.counts["flips"] += (first > second) != (first_swapped > second_swapped)

    def _count_cycles(self, group: Group, known: Mapping[pairing.Pair, float]) -> None:
        """How often the verdicts on three different responses go in a circle."""
        firsts = {*distinct(group.responses)[0]}
        if (call := CALL.get()) is not None:
            between = {pair: p for pair, p in known.items() if firsts.issuperset(pair)}
            cyclic, triples = pairing.cycles(between, len(group.responses))
            call.counts.update(cyclic_triples=cyclic, triples=triples)
