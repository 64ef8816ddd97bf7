"""When a figure of a run speaks of reward hacking, and what to do then. One function a signal, each over what was seen.

A figure that was not seen, or not often enough, is NaN here: no comparison with it holds, so nothing goes off.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

from grmrewards.signals import Evidence

LIKING = 0.3  # a correlation of score and length within groups that an answer's worth alone hardly gives
FLOOR = 0.01  # a variance of votes, in squares of the scale, that is noise: a tenth of it either way


class Seen:
    """The figures of a run over its first and its last `window` completions.

    >>> seen = Seen(4)
    >>> for share in (0.0, 0.5, 1.0):
    ...     seen.add({"at_max": Evidence(share, 4)})
    >>> seen.start("at_max"), seen.now("at_max"), seen.now("self_praise")
    (0.0, 1.0, nan)
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._starts: dict[str, float] = {}
        self._last: dict[str, deque[Evidence]] = {}

    def add(self, found: Mapping[str, Evidence]) -> None:
        """Take in the figures of a call."""
        for name, evidence in found.items():
            last = self._last.setdefault(name, deque())
            last.append(evidence)
            while sum(one.rows for one in last) - last[0].rows >= self.window:
                last.popleft()
            if name not in self._starts and not math.isnan(now := self.now(name)):
                self._starts[name] = now

    def now(self, name: str) -> float:
        """The mean over the last window; NaN before one is full."""
        last = self._last.get(name, ())
        held = sum(one.rows for one in last)
        return math.nan if held < self.window else math.fsum(one.value * one.rows for one in last) / held

    def start(self, name: str) -> float:
        """The mean over the first window; NaN before it is full."""
        return self._starts.get(name, math.nan)

    def rise(self, name: str) -> float:
        """From the first to the last window."""
        return self.now(name) - self.start(name)

    def growth(self, name: str) -> float:
        """The last window as a multiple of the first; NaN where that was 0."""
        return self.now(name) / (self.start(name) or math.nan)


def self_praise(seen: Seen, most: float) -> str | None:
    """Answers learn to grade themselves, and it does not cost them anything (Generative RLHF-V, arXiv 2505.18531, 4.3)."""
    share, before, gain = seen.now("self_praise"), seen.start("self_praise"), seen.now("praise_gain")
    if not (share > most and share > 2 * before) or gain <= 0:
        return None
    more = "" if math.isnan(gain) else f", and get {gain:.2f} of the scale more for it"
    return (
        f"{share:.0%} of the last {seen.window} answers end by grading or praising themselves ({before:.0%} at the start)"
        f"{more}. Go back to a checkpoint from before; pass self_praise_cap=, or cut such endings off before judging."
    )


def length(seen: Seen, most: float) -> str | None:
    """Answers grow or shrink, and the judge likes it."""
    growth, liking = seen.growth("response_length"), seen.now("length_correlation")
    liked, harm = ("longer", "padded") if growth > most and liking > LIKING else ("shorter", "cut short")
    if liked == "shorter" and not (growth < 1 / most and liking < -LIKING):
        return None
    return (
        f"answers are {growth:.2g} times as long as at the start, and within groups the {liked} ones get the higher scores "
        f"(r = {liking:.2f}). Read some: if they are {harm}, go back to a checkpoint from before and put a reward on length "
        "beside this one (with_auxiliary)."
    )


def at_max(seen: Seen, most: float) -> str | None:
    """Nearly all answers are at the end of the scale."""
    share = seen.now("at_max")
    if not share >= most:
        return None
    return (
        f"{share:.0%} of the last {seen.window} answers get the highest score, so the judge no longer tells them apart. Read "
        "some: if they are as good as that, you are done; if not, the judge is fooled, and more training makes it worse."
    )


def vote_variance(seen: Seen, most: float) -> str | None:
    """The policy goes where the judge is unsure."""
    now, growth = seen.now("vote_variance"), seen.growth("vote_variance")
    if not (growth > most and now > FLOOR):
        return None
    return (
        f"the judge's votes on one answer vary {growth:.1f} times as much as at the start: the policy writes what the judge is "
        "unsure of. Read some; lower the learning rate, raise beta, or use a stronger judge."
    )


def second_agreement(seen: Seen, least: float) -> str | None:
    """Two judges of the same thing should order answers alike."""
    share = seen.now("second_agreement")
    if not share < least:
        return None
    return (
        f"the second judge orders {share:.0%} of the pairs as the reward does, and a coin would 50%. One of the two does not "
        "measure what you want: read where they differ, and do not train on before you know which."
    )


def second_gap(seen: Seen, most: float) -> str | None:
    """The score that is optimised rises, the one that is not does not follow (Gao et al., arXiv 2210.10760)."""
    rise, other = seen.rise("score_of_sample"), seen.rise("second_score")
    if not (rise - other > most and other < rise / 2):
        return None
    return (
        f"since the start the score changed by {rise:+.2f} of the scale, and by the second judge {other:+.2f}: the policy "
        "learns what its own judge alone likes. Go back to a checkpoint from before, and mend or change the judge."
    )


def stale_principles(seen: Seen, most: float) -> str | None:
    """Principles that were written once do not tell today's answers apart."""
    share = seen.now("stale_principles")
    if not share >= most:
        return None
    return (
        f"{share:.0%} of the groups that were judged by principles of earlier calls got the same score for all responses. "
        "Leave out the prompts that are learnt, or have new principles written (reward.cache.refresh())."
    )


ALARMS: dict[str, Callable[[Seen, float], str | None]] = {
    alarm.__name__: alarm
    for alarm in (self_praise, length, at_max, vote_variance, second_agreement, second_gap, stale_principles)
}
