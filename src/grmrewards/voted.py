"""`VotedReward`: what the families share whose scores are votes: how many, which of them count, and for how much.

IRPMReward(judge, votes=8)                                   the mean of eight samples (IRPM section 2.8)
IRPMReward(judge, score="expected")                          one critique, and the mean over what may follow it
IRPMReward(judge, votes=(2, 16))                             more votes where the order is not settled
IRPMReward(judge, votes=8, vote_filter=MetaRewardModel(m))   the better half of eight (SPCT section 5.5)
IRPMReward(judge, votes=8, vote_weights=likelihood)          weighed by R* (ReasonGRM)
IRPMReward(judge, votes=8, first_judge=small)                the dear judge only where the cheap one is undecided
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from grmrewards import arguments, ballots, distribution, polls, scoring, undecided
from grmrewards.ballots import Ballot, Rate
from grmrewards.batch import JUDGING
from grmrewards.budget import Budget, Standings
from grmrewards.errors import ConfigError
from grmrewards.polls import Style, Unit
from grmrewards.reward import Reward
from grmrewards.runner import together
from grmrewards.types import CALL, Group, Judge

Aggregate = Literal["mean", "sum", "median", "trimmed"]


class VotedReward(Reward):
    """Base of the families whose scores are votes on what a judge wrote.

    Args:
        judge: The judge.
        votes: Judgements a response (listwise: ballots a group). A pair (least, most) is adaptive: each gets the least,
            and more go where the order within a group is not settled.
        min_votes: So many of them must be usable, or the response is unscored.
        score: "sampled": the number that the judge wrote. "expected": the mean over all numbers that it might have written
            after its critique, by their probability. Exact with a local judge; behind an endpoint from the log-probabilities
            of its likeliest tokens, which the server must give.
        aggregate: How votes are combined: "mean"; "sum" (SPCT Eq. 14: the mean times the number of votes, so that a lost
            vote changes nothing); "median"; "trimmed", the mean of the middle half.
        temperature: Of the votes; by default 0 for a single one and what the family's paper says for several.
        vote_filter: Rates the votes on a response; only the best `k_meta` count (by default half, SPCT section 5.5).
        k_meta: How many those are.
        vote_weights: Rates the votes; each counts by its rating, which must not be negative. `ballots.likelihood` is R*.
        vote_budget: Adaptive: votes a response that one call may spend on average; by default twice the least.
        first_judge: A cheaper judge that is asked first, for the least votes (two at least, or one expected score).
            `judge` is asked about those groups alone that it leaves undecided, and then its votes alone count.
        undecided: The expected share of wrongly ordered pairs (`grmrewards.undecided`) above which a group is so.
        **shared: The arguments of `Reward`.
    """

    decimals: ClassVar[int] = 0  # that a score may have
    single: ClassVar[float] = 0.0  # the temperature of a single vote
    several: ClassVar[float] = 1.0  # and of several

    def __init__(
        self,
        judge: Judge,
        *,
        votes: int | tuple[int, int] = 1,
        min_votes: int = 1,
        score: Literal["sampled", "expected"] = "sampled",
        aggregate: Aggregate = "mean",
        temperature: float | None = None,
        vote_filter: Rate | None = None,
        k_meta: int | None = None,
        vote_weights: Rate | None = None,
        vote_budget: float | None = None,
        first_judge: Judge | None = None,
        undecided: float = 0.05,
        **shared: Any,
    ) -> None:
        self.votes, self.min_votes = arguments.votes(votes, min_votes)
        self.least, self.most = votes if isinstance(votes, tuple) else (votes, votes)
        self.score_read = arguments.one_of("score", score, ("sampled", "expected"))
        self.aggregate = arguments.one_of("aggregate", aggregate, tuple(scoring.AGGREGATES))
        self.temperature = arguments.number("temperature", temperature, least=0.0, most=2.0, optional=True)
        self.vote_filter, self.vote_weights = _rate("vote_filter", vote_filter), _rate("vote_weights", vote_weights)
        self.k_meta = arguments.whole("k_meta", k_meta, optional=True)
        self.vote_budget = arguments.number("vote_budget", vote_budget, least=self.least, most=self.most, optional=True)
        self.first_judge = None if first_judge is None else arguments.judge("first_judge", first_judge)
        self.undecided = arguments.number("undecided", undecided, least=0.0, most=0.5)
        _check_together(self)
        if self.aggregate == "sum":
            low, high = type(self).score_range
            self.score_range = (low * self.most, high * self.most)  # type: ignore[misc]  # that of this instance
        super().__init__(judge, **shared)

    def judges(self) -> list[Judge]:
        return [self.judge, *([self.first_judge] if self.first_judge else [])]

    async def _score(self, group: Group) -> Sequence[float | None]:
        if self.least == self.most:
            return await super()._score(group)
        with self._budget().awaited():
            await asyncio.sleep(0)  # until all groups that are judged at once are
            return await super()._score(group)

    async def voted(self, units: Sequence[Unit], size: int) -> list[float | None]:
        """The scores of the `size` different responses of a group that `units` judge: None where too few votes are usable."""
        cast = await self._cast_first(units, size) if self.first_judge else None
        if cast is None:
            cast = await (self._cast_adaptively(units, size) if self.least < self.most else self._cast(units))
        scores: list[list[float | None]] = [[None] * size for _ in units]
        for found, unit, own in zip(scores, units, cast, strict=True):
            for place, value in zip(unit.places, await self._combined(unit, own), strict=True):
                found[place] = value
        return [next((s for s in of_place if s is not None), None) for of_place in zip(*scores, strict=True)]

    # Asking

    async def _cast(self, units: Sequence[Unit]) -> list[list[Ballot]]:
        """The votes of `judge`, the same number for each unit."""
        return await together(self._more(unit, self.most, start=0, judge=self.judge) for unit in units)

    async def _cast_first(self, units: Sequence[Unit], size: int) -> list[list[Ballot]] | None:
        """The votes of `first_judge`, if they settle the order."""
        assert self.first_judge is not None
        n = self.least if self.score_read == "expected" else max(2, self.least)
        style = self._style(n)
        cast = await together(polls.vote(self, unit, n, start=0, judge=self.first_judge, style=style) for unit in units)
        settled = self._settled([ballot for own in cast for ballot in own], size)
        if call := CALL.get():
            call.seen("second_judge", float(not settled))
        return cast if settled else None

    def _settled(self, cast: Sequence[Ballot], size: int) -> bool:
        votes_GV = ballots.by_place(cast, size)
        doubts = [[b.variances[b.places.index(i)] for b in cast if i in b.places and b.variances] for i in range(size)]
        own = [statistics.fmean(doubt) if doubt else 0.0 for doubt in doubts]
        standings_G = undecided.standings(votes_GV, undecided.pooled_variance(votes_GV), own)
        return len(standings_G) == size and undecided.share_of_wrong_pairs(standings_G) <= self.undecided

    async def _cast_adaptively(self, units: Sequence[Unit], size: int) -> list[list[Ballot]]:
        """The least for each, and then one more at a time for those to whom the budget of the call gives it."""
        group = Standings([unit.places for unit in units], [[] for _ in range(size)], [self.least] * len(units))
        budget = self._budget()
        with budget.joined(group):
            budget.spent(self.least * len(units))
            cast = await together(self._more(unit, self.least, start=0, judge=self.judge) for unit in units)
            group.votes_GV = ballots.by_place([ballot for own in cast for ballot in own], size)
            while more := await budget.more(group):
                found = await together(self._more(units[k], 1, start=group.asked[k], judge=self.judge) for k in more)
                for k, ballots_of_unit in zip(more, found, strict=True):
                    group.asked[k] += 1
                    cast[k] += ballots_of_unit
                budget.spent(len(more))
                group.votes_GV = ballots.by_place([ballot for own in cast for ballot in own], size)
        return cast

    async def _more(self, unit: Unit, n: int, *, start: int, judge: Judge) -> list[Ballot]:
        return await polls.vote(self, unit, n, start=start, judge=judge, style=self._style(self.most))

    def _style(self, votes: int) -> Style:
        low, high = type(self).score_range
        usual = self.single if votes == 1 else self.several
        expected = self.score_read == "expected"
        rates = [rate for rate in (self.vote_filter, self.vote_weights) if rate]
        return Style(
            temperature=usual if self.temperature is None else self.temperature,
            strings=distribution.strings(low, high, decimals=self.decimals) if expected else (),
            rated=bool(rates),
            logprobs=any(getattr(rate, "needs_logprobs", False) for rate in rates),
        )

    def _budget(self) -> Budget:
        """That of the call, which its groups share."""
        judging = JUDGING.get()
        shared = judging.batch.shared if judging else {}
        if "budget" not in shared:
            each = 2.0 * self.least if self.vote_budget is None else self.vote_budget
            shared["budget"] = Budget(min(each, self.most), most=self.most, settled=self.undecided)
        budget: Budget = shared["budget"]
        return budget

    # Combining

    async def _combined(self, unit: Unit, cast: Sequence[Ballot]) -> list[float | None]:
        """The score of each response of a unit."""
        if call := CALL.get():
            call.seen("votes", float(len(cast)))
        if len(cast) < self.min_votes or not cast:
            return [None] * len(unit.places)
        _tell_doubt(cast, type(self).score_range)
        if self.vote_filter:
            count = self.k_meta or max(1, self.most // 2)
            cast = ballots.best(*await self._rated(self.vote_filter, cast), count)
        weights_V = [1.0] * len(cast)
        if self.vote_weights:
            cast, weights_V = await self._rated(self.vote_weights, cast)
        if not cast:
            return [None] * len(unit.places)
        combine, times = scoring.AGGREGATES[self.aggregate], self.most if self.aggregate == "sum" else 1
        return [
            times * combine(votes_V, weights_V) for votes_V in ballots.by_place(cast, max(unit.places) + 1) if votes_V
        ]

    async def _rated(self, rate: Rate, cast: Sequence[Ballot]) -> tuple[list[Ballot], list[float]]:
        """The ballots with what `rate` says of them, on a thread of its own: a model may take its time. One at a time."""
        judging = JUDGING.get()
        shared = judging.batch.shared if judging else {}
        async with shared.setdefault("rating", asyncio.Lock()):
            kept, ratings = await asyncio.to_thread(ballots.rated, rate, list(cast))
        if (lost := len(cast) - len(kept)) and (call := CALL.get()):
            call.failures["a vote that cannot be rated, such as one without log-probabilities"] += lost
            call.counts.update(usable=-lost, unusable=lost)
        return kept, ratings


def _tell_doubt(cast: Sequence[Ballot], score_range: tuple[float, float]) -> None:
    """Where the judge's doubt lies: how far its votes on one answer differ, and what of that is in a critique's number."""
    call = CALL.get()
    if call is None or len(cast) < 2:
        return
    low, high = score_range
    votes_GV = ballots.by_place(cast, max(cast[0].places) + 1)
    call.seen("vote_variance", *(statistics.pvariance(v) / (high - low) ** 2 for v in votes_GV if len(v) > 1))
    for place in cast[0].places if cast[0].variances else ():
        own = [(b.scores[b.places.index(place)], b.variances[b.places.index(place)]) for b in cast]
        call.seen("variance_within_critique", statistics.fmean(variance for _, variance in own))
        call.seen("variance_between_critiques", statistics.variance(score for score, _ in own))


def _rate(name: str, rate: Any) -> Any:
    if rate is not None and (isinstance(rate, type) or not callable(rate)):
        raise ConfigError(f"{name}={rate!r}; allowed is a function that rates a list of ballots, or None.")
    return rate


def _check_together(reward: VotedReward) -> None:
    """Arguments that mean nothing beside each other."""
    adaptive = reward.least < reward.most
    if reward.vote_budget is not None and not adaptive:
        raise ConfigError(f"vote_budget={reward.vote_budget} with votes={reward.votes}; pass votes=(least, most).")
    if adaptive and (reward.least < 2 or reward.aggregate == "sum"):
        raise ConfigError(
            f"votes={reward.votes} with aggregate={reward.aggregate!r}; allowed are at least 2 votes to begin with, since "
            "one says nothing of its own spread, and another aggregate than 'sum'."
        )
    if reward.k_meta is not None and (reward.vote_filter is None or reward.k_meta > reward.most):
        raise ConfigError(f"k_meta={reward.k_meta}; allowed are up to votes={reward.votes} beside a vote_filter.")
    if reward.vote_weights and reward.aggregate in ("median", "trimmed"):
        raise ConfigError(f"vote_weights with aggregate={reward.aggregate!r}; allowed are 'mean' and 'sum'.")
