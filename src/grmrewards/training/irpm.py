"""`IntergroupReward`: trains a pointwise judge from preferences, with TRL's `GRPOTrainer` (IRPM, arXiv 2601.00677).

    dataset = preference_pairs(load_dataset("nvidia/HelpSteer3", split="train"), min_strength=2, args=args)
    GRPOTrainer(model="Qwen/Qwen3-8B", reward_funcs=[IntergroupReward("mean")], args=args, train_dataset=dataset)

The judge is the model that is trained, and a completion is a judgement: a critique and a score. What is rewarded is that
the scores of the better answer stand above those of the worse one (Eq. 7, `intergroup`). TRL normalises within the rollouts
on one answer (Eq. 14), so that only what differs between them is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from grmrewards import arguments, naming, parsing, ranks, rollouts, texts
from grmrewards.errors import ConfigError, ParseError
from grmrewards.training.collapse import CollapseWatch, Judgement
from grmrewards.training.intergroup import KINDS, SIDES, Kind, Rule, intergroup_rewards
from grmrewards.types import Reply

COLUMNS = ("pair", "side", "strength")
SCORE_RANGE = (0.0, 10.0)

Read = Callable[[Reply], float]


def read_judgement(reply: Reply) -> float:
    """The score of a judgement in IRPM's format, one critique and then one score. Raises `ParseError` for any other form.

    >>> read_judgement(Reply("<critique>Right.</critique><score>9</score>"))
    9.0
    """
    text = parsing.verdict_segment(reply)
    for tag in ("critique", "score"):
        if text.count(f"</{tag}>") != 1:
            raise ParseError(f"not one <{tag}>: {text.count(f'</{tag}>')} in the answer, which ends: {text[-80:]!r}")
    score = parsing.tagged_score(reply, "score", low=SCORE_RANGE[0], high=SCORE_RANGE[1])
    opened, closed = text.find("<critique>"), text.find("</critique>")
    if not -1 < opened < closed < text.find("<score"):
        raise ParseError(f"no critique before the score in the answer, which ends: {text[-80:]!r}")
    return score


class IntergroupReward:
    """A reward function for TRL over a judge's own completions: 1 where a score stands on the right side, else -1.

    Args:
        kind: What a score is held against: "mean", "median", "interval", "quantile", "mean3", "auc" or "preference"
            (`intergroup`). The paper's default is "mean"; "preference" without `bound` lets scores drift apart for ever.
        margin: Points by which the opposite statistic must be passed; by default 0, and 0.2 for "mean3".
        adaptive: Points of margin for each unit of `strength` above `adaptive_from`, so that a much better answer must
            stand further above (IRPM: 1.0 from 2 on, HelpSteer3's "better").
        adaptive_from: See there.
        format_penalty: Added for a judgement that cannot be read, which gets the rule's lowest reward besides.
        alpha: Of the interval.
        quantile: Of the rejected scores that a chosen one must pass; from 0.5 on strict, below tolerant.
        bound: With "preference": a larger difference in points earns nothing more.
        worst_case: As in the paper, count an unreadable judgement as a 0 on a chosen answer and a 10 on a rejected one,
            in the statistic that the opposite side is held against, too. By default it is left out of that: how a judge
            fails on one answer says nothing about its scores of another.
        max_tokens: Longer judgements get the format penalty added.
        read: Reads the score of a judgement, or raises `ParseError`. By default IRPM's format, critique and score.
        score_range: The lowest and the highest score, for `worst_case` and the metrics.
        watch: Warns where training goes wrong. None: no warnings, the metrics alone.
        name: The name in the trainer's logs.

    The dataset comes from `preference_pairs`: columns pair, side and strength. On several processes scores are gathered, so
    a pair may stand on two of them. Raises `ConfigError` for wrong arguments, and at a call in which a pair lacks a side,
    with the numbers to change.

    >>> reward = IntergroupReward("mean")
    >>> said = [f"<critique>So.</critique><score>{score}</score>" for score in (8, 4, 6, 3)]
    >>> reward(prompts=["?"] * 4, completions=said, pair=[0] * 4, side=["chosen"] * 2 + ["rejected"] * 2, strength=[1.0] * 4)
    [1.0, -1.0, -1.0, 1.0]
    """

    def __init__(
        self,
        kind: Kind = "mean",
        *,
        margin: float | None = None,
        adaptive: float = 0.0,
        adaptive_from: float = 2.0,
        format_penalty: float = -0.5,
        alpha: float = 0.05,
        quantile: float = 0.75,
        bound: float | None = None,
        worst_case: bool = False,
        max_tokens: int | None = None,
        read: Read = read_judgement,
        score_range: tuple[float, float] = SCORE_RANGE,
        watch: CollapseWatch | None = CollapseWatch(),  # noqa: B008 - a value, its state is made anew in `__init__`
        name: str = "intergroup",
    ) -> None:
        if bound is not None and kind != "preference":
            raise ConfigError(f"bound={bound!r} with kind={kind!r}; it has a meaning with 'preference' alone.")
        if not callable(read):
            raise ConfigError(
                f"read={read!r}; allowed is a function from a Reply to a score, or that raises ParseError."
            )
        if kind == "interval":
            arguments.installed("kind='interval'", "scipy", extra="training")
        self.rule = Rule(
            kind=arguments.one_of("kind", kind, KINDS),
            margin=arguments.number("margin", margin, least=0.0, optional=True),
            alpha=arguments.number("alpha", alpha, least=1e-6, most=1.0),
            quantile=arguments.number("quantile", quantile, least=0.0, most=1.0),
            bound=arguments.number("bound", bound, least=1e-6, optional=True),
        )
        self.adaptive = arguments.number("adaptive", adaptive, least=0.0)
        self.adaptive_from = arguments.number("adaptive_from", adaptive_from, least=0.0)
        self.format_penalty = arguments.number("format_penalty", format_penalty, least=-math.inf, most=0.0)
        self.worst_case = arguments.one_of("worst_case", worst_case, (True, False))
        self.max_tokens = arguments.whole("max_tokens", max_tokens, optional=True)
        self.read, self.score_range = read, score_range
        self.watch = None if watch is None else watch.afresh()
        self.name = arguments.word("name", name)
        self.__name__ = naming.unique(self.name, self)

    def __call__(
        self,
        /,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """One reward a judgement. On several processes it must be called on all of them, as trainers do."""
        shares = ranks.on_every_rank(
            f"{self.name}: judgements", lambda: self._judgements(completions, completion_ids, kwargs)
        )
        judgements = [one for share in shares for one in share]
        rewards = self._rewards(judgements)
        self._tell(judgements, rewards, log_metric)
        start = sum(map(len, shares[: ranks.rank()]))
        own = range(start, start + len(completions))
        if log_extra:
            log_extra(f"{self.__name__}/score", [_written(judgements[i].score) for i in own])
        return [rewards[i] for i in own]

    # Reading

    def _judgements(self, completions: Sequence[Any], ids: Any, columns: Mapping[str, Any]) -> list[Judgement]:
        """The judgements of this process, as numbers: they travel to the others."""
        pairs, sides, strengths = (rollouts.column(columns, name, len(completions)) for name in COLUMNS)
        if unknown := {*sides} - {*SIDES}:
            raise ConfigError(f"column side: {sorted(map(str, unknown))}; allowed are 'chosen' and 'rejected'.")
        said = [texts.answer(completion) for completion in completions]
        lengths = list(map(len, ids)) if ids is not None else [len(text.split()) for text in said]
        rows = zip(pairs, sides, strengths, map(self._score, said), lengths, strict=True)
        return [Judgement(*row) for row in rows]

    def _score(self, text: str) -> float | None:
        try:
            return float(self.read(Reply(text)))
        except ParseError:
            return None  # the format penalty is what comes of it, and the metric `unreadable`

    # Rewarding

    def _rewards(self, judgements: Sequence[Judgement]) -> list[float]:
        found = [0.0] * len(judgements)
        for chosen, rejected in _pairs(judgements):
            for i, reward in zip([*chosen, *rejected], self._of_pair(judgements, chosen, rejected), strict=True):
                found[i] = reward
        return found

    def _of_pair(self, judgements: Sequence[Judgement], chosen: Sequence[int], rejected: Sequence[int]) -> list[float]:
        """The rewards of the rollouts on one pair, chosen ones first."""
        sides = [[judgements[i].score for i in side] for side in (chosen, rejected)]
        if self.worst_case:
            sides = [[w if s is None else s for s in side] for side, w in zip(sides, self.score_range, strict=True)]
        extra = self.adaptive * max(0.0, judgements[chosen[0]].strength - self.adaptive_from)
        usable = [[s for s in side if s is not None] for side in sides]
        values = iter(self._ruled(usable[0], usable[1], extra))
        by_rule = [self.rule.lowest() if s is None else next(values) for side in sides for s in side]
        rows = (judgements[i] for i in (*chosen, *rejected))
        return [reward + self._format(row) for reward, row in zip(by_rule, rows, strict=True)]

    def _ruled(self, chosen_G: Sequence[float], rejected_G: Sequence[float], extra: float) -> list[float]:
        """What the rule gives; the same for all where one side has no statistic to be held against: nothing to learn."""
        if min(len(chosen_G), len(rejected_G)) < (2 if self.rule.kind == "interval" else 1):
            return [1.0] * (len(chosen_G) + len(rejected_G))
        return [r for side in intergroup_rewards(chosen_G, rejected_G, self.rule, extra_margin=extra) for r in side]

    def _format(self, row: Judgement) -> float:
        long = self.max_tokens is not None and row.length > self.max_tokens
        return self.format_penalty if row.score is None or long else 0.0

    # Telling

    def _tell(
        self, judgements: Sequence[Judgement], rewards: Sequence[float], log_metric: Callable[[str, float], None] | None
    ) -> None:
        if not judgements:
            return
        pairs = _pairs(judgements)
        figures = CollapseWatch.figures(judgements, pairs, rewards, self.score_range)
        if log_metric:
            for key, value in figures.items():
                log_metric(f"{self.__name__}/{key}", value)
        if self.watch is not None and not ranks.rank():  # one process speaks for all
            self.watch.look(self.__name__, figures)


class _Sides(NamedTuple):
    chosen: list[int]
    rejected: list[int]


def _pairs(judgements: Sequence[Judgement]) -> list[_Sides]:
    """The rows of both sides of each pair. Raises `ConfigError` where one is missing."""
    found: dict[Any, _Sides] = {}
    for i, row in enumerate(judgements):
        found.setdefault(row.pair, _Sides([], []))[SIDES.index(row.side)].append(i)
    halves = [pair for pair, sides in found.items() if not (sides.chosen and sides.rejected)]
    if halves:
        raise ConfigError(
            f"{len(halves)} of {len(found)} pairs in this batch of {len(judgements)} judgements lack a side, such as pair "
            f"{halves[0]!r}. A generation batch (per_device_train_batch_size x processes x steps_per_generation) must be a "
            "multiple of 2 x num_generations, and shuffle_dataset=False: preference_pairs(..., args=args) checks both and "
            "shuffles the pairs. TRL shuffles an eval_dataset in any case: measure the judge by grmrewards instead."
        )
    return list(found.values())


def _written(score: float | None) -> str | None:
    return None if score is None else f"{score:g}"
