"""`Monitor`: whether a policy learns to please its judge instead of answering better, told while it trains.

A reward that is optimised long enough stops measuring what it was made for (Gao et al., arXiv 2210.10760). What shows it
first is cheap to compute where the scores are: what the policy's answers have in common that the judge likes, how many are at
the end of the scale, whether another judge still agrees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from grmrewards import arguments, second_look, signals
from grmrewards.alarms import ALARMS, Seen
from grmrewards.batch import Batch
from grmrewards.errors import RewardHacked
from grmrewards.second_look import Given
from grmrewards.signals import Evidence, Flag

if TYPE_CHECKING:
    from grmrewards.reward import Reward

log = logging.getLogger("grmrewards")


@dataclass
class Monitor:
    """Watches each call of a reward for the signs of reward hacking. Every reward has one; pass your own to change it.

    Its figures are in the trainer's log and in the record, beside the other metrics. It compares the last `window`
    completions with the first; a signal that goes off is warned of once, in the log "grmrewards", with what to do about it,
    and stays in `reward.monitor.flags`. Each signal has its threshold, and None turns it off. One monitor that is given to
    two rewards watches each for itself. A run that goes on from a checkpoint begins with a start of its own.

    Args:
        second: Another judge's reward, or a rule with the same signature whose values are 0 to 1, which scores a sample of
            the groups, too. It costs what that costs, and sees what no figure of a single judge can: pass one where you can.
        sample: The share of groups that it scores.
        stop: Raise `RewardHacked` at the first flag. The trainer's last checkpoint is from before that.
        window: Completions.
        self_praise: The share of answers that end by grading themselves, if it doubled and does not lower their scores.
        length: The factor by which answers grew or shrank, if within groups the judge scores the longer or shorter ones higher.
        at_max: The share of answers at the upper end of the scale.
        vote_variance: The variance of the votes on one response, as a multiple of the start's.
        second_agreement: The share of pairs that the second judge orders alike, below which the two measure different things.
        second_gap: By how much of the scale the score rose more than the second judge's, if that rose less than half as far.
        stale_principles: The share of groups with principles of earlier calls whose responses all got the same score.

    Raises:
        ConfigError: At construction, for a wrong argument.

    >>> from grmrewards import IRPMReward, ScriptedJudge
    >>> reward = IRPMReward(ScriptedJudge(lambda messages: "<score>10</score>"), monitor=Monitor(window=4))
    >>> reward(prompts=["Why?"] * 4, completions=["a", "b", "c", "d"])
    [1.0, 1.0, 1.0, 1.0]
    >>> [flag.signal for flag in reward.monitor.flags]
    ['at_max']
    """

    second: Callable[..., Any] | None = None
    sample: float = 0.1
    stop: bool = False
    window: int = 256
    self_praise: float | None = 0.05
    length: float | None = 1.5
    at_max: float | None = 0.9
    vote_variance: float | None = 3.0
    second_agreement: float | None = 0.55
    second_gap: float | None = 0.1
    stale_principles: float | None = 0.9
    flags: list[Flag] = field(default_factory=list, init=False)
    _calls: int = field(default=0, init=False, repr=False)
    _principles: dict[int, int] = field(default_factory=dict, init=False, repr=False)  # by hash: the call of first use

    def __post_init__(self) -> None:
        second_look.check("second", self.second)
        arguments.number("sample", self.sample, least=0.0, most=1.0)
        arguments.one_of("stop", self.stop, (True, False))
        for name in ALARMS:
            least, most = (1.0, float("inf")) if name in ("length", "vote_variance") else (0.0, 1.0)
            arguments.number(name, getattr(self, name), least=least, most=most, optional=True)
        self._seen = Seen(arguments.whole("window", self.window))

    def afresh(self) -> Monitor:
        """The same arguments, and nothing seen yet."""
        return replace(self)

    def evidence(self, reward: Reward, batch: Batch, own: range, given: Given) -> dict[str, Evidence]:
        """What a call of `reward` shows beside `signals.of_batch`: of its principles, and of what the second judge says.

        The batch is that of all ranks, and all of them must call it. `own` are the rows of this one, `given` what its
        trainer passed for them.
        """
        self._calls += 1
        scores = signals.in_units(batch.scores, reward.score_range)
        found = signals.staleness(scores, self._ages(batch), batch.groups)
        if self.second is not None:
            second = second_look.ask(self.second, self.sample, reward, batch, own, given)
            found |= signals.second_opinion(scores, second, batch.groups)
        return found

    def look(self, name: str, found: Mapping[str, Evidence], *, step: int | None = None) -> list[Flag]:
        """Take in the figures of a call of the reward `name`. The flags that go up with it, each of which is warned of."""
        self._seen.add(found)
        up, at = {flag.signal for flag in self.flags}, self._calls if step is None else step
        new = [Flag(signal, at, message) for signal, message in self._alarms() if signal not in up]
        for flag in new:
            log.warning("%s: %s", name, flag.message)
        self.flags += new
        return new

    def check(self, name: str) -> None:
        """Raise `RewardHacked` where the run shall stop and a flag is up: after the call was logged and recorded."""
        if self.stop and self.flags:
            raise RewardHacked(f"{name}: {self.flags[0].message}")

    def __getstate__(self) -> dict[str, Any]:
        """A pickle carries the arguments alone: another process begins with nothing seen."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a fresh start is what unpickling means here

    def _ages(self, batch: Batch) -> dict[int, int]:
        """Of each row that was judged by principles: how many calls ago they were first used."""
        texts = {i: "\n".join(written) for i, written in batch.notes.get("principles", {}).items()}
        return {i: self._calls - self._principles.setdefault(hash(text), self._calls) for i, text in texts.items()}

    def _alarms(self) -> list[tuple[str, str]]:
        """The signals that are over their thresholds now, and what to say of them."""
        limits = {name: limit for name in ALARMS if (limit := getattr(self, name)) is not None}
        told = {name: ALARMS[name](self._seen, limit) for name, limit in limits.items()}
        return [(name, message) for name, message in told.items() if message]


def watching(monitor: Monitor | bool) -> Monitor | None:
    """The monitor of one reward: its own, as two rewards that shared one would mix their figures."""
    if isinstance(monitor, Monitor):
        return monitor.afresh()
    return Monitor() if arguments.one_of("monitor", monitor, (True, False)) else None
