"""Checks of arguments. Each raises `ConfigError` that names the argument, what was given, and what is allowed."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grmrewards.errors import ConfigError


def whole(name: str, value: Any, *, least: int = 1, optional: bool = False) -> Any:
    """`value` if it is a whole number of at least `least` (or None where `optional`)."""
    if optional and value is None:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name}={value!r}; allowed is a whole number of at least {least}{' or None' * optional}.")
    return value


def votes(votes: Any, min_votes: Any) -> tuple[Any, int]:
    """Both: whole numbers of at least 1, or for `votes` a pair (least, most), and `min_votes` no more than the least."""
    pair = votes if isinstance(votes, (tuple, list)) else (votes, votes)
    if len(pair) != 2 or whole("votes", pair[0]) > whole("votes", pair[1]):
        raise ConfigError(f"votes={votes!r}; allowed is a whole number of at least 1, or a pair (least, most) of them.")
    votes = pair[0] if pair[0] == pair[1] else tuple(pair)
    if whole("min_votes", min_votes) > pair[0]:
        raise ConfigError(
            f"min_votes={min_votes} with votes={votes}; allowed are as many votes as there are, or fewer."
        )
    return votes, min_votes


def number(name: str, value: Any, *, least: float, most: float = math.inf, optional: bool = False) -> Any:
    """`value` if it is a finite number in [least, most] (or None where `optional`)."""
    if optional and value is None:
        return value
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not least <= value <= most
    ):
        upper = f" and at most {most:g}" if most < math.inf else ""
        raise ConfigError(f"{name}={value!r}; allowed is a number of at least {least:g}{upper}{' or None' * optional}.")
    return value


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """`value` if it is one of `allowed`."""
    if not any(value is a or (type(value) is type(a) and value == a) for a in allowed):
        raise ConfigError(f"{name}={value!r}; allowed are {', '.join(map(repr, allowed))}.")
    return value


def word(name: str, value: Any) -> Any:
    """`value` if it is a text that is not blank, or None."""
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigError(f"{name}={value!r}; allowed is a text that is not empty, or None.")
    return value


def tag(name: str, value: Any) -> Any:
    """`value` if it is the bare name of a tag, or None."""
    if value is not None and (not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][\w-]*", value)):
        raise ConfigError(f"{name}={value!r}; allowed is the name of a tag without brackets, e.g. 'answer', or None.")
    return value


def installed(what: str, *modules: str, extra: str) -> None:
    """Raise `ConfigError` with the command to type where a module that `what` needs is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(f"{what} needs {', '.join(missing)}: pip install 'grmrewards[{extra}]'")


def path(name: str, value: Any) -> Any:
    """`value` if it is the path of something, or None."""
    if value is not None and (not isinstance(value, (str, Path)) or not str(value).strip()):
        raise ConfigError(f"{name}={value!r}; allowed is a path, or None.")
    return value


def judge(name: str, value: Any) -> Any:
    """`value` if it has the two methods of a judge."""
    for method in ("generate", "choice_logprobs"):
        if isinstance(value, type) or not callable(getattr(value, method, None)):
            raise ConfigError(
                f"{name}={value!r} has no method {method!r}; allowed is an OpenAIJudge, a TransformersJudge or an object "
                "of your own with generate() and choice_logprobs()."
            )
    return value
