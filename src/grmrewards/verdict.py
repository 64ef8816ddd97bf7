"""Where a judge's verdict stands in its answer, and the number in it. Pure functions, linear in the length of the text.

A `Piece` is a part of an answer and where it begins there. What is taken off a piece is replaced by spaces of the same
length, or cut from its ends, so that the place of each number is known, whatever clothes it wears.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from grmrewards.errors import ParseError
from grmrewards.types import Reply

TAIL = 20_000  # a verdict stands at the end; longer texts are read from here on
LONGEST = 2_000  # characters inside a box or tag
CUT_OFF = {"length", "max_tokens", "content_filter", "abort"}  # reasons to finish, as servers name them

_NUMBER = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)(?:\s*/\s*([0-9]{1,3})(?:\.0{1,4})?)?")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathbf|mathrm|boldsymbol)\s*\{([^{}]*)\}")
_DRESS = re.compile(r"\*\*|\$|\\,")

Piece = tuple[str, int]


class Number(NamedTuple):
    """A number as it stands in an answer, and what it is stated to be out of ("10" of "7/10", or "")."""

    text: str
    total: str
    start: int

    @property
    def span(self) -> tuple[int, int]:
        """Where it stands."""
        return self.start, self.start + len(self.text)

    def score(self, *, low: float, high: float) -> float:
        """Its value. Raises `ParseError` outside of `low` to `high`, and where it is out of another total than `high`."""
        if self.total and float(self.total) != high:
            raise ParseError(f"a score out of another total than {high:g}: {f'{self.text}/{self.total}'!r}")
        score = float(self.text)
        if not low <= score <= high:
            raise ParseError(f"a score outside of {low:g} to {high:g}: {score:g}")
        return score


def segment(reply: Reply) -> Piece:
    """A judge's answer without reasoning, at most its last `TAIL` characters. Raises `ParseError` if nothing is left."""
    after = _after_reasoning(reply.text)
    text = after.strip()[-TAIL:].strip()
    if not text:
        raise ParseError("the answer is empty")
    return text, len(reply.text) - len(after) + len(after.rstrip()) - len(text)


def without_reasoning(given: Any) -> str:
    """What follows the last `</think>`. An opened and never closed `<think>` has nothing after it: `ParseError`."""
    return _after_reasoning(given).strip()


def check_cut_off(reply: Reply, rest: str) -> None:
    """Raise `ParseError` where an answer was cut off and its verdict, which `rest` follows, is not its very end."""
    if str(reply.finish_reason).lower() in CUT_OFF and rest.strip(" \n\t.$*`"):
        raise ParseError(f"the answer was cut off ({reply.finish_reason}): raise max_tokens where it is the length")


def undressed(piece: Piece) -> Piece:
    """Without the clothes that models put on a number: `\\text{8}`, `$8$`, `**8**`. None of them joins digits."""
    text, start = piece
    if len(text) > LONGEST:
        raise ParseError(f"a verdict longer than {LONGEST} characters: {text[:80]!r}")
    text = _WRAPPED.sub(lambda m: _blank(m.start(1) - m.start()) + m[1] + _blank(m.end() - m.end(1)), text)
    return stripped((_DRESS.sub(lambda m: _blank(len(m[0])), text), start))


def stripped(piece: Piece, characters: str | None = None) -> Piece:
    """Without these characters (white space) at its ends."""
    text, start = piece
    kept = text.lstrip(characters)
    return kept.rstrip(characters), start + len(text) - len(kept)


def number_in(piece: Piece) -> Number:
    """The number that a piece is. Raises `ParseError` where it is anything else."""
    text, start = stripped(piece)
    match = _NUMBER.fullmatch(text)
    if not match:
        raise ParseError(f"not a score: {text[:40]!r}")
    return Number(match[1], match[2] or "", start)


def _after_reasoning(given: Any) -> str:
    text = given if isinstance(given, str) else ""  # a judge of one's own may answer None
    after = text.rpartition("</think>")[2]
    if "<think>" in after:
        raise ParseError("the reasoning was never finished: <think> without </think>")
    return after


def _blank(length: int) -> str:
    return " " * length
