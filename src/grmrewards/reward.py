"""`Reward`: the callable that a trainer sees.

A family subclasses `Reward` and writes one method, `score(group)`, that reads like its paper. This class does what no
family should repeat: rows and groups, empty answers, the deadline, counting, recording, and the rule that a failed
judgement changes no preference.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from grmrewards import arguments, naming, praise, ranks, reporting, rollouts, scoring, signals, tally, texts
from grmrewards.asks import Asks
from grmrewards.batch import Batch, Outcome
from grmrewards.errors import JudgeOutage
from grmrewards.journal import Journal
from grmrewards.judging import judge
from grmrewards.monitor import Monitor, watching
from grmrewards.outage import FailureWindow
from grmrewards.prompts import Template, warn_if_trained_with_another
from grmrewards.second_look import KEY, Given
from grmrewards.signals import Evidence, Flag
from grmrewards.types import Group, Judge


class Reward(Asks):
    """Base of the four families: a reward function for TRL, `(prompts, completions, **columns) -> list of floats`.

    Args:
        judge: An object with the two methods of `Judge`.
        name: The name in the trainer's logs; by default the family's, with a number where it is taken.
        group_size: Responses a prompt (`num_generations`), so that a prompt that follows itself makes two groups.
        group_key: A dataset column whose values tell the groups.
        prompt_column: A dataset column with the question, where `prompts` are rendered templates.
        reference_column: A dataset column with the right answer, shown to the judge.
        criteria: What else shall count, for all prompts, in words that the judge is shown (IP-GRM: its principles, too).
        criteria_column: A dataset column with what else shall count for one prompt, a text or a list of them.
        image_column: A dataset column with the image of a prompt, or a list of them, for a judge that can see.
        answer_tag: Judge only what stands in the last `<tag>...</tag>`; a response without it gets the minimum.
        max_response_chars: Cut the middle out of longer responses before they are judged.
        scale: "unit" ([0, 1]), "raw" (the judge's own), "two_slope" ([-1, 2]), or an interval (low, high).
        self_praise_cap: In units of the score: no completion whose end grades or praises itself gets more. None: no cap.
        min_spread: Rewards of a group that lie within this distance, in reward units, are all given their mean.
        on_failure: What an unscored completion gets: "group_mean", "none", "raise", or a number.
        max_failures: The share of unscored completions, of the last 64 or of the call if larger, beyond which
            `JudgeOutage` is raised.
        deadline: Seconds for one call. None: 600 for an endpoint, no limit for a local judge; on several processes half
            of the time that they wait for each other (`ddp_timeout`).
        monitor: What watches for reward hacking and warns; a `Monitor` of your own, or False for none.
        log_path: A file that gets one JSON line for each judgement and each completion, and one for each call.
        replay: Take finished judgements from that file instead of paying for them again, after a run that was killed.
        template: The prompt: a text, a path, or None for the family's own.
        seed: Decides orders and sampling, together with the content that is judged.

    Raises:
        ConfigError: At construction for a wrong argument, at a call for a column that is not there.
        FatalJudgeError: At a call, when the judge refuses for a reason that no retry mends.
        JudgeOutage: At a call, when too large a share of completions is unscored.
        RewardHacked: At a call, when a monitor that shall stop the run sees reward hacking.
    """

    family: ClassVar[str] = "reward"
    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    marks: ClassVar[tuple[str, ...]] = ("question",)  # that its template must have
    if_there: ClassVar[tuple[str, ...]] = ()  # dataset columns that it reads where they are
    pointwise: bool = False  # whether a response's score is independent of its siblings

    def __init__(
        self,
        judge: Judge,
        *,
        name: str | None = None,
        group_size: int | None = None,
        group_key: str | None = None,
        prompt_column: str | None = None,
        reference_column: str | None = None,
        criteria: str | None = None,
        criteria_column: str | None = None,
        image_column: str | None = None,
        answer_tag: str | None = None,
        max_response_chars: int | None = None,
        scale: scoring.Scale = "unit",
        self_praise_cap: float | None = None,
        min_spread: float = 0.0,
        on_failure: scoring.OnFailure = "group_mean",
        max_failures: float = 0.5,
        deadline: float | None = None,
        monitor: Monitor | bool = True,
        log_path: str | Path | None = None,
        replay: bool = False,
        template: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        self.judge = arguments.judge("judge", judge)
        self.group_size = arguments.whole("group_size", group_size, optional=True)
        self.group_key = arguments.word("group_key", group_key)
        self.prompt_column = arguments.word("prompt_column", prompt_column)
        self.reference_column = arguments.word("reference_column", reference_column)
        self.criteria = arguments.word("criteria", criteria)
        self.criteria_column = arguments.word("criteria_column", criteria_column)
        self.image_column = arguments.word("image_column", image_column)
        self.answer_tag = arguments.tag("answer_tag", answer_tag)
        self.max_response_chars = arguments.whole("max_response_chars", max_response_chars, optional=True)
        self.scale = scoring.check_scale(scale)
        low, high = self.score_range
        self.self_praise_cap = arguments.number("self_praise_cap", self_praise_cap, least=low, most=high, optional=True)
        self.min_spread = arguments.number("min_spread", min_spread, least=0.0)
        self.on_failure = scoring.check_on_failure(on_failure)
        self.failures = FailureWindow(arguments.number("max_failures", max_failures, least=0.0, most=1.0))
        self.deadline = arguments.number("deadline", deadline, least=0.001, optional=True)
        self.monitor = watching(monitor)
        self.log_path = log_path
        self.journal = Journal(log_path, replay=replay)
        self.seed = arguments.whole("seed", seed, least=0)
        shown = {"reference": reference_column, "criteria": criteria or criteria_column}
        marks = (*self.marks, *(mark for mark, given in shown.items() if given))  # or it would not reach the judge
        self.template = Template(self.family if template is None else template, required=marks)
        self.name = arguments.word("name", name) or self.family  # the same on all ranks, where numbers may differ
        self.__name__ = naming.unique(self.name, self)
        if template is None:
            warn_if_trained_with_another(str(getattr(judge, "model", "")))

    def measuring(self, *, raw: bool = False) -> Reward:
        """A copy that measures its judge and trains nothing. What is unscored stays None, and failures end nothing.

        Groups are told by the column `KEY`. `raw`: on the judge's own scale.
        """
        asked = copy.copy(self)
        asked.on_failure, asked.failures, asked.min_spread = "none", FailureWindow(1.0), 0.0
        asked.group_key, asked.group_size, asked.monitor = KEY, None, None
        if raw:
            asked.scale = "raw"
        return asked

    async def score(self, group: Group) -> Sequence[float | None]:
        """The scores of one group's G responses, in order and in `score_range`; None where none could be had."""
        raise NotImplementedError(f"{type(self).__name__} must define `async def score(self, group)`.")

    def columns(self) -> list[str | None]:
        """The dataset columns that it was told to read, and that a group has; None for those that it was not told."""
        shown = [self.reference_column, self.criteria_column, self.image_column]
        return [self.group_key, self.prompt_column, *shown]

    def show_as_given(self) -> None:
        """From now on show a group in its own order, and once: for measuring what places do to a judge.

        Families that judge each response alone have no order; those that compare define it.
        """

    def learned(self) -> dict[str, str]:
        """What judging has found out since this was last asked, that other processes shall know, too."""
        return {}

    def learn(self, found: Mapping[str, str]) -> None:
        """Take over what another process has `learned`."""

    def __call__(
        self,
        /,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Any = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """One reward a completion, as trainers call it. `completion_ids` is taken because they pass it.

        On several processes it must be called on all of them, as trainers do: each group is judged once, on one of them.
        """
        started = time.monotonic()
        rows_R = ranks.on_every_rank(f"{self.name}: rows", lambda: self._rows(prompts, completions, kwargs))
        batch = self._batch([row for rows in rows_R for row in rows], kwargs)
        if not batch.rows:
            return []
        for outcome in ranks.on_every_rank(f"{self.name}: scores", lambda: self._judge_share(batch)):
            batch.add(outcome)
            self.learn(outcome.learned)
        start = sum(map(len, rows_R[: ranks.rank()]))
        own, given = range(start, start + len(completions)), Given(prompts, completions, kwargs)
        return self._finish(batch, own, given, started, log_extra, log_metric)

    # Before and after judging

    def _rows(self, prompts: Sequence[Any], completions: Sequence[Any], kwargs: Any) -> list[rollouts.Rollout]:
        """The rows of this process, with the columns that were named: they travel to the other processes."""
        named = {name: rollouts.column(kwargs, name, len(completions)) for name in self.columns() if name}
        found = {name: kwargs[name] for name in self.if_there if name in kwargs}
        shown: dict[str, Any] = {"answer_tag": self.answer_tag, "max_response_chars": self.max_response_chars}
        shown |= {"prompt_column": self.prompt_column, "image_column": self.image_column}
        return rollouts.rollouts(prompts, completions, {**found, **named}, **shown)

    def _batch(self, rows: list[rollouts.Rollout], kwargs: Any) -> Batch:
        by: dict[str, Any] = {"group_size": self.group_size, "group_key": self.group_key}
        groups = rollouts.groups(rows, **by, positional="environments" in kwargs)
        scores = [None if row.response else self.score_range[0] for row in rows]  # no judge is asked about no answer
        return Batch(rows, groups, scores, step=getattr(kwargs.get("trainer_state"), "global_step", None))

    def _judge_share(self, batch: Batch) -> Outcome:
        """Judge the groups that are this process's turn: all groups of one prompt are the same one's."""
        self.journal.begin()
        groups = rollouts.by_prompt(batch.rows, batch.groups) if self.pointwise else batch.groups
        prompts = [texts.question(batch.rows[group[0]].prompt) for group in groups]
        part = batch.part([groups[k] for k in ranks.shares(prompts, ranks.world_size())[ranks.rank()]])
        part = judge(part, self._score, judges=self.judges(), deadline=self.deadline, name=self.__name__)
        return part.outcome(self.learned())

    async def _score(self, group: Group) -> Sequence[float | None]:
        """What the family says, and no more than the cap for a response that praises itself."""
        scores = await self.score(group)
        cap = self.self_praise_cap
        return scores if cap is None else praise.capped(scores, group.responses, cap)

    def _finish(
        self, batch: Batch, own: range, given: Given, started: float, log_extra: Any, log_metric: Any
    ) -> list[float | None]:
        """The rewards of this process's `own` rows, after checks that all processes make alike on the whole batch."""
        self.failures.check(batch.scores, batch.call, name=self.__name__)
        if self.on_failure == "raise" and None in batch.scores:
            raise JudgeOutage(f"{self.__name__}: unscored, with on_failure='raise': {tally.reasons(batch.call)}")
        rewards = scoring.rewards(
            batch.scores, batch.groups, self.score_range, self.scale, self.on_failure, self.min_spread
        )
        self.journal.completions(self.__name__, batch, rewards, own)
        found, flags = self._watch(batch, own, given)
        figures = tally.metrics(batch, rewards, found, seconds=time.monotonic() - started)
        if self.monitor:
            figures["flags"] = float(len(self.monitor.flags))
        self.journal.call(self.__name__, batch, figures, flags)
        reporting.report(self.__name__, batch, rewards, figures, own, log_extra, log_metric)
        if self.monitor:
            self.monitor.check(self.__name__)
        return [rewards[i] for i in own]

    def _watch(self, batch: Batch, own: range, given: Given) -> tuple[dict[str, Evidence], list[Flag]]:
        """What the call shows of reward hacking, and the flags that went up with it. The same on all ranks."""
        found = signals.of_batch(batch, self.score_range)
        if not self.monitor:
            return found, []
        found |= self.monitor.evidence(self, batch, own, given)
        return found, self.monitor.look(self.__name__, found, step=batch.step)
