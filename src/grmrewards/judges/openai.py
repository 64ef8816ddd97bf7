"""`OpenAIJudge`: a judge behind a chat-completions endpoint, be it OpenAI's or a server of one's own.

What is asked for stands here, how it is sent and sent again in `endpoint`, what an answer means in `replies` and
`faults`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.judges import given
from grmrewards.judges.answers import Answers
from grmrewards.judges.endpoint import Endpoint
from grmrewards.judges.first_use import FirstUse
from grmrewards.judges.label_ids import LabelIds
from grmrewards.judges.notices import Notices
from grmrewards.judges.probe import see
from grmrewards.judges.replies import label_logprobs, wire_messages
from grmrewards.types import Message, Reply

if TYPE_CHECKING:
    import openai

    from grmrewards.judges.capabilities import Capabilities
    from grmrewards.judges.secret import Secret

MAX_TOKENS = 2048
MAX_LABEL_CHARS = 5
PRIVATE = ("api_key", "apikey", "authorization", "password", "access_token", "user")  # fields that decide no judgement


class OpenAIJudge:
    """A judge behind an endpoint that speaks OpenAI's chat completions (vLLM, SGLang, llama.cpp, OpenAI, ...).

    Args:
        model: The name of the model, as the server lists it.
        base_url: Where the server is, e.g. "http://localhost:8000/v1", or a list of such addresses that serve the same
            model: the least busy is asked, and one that is dead is left out for a while. None: OPENAI_BASE_URL, else OpenAI.
        api_key: None: OPENAI_API_KEY. A server given by its base_url may do without.
        client: An `AsyncOpenAI` or `AsyncAzureOpenAI` of yours, instead of base_url and api_key, which carries the
            requests, at 1 ms more of processor time each. It is copied and never closed. If you gave it an
            `http_client`, that one is shared: leave it to this judge alone, since open connections cannot change their
            event loop.
        temperature: Wins over the temperature that a reward asks for.
        max_tokens: Wins over the longest answer that a reward asks for (2048 tokens where nobody asks).
        max_concurrency: Requests in flight at once, of all rewards that share this judge.
        timeout: Seconds for one attempt, to its last byte. A request is tried again until the deadline of the reward's
            call. One that takes much longer than the others is sent a second time, and the first answer counts.
        max_calls: Requests that may be sent over the life of this judge in one process, repeated and refused ones among
            them. The next one raises `FatalJudgeError`.
        max_tokens_total: Tokens that may be used over the life of this judge in one process, read and written, in answers of
            any use. No request is sent once they are; those on their way then may still end, and add theirs.
        extra_body: Further fields of the request, e.g. `{"chat_template_kwargs": {"enable_thinking": False}}`.
        check_server: Beside the first judgements of a process, see by a few tiny requests what the server ignores, and
            say it in the log; before the first `choice_logprobs`, by two, whether it gives those of any token. Not done
            where `max_calls` counts requests. `probe()` does it at any time.
        revision: Which version of the model the server has, where you know it: part of the keys of caches and records.

    Raises `ConfigError` for wrong arguments. A pickle carries the arguments and no connection. It carries no key and no
    password: of one that stands in an environment variable (`api_key=os.environ["TOGETHER_API_KEY"]`) the variable's
    name, from which the other process reads it; a judge that lost its key says so when it is first used. With
    `client=` it cannot be pickled.

    >>> OpenAIJudge("Qwen/Qwen3-32B", base_url="http://localhost:8000/v1", api_key="secret")
    OpenAIJudge('Qwen/Qwen3-32B', base_url='http://localhost:8000/v1')
    """

    local = False
    model, base_url = "", None  # for a `repr` of what could not be made

    def __init__(
        self,
        model: str,
        *,
        base_url: str | Sequence[str] | Secret[str] | None = None,
        api_key: str | Secret[str] | None = None,
        client: openai.AsyncOpenAI | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        max_concurrency: int = 64,
        timeout: float = 120.0,
        max_calls: int | None = None,
        max_tokens_total: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        check_server: bool = True,
        revision: str | None = None,
    ) -> None:
        api_key, base_url = given.held(api_key, "api_key"), given.held(base_url, "base_url")  # no frame shows them now
        self._api_key = api_key = given.api_key(api_key)
        self._base_url = base_url = urls = given.base_url(base_url)
        self.base_url = given.shown(base_url)
        self.model = arguments.word("model", "" if model is None else model)
        self.client = given.client(client, base_url, api_key)
        self.temperature = arguments.number("temperature", temperature, least=0.0, most=2.0, optional=True)
        self.max_tokens = arguments.whole("max_tokens", max_tokens, optional=True)
        self.max_concurrency = arguments.whole("max_concurrency", max_concurrency)
        self.timeout = arguments.number("timeout", timeout, least=0.001)
        self.max_calls = arguments.whole("max_calls", max_calls, optional=True)
        self.max_tokens_total = arguments.whole("max_tokens_total", max_tokens_total, optional=True)
        self.extra_body = given.extra_body(extra_body)
        self.check_server = check_server
        self.revision = arguments.word("revision", revision)
        self._endpoint = Endpoint(
            model,
            urls=urls if isinstance(urls, list) else [urls],
            api_key=api_key,
            client=client,
            max_concurrency=max_concurrency,
            timeout=timeout,
            max_calls=max_calls,
            max_tokens_total=max_tokens_total,
        )
        wanted = check_server and max_calls is None
        self._label_ids = LabelIds(self._endpoint, self.extra_body, wanted=wanted)
        self._first_use = FirstUse(self._endpoint, self.extra_body, wanted=wanted, label_ids=self._label_ids)
        self._answers = Answers(Notices(self._endpoint), self._first_use, self._label_ids)

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
            return await self._answers.several(fields, n)

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """For each label its log-probability as the first token of the answer, over all ways to write it.

        Exact where the server gives that of any token it is asked for (vLLM), which is seen before the first labels; else
        of the 20 likeliest tokens, and a label that is not among them gets the largest probability it can have.

        Raises `ParseError` where the judge was about to say something else, `FatalJudgeError` where the server gives no
        log-probabilities.
        """
        self.check_choices(choices)
        fields = self._fields(messages, {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20})
        async with self._endpoint as endpoint:
            ids = await self._label_ids.of(choices)
            data = await self._answers.with_logprobs(fields, ids)
            return [(logprob,) for logprob in label_logprobs(data, choices, where=endpoint.where(), ids=ids)]

    def check_choices(self, choices: Sequence[str]) -> None:
        """Raise `ConfigError` unless `choices` are labels that one token can hold, such as "A" and "B"."""
        short = all(isinstance(c, str) and c.isalnum() and len(c) <= MAX_LABEL_CHARS for c in choices)
        if not short or not len(choices) == len(set(choices)) >= 2:
            raise ConfigError(
                f"choices={list(choices)!r}; allowed are two or more different labels of at most {MAX_LABEL_CHARS} letters "
                "or digits: an endpoint shows the probabilities of single tokens only."
            )

    async def identity(self) -> str:
        """All that decides a judgement besides prompt and sampling: names, settings and what the server says of its model.

        The server is asked once a process (see `listing`); the request counts in no budget. Raises as a judgement does.
        """
        async with self._endpoint as endpoint:
            parts: dict[str, Any] = {"base_url": endpoint.addresses(), "server": await endpoint.listed()}
        parts |= {name: getattr(self, name) for name in ("model", "temperature", "max_tokens", "revision")}
        parts["extra_body"] = {k: v for k, v in self.extra_body.items() if k.lower() not in PRIVATE}
        return f"{type(self).__name__}:{json.dumps(parts, sort_keys=True)}"

    def probe(self) -> Capabilities:
        """What the server really does, seen by a few tiny requests: `print(judge.probe().report())`."""
        return see(self._endpoint, self.extra_body, LabelIds(self._endpoint, self.extra_body))

    async def __aenter__(self) -> OpenAIJudge:
        await self._endpoint.__aenter__()
        self._first_use.begin()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._first_use.end()
        await self._endpoint.__aexit__(*exc)

    def __repr__(self) -> str:
        address = f", base_url={self.base_url!r}" if self.base_url else ""
        return f"OpenAIJudge({self.model!r}{address})"

    def __getstate__(self) -> dict[str, Any]:
        if self.client is not None:
            raise ConfigError(
                f"client={type(self.client).__name__}(...) cannot be pickled; pass model, base_url and api_key to "
                "OpenAIJudge instead."
            )
        names = ["model", "temperature", "max_tokens", "max_concurrency", "timeout", "max_calls", "max_tokens_total"]
        names += ["extra_body", "check_server", "revision"]
        given = {"api_key": self._api_key, "base_url": self._base_url}
        return {**given, **{name: getattr(self, name) for name in names}}

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
