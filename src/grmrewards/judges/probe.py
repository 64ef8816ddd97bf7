"""A few tiny requests that show what a server really does, once, before or beside the first judgements.

The first request is plain, so what fails there is the set-up's fault and is raised. The others ask for what not every
server has, together; a refusal is an answer, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from grmrewards.errors import GRMError, TransportError
from grmrewards.judges import capabilities as seen
from grmrewards.judges.capabilities import Capabilities
from grmrewards.judges.label_ids import LabelIds
from grmrewards.types import CALL, Call

LIMIT = 16  # tokens: enough for two samples to differ
PATIENCE = 3.0  # seconds, beyond four times the plain request's, for what not every server has: a 500 is tried again
WARM_UP = (
    30.0  # seconds more for what hangs: the first log-probabilities of a vLLM took 7, and all others waited for them
)
UNLIKELY = 0.01  # of an answer, by its log-probabilities: the same one twice is no accident
NO_MODEL = "grmrewards-no-such-model"
ALTERNATIVES = 20
LABELS = ("A", "B")
SEED, OTHER_SEED = 7, 1_000_003
ASK = {"role": "user", "content": "Write a line of random letters and digits."}
BEGUN = {"role": "assistant", "content": "k4"}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"score": {"type": "integer"}},
            "required": ["score"],
            "additionalProperties": False,
        },
    },
}
PLAIN = {"messages": [ASK], "max_tokens": LIMIT, "temperature": 1.0, "seed": SEED}
BEGUN_ANSWER = {"messages": [ASK, BEGUN], "max_tokens": 1}
OPTIONAL: dict[str, dict[str, Any]] = {
    "votes": {**PLAIN, "n": 2, "logprobs": True, "top_logprobs": ALTERNATIVES},
    "schema": {**PLAIN, "response_format": SCHEMA},
    "continued": {**BEGUN_ANSWER, "continue_final_message": True, "add_generation_prompt": False},
    "unknown": {**BEGUN_ANSWER, "grmrewards_unknown_field": True},
    "misnamed": {"messages": [ASK], "max_tokens": 1, "model": NO_MODEL},
}
APART = {  # where "votes" is refused
    "votes": {**PLAIN, "n": 2},
    "logprobs": {**PLAIN, "logprobs": True, "top_logprobs": ALTERNATIVES},
}
OTHER = {**PLAIN, "seed": OTHER_SEED}

Answer = dict[str, Any]


class Asks(Protocol):
    """What `probe` needs of an `Endpoint`."""

    model: str

    async def ask(self, fields: Mapping[str, Any]) -> Answer:
        """The completion for `fields`."""
        ...

    def where(self) -> str:
        """The model and the address."""
        ...


class Opens(Protocol):
    """An endpoint that has yet to be opened."""

    async def __aenter__(self) -> Asks: ...
    async def __aexit__(self, *exc: object) -> None: ...


async def probe(
    endpoint: Asks, extra: Mapping[str, Any] | None = None, label_ids: LabelIds | None = None
) -> Capabilities:
    """What the server behind `endpoint`, which must be open, does with what a judge may send.

    `extra` are fields that every request of the judge has, `label_ids` what the judge knows of labels. Raises what the
    plain request raises: a key that is refused, a model that is not there, no answer at all.
    """
    extra = {name: value for name, value in (extra or {}).items() if name != "response_format"}
    now = asyncio.get_running_loop().time
    started = now()
    plain = await endpoint.ask({**PLAIN, **extra})
    patience = PATIENCE + 4 * (now() - started)
    got = await _each(endpoint, OPTIONAL, extra, patience)
    if got["votes"] is None:
        got |= await _each(endpoint, APART, extra, patience)
    votes, logprobs = got["votes"], got.get("logprobs", got["votes"])
    drawn = [text for answer in (plain, votes, logprobs) if answer for text in seen.texts(answer)]
    if len(set(drawn)) == 1 and (other := (await _each(endpoint, {"other": OTHER}, extra, patience))["other"]):
        drawn += seen.texts(other)
    return Capabilities(
        where=endpoint.where(),
        model=endpoint.model,
        answers_as=str(plain.get("model") or ""),
        counts_tokens=seen.completion_tokens(plain) is not None,
        token_limit=_token_limit(endpoint, plain),
        reasoning=seen.reasoning_field([plain, *(answer for answer in got.values() if answer)]),
        json_schema=_answered(got["schema"], seen.held_to_json),
        continues=_continues(got["continued"], got["unknown"], plain),
        unknown_fields=_answered(got["unknown"], lambda _: "ignored"),
        checks_model=not got["misnamed"],
        **_sampling(plain, votes, drawn, seen.probability(logprobs) if logprobs else None),
        label_ids=await label_ids.seen(LABELS) if label_ids else "",
        **_logprobs(logprobs),
    )


def see(endpoint: Opens, extra: Mapping[str, Any] | None = None, label_ids: LabelIds | None = None) -> Capabilities:
    """`probe` for callers that wait, on an event loop of its own: they may stand in a script or in a running loop."""

    async def opened() -> Capabilities:
        async with endpoint as asked:
            return await probe(asked, extra, label_ids)

    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, opened()).result()


def _answered(answer: Answer | None, read: Callable[[Answer], str]) -> str:
    """What an answer shows, that there was a refusal, or nothing where none came in time."""
    return "refused" if answer is None else read(answer) if answer else ""


def _sampling(plain: Answer, votes: Answer | None, drawn: list[str], chance: float | None) -> dict[str, Any]:
    """What n, the seed and the temperature do, from one seed alone, the same with n = 2, and maybe another seed.

    A confident judge says the same again though it samples: `chance`, the probability of its answer, tells.
    """
    both = seen.texts(votes) if votes else []
    differ, sure = len(set(drawn)) > 1, len(drawn) > 1 and (chance is None or chance < UNLIKELY)
    samples = True if differ else False if sure else None
    repeated = bool(both) and both[0] == seen.texts(plain)[0]
    return {
        "n": 1 if votes is None else len(both),
        "copies": differ and sure and chance is not None and len(both) > 1 and len(set(both)) == 1,
        "samples": samples,
        "seed": ("repeats" if repeated else "ignored") if samples and both else "",
    }


def _logprobs(answer: Answer | None) -> dict[str, Any]:
    count = seen.alternatives(answer) if answer else None
    return {
        "logprobs": _answered(answer, lambda _: "absent" if count is None else "given"),
        "top_logprobs": count or 0,
    }


def _token_limit(endpoint: Asks, plain: Answer) -> str:
    """The field that the endpoint sends the limit in, after what it learnt from refusals, or that none holds."""
    if seen.overlong(plain, LIMIT):
        return "ignored"
    return str(getattr(endpoint, "_names", {}).get("max_tokens", "max_tokens"))


def _continues(continued: Answer | None, finished: Answer | None, plain: Answer) -> str:
    """A finished turn is longer than a begun one, by its end and the beginning of the next."""
    if not continued:
        return "" if continued is not None else "refused"
    begun, ended = seen.prompt_tokens(continued), seen.prompt_tokens(finished) if finished else None
    if begun is None or ended is None:
        return ""
    return "continued" if begun < ended else "ignored"


async def _each(
    endpoint: Asks, requests: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Any], patience: float
) -> dict[str, Answer | None]:
    """The answers to all, or None for those that are refused. In tasks of their own, as `_try` wants it."""
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(_try(endpoint, {**fields, **extra}, patience)) for name, fields in requests.items()
        }
    return {name: task.result() for name, task in tasks.items()}


async def _try(endpoint: Asks, fields: Mapping[str, Any], seconds: float) -> Answer | None:
    """The answer, None where these fields are refused or fail, be it with a 500 each time, or nothing in it where none
    came in time. In a task of its own.

    A 403 is a refusal, too: OpenAI says so of log-probabilities for some models, and the plain request has passed.
    """
    outer = CALL.get()
    for allowed in (seconds, WARM_UP):
        end = asyncio.get_running_loop().time() + allowed
        inner = Call(deadline=end if outer is None or outer.deadline is None else min(end, outer.deadline))
        CALL.set(inner)
        try:
            return await endpoint.ask(fields)
        except GRMError as error:
            if not isinstance(error, TransportError) or str(error).startswith("HTTP"):
                return None
        finally:
            if outer is not None:
                outer.add(inner)
    return {}
