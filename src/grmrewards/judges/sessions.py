"""Connections that leave nothing behind when they are closed, not even the thread that looked up a name."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

# Seconds that an idle connection is kept: vLLM's server closes it after five, maybe with a request on its way.
KEPT = 4.0
NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Connections(aiohttp.TCPConnector):
    """As many connections as there are requests, since the judge has a bound of its own. Certificates are verified."""

    def __init__(self) -> None:
        self._names = _Names()
        super().__init__(limit=0, keepalive_timeout=KEPT, resolver=self._names)

    async def aclose(self) -> None:
        """Close them, and end the thread of the names."""
        await self.close()
        await self._names.close()


class _Names(AbstractResolver):
    """Names to addresses, in a thread of its own: one of the loop's pool would stay as long as the loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="grmrewards-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        def look_up() -> list[ResolveResult]:
            found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            return [_result(host, kind, proto, at) for kind, _, proto, _, at in found]

        return await asyncio.get_running_loop().run_in_executor(self._pool, look_up)

    async def close(self) -> None:
        self._pool.shutdown(wait=False)


def _result(host: str, family: int, proto: int, at: tuple[object, ...]) -> ResolveResult:
    """By `getnameinfo`, which keeps the interface of a link-local address."""
    numeric, port = socket.getnameinfo(at, NUMERIC)  # type: ignore[arg-type]  # what getaddrinfo gave
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=numeric, port=int(port), family=family, proto=proto, flags=flags)
