"""Scores of a judge that was asked for JSON. Pure, and linear in the length of the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from grmrewards.errors import ParseError
from grmrewards.types import Reply
from grmrewards.verdict import check_cut_off, number_in, segment, undressed

MOST_OBJECTS = 500  # in which a verdict is looked for

_ESCAPED_DIGIT = re.compile(r"\\u003[0-9]")
_OPENING = re.compile(r'\{\s{0,100}"')  # of a JSON object: inside of a JSON string the quote would carry a backslash


def json_scores(reply: Reply, key: str, count: int, *, low: float, high: float) -> list[float]:
    r"""The `count` numbers under `key` in the last JSON object that has it, with prose or fences around it or not.

    A response may be JSON and be quoted in the answer. So an object that has a name twice, or the key at two depths, has
    no verdict, and neither has what stands inside of a broken object, however complete it looks by itself.

    >>> json_scores(Reply('```json\n{"why": "...", "scores": [8, "7/10"]}\n``` Done.'), "scores", 2, low=1, high=10)
    [8.0, 7.0]
    """
    value, rest = _last_value(segment(reply)[0], key)
    check_cut_off(reply, rest)
    items = value if isinstance(value, list) else [value]
    if len(items) != count or not all(isinstance(item, str) for item in items):
        raise ParseError(f"not {count} numbers under {key!r} but {[type(item).__name__ for item in items[:9]]}")
    return [number_in(undressed((item, 0))).score(low=low, high=high) for item in items]


def _last_value(text: str, key: str) -> tuple[Any, str]:
    """What the last JSON object with `key` has under it, and what follows that object."""
    found = [object_ for object_ in _json_objects(text, key) if object_[3]]
    closed, start, end, values = found[-1] if found else (0, 0, 0, [])
    asked = re.compile(rf'(?<!\\)"{re.escape(key)}"\s*:')  # the key itself, not a quotation inside of a string
    enclosed = text.count("{", closed, start) > text.count("}", closed, start) or text.count("}", end) > text.count(
        "{", end
    )
    if not found or enclosed or asked.search(text, end):
        raise ParseError(f"no complete JSON object with {key!r} at the end of the answer: {text[-80:]!r}")
    if len(values) > 1 or _ESCAPED_DIGIT.search(text, start, end):
        raise ParseError(f"{key!r} at two depths, a name twice, or digits as escapes: {text[start : start + 80]!r}")
    return values[0], text[end:]


def _json_objects(text: str, key: str) -> Iterator[tuple[int, int, int, list[Any]]]:
    """Of each outermost JSON object: the last one's end, its start and end, its values of `key`, None for a name twice."""
    values: list[Any] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values.extend(value for name, value in pairs if name == key)
        values.extend([None] * (len(pairs) - len(dict(pairs))))
        return dict(pairs)

    numbers: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": lambda _: None}
    decoder = json.JSONDecoder(object_pairs_hook=note, strict=False, **numbers)
    at = closed = 0
    for _ in range(MOST_OBJECTS):  # one pass: reading goes on where an object ends or is found to be broken
        if not (opening := _OPENING.search(text, at)):
            return
        try:
            _, at = decoder.raw_decode(text, opening.start())
            yield closed, opening.start(), at, [*values]
            closed = at
        except json.JSONDecodeError as error:
            at = max(error.pos, opening.start() + 1)
        except RecursionError:
            raise ParseError("JSON nested too deep") from None
        values.clear()
    raise ParseError(f"more than {MOST_OBJECTS} JSON objects, broken ones included")
