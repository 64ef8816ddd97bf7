"""Asking a judge for the whole distribution of each score in one of its answers ("expected score").

A local judge is asked for the exact probability of every text that the score may have. One behind an endpoint has told
the likeliest alternatives with its answer; it is asked on where those are only beginnings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grmrewards.alternatives import Beginning, Seen, followed, seen, written
from grmrewards.asks import Asks
from grmrewards.distribution import Spread, exact, spread
from grmrewards.errors import ConfigError, FatalJudgeError
from grmrewards.runner import together
from grmrewards.types import Judge, Message, Reply

TOP = 20  # alternatives that are asked for: what servers give at most
SETTLED = 0.02  # of the probability: so much may stay unresolved
WORTH_ASKING = 0.01  # the least probability of a beginning that is asked on
LEVELS = 3  # of tokens that are asked for one by one: "1" - "10" - "10." - "10.0"


async def spreads(
    asks: Asks,
    messages: Sequence[Message],
    reply: Reply,
    spans: Sequence[tuple[int, int]],
    strings: Sequence[str],
    *,
    judge: Judge,
    about: Sequence[int],
) -> list[Spread] | None:
    """The distribution of each number that stands at `spans` in `reply.text`, given all that stands before it.

    `messages` are what `reply` answered, `about` the group's responses that it concerns. None where a request for one of
    them was lost, which is counted already. Raises `ParseError` where too little of a distribution can be seen, and what
    the judge raises for a refused request.
    """
    one = _exact if getattr(judge, "exact_choices", False) else _seen
    found = await together(one(asks, messages, reply, span, strings, judge=judge, about=about) for span in spans)
    known = [spread for spread in found if spread is not None]
    return known if len(known) == len(spans) else None


async def _exact(
    asks: Asks,
    messages: Sequence[Message],
    reply: Reply,
    span: tuple[int, int],
    strings: Sequence[str],
    *,
    judge: Judge,
    about: Sequence[int],
) -> Spread | None:
    text = written(reply, reply.text[: span[0]], control_tokens=getattr(judge, "control_tokens", ()))
    begun = [*messages, Message("assistant", text)]
    vote = await asks.choose(begun, strings, judge=judge, about=about, kind="score")
    return None if vote.value is None else exact(strings, vote.value)


async def _seen(
    asks: Asks,
    messages: Sequence[Message],
    reply: Reply,
    span: tuple[int, int],
    strings: Sequence[str],
    *,
    judge: Judge,
    about: Sequence[int],
) -> Spread | None:
    found = seen(reply, span, strings, control_tokens=getattr(judge, "control_tokens", ()))
    for _ in range(LEVELS):
        begun = _worth_asking(found)
        tops = await together(_next(asks, messages, one, judge=judge, about=about) for one in begun)
        for one, top in zip(begun, tops, strict=True):
            found = followed(found, one, top, strings, after=reply.text[span[1] :])
    return spread(found.values)


def _worth_asking(found: Seen) -> list[Beginning]:
    if sum(found.unresolved.values()) <= SETTLED:
        return []
    return [begun for begun, p in found.unresolved.items() if p > WORTH_ASKING]


async def _next(
    asks: Asks, messages: Sequence[Message], begun: Beginning, *, judge: Judge, about: Sequence[int]
) -> Mapping[str, float]:
    """The likeliest tokens after what is begun, with their log-probabilities; none where none were given."""
    asked = [*messages, Message("assistant", begun.text)]
    try:
        (vote,) = await asks.ask(
            asked, _first_token, judge=judge, temperature=0.0, max_tokens=1, top_logprobs=TOP, about=about, kind="score"
        )
    except (ConfigError, FatalJudgeError) as error:
        raise type(error)(
            "score='expected' asks a judge behind an endpoint to go on with an answer that was begun, to see whether "
            f"{begun.number or 'a number'!r} goes on. This one refused that: use score='sampled', a judge that runs "
            f"locally, or a server that can (vLLM, SGLang). {error}"
        ) from error
    return vote.value or {}


def _first_token(reply: Reply) -> Mapping[str, float]:
    return {first.token: first.logprob, **first.top} if (first := next(iter(reply.logprobs), None)) else {}
