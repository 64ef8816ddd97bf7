"""How likely each score was that a judge might have written after its critique. Pure functions.

A score is a few tokens, so its distribution is a walk through the tree of all texts that it may have (`strings`). A local
judge gives the log-probability of each of them (`exact`). Behind an endpoint there are only the likeliest alternatives of
the tokens that were sampled (`alternatives`).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from grmrewards.errors import ParseError
from grmrewards.types import Reply

MIN_MASS = 0.5  # of the probability that was accounted for; below it the rest decides
CONTEXTS = (50, 10, 0)  # visible signs before a number by which it is found among the tokens
SAME = 1e-6  # log-probabilities of one token that were computed together differ by no more

_BYTES = re.compile(r"bytes:(?:\\x[0-9a-f]{2})+|<0x[0-9A-F]{2}>")  # tokens that are parts of a character
_UNSEEN = re.compile(r"[^!-~]+")  # what tokenizers write in many ways: white space, and what is not ASCII


class Spread(NamedTuple):
    """The distribution of a score given the critique.

    `mass` is the probability that was accounted for, by which mean and variance are normalised; `entropy` is in nats.
    """

    mean: float
    variance: float
    mass: float
    entropy: float


def strings(low: float, high: float, *, decimals: int) -> list[str]:
    """All texts of a score from `low` to `high`, with up to so many decimals.

    >>> strings(1, 3, decimals=0), strings(9.8, 10, decimals=1)
    (['1', '2', '3'], ['10', '9.8', '9.9', '10.0'])
    """
    found = []
    for places in range(decimals + 1):
        unit = 10**places
        whole = range(max(0, math.ceil(round(low * unit, 6))), math.floor(round(high * unit, 6)) + 1)
        found += [f"{k / unit:.{places}f}" for k in whole]
    return found


def spread(values: Mapping[float, float]) -> Spread:
    """Of a score with these probabilities. Raises `ParseError` where they are less than `MIN_MASS` in all."""
    mass = math.fsum(values.values())
    if not mass >= MIN_MASS:
        raise ParseError(
            f"too little of the probability of a score was seen: only {mass:.2f}. The judge was about to write something "
            "else, or its server shows too few alternatives. A judge that runs locally gives all of it (TransformersJudge, "
            "VLLMJudge), and so does mostly a server that continues a begun answer (vLLM, SGLang)."
        )
    shares = {value: p / mass for value, p in values.items() if p > 0}
    mean = math.fsum(value * p for value, p in shares.items())
    variance = math.fsum((value - mean) ** 2 * p for value, p in shares.items())
    return Spread(mean, variance, min(mass, 1.0), max(0.0, -math.fsum(p * math.log(p) for p in shares.values())))


def exact(strings: Sequence[str], logprobs: Sequence[Sequence[float]]) -> Spread:
    """From the log-probabilities of each string's tokens. Raises `ParseError` where they are too little in all.

    "7" is also how "7.3" begins where that is written with the same token: then it holds the other's probability, too.

    >>> exact(["1", "10"], [(math.log(0.8),), (math.log(0.8), math.log(0.5))]).mean  # one half each
    5.5
    """
    given = dict(zip(strings, map(tuple, logprobs), strict=True))
    own = {
        text: math.exp(min(math.fsum(tokens), 0.0)) if -math.inf not in tokens else 0.0
        for text, tokens in given.items()
    }
    whole = dict(own)
    for text, tokens in given.items():
        shorter = (text[:end] for end in range(len(text) - 1, 0, -1))
        nearest = next((begun for begun in shorter if begun in given and _begins(given[begun], tokens)), None)
        if nearest is not None:
            own[nearest] -= whole[text]
    return spread(_by_value({text: max(0.0, p) for text, p in own.items()}))


def _begins(first: Sequence[float], tokens: Sequence[float]) -> bool:
    """Whether these are the log-probabilities with which the others begin: those of the same tokens."""
    near = all(a == b or abs(a - b) < SAME for a, b in zip(first, tokens, strict=False))
    return near and len(first) < len(tokens)


def _by_value(probabilities: Mapping[str, float]) -> dict[float, float]:
    values: defaultdict[float, float] = defaultdict(float)
    for text, p in probabilities.items():
        values[float(text)] += p
    return dict(values)


def score_tokens(reply: Reply, span: tuple[int, int]) -> range:
    """Which of `reply.logprobs` spell the number that stands at `span` in `reply.text`.

    Raises `ParseError` where there are no log-probabilities, or none of that number.
    """
    return located(reply, span)[0]


def located(reply: Reply, span: tuple[int, int]) -> tuple[range, int]:
    """Those tokens, and how many visible ASCII signs the first one has before the number, as in "{7".

    The text is a part of what the tokens spell: reasoning may stand before, and signs that end an answer after it. So it is
    looked for from the end on, by the signs that any tokenizer writes alike.
    """
    if not reply.logprobs:
        raise ParseError("no log-probabilities came with the answer: use a judge that gives them, or score='sampled'")
    spelled = [visible(token.token) for token in reply.logprobs]
    owners = [i for i, signs in enumerate(spelled) for _ in signs]
    before, number, after = (visible(part) for part in _around(reply.text, span))
    signs = "".join(spelled)
    for size in CONTEXTS:  # a control token that was sampled within is among the tokens, and not in the text
        context = before[max(0, len(before) - size) :]
        at = signs.rfind(context + number + after)
        if at >= 0 and number:
            first = at + len(context)
            tokens = range(owners[first], owners[first + len(number) - 1] + 1)
            return tokens, first - owners.index(tokens.start)
    raise ParseError("the score is not among the tokens whose log-probabilities came with the answer")


def visible(token: str) -> str:
    """The visible ASCII signs of a text.

    >>> visible(" 7️⃣ {\\n")
    '7{'
    """
    return "" if _BYTES.fullmatch(token) else _UNSEEN.sub("", token)


def _around(text: str, span: tuple[int, int]) -> tuple[str, str, str]:
    return text[: span[0]], text[span[0] : span[1]], text[span[1] :]
