"""Whether a judge that is trained is still a judge: figures of each batch of its judgements, and warnings.

A judge collapses (IRPM tells it of its soft preference reward, after some 400 steps) when its scores drift apart until many are
at an end of the scale, where they tie.
"""

from __future__ import annotations

import itertools
import logging
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

log = logging.getLogger("grmrewards")


class Judgement(NamedTuple):
    """One completion of a judge on one side of a pair: `score` None where it could not be read, `length` in tokens."""

    pair: Any
    side: str
    strength: float
    score: float | None
    length: int


@dataclass
class CollapseWatch:
    """Thresholds, each on the mean of the last `window` batches; a warning comes once for each, in the log "grmrewards".

    `growth`: of the variance of scores, as a multiple of that of the first `window` batches. `ties`: the share of chosen and
    rejected scores that are equal (IRPM takes more than 5 % for a sign of failure). `unreadable`: the share of judgements
    that cannot be read. `longer`: of the judgements' length, like `growth`.

    >>> IntergroupReward("preference", watch=CollapseWatch(growth=1.5))  # doctest: +SKIP
    """

    growth: float = 2.0
    ties: float = 0.05
    unreadable: float = 0.05
    longer: float = 2.0
    window: int = 20
    _seen: deque[Mapping[str, float]] = field(default_factory=deque, repr=False)
    _first: Mapping[str, float] | None = field(default=None, repr=False)
    _warned: set[str] = field(default_factory=set, repr=False)

    def afresh(self) -> CollapseWatch:
        """The same thresholds, and nothing seen yet."""
        return replace(self, _seen=deque(maxlen=self.window), _first=None, _warned=set())

    def look(self, name: str, figures: Mapping[str, float]) -> None:
        """Take the figures of a batch, and warn of what they have come to."""
        self._seen.append(figures)
        if len(self._seen) < self.window:
            return
        now = {key: statistics.fmean(one.get(key, 0.0) for one in self._seen) for key in figures}
        self._first = self._first or now
        for what, told in self._alarms(now, self._first):
            if what not in self._warned:
                self._warned.add(what)
                log.warning("%s: %s", name, told)

    def _alarms(self, now: Mapping[str, float], first: Mapping[str, float]) -> list[tuple[str, str]]:
        over = f"over the last {self.window} batches"
        variance, length = (_multiple(now, first, key) for key in ("score_variance", "length"))
        found = [
            (
                variance > self.growth,
                f"the scores' variance is {variance:.1f} times what it was at the start, and {now['extremes']:.0%} of them "
                f"are at an end of the scale ({over}): they drift apart. Use kind='mean', or bound=2 with 'preference'.",
            ),
            (
                now["ties"] > self.ties,
                f"{now['ties']:.1%} of chosen and rejected scores tie {over}: the judge does not tell answers apart. Give "
                "stronger preferences, allow decimals, or more generations.",
            ),
            (
                now["unreadable"] > self.unreadable,
                f"{now['unreadable']:.1%} of the judgements cannot be read {over}: raise max_completion_length if they are "
                "cut off, or lower the learning rate.",
            ),
            (
                length > self.longer,
                f"judgements are {length:.1f} times as long as at the start {over}: pass max_tokens=.",
            ),
        ]
        return [(f"{i}", told) for i, (alarm, told) in enumerate(found) if alarm]

    @staticmethod
    def figures(
        judgements: Sequence[Judgement],
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        rewards: Sequence[float],
        score_range: tuple[float, float],
    ) -> dict[str, float]:
        """What is logged of a batch. `pairs` names the rows of the chosen and the rejected side of each."""
        scores = [row.score for row in judgements]
        known = [score for score in scores if score is not None]
        sides = [[scores[i] for i in side if scores[i] is not None] for pair in pairs for side in pair]
        spreads = [statistics.pvariance(_numbers(side)) for side in sides if side]
        return {
            "accuracy": _share(pairs, scores, lambda c, r: (c > r) + 0.5 * (c == r)),
            "ties": _share(pairs, scores, lambda c, r: float(c == r)),
            "score_mean": statistics.fmean(known) if known else 0.0,
            "score_variance": statistics.pvariance(known) if known else 0.0,
            "score_variance_within": statistics.fmean(spreads) if spreads else 0.0,
            "extremes": statistics.fmean(float(score in score_range) for score in known) if known else 0.0,
            "unreadable": 1 - len(known) / len(scores),
            "length": statistics.fmean(row.length for row in judgements),
            "nothing_to_learn": statistics.fmean(
                float(len({rewards[i] for i in side}) == 1) for pair in pairs for side in pair
            ),
        }


def _share(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    scores: Sequence[float | None],
    of: Callable[[float, float], float],
) -> float:
    """The mean of `of` over all chosen and rejected scores of a pair."""
    met = [
        (c, r)
        for chosen, rejected in pairs
        for c, r in itertools.product((scores[i] for i in chosen), (scores[i] for i in rejected))
        if c is not None and r is not None
    ]
    return statistics.fmean(of(c, r) for c, r in met) if met else 0.0


def _multiple(now: Mapping[str, float], first: Mapping[str, float], key: str) -> float:
    return now[key] / first[key] if first[key] > 0 else 1.0


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
