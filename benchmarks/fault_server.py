"""A chat-completions server that answers by a rule and fails on purpose, as a process of its own.

    python benchmarks/fault_server.py          # prints its port; ends when its standard input is closed

`FaultServer` starts and ends one, sets what shall fail (POST /settings) and reads what was counted (GET /stats). A fault
is drawn for each request from a seeded generator, not for each content: asking again is another draw. The server listens
on loopback alone.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web
from fault_rule import Verdict, verdict

TRANSPORT = ("500", "reset", "html", "truncated", "no choices")
UNUSABLE = ("empty", "garbled", "cut", "count")  # answers that come, and hold no verdict
SLOW = ("hang", "drip")
GARBLED = "Well, that is hard to say; 7 of 10 people may like it, and 3 would not. I leave it to you."
DRIPS = 100  # pieces of an answer that drips


@dataclass
class Settings:
    """What the server does until it is told otherwise."""

    faults: dict[str, float] = field(default_factory=dict)  # the share of requests that each befalls
    seed: int = 0
    at_most: int | None = None  # faults that one prompt can have
    latency: float = 0.05  # seconds until the first token
    per_token: float = 0.004
    tokens: int = 20  # of an answer, unless the request allows fewer
    drip: float = 40.0  # seconds that a dripping answer takes
    rate: float | None = None  # requests a second, beyond `burst` of them at once
    burst: float = 20.0
    retry_after: bool = False  # whether a refusal says when to come again


class State:
    """The settings, and what has happened under them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.random = random.Random(settings.seed)
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.struck: Counter[int] = Counter()
        self.served: list[float] = []  # seconds of each good answer
        self.now = self.most = 0
        self.tokens, self.refilled = settings.burst, time.monotonic()

    def refusal(self) -> float | None:
        """None where the token bucket lets a request pass, else the seconds until it would."""
        if (rate := self.settings.rate) is None:
            return None
        now = time.monotonic()
        self.tokens = min(self.settings.burst, self.tokens + (now - self.refilled) * rate)
        self.refilled = now
        if self.tokens < 1:
            return (1 - self.tokens) / rate
        self.tokens -= 1
        return None

    def draw(self, prompt: str, said: Verdict) -> str | None:
        """The fault that befalls this request."""
        at = self.random.random()
        struck = None
        for kind, share in self.settings.faults.items():
            if at < share:
                struck = kind
                break
            at -= share
        if struck is None or (struck == "count" and not said.more):
            return None
        if self.settings.at_most is not None:
            if self.struck[hash(prompt)] >= self.settings.at_most:
                return None
            self.struck[hash(prompt)] += 1
        return struck

    def stats(self) -> dict[str, Any]:
        """What was counted since the settings were made."""
        median = statistics.median(self.served) if self.served else 0.0
        return {
            "counts": dict(self.counts),
            "kinds": dict(self.kinds),
            "in_flight": self.now,
            "most_in_flight": self.most,
            "median_seconds": median,
        }


class Service:
    """The handlers."""

    def __init__(self) -> None:
        self.state = State(Settings())
        paths = {"/v1/chat/completions": self.complete, "/settings": self.settings, "/stats": self.stats}
        self._handlers: dict[str, Callable[[Any], Awaitable[web.StreamResponse]]] = paths

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        handler = self._handlers.get(request.path)
        return await handler(request) if handler else _error(404, "no such path", {})

    async def settings(self, request: web.BaseRequest) -> web.Response:
        """Begin anew."""
        self.state = State(Settings(**await request.json()))
        return web.json_response(asdict(self.state.settings))

    async def stats(self, request: web.BaseRequest) -> web.Response:
        """What was counted."""
        return web.json_response(self.state.stats())

    async def complete(self, request: web.BaseRequest) -> web.StreamResponse:
        """One chat completion, or what befalls it."""
        state = self.state
        body = await request.json()
        state.counts["requests"] += 1
        state.now += 1
        state.most = max(state.most, state.now)
        try:
            return await self._answer(request, body, state)
        except (asyncio.CancelledError, ConnectionError):
            state.counts["left"] += 1  # the client did not wait for it
            raise
        finally:
            state.now -= 1

    async def _answer(self, request: web.BaseRequest, body: dict[str, Any], state: State) -> web.StreamResponse:
        wait = state.refusal()
        if wait is not None:
            state.counts["429"] += 1
            headers = {"Retry-After": str(math.ceil(wait))} if state.settings.retry_after else {}
            return _error(429, "slow down", headers)
        prompt = str(body["messages"][-1]["content"])
        said = verdict(prompt, body.get("seed"))
        state.kinds[said.kind] += 1
        fault = state.draw(prompt, said)
        state.counts[fault or "good"] += 1
        if fault == "hang":
            await asyncio.Event().wait()
        settings, started = state.settings, time.monotonic()
        longest = body.get("max_tokens") or body.get("max_completion_tokens") or settings.tokens
        tokens = min(settings.tokens, longest)
        if delay := settings.latency + settings.per_token * tokens:
            await asyncio.sleep(delay)
        answered = completion(body, said, fault, tokens, state.random)
        if fault is None:
            state.served.append(time.monotonic() - started)
            return web.Response(body=answered, content_type="application/json")
        return await _failing(request, fault, answered, settings.drip)


