r"""Judge text to numbers, or `ParseError`. Pure functions, linear in the length of the text.

Three rules hold for all of them (`hostile_inputs` B2, 1-22):

- Only the judge's own last segment counts: the text after its reasoning, and there the last `\boxed{...}` or tag. What
  it quoted or weighed before is not its verdict.
- Whole match or nothing: ASCII digits, the exact count, inside the range. Nothing is clipped, padded or guessed.
- A text that was cut off has no verdict, except where the verdict is its very end.

`boxed_spans` and `tagged_span` say where in `reply.text` the numbers stand that `boxed_scores` and `tagged_score` read.
`json_scores` is for families of one's own whose judge is asked for JSON.
"""

from __future__ import annotations

import functools
import math
import re

from grmrewards.errors import ParseError
from grmrewards.json_verdict import json_scores
from grmrewards.types import Reply
from grmrewards.verdict import (
    TAIL,
    Number,
    Piece,
    check_cut_off,
    number_in,
    segment,
    stripped,
    undressed,
    without_reasoning,
)

__all__ = [
    "boxed_scores",
    "boxed_spans",
    "criterion_scores",
    "json_scores",
    "principles_text",
    "tagged_score",
    "tagged_span",
    "verdict_segment",
    "weights",
]

_LABELLED = re.compile(r"(?:response|answer|#)\s*([0-9]{1,3})\s*[:=]\s*(\S.*)", re.IGNORECASE)
_HEADER = re.compile(r"(?:evaluation principles|评估原则)\s*[:：]", re.IGNORECASE)
_LISTED = re.compile(r"^[ \t]*(?:[0-9]{1,2}[.)]|[-*•])\s*\S", re.MULTILINE)
_ANALYSIS = re.compile(r"\n[ \t]*Analysis:")
_WEIGHT = re.compile(r"\(\s*weight\s*[:：]\s*([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%\s*\)", re.IGNORECASE)
_CRITERION = re.compile(r"\]\*{0,2}\s*[:：]")
_SCORE_OF_LINE = re.compile(r"score\s*[:：]", re.IGNORECASE)
_OUT_OF_TEN = re.compile(r"\s*([0-9]{1,2}(?:\.[0-9]{1,4})?)\s*/\s*10(?:\.0{1,4})?(?![0-9]|\.[0-9])")


def boxed_scores(reply: Reply, count: int, *, low: float, high: float) -> list[float]:
    r"""The `count` numbers of the last `\boxed{...}`, in order (IP-GRM and SPCT output format).

    Items may carry labels ("Response 2: 8"), which then must be exactly 1..count and decide the order.

    >>> boxed_scores(Reply(r"e.g. \boxed{9, 9}. Scores: \boxed{3, 7/10}"), 2, low=1, high=10)
    [3.0, 7.0]
    """
    return [number.score(low=low, high=high) for number in _boxed(reply, count)]


def boxed_spans(reply: Reply, count: int) -> list[tuple[int, int]]:
    r"""Where in `reply.text` the digits of each of those numbers stand, in the order of `boxed_scores`; of "7/10" the 7.

    >>> boxed_spans(Reply(r"\boxed{Response 2: 3, Response 1: 8/10}"), 2)
    [(34, 35), (19, 20)]
    """
    return [number.span for number in _boxed(reply, count)]


def tagged_score(reply: Reply, tag: str, *, low: float, high: float) -> float:
    """The number between the last `<tag>` and its `</tag>` (IRPM output format: `<score>`).

    >>> tagged_score(Reply("<critique>fine</critique><score>7.5</score>"), "score", low=0, high=10)
    7.5
    """
    return _tagged(reply, tag).score(low=low, high=high)


def tagged_span(reply: Reply, tag: str) -> tuple[int, int]:
    """Where in `reply.text` the digits of that number stand.

    >>> tagged_span(Reply("<score> 7.5/10 </score>"), "score")
    (8, 11)
    """
    return _tagged(reply, tag).span


def principles_text(reply: Reply) -> str:
    """The principles in a judge's answer, from their header to the end (IP-GRM, stage 1).

    A refusal (no header and no list), an empty answer, one that was cut off and one that never came to its point raise
    `ParseError`: criteria that are wrong for one prompt would be wrong for all its responses, and for as long as they
    are cached.
    """
    text = without_reasoning(reply.text)
    check_cut_off(reply, "cut off" if text else "")
    header = _HEADER.search(text)
    text = text[header.start() :] if header else text
    text = _ANALYSIS.split(text, maxsplit=1)[0].strip()
    if len(text) > TAIL:
        raise ParseError(f"principles longer than {TAIL} characters: {len(text)}")
    if not header and not _LISTED.search(text):
        raise ParseError(f"neither principles nor a list: {text[:80]!r}")
    if header and not text[header.end() - header.start() :].strip():
        raise ParseError("a header for the principles and nothing under it")
    return text


