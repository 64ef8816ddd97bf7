"""A chat-completions server for tests, and the answers that it may be told to give."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

Answer = web.StreamResponse | Callable[[web.Request], Any]
Script = Callable[[dict[str, Any]], Answer]


class Server:
    """A chat-completions server in a thread: `script` says what to answer to a body, and all requests are kept."""

    def __init__(self) -> None:
        self.script: Script = lambda body: says("fine")
        self.tokenize: Script | None = (
            None  # what to answer to a text that is to be tokenised; None: there is no such path
        )
        self.tokenized: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.in_flight = self.most_in_flight = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(10)

    async def _start(self) -> str:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{path:.*chat/completions}", self._handle)
        app.router.add_post("/tokenize", self._handle_tokenize)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        host, port = self.runner.addresses[0][:2]
        return f"http://{host}:{port}/v1"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(request.headers)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.script(body)
            return await answer(request) if callable(answer) else answer
        finally:
            self.in_flight -= 1

    async def _handle_tokenize(self, request: web.Request) -> web.StreamResponse:
        self.tokenized.append(await request.json())
        self.headers.append(request.headers)
        if self.tokenize is None:
            raise web.HTTPNotFound
        answer = self.tokenize(self.tokenized[-1])
        return await answer(request) if callable(answer) else answer

    def connections(self) -> int:
        """Open connections, after the turns of the server's loop in which the news of a closed one arrives."""
        for _ in range(2000):
            if not self.runner.server.connections:
                break
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(10)
        return len(self.runner.server.connections)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def choice(content: str | None = "fine", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    return {"index": 0, "message": message, "finish_reason": "stop", **more}


def completes(*choices: dict[str, Any]) -> web.Response:
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": list(choices), "usage": usage})


def says(*contents: str) -> web.Response:
    return completes(*map(choice, contents))


def fails(status: int, *, headers: dict[str, str] | None = None, **error: Any) -> web.Response:
    return web.json_response({"error": {"message": "no", **error}}, status=status, headers=headers)


def labels(*alternatives: tuple[str, float | None], sampled: tuple[str, float] | None = None) -> web.Response:
    token, logprob = sampled or alternatives[0]
    top = [{"token": t, "logprob": lp, "bytes": None} for t, lp in alternatives]
    return completes(choice(token, logprobs={"content": [{"token": token, "logprob": logprob, "top_logprobs": top}]}))


async def resets(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hangs(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


async def cuts_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return response


def in_turn(*answers: Callable[[], Answer]) -> Script:
    """Answers by turn; the last one for all that follow."""
    left = list(answers)
    return lambda body: (left.pop(0) if len(left) > 1 else left[0])()
