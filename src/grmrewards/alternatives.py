"""What a score might have been, from the alternatives that a judge reports beside the tokens that it sampled. Pure.

" 7" beside a sampled " 8" was the score 7, with its probability. But where scores have decimals it is only how some of
them begin, as "1" is of 10 for a tokenizer that writes single digits: the way on from it was not sampled. That is left
`unresolved`, until the judge has said what it would write there (`followed`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from grmrewards.distribution import located, visible
from grmrewards.neutral import neutralise
from grmrewards.types import Reply

ENDS = tuple(",/}])$")  # what ends a number in a verdict
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?)(.*)", re.DOTALL)
_MARKS = str.maketrans("Ġ▁Ċ", "  \n")  # white space in the vocabularies of some tokenizers


class Beginning(NamedTuple):
    """A number that may go on: all that the judge would have written up to there, and the digits that this ends with."""

    text: str
    number: str


class Seen(NamedTuple):
    """Probabilities of values, and of beginnings that may still become one of several."""

    values: dict[float, float]
    unresolved: dict[Beginning, float]


def seen(reply: Reply, span: tuple[int, int], strings: Sequence[str], *, control_tokens: Sequence[str] = ()) -> Seen:
    """What may have stood at `span` of `reply.text`, of these strings. Raises `ParseError` as `score_tokens`."""
    tokens, signs = located(reply, span)
    lead = _first_signs(_plain(reply.logprobs[tokens.start].token), signs)
    begun = Beginning(written(reply, reply.text[: span[0]].removesuffix(lead), control_tokens=control_tokens), "")
    found, p = Seen({}, {}), 1.0
    for step in reply.logprobs[tokens.start :]:
        _read(found, begun, {step.token: step.logprob, **step.top}, p, strings, lead=visible(lead))
        sampled = Beginning(begun.text + _plain(step.token), _number(begun, step.token, visible(lead))[0])
        if sampled not in found.unresolved:
            return found
        begun, p, lead = sampled, found.unresolved.pop(sampled), ""
    found.unresolved[begun] = p
    return found


def followed(found: Seen, begun: Beginning, top: Mapping[str, float], strings: Sequence[str], *, after: str) -> Seen:
    """`found`, after the judge was asked to go on from `begun` and would have said one of `top` next.

    `after` is what followed the number in its own answer. A server that ignores what is begun answers anew: what does not
    go on with a number, nor end one, says nothing.
    """
    values, unresolved = dict(found.values), dict(found.unresolved)
    p = unresolved.pop(begun)
    going_on = {token: logprob for token, logprob in top.items() if _goes_on(begun, _plain(token), after)}
    _read(rest := Seen(values, unresolved), begun, going_on, p, strings)
    return rest


def written(reply: Reply, text: str, *, control_tokens: Sequence[str] = ()) -> str:
    """What the judge wrote, its reasoning included, when its answer had come to `text`.

    Put to a judge again, a control token that it had spelled out, letter by letter, would be one: a response may have it
    quoted. So those are broken, as they are in a response.

    Reasoning is taken to stand between `<think>` and `</think>` on lines of their own, with an empty line after it, as
    Qwen3 and DeepSeek R1 write it: servers hand it over without what stood around it.
    """
    text, thought = (neutralise(said, control_tokens=control_tokens) for said in (text, reply.reasoning))
    return f"<think>\n{thought}\n</think>\n\n{text}" if thought else text


def _read(
    found: Seen, begun: Beginning, top: Mapping[str, float], p: float, strings: Sequence[str], *, lead: str = ""
) -> None:
    """Add to `found` what each of the next tokens means after `begun`, which has the probability `p`."""
    meant = {token: _number(begun, token, lead) for token in top}
    alone = {number for number, _ in meant.values()} if not begun.number else set()
    for token, (number, state) in meant.items():
        share = p * math.exp(min(top[token], 0.0))
        longer = [text for text in strings if text.startswith(number) and text != number]
        if state == "ended" or (state == "open" and _is_whole(number, longer, alone)):
            if number in strings:
                found.values[float(number)] = found.values.get(float(number), 0.0) + share
        elif state == "open":
            key = Beginning(begun.text + _plain(token), number)
            found.unresolved[key] = found.unresolved.get(key, 0.0) + share


def _is_whole(number: str, longer: Sequence[str], alone: set[str]) -> bool:
    """Whether a number cannot go on: "1" does not become "10" for a tokenizer that has a token for that."""
    if not number:
        return False
    return not longer or (not any("." in text for text in longer) and not alone.isdisjoint(longer))


def _number(begun: Beginning, token: str, lead: str) -> tuple[str, str]:
    """The number that stands there with `token`, and whether it is "open", "ended", or no number at all ("").

    `lead`: signs that the token must have before it.
    """
    text = _plain(token)
    rest = text if begun.number else _without_signs(text, lead)
    if rest == "":
        return "", "open" if text else ""  # white space, and the number after it
    match = _NUMBER.fullmatch(begun.number + (rest or ""))
    if rest is None or not match:
        return "", ""
    number, tail = match.groups()
    return number, "open" if not tail else "" if tail[0].isalnum() else "ended"


def _without_signs(text: str, signs: str) -> str | None:
    """`text` after these signs, with or without white space between; None if it begins otherwise."""
    rest = text.lstrip()
    for sign in signs:
        if rest and not rest.startswith(sign):
            return None
        rest = rest[1:].lstrip()
    return rest


def _goes_on(begun: Beginning, token: str, after: str) -> bool:
    """Whether a token goes on with what was begun, instead of beginning the answer anew."""
    bare, end = token.strip(), after.strip()[:2].strip()
    if not bare:
        return bool(begun.number) and after[:1].isspace()
    if begun.text.lstrip().startswith(bare):
        return False
    if bare[0].isdigit() or (bare[0] == "." and begun.number):
        return not begun.number or token[0] == bare[0]
    return bool(begun.number) and (
        bare.startswith(ENDS) or (bool(end) and (bare.startswith(end) or end.startswith(bare)))
    )


def _first_signs(token: str, signs: int) -> str:
    """The beginning of a token up to where its visible sign number `signs` stands."""
    places = [i for i, sign in enumerate(token) if visible(sign)]
    return token[: places[signs]]


def _plain(token: str) -> str:
    return token.translate(_MARKS)
