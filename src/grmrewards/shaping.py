"""Auxiliary rewards that cannot flip the judge (methods 8.3): within a group, and inside one reward function.

    from grmrewards import IRPMReward, with_auxiliary
    from grmrewards.auxiliaries import Length, Repetition

    reward = with_auxiliary(IRPMReward(judge), [Length(2000), Repetition()], weight=[0.1, 0.2], preserve="order")
    trainer = GRPOTrainer(..., reward_funcs=[reward])

The auxiliaries are added with the weights that are asked for, unless that would turn over what `preserve` names; then the
whole sum of them counts for less in that group (`method="weight"`), or single rewards are lowered (`method="ratchet"`).
"""

from __future__ import annotations

import copy
import inspect
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from grmrewards import arguments, naming, ranks, rollouts, scoring
from grmrewards.admissible import Preserve, Rule, shape
from grmrewards.errors import ConfigError
from grmrewards.reward import Reward

Auxiliary = Callable[..., Sequence[Any]]

LARGEST = 1e30  # beyond it, sums of rewards would not fit into the trainer's 32 bits


def with_auxiliary(
    reward: Reward,
    aux: Auxiliary | Sequence[Auxiliary],
    *,
    weight: float | Sequence[float] = 0.1,
    preserve: Preserve = "order",
    method: Literal["weight", "ratchet"] = "weight",
    on_tie: Literal["aux", "zero"] = "aux",
    resolution: float = 1e-6,
    name: str | None = None,
) -> Shaped:
    """`reward` with auxiliary rewards beside the judge's scores, which they cannot overrule: a reward function for TRL.

    In each group of `reward` the rewards become `judged + factor * sum(weight * aux)`. The factor is 1 where that keeps what
    `preserve` names, else 0.9 of the largest that does. What is kept holds for the scores that the judge gave, noise
    included; in a group, not between groups; and inside this one function: further functions in `reward_funcs` (with
    `normalize_then_sum` whatever their weights) and clipping come after it and can undo it. Dividing by a spread cannot.

    Args:
        reward: A `Reward`. Its unscored completions stay so, whatever an auxiliary says: they get what `on_failure` gives
            them, with "group_mean" the mean of the group's shaped rewards. A number as `on_failure` counts as a score.
        aux: One or several plain (not async) TRL reward functions. Their None and NaN count as 0, their errors are raised.
        weight: The weight of all, or of each, in the units of the judge's reward (`scale`). 0: the judge's rewards.
        preserve: "order": what the judge puts above another stays above it. "argmax": the best are among the judge's best.
            "sign": what is above (below) the group's mean stays above (below) it; at the mean, to `resolution`, either.
        method: "weight", or "ratchet": all stay as wished but those that would come out too high, which are lowered to just
            below what they may not pass. It keeps more of the auxiliaries, and has no form for "sign".
        on_tie: Between responses that the judge ties, "aux" lets the auxiliaries decide, "zero" keeps the tie.
        resolution: In units of the judge's reward; scores that round to the same multiple of it are a tie, at the lowest.
        name: The name in the trainer's logs; by default the reward's with "_shaped".

    Raises:
        ConfigError: At construction for a wrong argument; at a call where an auxiliary gives what is no list of numbers,
            one a completion. All that `reward` raises at a call.

    >>> from grmrewards import IRPMReward, ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: f"<score>{8 if 'Paris' in messages[0].content else 6}</score>")
    >>> shorter = lambda completions, **_: [-len(text) for text in completions]
    >>> shaped = with_auxiliary(IRPMReward(judge), shorter, weight=0.001)
    >>> [round(r, 3) for r in shaped(prompts=["France?"] * 3, completions=["It is Paris.", "Rome.", "It is Rome."])]
    [0.788, 0.595, 0.589]
    """
    if not isinstance(reward, Reward):
        raise ConfigError(f"reward={reward!r}; allowed is a Reward of this package, whose groups are known.")
    parts = _auxiliaries(aux)
    arguments.one_of("preserve", preserve, ("order", "argmax", "sign"))
    arguments.one_of("method", method, ("weight", "ratchet"))
    if (method, preserve) == ("ratchet", "sign"):
        raise ConfigError("method='ratchet' with preserve='sign': lowering moves the mean; pass method='weight'.")
    rule = Rule(
        preserve,
        method,
        arguments.one_of("on_tie", on_tie, ("aux", "zero")),
        arguments.number("resolution", resolution, least=1e-12),
    )
    return Shaped(reward, parts, _weights(weight, len(parts)), rule, arguments.word("name", name))


