"""`OpenAIJudge`: a judge behind a chat-completions endpoint, be it OpenAI's or a server of one's own.

What is asked for stands here, how it is sent and sent again in `endpoint`, what an answer means in `replies` and
`faults`.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grmrewards import arguments
from grmrewards.errors import ConfigError, JudgeError
from grmrewards.judges.endpoint import Endpoint, without_credentials
from grmrewards.judges.faults import OPTIONAL
from grmrewards.judges.replies import label_logprobs, replies, tokens, wire_messages
from grmrewards.types import CALL, Message, Reply

if TYPE_CHECKING:
    import openai

MAX_TOKENS = 2048
MAX_LABEL_CHARS = 5
SEED_STEP = 1_000_003  # between votes that are asked for one by one: far from the small steps of re-asking
OURS = ("model", "messages", "stream", "logprobs", "top_logprobs", *OPTIONAL)  # fields that extra_body must not hold


class OpenAIJudge:
    """A judge behind an endpoint that speaks OpenAI's chat completions (vLLM, SGLang, llama.cpp, OpenAI, ...).

    Args:
        model: The name of the model, as the server lists it.
        base_url: Where the server is, e.g. "http://localhost:8000/v1". None: OPENAI_BASE_URL, else OpenAI.
        api_key: None: OPENAI_API_KEY. A server given by its base_url may do without.
        client: An `AsyncOpenAI` or `AsyncAzureOpenAI` of yours, instead of base_url and api_key. It is copied and never
            closed. If you gave it an `http_client`, that one is shared: leave it to this judge alone, since open
            connections cannot change their event loop.
        temperature: Wins over the temperature that a reward asks for.
        max_tokens: Wins over the longest answer that a reward asks for (2048 tokens where nobody asks).
        max_concurrency: Requests in flight at once, of all rewards that share this judge.
        timeout: Seconds for one attempt. A request is tried again until the deadline of the reward's call.
        extra_body: Further fields of the request, e.g. `{"chat_template_kwargs": {"enable_thinking": False}}`.

    Raises `ConfigError` for wrong arguments. A pickle carries the arguments, the key among them if it was passed, and
    no connection; a judge with `client=` cannot be pickled.

    >>> OpenAIJudge("Qwen/Qwen3-32B", base_url="http://localhost:8000/v1", api_key="secret")
    OpenAIJudge('Qwen/Qwen3-32B', base_url='http://localhost:8000/v1')
    """

    local = False

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        client: openai.AsyncOpenAI | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        max_concurrency: int = 64,
        timeout: float = 120.0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self.model: str = arguments.word("model", "" if model is None else model)
        self.base_url = _url(base_url)
        self._api_key = arguments.word("api_key", api_key)
        self.client = _client(client, base_url, api_key)
        self.temperature = arguments.number("temperature", temperature, least=0.0, most=2.0, optional=True)
        self.max_tokens = arguments.whole("max_tokens", max_tokens, optional=True)
        self.max_concurrency = arguments.whole("max_concurrency", max_concurrency)
        self.timeout = arguments.number("timeout", timeout, least=0.001)
        self.extra_body = _extra_body(extra_body)
        self._knows_n = True
        self._endpoint = Endpoint(
            model, base_url=base_url, api_key=api_key, client=client, max_concurrency=max_concurrency, timeout=timeout
        )

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        top_logprobs: int | None = None,
    ) -> list[Reply]:
        """`n` answers, or fewer where some could not be had. See `Judge.generate`."""
        sampling = {
            "max_tokens": self.max_tokens or max_tokens or MAX_TOKENS,
            "temperature": temperature if self.temperature is None else self.temperature,
            "seed": seed,
            "logprobs": None if top_logprobs is None else True,
            "top_logprobs": top_logprobs,
        }
        fields = self._fields(messages, {name: value for name, value in sampling.items() if value is not None})
        async with self._endpoint:
            if n == 1 or not self._knows_n:
                return await self._one_by_one(fields, range(n))
            answers = replies(await self._endpoint.ask({**fields, "n": n}))[:n]
            if len(answers) < n:
                self._knows_n = False  # llama.cpp and others ignore the field without a word
                answers += await self._one_by_one(fields, range(len(answers), n), may_fail=True)
            return answers

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """For each label its log-probability as the first token of the answer, over all ways to write it.

        Raises `ParseError` where the judge was about to say something else, `FatalJudgeError` where the server gives no
        log-probabilities.
        """
        self.check_choices(choices)
        fields = self._fields(messages, {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20})
        async with self._endpoint as endpoint:
            data = await endpoint.ask(fields)
            _count(data)
            return [(logprob,) for logprob in label_logprobs(data, choices, where=endpoint.where())]

    def check_choices(self, choices: Sequence[str]) -> None:
        """Raise `ConfigError` unless `choices` are labels that one token can hold, such as "A" and "B"."""
        short = all(isinstance(c, str) and c.isalnum() and len(c) <= MAX_LABEL_CHARS for c in choices)
        if not short or not len(choices) == len(set(choices)) >= 2:
            raise ConfigError(
                f"choices={list(choices)!r}; allowed are two or more different labels of at most {MAX_LABEL_CHARS} letters "
                "or digits: an endpoint shows the probabilities of single tokens only."
            )

    async def __aenter__(self) -> OpenAIJudge:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._endpoint.__aexit__(*exc)

    def __repr__(self) -> str:
        address = f", base_url={without_credentials(self.base_url)!r}" if self.base_url else ""
        return f"OpenAIJudge({self.model!r}{address})"

    def __getstate__(self) -> dict[str, Any]:
        if self.client is not None:
            raise ConfigError(
                f"client={type(self.client).__name__}(...) cannot be pickled; pass model, base_url and api_key to "
                "OpenAIJudge instead."
            )
        names = ("model", "base_url", "temperature", "max_tokens", "max_concurrency", "timeout", "extra_body")
        return {"api_key": self._api_key, **{name: getattr(self, name) for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # a fresh start is what unpickling means here

    def _fields(self, messages: Sequence[Message], sampling: Mapping[str, Any]) -> dict[str, Any]:
        """The request. A final message of the assistant is to be continued, which vLLM and SGLang must be told."""
        continued = {"continue_final_message": True, "add_generation_prompt": False}
        prefilled = bool(messages) and messages[-1].role == "assistant"
        return {
            "messages": wire_messages(messages),
            **(continued if prefilled else {}),
            **sampling,
            **self.extra_body,
        }

    async def _one_by_one(self, fields: Mapping[str, Any], votes: range, *, may_fail: bool = False) -> list[Reply]:
        """One request a vote, all at once. A seed of their own each, or all would be the same answer."""
        lost: list[JudgeError] = []

        async def one(vote: int) -> list[Reply]:
            seed = {"seed": (fields["seed"] + vote * SEED_STEP) % 2**31} if "seed" in fields else {}
            try:
                return replies(await self._endpoint.ask({**fields, **seed}))[:1]
            except JudgeError as error:
                lost.append(error)
                return []

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(vote)) for vote in votes]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        answers = [reply for task in tasks for reply in task.result()]
        if not answers and not may_fail:
            raise lost[0]
        return answers


def _count(data: Mapping[str, Any]) -> None:
    """Add the tokens of an answer that no `Reply` reports."""
    if (call := CALL.get()) is not None:
        prompt_tokens, completion_tokens = tokens(data)
        call.prompt_tokens += prompt_tokens
        call.completion_tokens += completion_tokens


# Arguments


def _url(base_url: Any) -> Any:
    if base_url is not None:
        parts = urlsplit(base_url) if isinstance(base_url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"base_url={base_url!r}; allowed is an address such as 'http://localhost:8000/v1', or None."
            )
    return base_url


def _client(client: Any, base_url: str | None, api_key: str | None) -> Any:
    if client is not None:
        import openai

        if not isinstance(client, openai.AsyncOpenAI):
            raise ConfigError(f"client={type(client).__name__}(...); allowed is an openai.AsyncOpenAI, or None.")
        if base_url is not None or api_key is not None:
            raise ConfigError("client= brings its own base_url and api_key; pass either the client or these.")
    return client


def _extra_body(extra_body: Any) -> dict[str, Any]:
    if extra_body is not None and not isinstance(extra_body, Mapping):
        raise ConfigError(f"extra_body={extra_body!r}; allowed is a dict of further request fields, or None.")
    if ours := [name for name in OURS if name in (extra_body or {})]:
        raise ConfigError(f"extra_body={extra_body!r} holds {ours[0]!r}, which the judge sets itself; leave it out.")
    try:
        json.dumps(extra_body, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra_body={extra_body!r}; allowed is what JSON can hold: {error}.") from None
    return copy.deepcopy(dict(extra_body or {}))
