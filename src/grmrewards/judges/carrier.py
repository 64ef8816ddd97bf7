"""One HTTP exchange: carried by aiohttp, or by a client of the `openai` package.

The `openai` package knows the keys, the variables of the environment and the default headers, and takes 1.1 to 1.5 ms of
processor time a request. So it is asked for these once, and aiohttp carries the requests for a tenth of that. A client
that users pass in may compute a key for each request or have a transport of its own: there, it carries them itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from grmrewards.errors import FatalJudgeError
from grmrewards.judges.address import Address
from grmrewards.judges.faults import Again

if TYPE_CHECKING:
    import aiohttp
    import openai

CONNECT = 10.0  # seconds to reach the server


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it is. `error`: how the `openai` package put it."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    error: Exception | None = None


class Carrier(Protocol):
    """The way to one server within one event loop."""

    async def post(self, body: dict[str, Any], seconds: float) -> Answer:
        """Send one request. Raises `Again` where no whole answer came within `seconds`, however it trickles."""
        ...


class HttpCarrier:
    """Carries by aiohttp."""

    def __init__(self, to: Address, session: aiohttp.ClientSession) -> None:
        from yarl import URL

        self._session, self._headers, self._proxy = session, to.headers, to.proxy
        self._url = URL(to.url).update_query(to.query)

    async def post(self, body: dict[str, Any], seconds: float) -> Answer:
        """See `Carrier`."""
        import aiohttp

        # The total counts from here to the last byte: a server that trickles cannot reset it.
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT))
        data = json.dumps(body).encode()
        try:
            async with self._session.post(
                self._url, data=data, headers=self._headers, proxy=self._proxy, timeout=limit
            ) as answer:
                return Answer(answer.status, answer.headers, await answer.read())
        except TimeoutError:
            raise Again("timed out") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise FatalJudgeError(
                f"{self._url.host}: {error}. Certificates are always verified: name the file of your own authority in "
                "SSL_CERT_FILE."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Again(f"no connection ({type(error).__name__})") from None


class ClientCarrier:
    """Carries by a client of the `openai` package; `ours` says that it is this package's to close."""

    def __init__(self, client: openai.AsyncOpenAI, *, ours: bool) -> None:
        self._client, self._ours = client, ours

    async def post(self, body: dict[str, Any], seconds: float) -> Answer:
        """See `Carrier`."""
        import openai

        rest = dict(body)
        model, messages = rest.pop("model"), cast(Any, rest.pop("messages"))
        create = self._client.chat.completions.with_raw_response.create
        try:
            async with asyncio.timeout(seconds):
                answer = (await create(model=model, messages=messages, extra_body=rest)).http_response
            return Answer(answer.status_code, answer.headers, answer.content)
        except (TimeoutError, openai.APITimeoutError):
            raise Again("timed out") from None
        except openai.APIConnectionError as error:
            raise Again(f"no connection ({type(error.__cause__).__name__})") from None
        except openai.APIStatusError as error:
            return Answer(error.status_code, error.response.headers, error.response.content, error)
        except openai.OpenAIError as error:
            raise FatalJudgeError(f"{type(error).__name__} of the openai client: {error}") from error

    async def close(self) -> None:
        """Close what is ours; the user's client stays open."""
        if self._ours:
            await self._client.close()


def copied(client: openai.AsyncOpenAI, timeout: float) -> ClientCarrier:
    """The user's client for the running loop: its keys, headers and paths, in a pool of connections of our own.

    A pool that the user's loop has open connections in would fail in ours. One that users built themselves is shared,
    since it may be all that leads to the server.
    """
    import openai

    limit = openai.Timeout(timeout, connect=min(timeout, CONNECT))
    if type(getattr(client, "_client", None)).__name__ != "AsyncHttpxClientWrapper":
        return ClientCarrier(client.with_options(timeout=limit, max_retries=0), ours=False)
    pool = openai.DefaultAsyncHttpxClient(timeout=limit)
    return ClientCarrier(client.with_options(timeout=limit, max_retries=0, http_client=pool), ours=True)


def carriers(to: Sequence[Address], timeout: float) -> tuple[list[Carrier], list[Callable[[], Awaitable[None]]]]:
    """The ways to all of these for the running loop, and what is to be called to leave nothing open."""
    import aiohttp

    from grmrewards.judges.sessions import Connections

    connections = Connections()
    session = aiohttp.ClientSession(connector=connections)
    found: list[Carrier] = []
    closing: list[Callable[[], Awaitable[None]]] = [session.close, connections.aclose]
    for one in to:
        if (one.proxy or "http").startswith("http"):
            found.append(HttpCarrier(one, session))
        else:  # a SOCKS proxy, which aiohttp cannot speak to
            found.append(by_package := _by_package(one, timeout))
            closing.append(by_package.close)
    return found, closing


def _by_package(to: Address, timeout: float) -> ClientCarrier:
    import openai

    limit = openai.Timeout(timeout, connect=min(timeout, CONNECT))
    client = openai.AsyncOpenAI(base_url=to.base_url, api_key=to.key, timeout=limit, max_retries=0)
    return ClientCarrier(client, ours=True)