class Shaped:
    """What `with_auxiliary` returns: a reward function that calls the judge's reward and the auxiliaries, and joins them.

    Pickled it is what its parts are. On several processes it must be called on all of them, as trainers do.
    """

    def __init__(
        self, reward: Reward, parts: list[Auxiliary], weights: list[float], rule: Rule, name: str | None = None
    ) -> None:
        self.reward, self.auxiliaries, self.weights, self.rule = reward, parts, weights, rule
        self.name = name or f"{reward.name}_shaped"  # the same on all ranks, where numbers may differ
        self.__name__ = naming.unique(self.name, self)

    def __call__(self, /, prompts: Sequence[Any], completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        """One reward a completion, as trainers call it; None where the judge's is None."""
        place = f"{self.name}: auxiliaries"
        per_rank = ranks.on_every_rank(place, lambda: self._own(prompts, completions, kwargs))
        rows = [row for found in per_rank for row in found]  # a rank may have half of a group
        by: dict[str, Any] = {"group_size": self.reward.group_size, "group_key": self.reward.group_key}
        groups = rollouts.groups([row.rollout for row in rows], **by, positional="environments" in kwargs)
        shaped = [self._group([rows[i] for i in group]) for group in groups]
        self._log(rows, [kept for _, kept in shaped], kwargs.get("log_metric"))
        rewards = {
            i: reward
            for group, (found, _) in zip(groups, shaped, strict=True)
            for i, reward in zip(group, found, strict=True)
        }
        start = sum(map(len, per_rank[: ranks.rank()]))
        return [rewards[i] for i in range(start, start + len(completions))]

    def _own(self, prompts: Sequence[Any], completions: Sequence[Any], kwargs: dict[str, Any]) -> list[_Row]:
        """The rows of this process: what tells their group, the judge's reward, and the auxiliaries, weighted."""
        judged = self._judge()(prompts, completions, **kwargs)
        passed = {**kwargs, "prompts": prompts, "completions": completions}
        weighted = zip(self.auxiliaries, self.weights, strict=True)
        columns_K = [_column(part, part(**passed), weight, len(completions)) for part, weight in weighted]
        asked = {"prompt_column": self.reward.prompt_column, "image_column": self.reward.image_column}
        named = [name for name in (self.reward.group_key, *asked.values()) if name]
        columns = {name: rollouts.column(kwargs, name, len(completions)) for name in named}
        found = rollouts.rollouts(prompts, [""] * len(completions), columns, **asked)
        return [_Row(*row) for row in zip(found, judged, zip(*columns_K, strict=True), strict=True)]

    def _judge(self) -> Reward:
        """The judge's reward, that says None for what it did not score: a mean put there would be taken for a score."""
        if self.reward.on_failure != "group_mean":
            return self.reward
        judge = copy.copy(self.reward)  # shallow: its judge, its caches, its window of failures are the same
        judge.on_failure = "none"
        return judge

    def _group(self, rows: Sequence[_Row]) -> tuple[list[float | None], float]:
        """The rewards of one group, and the share of the auxiliaries that was kept."""
        judged = [row.judged for row in rows if row.judged is not None]
        if not judged:
            return [None] * len(rows), 1.0
        shaped, kept = shape(judged, [sum(row.aux) for row in rows if row.judged is not None], self.rule)
        left = iter(shaped)
        gappy = [None if row.judged is None else next(left) for row in rows]
        return scoring.fill_unscored(gappy, self.reward.on_failure), kept

    def _log(
        self, rows: Sequence[_Row], kept: Sequence[float], log_metric: Callable[[str, float], None] | None
    ) -> None:
        """Figures of the whole call under this reward's name: the mean of each part, by its weight, before any lowering."""
        judged = [row.judged for row in rows if row.judged is not None]
        if not log_metric or not judged:
            return
        log_metric(f"{self.__name__}/judged", statistics.fmean(judged))
        log_metric(f"{self.__name__}/kept", statistics.fmean(kept))
        names = [_name(part) for part in self.auxiliaries]
        for i, name in enumerate(names):
            key = name if names.count(name) == 1 else f"{name}_{i + 1}"
            log_metric(f"{self.__name__}/{key}", statistics.fmean(row.aux[i] for row in rows))


class _Row(NamedTuple):
    rollout: rollouts.Rollout
    judged: float | None
    aux: tuple[float, ...]


# What is passed in, and what auxiliaries return


def _auxiliaries(aux: Any) -> list[Auxiliary]:
    parts = list(aux) if isinstance(aux, (list, tuple)) else [aux]
    for part in parts:
        call = part if inspect.isroutine(part) else getattr(part, "__call__", None)  # noqa: B004
        if isinstance(part, type) or not callable(part) or inspect.iscoroutinefunction(call):
            raise ConfigError(
                f"aux={aux!r}; allowed are plain (not async) functions with the signature of TRL's rewards."
            )
    if not parts:
        raise ConfigError(f"aux={aux!r}; allowed is one reward function, or a list of at least one.")
    return parts


def _weights(weight: Any, parts: int) -> list[float]:
    if not isinstance(weight, (list, tuple)):
        return [arguments.number("weight", weight, least=0.0)] * parts
    if len(weight) != parts:
        raise ConfigError(f"weight={weight!r} for {parts} auxiliary rewards; allowed is one number, or one for each.")
    return [arguments.number("weight", one, least=0.0) for one in weight]


def _name(part: Auxiliary) -> str:
    return str(getattr(part, "__name__", type(part).__name__))


def _column(part: Auxiliary, values: Any, weight: float, rows: int) -> list[float]:
    """What an auxiliary returned, as numbers by its weight; its None and NaN as 0."""
    try:
        found = [0.0 if value is None or math.isnan(value) else float(value) for value in values]
    except (TypeError, OverflowError) as error:
        raise ConfigError(f"aux {_name(part)}: {error}; allowed is a list of numbers and None.") from error
    if len(found) != rows:
        raise ConfigError(
            f"aux {_name(part)} gave {len(found)} rewards for {rows} completions; it must give one for each."
        )
    weighted = [weight * value for value in found]
    if any(abs(value) > LARGEST for value in [*found, *weighted]):
        raise ConfigError(f"aux {_name(part)} gave {max(found, key=abs)!r}; allowed are numbers up to {LARGEST:g}.")
    return weighted
