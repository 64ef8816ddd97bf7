"""One judge, one family, all methods: what each found and what it asked for."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sharper_judges
from sharper_cases import SIZE, Case, steps
from sharper_measure import Asked, Pool
from sharper_methods import BUDGETS, LEAST, MEASURE, MOST, RAW, VOTES, VOTING, Seen, methods
from sharper_stats import Order, averaged, ordered, random_counts

from grmrewards.reward import Reward

RANDOM = 50  # ways to spend a budget at random, of which the mean is taken
WIDTH = {"gram": 0.005}  # scores closer than this are nearly tied; of 1, not of 10


@dataclass
class Outcome:
    """What a method did on one judge: one entry a group, totals of what was asked for, and the reward's own metrics."""

    groups: list[Order]
    asked: Asked
    first: Asked = field(default_factory=Asked)  # of the first judge of a cascade
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """All methods of one family on one judge."""

    kind: str
    seed: int
    family: str
    outcomes: dict[str, Outcome]
    judge: dict[str, float]  # figures of the judge itself


def measure(folder: Path, kind: str, seed: int, family: str, cases: Sequence[Case], *, alone: bool = False) -> Run:
    """Call every reward on every case. `alone`: without the other judges that some methods need."""
    pools = folder / "pools"
    judge = Pool(sharper_judges.judge(folder, kind, seed), pools / f"{kind}{seed}-{family}")
    cheap = None
    if kind == "embedded" and not alone and family != "pairwise":
        cheap = Pool(sharper_judges.judge(folder, "weak", seed), pools / f"weak{seed}-{family}")
    meta = None
    if kind in sharper_judges.WITH_META and not alone and family in VOTING:
        meta = sharper_judges.meta(folder, kind, seed, family)
    try:
        seen = _all_votes(family, judge, cases)
        outcomes = {
            name: _outcome(make(), judge, cheap, cases, WIDTH.get(family, 0.05))
            for name, make in methods(family, judge, cheap=cheap, meta=meta).items()
        }
    finally:
        judge.save()
    if seen:
        for budget in BUDGETS:
            outcomes[f"at random, {budget:g} votes"] = _at_random(family, seen, cases, budget, outcomes[MEASURE])
    return Run(kind, seed, family, outcomes, _of_judge(seen, outcomes))


def _all_votes(family: str, judge: Pool, cases: Sequence[Case]) -> Seen | None:
    """The votes that all methods draw from, asked for at once: the others find them known."""
    if family not in VOTING:
        return None
    seen = Seen()
    reward: Any = VOTING[family]
    _outcome(reward(judge, votes=MOST, vote_weights=seen, **RAW), judge, None, cases, 0.0)
    return seen


def _outcome(reward: Reward, judge: Pool, cheap: Pool | None, cases: Sequence[Case], width: float) -> Outcome:
    """As a trainer calls it, several groups a call."""
    for pool in (judge, cheap):
        if pool:
            pool.take()
    orders: list[Order] = []
    told: dict[str, list[tuple[float, int]]] = {}
    for step in steps(cases):
        now: dict[str, float] = {}
        scores = reward(
            prompts=[case.question for case in step for _ in case.answers],
            completions=[answer for case in step for answer in case.answers],
            log_metric=now.__setitem__,
        )
        for name, value in now.items():  # a reward's own name is numbered
            told.setdefault(name.rpartition("/")[2], []).append((value, len(step)))
        by_group = [scores[i : i + SIZE] for i in range(0, len(scores), SIZE)]
        orders += [ordered(own, case.truth, width=width) for own, case in zip(by_group, step, strict=True)]
    return Outcome(orders, judge.take(), cheap.take() if cheap else Asked(), {n: _mean(v) for n, v in told.items()})


def _mean(values: Sequence[tuple[float, int]]) -> float:
    return sum(value * size for value, size in values) / sum(size for _, size in values)


def _at_random(family: str, seen: Seen, cases: Sequence[Case], budget: float, eight: Outcome) -> Outcome:
    """The mean of many ways to give out the same number of votes without looking at them."""
    by_step = [_random_step(family, seen, step, budget, i) for i, step in enumerate(steps(cases))]
    asked = Asked(**{name: round(count * budget / VOTES) for name, count in asdict(eight.asked).items()})
    return Outcome([order for orders in by_step for order in orders], asked)


def _random_step(family: str, seen: Seen, step: Sequence[Case], budget: float, number: int) -> list[Order]:
    rng = random.Random(number)
    each = 1 if family == "listwise" else SIZE  # units of a group
    tried = []
    for _ in range(RANDOM):
        total = round(budget * each * len(step))
        counts = iter(random_counts(rng, each * len(step), least=LEAST, most=MOST, total=total))
        votes = [[next(counts)] * SIZE if each == 1 else [next(counts) for _ in range(SIZE)] for _ in step]
        tried.append([_first_votes(seen, family, *group) for group in zip(step, votes, strict=True)])
    return [averaged(orders) for orders in zip(*tried, strict=True)]


def _first_votes(seen: Seen, family: str, case: Case, counts: Sequence[int]) -> Order:
    shown = [frozenset(case.answers if family == "listwise" else (answer,)) for answer in case.answers]
    votes = [seen.votes.get((case.question, *key), []) for key in zip(shown, case.answers, strict=True)]
    scores = [statistics.fmean(own[:n]) if own[:n] else None for own, n in zip(votes, counts, strict=True)]
    return ordered(scores, case.truth)


def _of_judge(seen: Seen | None, outcomes: dict[str, Outcome]) -> dict[str, float]:
    """Where the judge's doubt lies."""
    if seen is None:
        return {}
    told = outcomes["expected, 8 critiques"].metrics
    figures = {name: told[name] for name in ("score_entropy", "score_mass", "within_critique") if name in told}
    spreads = [statistics.stdev(votes[:8]) for votes in seen.votes.values() if len(votes[:8]) > 1]
    return {**figures, "vote_sd": statistics.fmean(spreads)}
