"""The way to a chat-completions server: one connection an event loop, one bound on what is in flight, one retry loop.

The `openai` package below is told not to retry, so that every fault passes here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from grmrewards.errors import ConfigError, FatalJudgeError, TransportError
from grmrewards.judges.faults import Again, Refused, fault
from grmrewards.judges.replies import completion
from grmrewards.types import CALL

if TYPE_CHECKING:
    import openai

LOG = logging.getLogger("grmrewards")
FIRST_WAIT, LONGEST_WAIT = 0.1, 8.0  # seconds between attempts: doubled each time, then jittered
ATTEMPTS, PATIENCE = 6, 60.0  # attempts, and the longest wait in seconds, where no call sets a deadline
CONNECT = 10.0  # seconds to reach the server
NO_KEY = "no-key"  # what a server without keys is sent
_jitter = random.Random()  # the global random state belongs to the training run


@dataclass
class _Line:
    """The connection within one event loop, shared by all calls that run there."""

    client: openai.AsyncOpenAI
    ours: bool  # to be closed by us
    slots: asyncio.Semaphore
    users: int = 0


class Endpoint:
    """One server and model, as an async context manager: the connection is open while anybody is inside."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        client: openai.AsyncOpenAI | None,
        max_concurrency: int,
        timeout: float,
    ) -> None:
        self.model, self.base_url, self.client = model, base_url, client
        self.max_concurrency, self.timeout = max_concurrency, timeout
        self._key = (api_key or os.environ.get("OPENAI_API_KEY") or NO_KEY).strip()
        self._names: dict[str, str] = {}  # what this server calls a field; "" where it has none
        # By process too: in a fork, the parent's sockets and its epoll are still the parent's, so they are not touched.
        self._lines: dict[tuple[int, asyncio.AbstractEventLoop], _Line] = {}
        if client is None and self._key == NO_KEY and not (base_url or os.environ.get("OPENAI_BASE_URL")):
            raise ConfigError("no key: pass api_key= or set OPENAI_API_KEY, or base_url= for a server without keys.")

    async def __aenter__(self) -> Endpoint:
        here = _here()
        if here not in self._lines:
            client, ours = self._open()
            self._lines[here] = _Line(client, ours, asyncio.Semaphore(self.max_concurrency))
        self._lines[here].users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        line = self._lines[_here()]
        line.users -= 1
        if not line.users:
            del self._lines[_here()]
            if line.ours:
                await line.client.close()

    async def ask(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The completion for `fields`, asked for until it comes, the call's deadline passes or no retry can help."""
        line, call, loop = self._lines[_here()], CALL.get(), asyncio.get_running_loop()
        deadline = call.deadline if call else None
        faults: Counter[str] = Counter()
        while True:
            try:
                async with line.slots:
                    left = self.timeout if deadline is None else min(self.timeout, deadline - loop.time())
                    return await self._attempt(line.client, self._wire(fields), left)
            except Refused as refused:
                self._rename(refused)
                continue
            except Again as again:
                faults[again.reason] += 1
                wait = again.after if again.after is not None else _back_off(faults.total())
            exhausted = faults.total() >= ATTEMPTS if deadline is None else False
            if exhausted or wait > (PATIENCE if deadline is None else deadline - loop.time()):
                raise TransportError(self._gave_up(line.client, faults))
            await asyncio.sleep(wait)

    def where(self) -> str:
        """The model and the address that is in use, without credentials: for messages."""
        return self._where(self._lines[_here()].client)

    async def _attempt(self, client: openai.AsyncOpenAI, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """One exchange. Raises `Again`, `Refused` or an error of the package."""
        import openai

        sent = dict(body)
        try:
            async with asyncio.timeout(seconds):
                create = client.chat.completions.with_raw_response.create
                answer = await create(model=self.model, messages=cast(Any, sent.pop("messages")), extra_body=sent)
            return completion(answer.http_response.content)
        except (TimeoutError, openai.APITimeoutError):
            raise Again("timed out") from None
        except openai.APIConnectionError as error:
            raise Again(f"no connection ({type(error.__cause__).__name__})") from None
        except openai.APIStatusError as error:
            headers = error.response.headers
            reason = fault(error.status_code, headers, _hide(error.body, client), sent, where=self._where(client))
            raise reason from None
        except openai.OpenAIError as error:
            raise FatalJudgeError(f"{self._where(client)}: {_hide(str(error), client)}") from None

    def _wire(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        named = {self._names.get(field, field): value for field, value in fields.items()}
        return {field: value for field, value in named.items() if field}

    def _rename(self, refused: Refused) -> None:
        """Call a field by its other name from now on, or leave it out, unless another request has just done so."""
        field = "max_tokens" if refused.field == "max_completion_tokens" else refused.field
        if self._names.get(field, field) == refused.field:
            self._names[field] = "max_completion_tokens" if refused.field == "max_tokens" else ""
            instead = f"sending {self._names[field]}" if self._names[field] else "leaving it out"
            LOG.warning("%s refuses %s (%s): %s from now on.", self.model, refused.field, refused, instead)

    def _open(self) -> tuple[openai.AsyncOpenAI, bool]:
        """A client for the running loop, and whether it is ours to close."""
        import openai

        timeout = openai.Timeout(self.timeout, connect=min(self.timeout, CONNECT))
        if self.client is None:
            ours = openai.AsyncOpenAI(base_url=self.base_url, api_key=self._key, timeout=timeout, max_retries=0)
            return ours, True
        if type(getattr(self.client, "_client", None)).__name__ != "AsyncHttpxClientWrapper":
            return self.client.with_options(timeout=timeout, max_retries=0), False
        # A pool that the user's loop has open connections in would fail in ours, so the copy gets a pool of its own.
        pool = openai.DefaultAsyncHttpxClient(timeout=timeout)
        return self.client.with_options(timeout=timeout, max_retries=0, http_client=pool), True

    def _where(self, client: openai.AsyncOpenAI) -> str:
        return f"{self.model!r} at {without_credentials(str(client.base_url))}"

    def _gave_up(self, client: openai.AsyncOpenAI, faults: Counter[str]) -> str:
        """The most frequent reason first: it is what `JudgeOutage` counts by."""
        reasons = ", ".join(f"{reason} x{count}" for reason, count in faults.most_common())
        return f"{faults.most_common(1)[0][0]}: no answer of {self._where(client)} in {faults.total()} attempts ({reasons})"


def without_credentials(url: str) -> str:
    """The address alone.

    >>> without_credentials("https://me:secret@example.org:8000/v1?key=secret")
    'https://example.org:8000/v1'
    """
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


def _here() -> tuple[int, asyncio.AbstractEventLoop]:
    return os.getpid(), asyncio.get_running_loop()


def _back_off(attempt: int) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 30)) * _jitter.uniform(0.5, 1.0)


def _hide(body: Any, client: openai.AsyncOpenAI) -> Any:
    """An error object without the key, which some servers repeat in it."""
    if isinstance(body, str):
        return body.replace(client.api_key, "***") if client.api_key else body
    if isinstance(body, dict):
        return {name: _hide(value, client) for name, value in body.items()}
    return [_hide(value, client) for value in body] if isinstance(body, list) else body
