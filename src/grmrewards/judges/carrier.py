"""One HTTP exchange: carried by aiohttp, or by a client of the `openai` package.

The `openai` package knows the keys, the variables of the environment and the default headers, and takes 1.1 to 1.5 ms of
processor time a request. So it is asked for these once, and aiohttp carries the requests for a tenth of that. A client
that users pass in may compute a key for each request or have a transport of its own: there, it carries them itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from grmrewards.errors import FatalJudgeError
from grmrewards.judges.address import Address, basic, without_user
from grmrewards.judges.faults import Again
from grmrewards.judges.scrub import Scrubber, in_address, in_headers
from grmrewards.judges.secret import Secret

if TYPE_CHECKING:
    import aiohttp
    import openai

CONNECT = 10.0  # seconds to reach the server


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it is, and what takes the keys out of it."""

    status: int
    headers: Mapping[str, str]
    raw: bytes = field(repr=False)
    scrub: Scrubber


class Carrier(Protocol):
    """The way to one server within one event loop.

    What is raised carries no exception of a library along: those hold requests with their headers, and the words of
    servers.
    """

    async def post(self, body: dict[str, Any], seconds: float) -> Answer:
        """Send one request. Raises `Again` where no whole answer came within `seconds`, however it trickles."""
        ...

    async def models(self, seconds: float) -> Answer:
        """The list of models that the server has, in the same way."""
        ...

    async def tokenize(self, body: dict[str, Any], seconds: float) -> Answer | None:
        """The tokens of a text, in the same way, which vLLM has beside its /v1; None where that cannot be asked for."""
        ...


class HttpCarrier:
    """Carries by aiohttp."""

    def __init__(self, to: Address, session: aiohttp.ClientSession) -> None:
        self._to, self._session = to, session
        self._chat, self._models = self._request("chat/completions"), self._request("models")
        self._tokenize = self._request("tokenize", beside_v1=True)

    async def post(self, body: dict[str, Any], seconds: float) -> Answer:
        """See `Carrier`."""
        return await self._exchange("POST", self._chat, seconds, json.dumps(body).encode())

    async def models(self, seconds: float) -> Answer:
        """See `Carrier`."""
        return await self._exchange("GET", self._models, seconds)

    async def tokenize(self, body: dict[str, Any], seconds: float) -> Answer:
        """See `Carrier`."""
        return await self._exchange("POST", self._tokenize, seconds, json.dumps(body).encode())

    def _request(self, path: str, *, beside_v1: bool = False) -> Secret[dict[str, Any]]:
        from yarl import URL

        to = self._to.carried.reveal()
        root = to.url.removesuffix("/v1") if beside_v1 else to.url
        url = URL(f"{root}/{path}").update_query(to.query)
        return Secret({"url": url, "headers": to.headers, "proxy": to.proxy}, "base_url")

    async def _exchange(
        self, method: str, request: Secret[dict[str, Any]], seconds: float, data: bytes | None = None
    ) -> Answer:
        import aiohttp

        # The total counts from here to the last byte: a server that trickles cannot reset it.
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT))
        try:
            async with self._session.request(method, data=data, timeout=limit, **request.reveal()) as answer:
                return Answer(answer.status, answer.headers, await answer.read(), self._to.scrub)
        except (aiohttp.ClientError, OSError) as error:
            lost = self._lost(error)
        raise lost

    def _lost(self, error: Exception) -> Exception:
        import aiohttp

        if isinstance(error, TimeoutError):
            return Again("timed out")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return FatalJudgeError(
                f"{self._to.where}: {self._to.scrub.text(str(error))}. Certificates are always verified: name the file of "
                "your own authority in SSL_CERT_FILE."
            )
        return Again(f"no connection ({type(error).__name__})")


