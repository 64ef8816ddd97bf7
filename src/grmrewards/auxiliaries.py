"""Ready auxiliary rewards for `with_auxiliary`, and for any other place that takes a TRL reward function.

Each reads the policy's own words alone (reasoning included, answers of tools left out), costs no call, and can be pickled.
None of them says how good an answer is: they are for what a judge should not have to see to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from grmrewards import arguments, texts
from grmrewards.errors import ConfigError


class Length:
    """0 up to `limit`, then falling evenly to -1 at `limit + over`, and -1 beyond.

    Args:
        limit: The length that costs nothing.
        over: How much more costs all; by default as much again as `limit`.
        unit: "characters", or "tokens" (of the policy, as trainers pass them in `completion_ids`).

    >>> Length(4)(prompts=["?"] * 3, completions=["abcd", "abcdef", "abcdefghijk"])
    [0.0, -0.5, -1.0]
    """

    def __init__(
        self, limit: int, *, over: int | None = None, unit: Literal["characters", "tokens"] = "characters"
    ) -> None:
        self.limit = arguments.whole("limit", limit)
        self.over = arguments.whole("over", over, optional=True) or self.limit
        self.unit = arguments.one_of("unit", unit, ("characters", "tokens"))
        self.__name__ = "length"

    def __call__(
        self, /, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **kwargs: Any
    ) -> list[float]:
        tokens = self.unit == "tokens"
        lengths = self._tokens(completions, completion_ids) if tokens else [len(_own_words(c)) for c in completions]
        return [0.0 - min(max(length - self.limit, 0) / self.over, 1.0) for length in lengths]

    def _tokens(self, completions: Sequence[Any], completion_ids: Any) -> list[int]:
        if completion_ids is None or len(completion_ids) != len(completions):
            raise ConfigError(
                "unit='tokens' counts completion_ids, and the trainer passed none for each completion; pass "
                "unit='characters'."
            )
        return [len(ids) for ids in completion_ids]


class Format:
    """1 where a completion has the form that was asked for, else 0.

    Args:
        pattern: A regular expression that must be found; `.` matches ends of lines, too. The policy writes what it is
            tried on: keep clear of nested repeats, whose time explodes.
        tag: Instead: the name of a tag that must be opened and closed exactly once, in this order.

    >>> Format(tag="answer")(prompts=["1+1?"] * 2, completions=["<answer>2</answer>", "2</answer>"])
    [1.0, 0.0]
    """

    def __init__(self, pattern: str | None = None, *, tag: str | None = None) -> None:
        if (pattern is None) == (tag is None):
            raise ConfigError(f"pattern={pattern!r} with tag={tag!r}; allowed is exactly one of the two.")
        self.pattern = _expression(pattern)
        self.tag = arguments.tag("tag", tag)
        self.__name__ = "format"

    def __call__(self, /, prompts: Sequence[Any], completions: Sequence[Any], **kwargs: Any) -> list[float]:
        return [float(self._has_it(_own_words(completion))) for completion in completions]

    def _has_it(self, text: str) -> bool:
        if self.pattern is not None:
            return self.pattern.search(text) is not None
        opened, closed = f"<{self.tag}>", f"</{self.tag}>"
        return text.count(opened) == text.count(closed) == 1 and text.index(opened) < text.index(closed)


class Repetition:
    """Minus the share of n-grams that stood in the completion before: 0 for none, towards -1 for one thing over and over.

    Args:
        n: How many words or characters in a row are one n-gram. A completion with fewer has none that repeats: 0.
        unit: "words" (what blanks part), or "characters" for languages that are written without blanks.

    >>> Repetition(2)(prompts=["?"] * 2, completions=["a b c d", "a b a b a"])
    [0.0, -0.5]
    """

    def __init__(self, n: int = 4, *, unit: Literal["words", "characters"] = "words") -> None:
        self.n = arguments.whole("n", n)
        self.unit = arguments.one_of("unit", unit, ("words", "characters"))
        self.__name__ = "repetition"

    def __call__(self, /, prompts: Sequence[Any], completions: Sequence[Any], **kwargs: Any) -> list[float]:
        return [0.0 - self._share(_own_words(completion)) for completion in completions]

    def _share(self, text: str) -> float:
        pieces = text.split() if self.unit == "words" else list(text)
        grams = [tuple(pieces[i : i + self.n]) for i in range(len(pieces) - self.n + 1)]
        return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _expression(pattern: Any) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        return re.compile(pattern, re.DOTALL)
    except (re.error, TypeError) as error:
        raise ConfigError(f"pattern={pattern!r} is no regular expression ({error}).") from error


def _own_words(completion: Any) -> str:
    """What the policy itself wrote, as one text."""
    if completion is None or isinstance(completion, str):
        return completion or ""
    turns = [completion] if isinstance(completion, Mapping) else completion
    return "\n".join(texts.turn_text(turn) for turn in turns if turn.get("role", "assistant") == "assistant")