def weights(principles: str) -> list[float]:
    """The weights that the principles state, normalised to sum to 1; empty where none are stated.

    >>> weights("1. [Depth] (Weight: 30%): ...\\n2. [Tone] (Weight: 30%): ...")
    [0.5, 0.5]
    """
    found = [float(w) for w in _WEIGHT.findall(principles[-TAIL:])]
    total = math.fsum(found)
    return [w / total for w in found] if total > 0 else []


def criterion_scores(text: str, *, low: float, high: float) -> list[float]:
    """The last score of each line `- **[Name]**: ... Score: X/10` in an analysis; none if one is out of range or unreadable."""
    lines = without_reasoning(text)[-TAIL:].splitlines()
    after_names = [line[name.end() :] for line in lines if (name := _CRITERION.search(line))]
    lasts = [starts[-1] for line in after_names if (starts := [*_SCORE_OF_LINE.finditer(line)])]
    matches = [_OUT_OF_TEN.match(last.string, last.end()) for last in lasts]
    found = [float(match[1]) for match in matches if match]
    return found if len(found) == len(matches) and all(low <= s <= high for s in found) else []


def verdict_segment(reply: Reply) -> str:
    """The judge's answer without reasoning, at most its last `TAIL` characters. Raises `ParseError` if nothing is left."""
    return segment(reply)[0]


def _boxed(reply: Reply, count: int) -> list[Number]:
    """The numbers of the last box. Raises `ParseError` unless they are `count`."""
    text, start = segment(reply)
    if "\\boxed" not in text:
        check_cut_off(reply, text)  # it never came to its verdict
    first, end = _last_box(text)
    check_cut_off(reply, text[end + 1 :])
    items = _items(stripped(undressed((text[first:end], start + first)), "[]() "))
    if len(items) != count:
        raise ParseError(
            f"not one score for each response: {count} wanted, {len(items)} in the box {text[first:end][:80]!r}"
        )
    return [number_in(item) for item in _in_label_order(items)]


def _tagged(reply: Reply, tag: str) -> Number:
    """The number in the last `<tag>`."""
    text, start = segment(reply)
    tags = list(_either_end_of(tag).finditer(text))
    opened = max((i for i, found in enumerate(tags) if not found[1]), default=None)
    if opened is None or opened + 1 == len(tags):
        check_cut_off(reply, text)
        why = f"no <{tag}>" if opened is None else f"the last <{tag}> is never closed"
        raise ParseError(f"{why} in the answer, which ends: {text[-80:]!r}")
    first, end = tags[opened].end(), tags[opened + 1]
    check_cut_off(reply, text[end.end() :])
    return number_in(undressed((text[first : end.start()], start + first)))


@functools.cache
def _either_end_of(tag: str) -> re.Pattern[str]:
    """Also with a blank or attributes in it: were `<score final>` no tag, a quoted one before it would be the last."""
    return re.compile(rf"<(/?){re.escape(tag)}(?:[\s/][^<>]{{0,80}})?>", re.IGNORECASE | re.ASCII)


def _last_box(text: str) -> tuple[int, int]:
    """Where the inside of the last `\\boxed{...}` begins and ends, with inner braces balanced."""
    start = text.rfind("\\boxed")
    if start < 0:
        raise ParseError(f"no \\boxed{{}} in the answer, which ends: {text[-80:]!r}")
    opening = re.compile(r"\s{0,20}\{").match(text, start + len("\\boxed"))
    if not opening:
        raise ParseError(f"\\boxed without a brace: {text[start : start + 40]!r}")
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, opening.end()):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return opening.end(), brace.start()
    raise ParseError("the last \\boxed{ is never closed")


def _items(box: Piece) -> list[Piece]:
    """What commas set apart, of either width."""
    text, start = box
    found = []
    for item in text.replace("，", ",").split(","):
        found.append((item, start))
        start += len(item) + 1
    return found


def _in_label_order(items: list[Piece]) -> list[Piece]:
    """Items as they are, or by their labels when all carry one (a judge may answer in another order than asked)."""
    labelled = [(_LABELLED.fullmatch(text), start) for text, start in map(stripped, items)]
    if not any(match for match, _ in labelled):
        return items
    by_label = {int(match[1]): (match[2], start + match.start(2)) for match, start in labelled if match}
    if sorted(by_label) != list(range(1, len(items) + 1)):
        raise ParseError(f"labels other than one for each response: {len(items)} wanted, found {sorted(by_label)[:20]}")
    return [by_label[label] for label in sorted(by_label)]
