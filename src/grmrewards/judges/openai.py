"""`OpenAIJudge`: a judge behind a chat-completions endpoint, be it OpenAI's or a server of one's own.

What is asked for stands here, how it is sent and sent again in `endpoint`, what an answer means in `replies` and
`faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grmrewards import arguments
from grmrewards.errors import ConfigError, JudgeError, ParseError
from grmrewards.judges import given
from grmrewards.judges.endpoint import Endpoint, without_credentials
from grmrewards.judges.first_use import FirstUse
from grmrewards.judges.notices import Notices
from grmrewards.judges.probe import see
from grmrewards.judges.replies import has_logprobs, label_logprobs, replies, tokens, wire_messages
from grmrewards.types import CALL, Message, Reply

if TYPE_CHECKING:
    import openai

    from grmrewards.judges.capabilities import Capabilities

MAX_TOKENS = 2048
MAX_LABEL_CHARS = 5
SEED_STEP = 1_000_003  # between votes that are asked for one by one: far from the small steps of re-asking
LOGPROB_ATTEMPTS = 3  # answers without log-probabilities, and none with them, after which a server gives none


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
        max_calls: Requests that may be sent over the life of this judge, repeated and refused ones among them. The next
            one raises `FatalJudgeError`.
        max_tokens_total: Tokens that may be used over the life of this judge, read and written, in answers of any use.
            No request is sent once they are; those on their way then may still end, and add theirs.
        extra_body: Further fields of the request, e.g. `{"chat_template_kwargs": {"enable_thinking": False}}`.
        check_server: Beside the first judgements of a process, see by a few tiny requests what the server ignores, and
            say it in the log. Not done where `max_calls` counts requests. `probe()` does it at any time.

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
        base_url: str | Sequence[str] | None = None,
        api_key: str | None = None,
        client: openai.AsyncOpenAI | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        max_concurrency: int = 64,
        timeout: float = 120.0,
        max_calls: int | None = None,
        max_tokens_total: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        check_server: bool = True,
    ) -> None:
        self.model: str = arguments.word("model", "" if model is None else model)
        self.base_url = given.base_url(base_url)
        self._api_key = arguments.word("api_key", api_key)
        self.client = given.client(client, base_url, api_key)
        self.temperature = arguments.number("temperature", temperature, least=0.0, most=2.0, optional=True)
        self.max_tokens = arguments.whole("max_tokens", max_tokens, optional=True)
        self.max_concurrency = arguments.whole("max_concurrency", max_concurrency)
        self.timeout = arguments.number("timeout", timeout, least=0.001)
        self.max_calls = arguments.whole("max_calls", max_calls, optional=True)
        self.max_tokens_total = arguments.whole("max_tokens_total", max_tokens_total, optional=True)
        self.extra_body = given.extra_body(extra_body)
        self.check_server = check_server
        self._knows_n = True
        self._gives_logprobs = False
        self._endpoint = Endpoint(
            model,
            base_url=self.base_url,
            api_key=api_key,
            client=client,
            max_concurrency=max_concurrency,
            timeout=timeout,
            max_calls=max_calls,
            max_tokens_total=max_tokens_total,
        )
        self._notices = Notices(self._endpoint)
        self._first_use = FirstUse(self._endpoint, self.extra_body, wanted=check_server and max_calls is None)

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
            if n == 1:
                return replies(await self._notices.ask(fields))[:1]
            if not (self._knows_n and self._first_use.takes_n):
                answers = await self._one_by_one(fields, range(n))
            elif len(answers := replies(await self._notices.ask({**fields, "n": n}))[:n]) < n:
                self._knows_n = False  # llama.cpp and others ignore the field without a word
                answers += await self._one_by_one(fields, range(len(answers), n), may_fail=True)
            self._notices.votes([a.text for a in answers], fields.get("temperature"))
            return answers

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """For each label its log-probability as the first token of the answer, over all ways to write it.

        Raises `ParseError` where the judge was about to say something else, `FatalJudgeError` where the server gives no
        log-probabilities.
        """
        self.check_choices(choices)
        fields = self._fields(messages, {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20})
        async with self._endpoint as endpoint:
            data = await self._with_logprobs(fields)
            return [(logprob,) for logprob in label_logprobs(data, choices, where=endpoint.where())]

    def check_choices(self, choices: Sequence[str]) -> None:
        """Raise `ConfigError` unless `choices` are labels that one token can hold, such as "A" and "B"."""
        short = all(isinstance(c, str) and c.isalnum() and len(c) <= MAX_LABEL_CHARS for c in choices)
        if not short or not len(choices) == len(set(choices)) >= 2:
            raise ConfigError(
                f"choices={list(choices)!r}; allowed are two or more different labels of at most {MAX_LABEL_CHARS} letters "
                "or digits: an endpoint shows the probabilities of single tokens only."
            )

    def probe(self) -> Capabilities:
        """What the server really does, seen by a few tiny requests: `print(judge.probe().report())`."""
        return see(self._endpoint, self.extra_body)

    async def __aenter__(self) -> OpenAIJudge:
        await self._endpoint.__aenter__()
        self._first_use.begin()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._first_use.end()
        await self._endpoint.__aexit__(*exc)

    def __repr__(self) -> str:
        urls = [self.base_url] if isinstance(self.base_url, str) else self.base_url or []
        shown = [without_credentials(url) for url in urls]
        address = f", base_url={shown[0] if isinstance(self.base_url, str) else shown!r}" if shown else ""
        return f"OpenAIJudge({self.model!r}{address})"

    def __getstate__(self) -> dict[str, Any]:
        if self.client is not None:
            raise ConfigError(
                f"client={type(self.client).__name__}(...) cannot be pickled; pass model, base_url and api_key to "
                "OpenAIJudge instead."
            )
        names = ["model", "base_url", "temperature", "max_tokens", "max_concurrency", "timeout", "max_calls"]
        names += ["max_tokens_total", "extra_body", "check_server"]
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

    async def _with_logprobs(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The completion. One answer without log-probabilities is an accident; a server that never gives any is not."""
        for _ in range(LOGPROB_ATTEMPTS):
            data = await self._notices.ask(fields)
            _count(data)
            if has_logprobs(data):
                self._gives_logprobs = True
                break
            if self._gives_logprobs:
                raise ParseError("an answer without the log-probabilities that others had")
        return data

    async def _one_by_one(self, fields: Mapping[str, Any], votes: range, *, may_fail: bool = False) -> list[Reply]:
        """One request a vote, all at once. A seed of their own each, or all would be the same answer."""
        lost: list[JudgeError] = []

        async def one(vote: int) -> list[Reply]:
            seed = {"seed": (fields["seed"] + vote * SEED_STEP) % 2**31} if "seed" in fields else {}
            try:
                return replies(await self._notices.ask({**fields, **seed}))[:1]
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
