r"""What must hold of every score and every text, whatever went in: written plainly, without a line of the package.

A rule looks for reasons to refuse a result. It reads slowly and knows less than the parsers do; it shares no code and no
pattern with them, so that one mistake is not made twice.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Sequence

TAIL, LONGEST = 20_000, 2_000
DIGITS = set(string.digits)
BEFORE = set("-−+.eE_")  # what makes another number of the one that follows
AFTER = set("eE_%")
CUT = ("length", "max_tokens", "content_filter", "abort")
CONTROLS = [chr(c) for c in range(32) if chr(c) not in "\t\n\r"] + ["\x7f", "\u202d", "\u202e"]
TOKENS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<think>", "</think>", "<start_of_turn>")
TOKENS += ("[INST]", "[/INST]", "<<SYS>>", "<｜User｜>", "<tool_call>", "<s>", "</s>")
MARKERS = ("[The Begin of Response]", "[The End of Response]", "[The Start of Assistant A's Answer]", "#Preferred:")
MARKERS += ("[The End of Assistant B's Answer]", "#### User Query ####", "[User Question]", "[Response]", "</answer>")
NUMBERED = (
    "[The Begin of Response 1]",
    "[The End of Response 1]",
    "[The Begin of Response 2]",
    "[The End of Response 2]",
)


class Violation(AssertionError):
    """A promise was broken."""


def require(holds: object, what: str) -> None:
    """`what` is broken unless it holds."""
    if not holds:
        raise Violation(what)


def segment(text: str) -> str:
    """The judge's own last words."""
    after = text.split("</think>")[-1]
    require("<think>" not in after, "something was read of a reasoning without end")
    return after.strip()[-TAIL:]


def numbers(text: str) -> Iterator[tuple[float, bool]]:
    """Each number in ASCII digits, as long as it goes, and whether it stands for itself: no sign, exponent, other total."""
    at = 0
    while at < len(text):
        if text[at] not in DIGITS:
            at += 1
            continue
        end = at
        while end < len(text) and (
            text[end] in DIGITS or (text[end] == "." and text[end + 1 : end + 2] in DIGITS and "." not in text[at:end])
        ):
            end += 1
        alone = text[max(at - 1, 0) : at] not in BEFORE and text[end : end + 1] not in AFTER
        yield float(text[at:end]), alone and total(text[end:]) in (None, 10.0)
        at = end


def total(rest: str) -> float | None:
    """What a score is out of, where it says so: the number behind a slash."""
    slash = rest.lstrip()
    return next((n for n, _ in numbers(slash[1:])), math.nan) if slash[:1] == "/" else None


def written(scores: Sequence[float], text: str, *, low: float, high: float, ordered: bool = False) -> None:
    """Every score is a number in range that stands in `text` as itself, as often as it was read."""
    require(all(type(s) is float and math.isfinite(s) and low <= s <= high for s in scores), f"{scores} out of range")
    left = [n for n, alone in numbers(text) if alone]
    for score in scores:
        require(score in left, f"{score} is not written, or not as often or in the order as {scores} was read")
        left = (
            left[left.index(score) + 1 :] if ordered else [*left[: left.index(score)], *left[left.index(score) + 1 :]]
        )


def ended(rest: str, finish: str) -> None:
    """Nothing but punctuation follows a verdict where the judge was cut off."""
    require(finish not in CUT or not rest.strip(" \n\t.$*`"), "a verdict was read that the judge was cut off behind")


def box(text: str, finish: str, scores: Sequence[float], count: int) -> None:
    """The scores of the last box."""
    inside = segment(text).rpartition("\\boxed")[2].lstrip()
    require(inside[:1] == "{", "the last \\boxed has no brace")
    depth, end = 1, 1
    while depth and end < len(inside):
        depth += {"{": 1, "}": -1}.get(inside[end], 0)
        end += 1
    require(not depth and end < LONGEST + 3, "the last box is never closed, or too long")
    ended(inside[end:], finish)
    require(len(scores) == count, f"{len(scores)} scores where {count} were asked for")
    content = inside[1 : end - 1]
    labelled = any(word in content.casefold() for word in ("response", "answer", "#"))
    written(scores, content, low=0, high=10, ordered=not labelled)
    for item in content.replace("\\,", " ").replace("，", ",").split(",") if labelled else ():
        label, score = [n for n, _ in numbers(item)][:2]
        require(scores[int(label) - 1] == score, f"response {label:g} got another's score in {scores}")


def tag(text: str, finish: str, score: float) -> None:
    """The score of the last tag, and nothing beside it."""
    said = segment(text)
    lower = "".join(c.lower() if c.isascii() else c for c in said)
    starts = [
        i for i in range(len(lower)) if lower.startswith("<score", i) and lower[i + 6 : i + 7] in set("> \t\n/\r\f\v")
    ]
    insides = {i: lower[i + 6 :].partition(">")[0] for i in starts if ">" in lower[i:]}
    starts = [i for i, inside in insides.items() if "<" not in inside and len(inside) <= 81]
    require(starts, "no opening tag")
    begin = said.index(">", starts[-1]) + 1
    end = lower.find("</score", begin)
    require(end >= 0 and end - begin <= LONGEST, "the last tag is never closed, or too long")
    ended(said[end:].partition(">")[2], finish)
    found = [n for n, _ in numbers(said[begin:end])]
    require(found[:1] == [score] and len(found) <= 2, f"{score} is not the number of the last tag: {found}")
    written([score], said[begin:end], low=0, high=10)


