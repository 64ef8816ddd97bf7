r"""Judge text to numbers, or `ParseError`. Pure functions, linear in the length of the text.

Three rules hold for all of them (`hostile_inputs` B2, 1-22):

- Only the judge's own last segment counts: the text after its reasoning, and there the last `\boxed{...}` or tag. What
  it quoted or weighed before is not its verdict.
- Whole match or nothing: ASCII digits, the exact count, inside the range. Nothing is clipped, padded or guessed.
- A text that was cut off has no verdict, except where the verdict is its very end.

`json_scores` is for families of one's own whose judge is asked for JSON.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from grmrewards.errors import ParseError
from grmrewards.types import Reply

TAIL = 20_000  # a verdict stands at the end; longer texts are read from here on
LONGEST = 2_000  # characters inside a box or tag
MOST_OBJECTS = 500  # of JSON, in which a verdict is looked for
CUT_OFF = {"length", "max_tokens", "content_filter", "abort"}  # reasons to finish, as servers name them

_NUMBER = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)(?:\s*/\s*([0-9]{1,3})(?:\.0{1,4})?)?")
_LABELLED = re.compile(r"(?:response|answer|#)\s*([0-9]{1,3})\s*[:=]\s*(\S.*)", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathbf|mathrm|boldsymbol)\s*\{([^{}]*)\}")
_DRESS = re.compile(r"\*\*|\$|\\,")
_HEADER = re.compile(r"(?:evaluation principles|评估原则)\s*[:：]", re.IGNORECASE)
_LISTED = re.compile(r"^[ \t]*(?:[0-9]{1,2}[.)]|[-*•])\s*\S", re.MULTILINE)
_ANALYSIS = re.compile(r"\n[ \t]*Analysis:")
_WEIGHT = re.compile(r"\(\s*weight\s*[:：]\s*([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%\s*\)", re.IGNORECASE)
_CRITERION = re.compile(r"\]\*{0,2}\s*[:：]")
_SCORE_OF_LINE = re.compile(r"score\s*[:：]", re.IGNORECASE)
_OUT_OF_TEN = re.compile(r"\s*([0-9]{1,2}(?:\.[0-9]{1,4})?)\s*/\s*10(?:\.0{1,4})?(?![0-9]|\.[0-9])")
_ESCAPED_DIGIT = re.compile(r"\\u003[0-9]")
_OPENING = re.compile(r'\{\s{0,100}"')  # of a JSON object: inside of a JSON string the quote would carry a backslash


def boxed_scores(reply: Reply, count: int, *, low: float, high: float) -> list[float]:
    r"""The `count` numbers of the last `\boxed{...}`, in order (IP-GRM and SPCT output format).

    Items may carry labels ("Response 2: 8"), which then must be exactly 1..count and decide the order.

    >>> boxed_scores(Reply(r"e.g. \boxed{9, 9}. Scores: \boxed{3, 7/10}"), 2, low=1, high=10)
    [3.0, 7.0]
    """
    inside, rest = _last_box(verdict_segment(reply))
    _check_cut_off(reply, rest)
    items = _unwrap(inside).strip("[]() ").replace("，", ",").split(",")
    if len(items) != count:
        raise ParseError(f"not one score for each response: {count} wanted, {len(items)} in the box {inside[:80]!r}")
    return [_score(item, low=low, high=high) for item in _in_label_order(items)]


def tagged_score(reply: Reply, tag: str, *, low: float, high: float) -> float:
    """The number between the last `<tag>` and its `</tag>` (IRPM output format: `<score>`).

    >>> tagged_score(Reply("<critique>fine</critique><score>7.5</score>"), "score", low=0, high=10)
    7.5
    """
    text = verdict_segment(reply)
    tags = list(_either_end_of(tag).finditer(text))
    opened = max((i for i, found in enumerate(tags) if not found[1]), default=None)
    if opened is None or opened + 1 == len(tags):
        why = f"no <{tag}>" if opened is None else f"the last <{tag}> is never closed"
        raise ParseError(f"{why} in the answer, which ends: {text[-80:]!r}")
    start, end = tags[opened], tags[opened + 1]
    _check_cut_off(reply, text[end.end() :])
    return _score(_unwrap(text[start.end() : end.start()]), low=low, high=high)


@functools.cache
def _either_end_of(tag: str) -> re.Pattern[str]:
    """Also with a blank or attributes in it: were `<score final>` no tag, a quoted one before it would be the last."""
    return re.compile(rf"<(/?){re.escape(tag)}(?:[\s/][^<>]{{0,80}})?>", re.IGNORECASE | re.ASCII)


def json_scores(reply: Reply, key: str, count: int, *, low: float, high: float) -> list[float]:
    r"""The `count` numbers under `key` in the last JSON object that has it, with prose or fences around it or not.

    A response may be JSON and be quoted in the answer. So an object that has a name twice, or the key at two depths, has
    no verdict, and neither has what stands inside of a broken object, however complete it looks by itself.

    >>> json_scores(Reply('```json\n{"why": "...", "scores": [8, "7/10"]}\n``` Done.'), "scores", 2, low=1, high=10)
    [8.0, 7.0]
    """
    value, rest = _last_value(verdict_segment(reply), key)
    _check_cut_off(reply, rest)
    items = value if isinstance(value, list) else [value]
    if len(items) != count or not all(isinstance(item, str) for item in items):
        raise ParseError(f"not {count} numbers under {key!r} but {[type(item).__name__ for item in items[:9]]}")
    return [_score(_unwrap(item), low=low, high=high) for item in items]


def principles_text(reply: Reply) -> str:
    """The principles in a judge's answer, from their header to the end (IP-GRM, stage 1).

    A refusal (no header and no list), an empty answer, one that was cut off and one that never came to its point raise
    `ParseError`: criteria that are wrong for one prompt would be wrong for all its responses, and for as long as they
    are cached.
    """
    text = _without_reasoning(reply.text)
    _check_cut_off(reply, "cut off" if text else "")
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
    lines = _without_reasoning(text)[-TAIL:].splitlines()
    after_names = [line[name.end() :] for line in lines if (name := _CRITERION.search(line))]
    lasts = [starts[-1] for line in after_names if (starts := [*_SCORE_OF_LINE.finditer(line)])]
    matches = [_OUT_OF_TEN.match(last.string, last.end()) for last in lasts]
    found = [float(match[1]) for match in matches if match]
    return found if len(found) == len(matches) and all(low <= s <= high for s in found) else []


def verdict_segment(reply: Reply) -> str:
    """The judge's answer without reasoning, at most its last `TAIL` characters. Raises `ParseError` if nothing is left."""
    text = _without_reasoning(reply.text)[-TAIL:].strip()
    if not text:
        raise ParseError("the answer is empty")
    return text


