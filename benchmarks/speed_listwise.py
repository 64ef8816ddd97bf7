"""What eight ballots cost where a server answers `n` of them from one prompt, as vLLM does.

The server listens on loopback, on a thread of its own. It counts as vLLM counts: the prompt's tokens once a request,
however many answers are asked for, and every token that was written.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from types import TracebackType
from typing import Any

from aiohttp import web
from speed_clock import Factor, Table
from speed_model import Sizes, words

from grmrewards import ListwiseReward, OpenAIJudge

VOTES = 8
WRITTEN = 60  # tokens of a ballot


class CountingServer:
    """A chat-completions server that gives every response of a group its place as its score."""

    def __init__(self, responses: int) -> None:
        self.responses, self.counts = responses, Counter[str]()
        self._loop, self._ready, self._end = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> CountingServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def complete(self, request: web.BaseRequest) -> web.Response:
        """One chat completion with `n` choices."""
        body = await request.json()
        count, read = int(body.get("n") or 1), len(str(body["messages"][-1]["content"]).split())
        self.counts.update(requests=1, ballots=count, read=read, written=count * WRITTEN)
        text = f"Scores: \\boxed{{{', '.join(str(1 + i) for i in range(self.responses))}}}"
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for i in range(count)
        ]
        usage = {"prompt_tokens": read, "completion_tokens": count * WRITTEN, "total_tokens": read + count * WRITTEN}
        data: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 0, "model": body.get("model")}
        return web.Response(
            body=json.dumps({**data, "choices": choices, "usage": usage}).encode(), content_type="application/json"
        )

    async def _serve(self) -> None:
        runner = web.ServerRunner(web.Server(self.complete, access_log=None), shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        await self._end.wait()
        await runner.cleanup()


def counted(sizes: Sizes, *, groups: int = 4, **arguments: Any) -> Counter[str]:
    """What the server counted in one call of the reward."""
    rng, size = random.Random(0), len(sizes.responses)
    prompts = [question for question in (words(rng, 100) for _ in range(groups)) for _ in range(size)]
    completions = [words(rng, length) for _ in range(groups) for length in sizes.responses]
    with CountingServer(size) as server:
        judge = OpenAIJudge("judge", base_url=server.url, api_key="none", check_server=False)
        rewards = ListwiseReward(judge, group_size=size, scale="raw", **arguments)(
            prompts=prompts, completions=completions
        )
    assert None not in rewards
    return server.counts


def listwise(sizes: Sizes) -> Table:
    """One ballot, and eight in one order, in two and in eight."""
    one = counted(sizes, votes=1)
    found = {
        f"{VOTES} ballots, one order (`shuffle=False`)": counted(sizes, votes=VOTES, shuffle=False),
        f"{VOTES} ballots, one order and its reverse (`orders=2`)": counted(sizes, votes=VOTES, orders=2),
        f"{VOTES} ballots, each in its own order (default)": counted(sizes, votes=VOTES),
    }
    table = Table("listwise", head=["", "requests", "ballots", "prompt tokens", "completion tokens"])
    for way, counts in {"one ballot": one, **found}.items():
        table.rows.append([way, *(f"{counts[name]:,}" for name in ("requests", "ballots", "read", "written"))])
    goals: list[tuple[str, float | None, float]] = [
        ("one order", 1.3, 1.0),
        ("two orders", 2.2, 2.0),
        ("own", None, 8.0),
    ]
    table.factors = [
        Factor(f"listwise {name}", f"prompt tokens, {way}", [counts["read"] / one["read"]], goal, limit, at_most=True)
        for (way, counts), (name, goal, limit) in zip(found.items(), goals, strict=True)
    ]
    return table
