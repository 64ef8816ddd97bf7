"""What is compared: each method is one constructor call of a reward of this package, as a user would write it.

`WithoutCritique...` are not in the package, since they judge worse: the judge is made to write a score at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sharper_cases import SIZE
from sharper_measure import Pool

from grmrewards import GRAMReward, IPGRMReward, IRPMReward, ListwiseReward, distribution
from grmrewards.asking import total
from grmrewards.ballots import Ballot, likelihood
from grmrewards.families.pairwise import PairwiseReward
from grmrewards.meta import MetaRewardModel
from grmrewards.reward import Reward
from grmrewards.runner import together
from grmrewards.types import Group, Message

VOTING = {"irpm": IRPMReward, "ipgrm": IPGRMReward, "listwise": ListwiseReward}
FAMILIES = (*VOTING, "gram", "pairwise")
LEAST, MOST, VOTES = 2, 16, 8
BUDGETS = (4.0, 3.2)
MEASURE = f"{VOTES} votes"
Methods = dict[str, Callable[[], Reward]]


class Seen:
    """Votes as they were cast, by question, what was shown, and response. As `vote_weights` it weighs all votes the same."""

    def __init__(self) -> None:
        self.votes: dict[tuple[str, frozenset[str], str], list[float]] = {}

    def __call__(self, ballots: Sequence[Ballot]) -> list[float]:
        for ballot in ballots:
            about = (str(ballot.prompt[-1].content), frozenset(ballot.responses))
            for response, score in zip(ballot.responses, ballot.scores, strict=True):
                self.votes.setdefault((*about, response), []).append(score)
        return [1.0] * len(ballots)


def methods(family: str, judge: Pool, *, cheap: Pool | None = None, meta: Path | None = None) -> Methods:
    """By name. `cheap` is the first judge of cascades, `meta` the folder of a meta reward model."""
    if family == "gram":
        return _comparisons(GRAMReward, judge, cheap)
    if family == "pairwise":
        return _comparisons(PairwiseReward, judge, None)
    return _votes(family, judge, cheap, meta)


def _votes(family: str, judge: Pool, cheap: Pool | None, meta: Path | None) -> Methods:
    make: Any = VOTING[family]
    without: Any = WITHOUT_CRITIQUE[family]
    found: Methods = {
        "1 vote, greedy": lambda: make(judge, votes=1, temperature=0.0, **RAW),
        "1 vote, T = 1": lambda: make(judge, votes=1, temperature=1.0, **RAW),
        "3 votes": lambda: make(judge, votes=3, **RAW),
        "4 votes": lambda: make(judge, votes=4, **RAW),
        MEASURE: lambda: make(judge, votes=VOTES, **RAW),
        "16 votes": lambda: make(judge, votes=MOST, **RAW),
        "8 votes, median": lambda: make(judge, votes=VOTES, aggregate="median", **RAW),
        "expected, 1 critique": lambda: make(judge, votes=1, temperature=0.0, score="expected", **RAW),
        "expected, 8 critiques": lambda: make(judge, votes=VOTES, score="expected", **RAW),
        "expected, no critique": lambda: without(judge, **RAW),
        "8 votes by R*": lambda: make(judge, votes=VOTES, vote_weights=likelihood, **RAW),
        "best 4 of 8 by R*": lambda: make(judge, votes=VOTES, vote_filter=likelihood, **RAW),
    }
    for budget in BUDGETS:
        found[f"adaptive, {budget:g} votes"] = _adaptive(make, judge, budget)
    if meta:
        rate = MetaRewardModel(str(meta), device="cpu", template="judge")
        found["best 4 of 8 by a meta model"] = lambda: make(judge, votes=VOTES, vote_filter=rate, **RAW)
    if cheap:
        found["cascade, 8 votes"] = lambda: make(judge, votes=VOTES, first_judge=cheap, **RAW)
        found["cascade, expected"] = lambda: make(
            judge, votes=1, temperature=0.0, score="expected", first_judge=cheap, **RAW
        )
    return found


def _adaptive(make: Any, judge: Pool, budget: float) -> Callable[[], Reward]:
    return lambda: make(judge, votes=(LEAST, MOST), vote_budget=budget, **RAW)


def _comparisons(make: Any, judge: Pool, cheap: Pool | None) -> Methods:
    found: Methods = {
        "all pairs, both orders": lambda: make(judge, **RAW),
        "all pairs, one order": lambda: make(judge, both_orders=False, **RAW),
        "3 opponents": lambda: make(judge, opponents=3, **RAW),
        "an anchor": lambda: make(judge, opponents="anchor", **RAW),
    }
    if cheap:
        found["cascade"] = lambda: make(judge, first_judge=cheap, **RAW)
    return found


# Two neighbouring groups may have the same question, so their size is told.
RAW: dict[str, Any] = {"scale": "raw", "on_failure": "none", "max_failures": 1.0, "group_size": SIZE}


# Without a critique: the judge's answer is begun for it, up to where the number stands


class WithoutCritiqueIRPM(IRPMReward):
    """The expected score straight after the prompt."""

    async def score(self, group: Group) -> list[float | None]:
        asked = [self.messages(group, row=i, response=response) for i, response in enumerate(group.responses)]
        begun = "<critique></critique><score>"
        return [score for score, _ in await together(_straight(self, messages, begun) for messages in asked)]


class WithoutCritiqueIPGRM(IPGRMReward):
    """The same, with principles."""

    async def score(self, group: Group) -> list[float | None]:
        known = await self.principles(group)
        asked = [
            self.messages(group, row=i, principles=known, response=response)
            for i, response in enumerate(group.responses)
        ]
        begun = "Analysis:\nScore: \\boxed{"
        return [score for score, _ in await together(_straight(self, messages, begun) for messages in asked)]


class WithoutCritiqueListwise(ListwiseReward):
    """The same for one number after the other, each after the likeliest ones before it."""

    async def score(self, group: Group) -> list[float | None]:
        messages = self.messages(group, responses=group.responses)
        begun, found = "\nScores: \\boxed{", []
        for _ in group.responses:
            score, likeliest = await _straight(self, messages, begun)
            found.append(score)
            begun += f" {likeliest},"
        return list(found)


WITHOUT_CRITIQUE = {"irpm": WithoutCritiqueIRPM, "ipgrm": WithoutCritiqueIPGRM, "listwise": WithoutCritiqueListwise}


async def _straight(reward: Reward, messages: Sequence[Message], begun: str) -> tuple[float, str]:
    """The mean over the whole numbers that may follow, and the likeliest of them.

    However unlikely all of them are: the package would refuse to call that a score.
    """
    low, high = reward.score_range
    strings = distribution.strings(low, high, decimals=0)
    vote = await reward.choose([*messages, Message("assistant", begun)], strings, kind="score")
    if vote.value is None:
        raise RuntimeError(f"no log-probabilities after {begun!r}: {vote.error}")
    logprobs = [total(tokens) for tokens in vote.value]
    shares = [math.exp(logprob - max(logprobs)) for logprob in logprobs]
    mean = sum(float(text) * share for text, share in zip(strings, shares, strict=True)) / sum(shares)
    return mean, strings[shares.index(max(shares))]
