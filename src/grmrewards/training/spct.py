r"""`SPCTReward`: trains a listwise judge by the rule of SPCT, with TRL's `GRPOTrainer` (DeepSeek-GRM, arXiv 2504.02495).

    dataset = spct_rows(preferences, tokenizer=tokenizer)
    GRPOTrainer(model="Qwen/Qwen3-8B", reward_funcs=[SPCTReward()], args=args, train_dataset=dataset)

The judge is the model that is trained, and a completion is its judgement of all responses to a prompt: criteria, analysis,
`Scores: \boxed{8, 3}`. It is right where the response that is labelled best stands strictly above every other (Eq. 10); one
response alone is scored 0 or 1, and right is the score that is its label (Eq. 11). There is no reward for the format: the
paper holds it by the KL term instead (beta 0.08 for its 27B and 0.002 for its 16B model, 4 generations a prompt).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grmrewards import arguments, naming, parsing, rollouts, texts
from grmrewards.errors import ConfigError, ParseError
from grmrewards.types import Reply

SEVERAL, SINGLE = (1.0, 10.0), (0.0, 1.0)  # the lowest and the highest score


def read_scores(reply: Reply, responses: int) -> list[float]:
    r"""The scores in a judgement of so many responses, in the order shown: 1 to 10, or of a single one 0 to 1.

    Raises `ParseError` for another number of scores, one out of its range, and a judgement without any.

    >>> read_scores(Reply(r"Scores: \boxed{8, 3}"), 2)
    [8.0, 3.0]
    """
    low, high = SINGLE if responses == 1 else SEVERAL
    return parsing.boxed_scores(reply, responses, low=low, high=high)


def is_right(scores_n: Sequence[float], right: int) -> bool:
    """Whether the scores are right: the one at place `right` strictly the highest (Eq. 10), a single one `right` (Eq. 11).

    >>> is_right([8, 3], 0), is_right([8, 8], 0), is_right([1], 1)
    (True, False, True)
    """
    if len(scores_n) == 1:
        return scores_n[0] == right
    return all(scores_n[right] > score for place, score in enumerate(scores_n) if place != right)


class SPCTReward:
    r"""A reward function for TRL over a judge's own completions: 1 where its scores are right, else -1.

    A tie for the best is wrong, and so is a completion whose scores cannot be read: none at all, not one for each response,
    or one out of range (1 to 10, for a single response 0 or 1).

    The dataset comes from `spct_rows`: columns responses (how many are shown), best (the place of the best one as shown,
    from 0; unused for a single response) and correct (0 or 1; used for a single response alone). Every completion stands for
    itself, so on several processes nothing is gathered. Logged beside the reward are accuracy, unreadable, length in tokens,
    and of several responses ties (for the highest score) and score_spread (the highest less the lowest).

    Args:
        name: The name in the trainer's logs.

    Raises `ConfigError` for a name that is none, and at a call whose columns are missing or name no response.

    >>> reward = SPCTReward()
    >>> said = [rf"Scores: \boxed{{{scores}}}" for scores in ("8, 3", "3, 8", "8, 8", "8")]
    >>> reward(prompts=["?"] * 4, completions=said, responses=[2] * 4, best=[0] * 4)
    [1.0, -1.0, -1.0, -1.0]
    """

    def __init__(self, *, name: str = "spct") -> None:
        self.name = arguments.word("name", name) or "spct"
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
    ) -> list[float]:
        """One reward a completion, 1 or -1."""
        sizes = rollouts.column(kwargs, "responses", len(completions))
        rights = [_right(kwargs, i, size, len(completions)) for i, size in enumerate(sizes)]
        said = [texts.answer(completion) for completion in completions]
        scores = [_scores(text, size) for text, size in zip(said, sizes, strict=True)]
        rewards = [
            1.0 if found and is_right(found, right) else -1.0 for found, right in zip(scores, rights, strict=True)
        ]
        lengths = list(map(len, completion_ids)) if completion_ids is not None else [len(text.split()) for text in said]
        if log_metric and completions:
            for key, value in _figures(scores, rewards, lengths).items():
                log_metric(f"{self.__name__}/{key}", value)
        if log_extra:
            log_extra(f"{self.__name__}/scores", [_written(found) for found in scores])
        return rewards


def _right(columns: Mapping[str, Any], row: int, size: Any, rows: int) -> int:
    """What is right in a row: the place of its best response, or whether the only one is correct."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"column responses: {size!r} in row {row}; allowed is how many are shown, from 1.")
    name, allowed = ("correct", (0, 1)) if size == 1 else ("best", range(size))
    right = rollouts.column(columns, name, rows)[row]
    if right is None or right not in allowed or (isinstance(right, bool) and size > 1):
        raise ConfigError(
            f"column {name}: {right!r} in row {row}, with {size} responses; allowed are {allowed[0]} to {allowed[-1]}. "
            "spct_rows makes such rows."
        )
    return int(right)


def _scores(text: str, responses: int) -> list[float] | None:
    try:
        return read_scores(Reply(text), responses)
    except ParseError:
        return None  # the lowest reward is what comes of it, and the metric `unreadable`


def _figures(
    scores: Sequence[Sequence[float] | None], rewards: Sequence[float], lengths: Sequence[int]
) -> dict[str, float]:
    figures = {
        "accuracy": statistics.fmean(reward > 0 for reward in rewards),
        "unreadable": statistics.fmean(found is None for found in scores),
        "length": statistics.fmean(lengths),
    }
    several = [sorted(found) for found in scores if found and len(found) > 1]
    if several:
        figures["ties"] = statistics.fmean(found[-1] == found[-2] for found in several)
        figures["score_spread"] = statistics.fmean(found[-1] - found[0] for found in several)
    return figures


def _written(scores: Sequence[float] | None) -> str | None:
    return None if scores is None else ", ".join(f"{score:g}" for score in scores)