def _without_reasoning(given: Any) -> str:
    """What follows the last `</think>`. An opened and never closed `<think>` has nothing after it."""
    text = given if isinstance(given, str) else ""  # a judge of one's own may answer None
    after = text.rpartition("</think>")[2]
    if "<think>" in after:
        raise ParseError("the reasoning was never finished: <think> without </think>")
    return after.strip()


def _check_cut_off(reply: Reply, rest: str) -> None:
    if str(reply.finish_reason).lower() in CUT_OFF and rest.strip(" \n\t.$*`"):
        raise ParseError(f"the answer was cut off ({reply.finish_reason}): raise max_tokens where it is the length")


def _last_box(text: str) -> tuple[str, str]:
    """What stands in the last `\\boxed{...}`, with inner braces balanced, and what follows it."""
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
            return text[opening.end() : brace.start()], text[brace.end() :]
    raise ParseError("the last \\boxed{ is never closed")


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


def _unwrap(text: str) -> str:
    """Without the clothes that models put on a number: `\\text{8}`, `$8$`, `**8**`. None of them joins digits."""
    if len(text) > LONGEST:
        raise ParseError(f"a verdict longer than {LONGEST} characters: {text[:80]!r}")
    return _DRESS.sub(" ", _WRAPPED.sub(r" \1 ", text)).strip()


def _in_label_order(items: Sequence[str]) -> list[str]:
    """Items as they are, or by their labels when all carry one (a judge may answer in another order than asked)."""
    labelled = [_LABELLED.fullmatch(item.strip()) for item in items]
    if not any(labelled):
        return list(items)
    by_label = {int(match[1]): match[2] for match in labelled if match}
    if sorted(by_label) != list(range(1, len(items) + 1)):
        raise ParseError(f"labels other than one for each response: {len(items)} wanted, found {sorted(by_label)[:20]}")
    return [by_label[label] for label in sorted(by_label)]


def _score(item: str, *, low: float, high: float) -> float:
    match = _NUMBER.fullmatch(item.strip())
    if not match:
        raise ParseError(f"not a score: {item.strip()[:40]!r}")
    if match[2] and float(match[2]) != high:
        raise ParseError(f"a score out of another total than {high:g}: {item.strip()[:40]!r}")
    score = float(match[1])
    if not low <= score <= high:
        raise ParseError(f"a score outside of {low:g} to {high:g}: {score:g}")
    return score