class ClientCarrier:
    """Carries by a client of the `openai` package; `ours` says that it is this package's to close."""

    def __init__(self, client: openai.AsyncOpenAI, *, ours: bool) -> None:
        self._client, self._ours = Secret(client, "client"), ours  # its attributes show its key
        self._scrubbers: Secret[dict[frozenset[str], Scrubber]] = Secret({}, "client")

    async def post(self, body: dict[str, Any], seconds: float) -> Answer:
        """See `Carrier`."""
        rest = dict(body)
        model, messages = rest.pop("model"), cast(Any, rest.pop("messages"))
        create = self._client.reveal().chat.completions.with_raw_response.create
        return await self._exchange(lambda: create(model=model, messages=messages, extra_body=rest), seconds)

    async def models(self, seconds: float) -> Answer:
        """See `Carrier`."""
        return await self._exchange(lambda: self._client.reveal().models.with_raw_response.list(), seconds)

    async def tokenize(self, body: dict[str, Any], seconds: float) -> None:
        """Not asked for: where a client leads to, outside of what its package knows, only its owner can say."""

    async def _exchange(self, send: Callable[[], Awaitable[Any]], seconds: float) -> Answer:
        import openai

        lost: Exception | None = None
        try:
            async with asyncio.timeout(seconds):
                response = (await send()).http_response
        except openai.APIStatusError as error:
            response = error.response
        except (TimeoutError, openai.OpenAIError) as error:
            lost = self._lost(error)
        if lost is not None:
            raise lost
        return Answer(response.status_code, response.headers, response.content, self._scrub(response.request))

    def _lost(self, error: Exception) -> Exception:
        import openai

        if isinstance(error, (TimeoutError, openai.APITimeoutError)):
            return Again("timed out")
        if isinstance(error, openai.APIConnectionError):
            return Again(f"no connection ({type(error.__cause__).__name__})")
        words = self._scrub(self._client.reveal()).text(str(error))
        return FatalJudgeError(f"{type(error).__name__} of the openai client: {words}")

    def _scrub(self, sent: Any) -> Scrubber:
        """For what was really sent: a client may make a new key for each request."""
        headers = dict(getattr(sent, "headers", None) or {**sent.auth_headers, "key": str(sent.api_key)})
        url = str(getattr(sent, "url", None) or sent.base_url)
        secrets = frozenset([*in_headers(headers), *in_address(url)])
        known = self._scrubbers.reveal()
        if secrets not in known:
            known.clear()
            known[secrets] = Scrubber(secrets)
        return known[secrets]

    async def close(self) -> None:
        """Close what is ours; the user's client stays open."""
        if self._ours:
            await self._client.reveal().close()


def copied(client: openai.AsyncOpenAI, timeout: float) -> ClientCarrier:
    """The user's client for the running loop: its keys, headers and paths, in a pool of connections of our own.

    A pool that the user's loop has open connections in would fail in ours. One that users built themselves is shared,
    since it may be all that leads to the server.
    """
    import openai

    limit = openai.Timeout(timeout, connect=min(timeout, CONNECT))
    url, ours = str(client.base_url), type(getattr(client, "_client", None)).__name__ == "AsyncHttpxClientWrapper"
    options: dict[str, Any] = {"http_client": openai.DefaultAsyncHttpxClient(timeout=limit)} if ours else {}
    if header := basic(url):
        options |= {"base_url": without_user(url), "default_headers": header}
    return ClientCarrier(client.with_options(timeout=limit, max_retries=0, **options), ours=ours)


def carriers(to: Sequence[Address], timeout: float) -> tuple[list[Carrier], list[Callable[[], Awaitable[None]]]]:
    """The ways to all of these for the running loop, and what is to be called to leave nothing open."""
    import aiohttp

    from grmrewards.judges.sessions import Connections

    connections = Connections()
    session = aiohttp.ClientSession(connector=connections)
    found: list[Carrier] = []
    closing: list[Callable[[], Awaitable[None]]] = [session.close, connections.aclose]
    for one in to:
        if one.proxied in ("", "http", "https"):
            found.append(HttpCarrier(one, session))
        else:  # a SOCKS proxy, which aiohttp cannot speak to
            found.append(by_package := _by_package(one, timeout))
            closing.append(by_package.close)
    return found, closing


def _by_package(to: Address, timeout: float) -> ClientCarrier:
    import openai

    limit = openai.Timeout(timeout, connect=min(timeout, CONNECT))
    client = openai.AsyncOpenAI(
        base_url=to.carried.reveal().url,
        api_key=to.carried.reveal().key,
        default_headers=dict(to.carried.reveal().headers),
        timeout=limit,
        max_retries=0,
    )
    return ClientCarrier(client, ours=True)
