"""The embedded judge behind an OpenAI-compatible server on loopback, with log-probabilities, sleep and a list of models.

`transformers serve` (grmrewards.judges.embedded.server) is the real thing, but gives no log-probabilities, and GRAM and the
expected score are on the pages, too.
"""

import contextlib
import math
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from grmrewards import Message, TransformersJudge

LONGEST = 320  # the embedded judge writes no more, and its window is small


class Answers:
    """What the server answers: to any model's name as the embedded judge."""

    def __init__(self) -> None:
        self.judge = TransformersJudge.embedded(isolate=False)

    async def tell(self, request: web.Request) -> web.Response:
        """Sleep and wake, which change nothing here: pages share the server."""
        return web.json_response({})

    async def models(self, request: web.Request) -> web.Response:
        """One model, of whatever name is asked for."""
        model = {"id": "judge", "object": "model", "root": "embedded", "max_model_len": 2048}
        return web.json_response({"object": "list", "data": [model]})

    async def judged(self, request: web.Request) -> web.Response:
        """A chat completion."""
        body = await request.json()
        messages = [Message(one["role"], one["content"]) for one in body["messages"]]
        top = body.get("top_logprobs") if body.get("logprobs") else None
        length = min(body.get("max_completion_tokens") or body.get("max_tokens") or LONGEST, LONGEST)
        sampling = {"temperature": body.get("temperature", 1.0), "max_tokens": length, "seed": body.get("seed")}
        replies = await self.judge.generate(messages, n=body.get("n") or 1, top_logprobs=top, **sampling)
        choices = [_choice(place, reply, top) for place, reply in enumerate(replies)]
        read, written = replies[0].prompt_tokens, sum(reply.completion_tokens for reply in replies)
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        more = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        return web.json_response({**more, "choices": choices, "usage": usage})


def _choice(place: int, reply: Any, top: int | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text}
    tokens = [
        {**_token(one.token, one.logprob), "top_logprobs": [_token(*pair) for pair in one.top.items()]}
        for one in reply.logprobs
    ]
    logprobs = None if top is None else {"content": tokens}
    return {"index": place, "message": message, "finish_reason": reply.finish_reason, "logprobs": logprobs}


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob if math.isfinite(logprob) else -9999.0, "bytes": list(text.encode())}


async def application() -> web.Application:
    """The server's paths, over one judge that is open as long as it is."""
    answers, app = Answers(), web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", answers.judged)
    app.router.add_post("/{told:wake_up|sleep}", answers.tell)
    app.router.add_get("/v1/models", answers.models)
    app.router.add_get("/health", answers.models)

    async def opened(app: web.Application) -> Any:
        async with answers.judge:
            yield

    app.cleanup_ctx.append(opened)
    return app


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of a server in a process of its own, which ends with the block."""
    command = [sys.executable, "-m", "blocks.server"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)  # noqa: T201 - read by `served`
    web.run_app(application(), sock=listening, print=None)
