"""Figures and names in words. Pure functions."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

NAMES: Mapping[str, str] = {  # of figures, as the page says them
    "unscored": "unscored",
    "parse_failures": "answers that could not be read",
    "ties": "ties",
    "zero_spread_groups": "groups without spread",
    "at_max": "at the maximum",
    "length_correlation": "score with length (r)",
    "self_praise": "praise themselves",
    "praise_gain": "gain by praise",
    "response_length": "characters a response",
    "second_agreement": "pairs that both order alike",
    "second_score": "its mean score",
    "score_of_sample": "the judge's, of the same",
    "principle_age": "calls since principles were first used",
    "vote_variance": "variance of votes",
    "calls": "requests",
    "tokens": "tokens",
    "tokens_in": "tokens read",
    "tokens_out": "tokens written",
    "seconds": "seconds",
    "cached_principles": "not asked for again",
    "stale_principles": "old ones, all scores equal",
    "replayed": "taken from the record",
    "box_disagrees": "box and own sum disagree",
    "within_critique": "variance within critiques",
    "intransitive": "intransitive triples",
    "second_judge": "pairs for the second judge",
    "flip_rate": "winner flips with the order",
    "completions": "completions",
    "groups": "groups",
}


def name_of(figure: str) -> str:
    """A figure's name for people; of an unknown one its own."""
    return NAMES.get(figure, figure.replace("_", " "))


def model(name: str) -> str:
    """A judge's name; of a folder on some machine the last part of it.

    >>> model("Qwen/Qwen3-8B"), model("/data/judges/own/")
    ('Qwen/Qwen3-8B', 'own')
    """
    return (
        name.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or name if name[:1] in "/.~" or "\\" in name else name
    )


def as_text(value: Any) -> str:
    """Any value of a line as text; "" for None."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def number(value: Any) -> float | None:
    """A finite number, or None for all else, such as the "nan" that a record writes.

    >>> number(3), number("nan"), number(True), number(10**400)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def short(value: float | None) -> str:
    """A number in a few signs.

    >>> [short(x) for x in (0, 0.12345, 7.0, 1234.5, 2_500_000, -0.5, None)]
    ['0', '0.123', '7', '1,234', '2.5M', '-0.5', '–']
    """
    if value is None:
        return "–"
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    for unit, name in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return (
        f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 1e-3 or not value else f"{value:.1e}"
    )


def percent(share: float | None) -> str:
    """A share in [0, 1] in per cent.

    >>> percent(0.5), percent(0.0123), percent(None)
    ('50 %', '1.2 %', '–')
    """
    return "–" if share is None else f"{100 * share:.3g} %" if share >= 0.1 else f"{100 * share:.2g} %"


def plural(count: int, what: str) -> str:
    """A count and what is counted.

    >>> plural(1, "group"), plural(1200, "reply"), plural(2, "step")
    ('1 group', '1,200 replies', '2 steps')
    """
    many = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count:,} {what if count == 1 else many}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def moment(seconds: float) -> str:
    """A time of day, in UTC; "" where no calendar has it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return ""
