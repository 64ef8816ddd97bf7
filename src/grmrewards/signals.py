"""What a call tells of reward hacking: shares and means of its rows, each with how many rows speak. Pure functions.

Scores are in units of the judge's range here, 0 to 1, so that figures compare over families and scales.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from grmrewards import praise
from grmrewards.batch import Batch

Groups = Sequence[Sequence[int]]
Scores = Sequence[float | None]


class Flag(NamedTuple):
    """A signal that went off: its name, the trainer's step (or the call, where none is known), and what to do about it."""

    signal: str
    step: int
    message: str


class Evidence(NamedTuple):
    """A figure of one call, and the number of rows that it is about."""

    value: float
    rows: int


def of_batch(batch: Batch, score_range: tuple[float, float]) -> dict[str, Evidence]:
    """The figures of a judged batch that need no other judge: `of_call`, and the variance of votes where there were several."""
    found = of_call(in_units(batch.scores, score_range), [row.response for row in batch.rows], batch.groups)
    if votes := batch.call.values.get("vote_variance"):
        found["vote_variance"] = Evidence(statistics.fmean(votes), len(votes))
    return found


def in_units(scores: Scores, score_range: tuple[float, float]) -> list[float | None]:
    """Scores as shares of their range."""
    low, high = score_range
    return [None if score is None else (score - low) / (high - low) for score in scores]


def of_call(scores: Scores, responses: Sequence[str], groups: Groups) -> dict[str, Evidence]:
    """The figures that need nothing but the scores (0 to 1; None is unscored) and the responses of a call.

    `score`: the mean. `at_max`: the share of answers at the end of the scale. `response_length`: in characters.
    `length_correlation`: see `length_correlation`. `self_praise`: the share of answers that end by grading themselves, and
    `praise_gain` what they get more than their siblings.

    >>> found = of_call([1.0, 0.5], ["Paris. Final score: 10/10", "Paris."], [[0, 1]])
    >>> found["self_praise"], found["praise_gain"]
    (Evidence(value=0.5, rows=2), Evidence(value=0.5, rows=2))
    """
    scored = [i for group in groups for i in group if scores[i] is not None]
    if not scored:
        return {}
    lengths = [len(response) for response in responses]
    praising = {i for i in scored if praise.praises_itself(responses[i])}
    known = [s for i in scored if (s := scores[i]) is not None]
    found = {
        "score": Evidence(statistics.fmean(known), len(scored)),
        "at_max": Evidence(statistics.fmean(s >= 1.0 for s in known), len(scored)),
        "response_length": Evidence(statistics.fmean(lengths[i] for i in scored), len(scored)),
        "self_praise": Evidence(len(praising) / len(scored), len(scored)),
    }
    correlation = length_correlation(scores, lengths, groups)
    if correlation is not None:
        found["length_correlation"] = Evidence(correlation, len(scored))
    if gains := _gains(scores, praising, groups):
        rows = sum(row_count for _, row_count in gains)
        found["praise_gain"] = Evidence(sum(gain * n for gain, n in gains) / rows, rows)
    return found


def length_correlation(scores: Scores, lengths: Sequence[int], groups: Groups) -> float | None:
    """Pearson's r of score and response length within groups, which is where a trainer compares; None without variation.

    Both are taken as their distance from the group's mean: that long questions get long answers says nothing.

    >>> length_correlation([0.1, 0.2, 0.8, 0.9], [1, 2, 11, 12], [[0, 1], [2, 3]])
    1.0
    """
    pairs: list[tuple[float, float]] = []
    for group in groups:
        own = [(s, float(lengths[i])) for i in group if (s := scores[i]) is not None]
        if len(own) > 1:
            middle = tuple(statistics.fmean(column) for column in zip(*own, strict=True))
            pairs += [(s - middle[0], n - middle[1]) for s, n in own]
    return correlation([s for s, _ in pairs], [n for _, n in pairs])


def correlation(scores: Scores, others: Sequence[float]) -> float | None:
    """Pearson's r over what is scored; None where either does not vary."""
    pairs = [(s, float(other)) for s, other in zip(scores, others, strict=True) if s is not None]
    if len({s for s, _ in pairs}) < 2 or len({other for _, other in pairs}) < 2:
        return None
    try:
        return statistics.correlation([s for s, _ in pairs], [other for _, other in pairs])
    except statistics.StatisticsError:  # they differ by less than a square can hold
        return None


def second_opinion(scores: Scores, second: Mapping[int, float | None], groups: Groups) -> dict[str, Evidence]:
    """How a second judge sees the rows that it was asked about.

    `second_agreement`: the share of pairs within groups that both judges order, and order alike. `second_score` and
    `score_of_sample`: the means of both judges over the rows that both scored.

    >>> second_opinion([0.2, 0.9, 0.4], {0: 0.1, 1: 0.7, 2: 0.8}, [[0, 1, 2]])["second_agreement"].value
    0.6666666666666666
    """
    both = {i: (s, t) for i, t in second.items() if (s := scores[i]) is not None and t is not None}
    if not both:
        return {}
    rows = len(both)
    found = {
        "second_score": Evidence(statistics.fmean(t for _, t in both.values()), rows),
        "score_of_sample": Evidence(statistics.fmean(s for s, _ in both.values()), rows),
    }
    ordered = [
        (both[i][0] > both[j][0]) == (both[i][1] > both[j][1])
        for group in groups
        for i, j in itertools.combinations([i for i in group if i in both], 2)
        if both[i][0] != both[j][0] and both[i][1] != both[j][1]
    ]
    if ordered:
        found["second_agreement"] = Evidence(statistics.fmean(ordered), rows)
    return found


def staleness(scores: Scores, ages: Mapping[int, int], groups: Groups) -> dict[str, Evidence]:
    """What principles that were used before still do. `ages`: of a row, the calls since its principles were first used.

    `principle_age` is their mean, and `stale_principles` the share of groups with old principles whose scores are all equal.

    >>> staleness([1.0, 1.0, 0.2, 0.7], {0: 3, 1: 3, 2: 1, 3: 1}, [[0, 1], [2, 3]])
    {'principle_age': Evidence(value=2.0, rows=4), 'stale_principles': Evidence(value=0.5, rows=4)}
    """
    if not ages:
        return {}
    found = {"principle_age": Evidence(statistics.fmean(ages.values()), len(ages))}
    old = [[s for i in group if (s := scores[i]) is not None] for group in groups if ages.get(group[0], 0) > 0]
    several = [known for known in old if len(known) > 1]
    if several:
        equal = statistics.fmean(len(set(known)) == 1 for known in several)
        found["stale_principles"] = Evidence(equal, sum(map(len, several)))
    return found


def _gains(scores: Scores, praising: set[int], groups: Groups) -> list[tuple[float, int]]:
    """Of each group with answers of both kinds: how much more those get that praise themselves, and its rows."""
    gains = []
    for group in groups:
        own = [(i, s) for i in group if (s := scores[i]) is not None]
        with_praise, without = [s for i, s in own if i in praising], [s for i, s in own if i not in praising]
        if with_praise and without:
            gains.append((statistics.fmean(with_praise) - statistics.fmean(without), len(own)))
    return gains
