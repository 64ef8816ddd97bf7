"""A few tiny requests that show what a server really does, once, before or beside the first judgements.

The first request is plain, so what fails there is the set-up's fault and is raised. The others ask for what not every
server has, together; a refusal is an answer, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from grmrewards.errors import GRMError
from grmrewards.judges import capabilities as seen
from grmrewards.judges.capabilities import Capabilities
from grmrewards.types import CALL, Call

LOG = logging.getLogger("grmrewards")
LIMIT = 16  # tokens: enough for two samples to differ
PATIENCE = 3.0  # seconds, beyond four times the plain request's, for what not every server has: a 500 is tried again
WARM_UP = 10.0  # seconds for the first log-probabilities: those of a vLLM took 7
NO_MODEL = "grmrewards-no-such-model"
ALTERNATIVES = 20
TRIES = 3  # calls that may end before the probe does
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


async def probe(endpoint: Asks, extra: Mapping[str, Any] | None = None) -> Capabilities:
    """What the server behind `endpoint`, which must be open, does with what a judge may send.

    `extra` are fields that every request of the judge has. Raises what the plain request raises: a key that is refused,
    a model that is not there, no answer at all.
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
        json_schema=seen.held_to_json(got["schema"]) if got["schema"] else "refused",
        continues=_continues(got["continued"], got["unknown"], plain),
        unknown_fields="ignored" if got["unknown"] else "refused",
        checks_model=got["misnamed"] is None,
        **_sampling(plain, votes, drawn),
        **_logprobs(logprobs),
    )


def see(endpoint: Opens, extra: Mapping[str, Any] | None = None) -> Capabilities:
    """`probe` for callers that wait, on an event loop of its own: they may stand in a script or in a running loop."""

    async def opened() -> Capabilities:
        async with endpoint as asked:
            return await probe(asked, extra)

    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, opened()).result()


def _sampling(plain: Answer, votes: Answer | None, drawn: list[str]) -> dict[str, Any]:
    """What n, the seed and the temperature do, from one seed alone, the same with n = 2, and maybe another seed."""
    both = seen.texts(votes) if votes else []
    samples = len(set(drawn)) > 1 if len(drawn) > 1 else None
    repeated = bool(both) and both[0] == seen.texts(plain)[0]
    return {
        "n": max(1, len(both)),
        "copies": bool(samples) and len(both) > 1 and len(set(both)) == 1,
        "samples": samples,
        "seed": ("repeats" if repeated else "ignored") if samples and both else "",
    }


def _logprobs(answer: Answer | None) -> dict[str, Any]:
    count = seen.alternatives(answer) if answer else None
    return {
        "logprobs": "refused" if answer is None else "absent" if count is None else "given",
        "top_logprobs": count or 0,
    }


def _token_limit(endpoint: Asks, plain: Answer) -> str:
    """The field that the endpoint sends the limit in, after what it learnt from refusals, or that none holds."""
    if seen.overlong(plain, LIMIT):
        return "ignored"
    return str(getattr(endpoint, "_names", {}).get("max_tokens", "max_tokens"))


def _continues(continued: Answer | None, finished: Answer | None, plain: Answer) -> str:
    """A finished turn is longer than a begun one, by its end and the beginning of the next."""
    if continued is None:
        return "refused"
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
            name: group.create_task(
                _try(endpoint, {**fields, **extra}, max(patience, WARM_UP) if "logprobs" in fields else patience)
            )
            for name, fields in requests.items()
        }
    return {name: task.result() for name, task in tasks.items()}


async def _try(endpoint: Asks, fields: Mapping[str, Any], seconds: float) -> Answer | None:
    """The answer, or None where these fields are refused or fail, be it with a 500 each time. In a task of its own.

    A 403 is a refusal, too: OpenAI says so of log-probabilities for some models, and the plain request has passed.
    """
    outer, now = CALL.get(), asyncio.get_running_loop().time()
    end = now + seconds
    inner = Call(deadline=end if outer is None or outer.deadline is None else min(end, outer.deadline))
    CALL.set(inner)
    try:
        return await endpoint.ask(fields)
    except GRMError:
        return None
    finally:
        if outer is not None:
            outer.add(inner)


class FirstUse:
    """The probe that runs beside the first judgements of a process, and says what it saw in the log.

    It delays nothing and raises nothing: what is wrong with the set-up the judgements themselves will say. Of several
    processes that train together the first one probes.
    """

    def __init__(self, endpoint: Asks, extra: Mapping[str, Any], *, wanted: bool) -> None:
        self.endpoint, self.extra, self.wanted = endpoint, extra, wanted
        self.found: Capabilities | None = None
        self._pid, self._tries = 0, 0  # of the process that probes
        self._task: asyncio.Task[None] | None = None

    @property
    def takes_n(self) -> bool:
        """Whether several votes may be asked for in one request, as far as is known."""
        return self.found is None or (self.found.n > 1 and not self.found.copies)

    def begin(self) -> None:
        """Start the probe, unless this process has seen its end or too many of them. The endpoint must be open."""
        if self._pid != os.getpid():
            self._pid, self._tries, self._task, self.found = os.getpid(), 0, None, None
        first = os.environ.get("RANK", "0") == "0"
        if self.wanted and first and self.found is None and self._task is None and self._tries < TRIES:
            self._tries += 1
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Stop it if it has not ended: the next call starts it again. To be called before the endpoint closes."""
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        try:
            self.found = await probe(self.endpoint, self.extra)
        except Exception as error:  # whatever a server made of it: nothing that a run should end for
            LOG.info("what the server can do was not seen: %s", error)
            return
        LOG.info("%s", self.found.report())
        for sentence in self.found.warnings():
            LOG.warning("%s: %s", self.found.where, sentence)
