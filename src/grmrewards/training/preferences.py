"""Preference data, in the forms that it is published in, as `Preference`s. Pure functions.

    TRL's format          prompt, chosen, rejected: texts or messages; without prompt where both hold the conversation
    with scores           the same with score_chosen and score_rejected, or with margin (TRL's `RewardTrainer`)
    HelpSteer3            context, response1, response2, overall_preference (-3 to 3, negative: response1 is better)
    rated responses       prompt, responses, scores: every two of them whose scores differ

A judge is shown of an answer what it will be shown in use: what comes after the reasoning.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from grmrewards import texts
from grmrewards.errors import ConfigError
from grmrewards.types import Message

Row = Mapping[str, Any]


class Preference(NamedTuple):
    """One of two answers to a prompt is the better one. `strength` says by how much, in the data's own unit, if it does."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    strength: float | None = None


def read_preferences(dataset: Iterable[Row], *, min_strength: float | None = None) -> list[Preference]:
    """The preferences of a dataset (`datasets.Dataset`, or any rows), in order. Ties and equal answers are left out.

    With `min_strength`, so are weaker preferences (IRPM keeps those of HelpSteer3 from 2 on). Raises `ConfigError`, with
    the number of the row, for rows of another form, a better answer with the lower score, and a strength that is asked
    for and not there.

    >>> read_preferences([{"prompt": "1+1?", "chosen": "2", "rejected": "3", "score_chosen": 9, "score_rejected": 1}])
    [Preference(prompt=(Message(role='user', content='1+1?'),), chosen='2', rejected='3', strength=8.0)]
    """
    found: list[Preference] = []
    for number, row in enumerate(dataset):
        try:
            found += [one for one in preferences_of(row) if one.chosen != one.rejected]
        except ConfigError as error:
            raise ConfigError(f"row {number} of the preferences: {error}") from error
    return [one for one in found if not is_weak(one, min_strength)]


def is_weak(preference: Preference, min_strength: float | None) -> bool:
    """Whether it is weaker than that; nothing is weaker than None. Raises `ConfigError` where it says no strength."""
    if min_strength is None:
        return False
    if preference.strength is None:
        raise ConfigError(
            f"min_strength={min_strength:g} with a preference that says no strength; those of HelpSteer3 do, and those "
            "with score_chosen and score_rejected, or with margin."
        )
    return preference.strength < min_strength


def text_only(prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    """`prompt`. Raises `ConfigError` where it has an image: a judge would be trained on what it cannot see."""
    if not all(isinstance(message.content, str) for message in prompt):
        raise ConfigError("a prompt with an image or another part that is no text; leave such rows out.")
    return prompt


def preferences_of(row: Row) -> Iterator[Preference]:
    """The preferences of one row, none where it is a tie. Raises `ConfigError` for a row of another form."""
    if {"context", "response1", "response2", "overall_preference"} <= row.keys():
        yield from _helpsteer(row)
    elif {"chosen", "rejected"} <= row.keys():
        yield from _chosen_and_rejected(row)
    elif {"prompt", "responses", "scores"} <= row.keys():
        yield from _rated(row)
    else:
        raise ConfigError(
            f"columns {sorted(row)}; allowed are prompt, chosen and rejected (TRL's preference format, with or without "
            "score_chosen and score_rejected), context, response1, response2 and overall_preference (HelpSteer3), or "
            "prompt, responses and scores."
        )


def _helpsteer(row: Row) -> Iterator[Preference]:
    preference = row["overall_preference"]
    if preference:  # neither 0 nor unknown
        answers = [texts.answer(row["response1"]), texts.answer(row["response2"])]
        chosen, rejected = answers if preference < 0 else answers[::-1]
        yield Preference(texts.messages(row["context"]), chosen, rejected, float(abs(preference)))


def _chosen_and_rejected(row: Row) -> Iterator[Preference]:
    prompt = row["prompt"] if "prompt" in row else _shared_prompt(row["chosen"], row["rejected"])
    strength = _stated_strength(row)
    if strength is not None and strength < 0:
        raise ConfigError(f"the chosen answer has the lower score, by {-strength:g}; exchange the two.")
    if strength != 0 or "margin" in row:  # a margin of 0 is a preference all the same, equal scores are none
        yield Preference(texts.messages(prompt), last_answer(row["chosen"]), last_answer(row["rejected"]), strength)


def _rated(row: Row) -> Iterator[Preference]:
    answers, scores = [last_answer(one) for one in row["responses"]], [float(score) for score in row["scores"]]
    if len(answers) != len(scores):
        raise ConfigError(f"{len(answers)} responses and {len(scores)} scores; each response needs one.")
    for one, other in itertools.combinations(range(len(scores)), 2):
        better, worse = (one, other) if scores[one] > scores[other] else (other, one)
        if scores[better] > scores[worse]:
            gap = scores[better] - scores[worse]
            yield Preference(texts.messages(row["prompt"]), answers[better], answers[worse], gap)


def _stated_strength(row: Row) -> float | None:
    """How much better the chosen answer is, where the row says it."""
    if row.get("score_chosen") is not None and row.get("score_rejected") is not None:
        strength = float(row["score_chosen"]) - float(row["score_rejected"])
    elif row.get("margin") is not None:
        strength = float(row["margin"])
    else:
        return None
    if not math.isfinite(strength):
        raise ConfigError(f"a strength of {strength}; allowed are finite scores and margins.")
    return strength


def _shared_prompt(chosen: Any, rejected: Any) -> Sequence[Any]:
    """The conversation before the answers, which both hold (TRL's implicit prompt)."""
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise ConfigError(
            "no prompt, and answers that are texts: where the prompt ends is unknown. Add a column prompt."
        )
    before = [chosen[: len(chosen) - len(_last_turns(chosen))], rejected[: len(rejected) - len(_last_turns(rejected))]]
    if before[0] != before[1] or not before[0]:
        raise ConfigError("no prompt, and no conversation that both answers begin with. Add a column prompt.")
    return list(before[0])


def last_answer(value: Any) -> str:
    """An answer as text; of a whole conversation, what the assistant said last."""
    return texts.answer(value if value is None or isinstance(value, str) else _last_turns(value))


def _last_turns(turns: Any) -> list[Any]:
    """What comes after the last turn of a user."""
    listed = [turns] if isinstance(turns, Mapping) else list(turns)
    asked = [i for i, turn in enumerate(listed) if isinstance(turn, Mapping) and turn.get("role") in ("user", "system")]
    return listed[asked[-1] + 1 :] if asked else listed
