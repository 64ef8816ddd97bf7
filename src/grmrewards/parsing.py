r"""Judge text to numbers, or `ParseError`. Pure functions, linear in the length of the text.

Three rules hold for all of them (`hostile_inputs` B2, 1-22):

- Only the judge's own last segment counts: the text after its reasoning, and there the last `\boxed{...}` or tag. What
  it quoted or weighed before is not its verdict.
- Whole match or nothing: ASCII digits, the exact count, inside the range. Nothing is clipped, padded or guessed.
- A text that was cut off has no verdict, except where the verdict is its very end.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence

from grmrewards.errors import ParseError
from grmrewards.types import Reply

TAIL = 20_000  # a verdict stands at the end; longer texts are read from here on
LONGEST = 2_000  # characters inside a box or tag

_NUMBER = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)(?:\s*/\s*([0-9]{1,3})(?:\.0{1,4})?)?")
_LABELLED = re.compile(r"(?:response|answer|#)\s*([0-9]{1,3})\s*[:=]\s*(\S.*)", re.IGNORECASE)
_WRAPPED = re.compile(r"\\(?:text|textbf|mathbf|mathrm|boldsymbol)\s*\{([^{}]*)\}")
_DRESS = re.compile(r"\*\*|\$|\\,")
_HEADER = re.compile(r"(?:evaluation principles|评估原则)\s*[:：]", re.IGNORECASE)
_LISTED = re.compile(r"^[ \t]*(?:[0-9]{1,2}[.)]|[-*•])\s*\S", re.MULTILINE)
_ANALYSIS = re.compile(r"\n[ \t]*Analysis:")
_WEIGHT = re.compile(r"\(\s*weight\s*[:：]\s*([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%\s*\)", re.IGNORECASE)
_CRITERION = re.compile(r"\]\*{0,2}\s*[:：]")
_OUT_OF_TEN = re.compile(r"score\s*[:：]\s*([0-9]{1,2}(?:\.[0-9]{1,4})?)\s*/\s*10(?![0-9])", re.IGNORECASE)


def boxed_scores(reply: Reply, count: int, *, low: float, high: float) -> list[float]:
    r"""The `count` numbers of the last `\boxed{...}`, in order (IP-GRM and SPCT output format).

    Items may carry labels ("Response 2: 8"), which then must be exactly 1..count and decide the order.

    >>> boxed_scores(Reply(r"e.g. \boxed{9, 9}. Scores: \boxed{3, 7/10}"), 2, low=1, high=10)
    [3.0, 7.0]
    """
    text = verdict_segment(reply)
    inside, rest = _last_box(text)
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
    if opened is None:
        raise ParseError(f"no <{tag}> in the answer, which ends: {text[-80:]!r}")
    if opened + 1 == len(tags):
        raise ParseError(f"the last <{tag}> is never closed")
    start, end = tags[opened], tags[opened + 1]
    _check_cut_off(reply, text[end.end() :])
    return _score(_unwrap(text[start.end() : end.start()]), low=low, high=high)


@functools.cache
def _either_end_of(tag: str) -> re.Pattern[str]:
    return re.compile(f"<(/?){re.escape(tag)}>", re.IGNORECASE | re.ASCII)


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
    """The scores of the lines `- **[Name]**: ... Score: X/10` in a judge's analysis; empty where one is out of range."""
    lines = _without_reasoning(text)[-TAIL:].splitlines()
    named = [(line, _CRITERION.search(line)) for line in lines]
    scores = [_OUT_OF_TEN.findall(line, name.end())[-1:] for line, name in named if name]
    found = [float(score) for last in scores for score in last]
    return found if all(low <= s <= high for s in found) else []


def verdict_segment(reply: Reply) -> str:
    """The judge's answer without reasoning, at most its last `TAIL` characters. Raises `ParseError` if nothing is left."""
    text = _without_reasoning(reply.text)[-TAIL:].strip()
    if not text:
        raise ParseError("the answer is empty")
    return text


def _without_reasoning(text: str | None) -> str:
    """What follows the last `</think>`. An opened and never closed `<think>` has nothing after it."""
    text = text or ""
    after = text.rpartition("</think>")[2]
    if "<think>" in after:
        raise ParseError("the reasoning was never finished: <think> without </think>")
    return after.strip()


def _check_cut_off(reply: Reply, rest: str) -> None:
    if reply.finish_reason == "length" and rest.strip(" \n\t.$*"):
        raise ParseError("the answer was cut off at its token limit (raise max_tokens)")


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


def _unwrap(text: str) -> str:
    """Without the clothes that models put on a number: `\\text{8}`, `$8$`, `**8**`."""
    if len(text) > LONGEST:
        raise ParseError(f"a verdict longer than {LONGEST} characters: {text[:80]!r}")
    return _DRESS.sub(" ", _WRAPPED.sub(r"\1", text)).strip()


def _in_label_order(items: Sequence[str]) -> list[str]:
    """Items as they are, or by their labels when all carry one (a judge may answer in another order than asked)."""
    labelled = [_LABELLED.fullmatch(item.strip()) for item in items]
    if not any(labelled):
        return list(items)
    by_label = {int(match[1]): match[2] for match in labelled if match}
    if sorted(by_label) != list(range(1, len(items) + 1)):
        raise ParseError(f"labels other than one for each response: {len(items)} wanted, found {sorted(by_label)}")
    return [by_label[label] for label in sorted(by_label)]


def _score(item: str, *, low: float, high: float) -> float:
    match = _NUMBER.fullmatch(item.strip())
    if not match:
        raise ParseError(f"not a score: {item.strip()[:40]!r}")
    if match[2] and float(match[2]) != high:
        raise ParseError(f"a score out of another total than {high:g}: {item.strip()!r}")
    score = float(match[1])
    if not low <= score <= high:
        raise ParseError(f"a score outside of {low:g} to {high:g}: {score:g}")
    return score
