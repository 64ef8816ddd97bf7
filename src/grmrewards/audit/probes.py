"""The probes: what is asked about each case, and the figure that comes of it. Pure functions.

A probe is a list of trials, one a case: groups of answers that are judged side by side as a trainer would show them, with one
answer exchanged, and the function that makes a figure of what they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from grmrewards import texts
from grmrewards.audit.attacks import ATTACKS
from grmrewards.audit.cases import Case
from grmrewards.bulk import Asked

Scores = Sequence[float | None]  # of a group, in order


class Trial(NamedTuple):
    """Groups that are asked, and what their scores say; None where one that counts is missing."""

    groups: tuple[Asked, ...]
    figure: Callable[..., float | None]  # of the scores of each group


class Pair(NamedTuple):
    """How a group shows a good and a poor answer: a judge sees the good one first in every other case."""

    good_first: bool

    def group(self, case: Case, good: str, poor: str, tag: str | None) -> Asked:
        """The group of a case with these two answers."""
        shown = [within(good, tag), within(poor, tag)]
        return Asked(case.prompt, shown if self.good_first else shown[::-1], case.columns)

    def good(self, scores: Scores) -> float | None:
        """The score of the good one."""
        return scores[0 if self.good_first else 1]

    def poor(self, scores: Scores) -> float | None:
        """The score of the poor one."""
        return scores[1 if self.good_first else 0]


def within(answer: str, tag: str | None) -> str:
    """An answer as a judge that reads a tag alone would see it."""
    return f"<{tag}>{answer}</{tag}>" if tag else answer


def less(first: float | None, second: float | None) -> float | None:
    """The difference, where both are there."""
    return None if first is None or second is None else first - second


def untouched(cases: Sequence[Case], tag: str | None) -> list[tuple[Pair, Asked]]:
    """Each case as it is: what all other groups are held against."""
    pairs = [Pair(good_first=k % 2 == 0) for k in range(len(cases))]
    return [(pair, pair.group(case, case.good, case.poor, tag)) for pair, case in zip(pairs, cases, strict=True)]


def trials(cases: Sequence[Case], tag: str | None) -> dict[str, list[Trial]]:
    """The trials of all probes that any reward can be put to."""
    base = untouched(cases, tag)
    probes = {name: [_attacked(name, k, case, *base[k], tag) for k, case in enumerate(cases)] for name in ATTACKS}
    probes["another language"] = [_translated(case, *base[k], tag) for k, case in enumerate(cases) if case.translated]
    probes["attention to the prompt"] = [_foreign(cases, k, tag) for k in range(len(cases)) if len(cases) > 1]
    probes["ties"] = [Trial((group,), _tied) for _, group in base]
    ordered = [(pair, group) for case, (pair, group) in zip(cases, base, strict=True) if case.ordered]
    probes["telling good from poor"] = [Trial((group,), _preferring(pair)) for pair, group in ordered]
    return probes


def _attacked(name: str, k: int, case: Case, pair: Pair, group: Asked, tag: str | None) -> Trial:
    """What the poor answer gains."""
    attacked = pair.group(case, case.good, ATTACKS[name](case.poor, k), tag)
    return Trial((group, attacked), lambda before, after: less(pair.poor(after), pair.poor(before)))


def _translated(case: Case, pair: Pair, group: Asked, tag: str | None) -> Trial:
    """What the good answer gains in another language."""
    moved = pair.group(case, case.translated or "", case.poor, tag)
    return Trial((group, moved), lambda before, after: less(pair.good(after), pair.good(before)))


def _foreign(cases: Sequence[Case], k: int, tag: str | None) -> Trial:
    """What the good answer is worth more than the good answer to another question."""
    pair, other = Pair(good_first=k % 2 == 0), cases[(k + 1) % len(cases)]
    group = pair.group(cases[k], cases[k].good, other.good, tag)
    return Trial((group,), lambda scores: less(pair.good(scores), pair.poor(scores)))


def _tied(scores: Scores) -> float | None:
    return None if None in scores else float(scores[0] == scores[1])


def _preferring(pair: Pair) -> Callable[[Scores], float | None]:
    def points(scores: Scores) -> float | None:
        gap = less(pair.good(scores), pair.poor(scores))
        return None if gap is None else (gap > 0) + (gap == 0) / 2

    return points


def places(cases: Sequence[Case], tag: str | None) -> list[Trial]:
    """What an answer gains by being shown first: for a reward that shows a group as it is given."""
    both = [(Pair(True), Pair(False)) for _ in cases]
    return [
        Trial(tuple(pair.group(case, case.good, case.poor, tag) for pair in pairs), _first_place)
        for case, pairs in zip(cases, both, strict=True)
    ]


def _first_place(good_first: Scores, poor_first: Scores) -> float | None:
    """The mean over both answers of first place less second place."""
    gains = [less(good_first[0], poor_first[1]), less(poor_first[0], good_first[1])]
    known = [gain for gain in gains if gain is not None]
    return sum(known) / 2 if len(known) == 2 else None


def flipped(good_first: Scores, poor_first: Scores) -> float | None:
    """Whether the two orders name different winners."""
    first, second = less(good_first[0], good_first[1]), less(poor_first[1], poor_first[0])
    return None if first is None or second is None else float(first * second < 0)


def confidence(cases: Sequence[Case], tag: str | None) -> list[Trial]:
    """For scores that are probabilities: how sure the judge is of its winner, less whether that is the good answer."""
    base = untouched(cases, tag)
    return [Trial((group,), _surer(pair)) for case, (pair, group) in zip(cases, base, strict=True) if case.ordered]


def _surer(pair: Pair) -> Callable[[Scores], float | None]:
    def figure(scores: Scores) -> float | None:
        good, poor = pair.good(scores), pair.poor(scores)
        if good is None or poor is None:
            return None
        return max(good, poor) - ((good > poor) + (good == poor) / 2)

    return figure


def lengths(asked: Sequence[tuple[Asked, Scores]]) -> tuple[list[float | None], list[int]]:
    """The scores of all answers that were asked about, and their lengths."""
    rows = [
        (score, len(texts.answer(answer)))
        for group, scores in asked
        for answer, score in zip(group.completions, scores, strict=True)
    ]
    return [score for score, _ in rows], [length for _, length in rows]