def completion(body: Mapping[str, Any], said: Verdict, fault: str | None, tokens: int, rng: random.Random) -> bytes:
    """The answer as JSON: `n` choices, one of them spoiled where the fault is of its text."""
    count = int(body.get("n") or 1)
    choices = [_choice(body, said, None) | {"index": i} for i in range(count)]
    if fault in UNUSABLE:
        at = rng.randrange(count)
        choices[at] = _choice(body, said, fault) | {"index": at}
    usage = {"prompt_tokens": 100, "completion_tokens": count * tokens, "total_tokens": 100 + count * tokens}
    data = {"id": "1", "object": "chat.completion", "created": 0, "model": body.get("model"), "usage": usage}
    return json.dumps({**data, "choices": [] if fault == "no choices" else choices}).encode()


def _choice(body: Mapping[str, Any], said: Verdict, fault: str | None) -> dict[str, Any]:
    text = {
        None: said.text,
        "empty": "",
        "garbled": GARBLED,
        "cut": said.text[: len(said.text) // 2],
        "count": said.more,
    }[fault]
    choice: dict[str, Any] = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": "length" if fault == "cut" else "stop",
    }
    if body.get("logprobs"):  # servers say null where there is no answer at all
        choice["logprobs"] = None if fault == "empty" else _logprobs(said, text)
    return choice


def _logprobs(said: Verdict, text: str) -> dict[str, Any]:
    """Those of the first token; none where there is no token."""
    if not text:
        return {"content": []}
    if said.p_a is None or text != said.text:
        likely = {text.split(maxsplit=1)[0]: 0.9, "A": 0.02, "B": 0.01}
    else:
        likely = {"A": said.p_a, " B": 1 - said.p_a}
    top = [{"token": token, "logprob": math.log(max(p, 1e-9)), "bytes": None} for token, p in likely.items()]
    return {"content": [{**max(top, key=lambda entry: entry["logprob"]), "top_logprobs": top}]}


async def _failing(request: web.BaseRequest, fault: str, answered: bytes, seconds: float) -> web.StreamResponse:
    if fault == "500":
        return _error(500, "it broke", {})
    if fault == "html":
        return web.Response(text="<html><body><h1>Busy</h1></body></html>", content_type="text/html")
    if fault == "truncated":
        return web.Response(body=answered[: len(answered) // 2], content_type="application/json")
    if fault == "reset" and request.transport is not None:
        request.transport.abort()
    if fault == "drip":
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        size = math.ceil(len(answered) / DRIPS)
        for at in range(0, len(answered), size):
            await response.write(answered[at : at + size])
            await asyncio.sleep(seconds / DRIPS)
        return response
    return web.Response(body=answered, content_type="application/json")


def _error(status: int, message: str, headers: Mapping[str, str]) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=dict(headers))


async def serve() -> None:
    """Listen on a free port of loopback, print it, end with the standard input."""
    service, loop = Service(), asyncio.get_running_loop()
    server = web.Server(service.handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    await runner.cleanup()


class FaultServer:
    """The server as a process, as a context manager: it ends with the block, or with this process."""

    def __enter__(self) -> FaultServer:
        command = [sys.executable, str(Path(__file__).resolve())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.root = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.url = f"{self.root}/v1"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()

    def set(self, **settings: Any) -> None:
        """Begin anew under these `Settings`."""
        body = json.dumps(asdict(Settings(**settings))).encode()
        request = urllib.request.Request(f"{self.root}/settings", body, {"Content-Type": "application/json"})
        with self._open(request, timeout=10) as answer:
            answer.read()

    def stats(self) -> dict[str, Any]:
        """What was counted since."""
        with self._open(f"{self.root}/stats", timeout=10) as answer:
            return dict(json.load(answer))


if __name__ == "__main__":
    asyncio.run(serve())