def json_object(text: str, finish: str, scores: Sequence[float], count: int) -> None:
    """The scores stand behind the last key that is one, and a brace closes it."""
    said = segment(text)
    places = [i for i in range(len(said)) if said.startswith('"score"', i) and said[max(i - 1, 0) : i] != "\\"]
    places = [i for i in places if said[i + 7 :].lstrip()[:1] == ":"]
    between = said[places[-2] + 7 : places[-1]] if len(places) > 1 and said[: places[-2]].rstrip()[-1:] in "{," else "{"
    require("{" in between or "}" in between, "an object that has the key twice")
    value, brace, rest = said[places[-1] + 7 if places else 0 :].partition("}")
    opened = sum(part.lstrip()[:1] == '"' for part in said[: len(said) - len(rest)].split("{")[1:])
    require(brace and rest.count("}") - rest.count("{") < max(opened, 1), "inside of something that is no JSON")
    require(len(scores) == count, f"{len(scores)} scores where {count} were asked for")
    written(scores, value, low=0, high=10, ordered=bool(places))
    require(
        finish not in CUT or not any(c.isalnum() for c in rest), "an object was read that the judge was cut off behind"
    )


def principles(text: str, finish: str, found: str) -> None:
    """A stretch of what the judge said, as it said it."""
    require(finish not in CUT, "principles that were cut off")
    require("<think>" not in text.split("</think>")[-1], "principles of a reasoning without end")
    require(found and found in text.split("</think>")[-1] and len(found) <= TAIL, "principles that nobody wrote")


def shares(text: str, found: Sequence[float]) -> None:
    """Weights are the stated percentages, in proportion."""
    stated = [n for n, _ in numbers(text[-TAIL:])]
    require(len(found) <= text.count("%"), "more weights than percentages")
    require(all(type(w) is float and 0 <= w <= 1 for w in found), f"weights {found} out of range")
    require(not found or abs(math.fsum(found) - 1) < 1e-9, f"weights {found} do not sum to 1")
    largest = max(found, default=0.0)
    fits = (all(any(math.isclose(w * n, s * largest) for s in stated) for w in found) for n in stated)
    require(not found or any(fits), f"weights {found} that nobody wrote")


def criteria(text: str, found: Sequence[float]) -> None:
    """Each score is the last one of a line of its own that names a criterion, and no such line is left out."""
    lasts = [last for line in segment(text).splitlines() if (last := _last_score(line)) is not None]
    require(len(found) == len(lasts), f"{found} of {len(lasts)} criteria")
    for score, last in zip(found, lasts, strict=True):
        written([score], last, low=0, high=10)
        require(
            next(numbers(last)) == (score, True) and total(last.lstrip().lstrip("0123456789.")) == 10,
            f"{score} of {last!r}",
        )


def _last_score(line: str) -> str | None:
    """What follows the last "score:" of a line that has a name in brackets and a colon before it."""
    parts = line.casefold().replace("：", ":").split("]")
    for i, part in enumerate(parts[1:], 1):
        stars = part[: len(part) - len(part.lstrip("*"))]
        if len(stars) <= 2 and part[len(stars) :].lstrip()[:1] == ":":
            rest = "]".join(parts[i:])
            ends = [
                k + 5 for k in range(len(rest)) if rest.startswith("score", k) and rest[k + 5 :].lstrip()[:1] == ":"
            ]
            return rest[ends[-1] :].lstrip()[1:] if ends else None
    return None


def harmless(text: str, out: str) -> None:
    """Insertion only: all of `text` is there, in order, with backslashes between; and no control token."""
    signs = iter(out)
    require(all(sign in signs for sign in text), "neutralising took something away")
    added = len(out) - len(text)
    require(added == out.count("\\") - text.count("\\"), "neutralising added something other than backslashes")
    require(not any(token in out for token in TOKENS), "a control token came through")


def filled(source: str, prompt: str, *, several: bool) -> None:
    """Each control token and marker stands in the prompt as often as in the template, whatever was filled in."""
    for token in TOKENS:
        require(prompt.count(token) == source.count(token), f"{token} came through a template")
    for marker in MARKERS:
        require(marker not in source or prompt.count(marker) <= source.count(marker), f"{marker} came through")
    for marker in NUMBERED if several else ():
        require(prompt.count(marker) == 1, f"{marker} stands {prompt.count(marker)} times")


def shown(text: str) -> None:
    """A text that a judge is shown can be encoded, and shows what it says."""
    require(isinstance(text, str), "not a text")
    text.encode("utf-8")
    require(not any(sign in text for sign in CONTROLS), "a control character is left")
