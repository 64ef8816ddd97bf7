"""Whether vLLM's /generative_scoring would judge the pairs of a group faster than the chat requests that the judge sends.

    vllm serve DIR --served-model-name judge --port 8000
    python benchmarks/generative_scoring.py --base-url http://127.0.0.1:8000/v1 --model judge

G responses make G (G - 1) ordered pairs, in the prompts of `GRAMReward`. Four ways to have P(A) of each:

    chat       one chat request a pair, top_logprobs=20
    chat, ids  the same with logprob_token_ids: what the judge sends where the server takes them
    scoring    one request to /tokenize a pair, since the chat template must be applied and ids must be those of the whole
               prompt, then one to /generative_scoring for each first answer: the ids that its prompts share, and the rests
    batch      all pairs in one request to /chat/completions/batch

Each way of each run has texts of its own, so that only the template is in the prefix cache. Printed are medians of paired
runs: seconds, CPU seconds of the server's HTTP process, prompt tokens computed (those asked for less those found in the
prefix cache), and how many times as much of each "chat" takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import random
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp

from grmrewards.prompts import Template

LABELS = ("A", "B")
WORDS = re.findall(r"\w+", "the answer is that a server keeps what it has read, and reads no prefix twice")
Prompts = dict[tuple[int, int], str]
Found = tuple[list[float], float]  # P(A) of each pair, and when the scoring began


class Cost(NamedTuple):
    """Of one way in one run. `after_tokenize` are the seconds of the scoring requests alone."""

    seconds: float
    after_tokenize: float
    cpu: float
    computed: float
    requests: int


class Server:
    """The requests of all ways, by one session."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, model: str) -> None:
        self.session, self.model, self.requests = session, model, 0
        self.base_url, self.root = base_url.rstrip("/"), base_url.rstrip("/").removesuffix("/v1")
        self.ids: list[int] = []

    async def post(self, url: str, **body: Any) -> Any:
        """The answer as JSON. Raises on anything but success."""
        self.requests += 1
        async with self.session.post(url, json={"model": self.model, **body}) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def spent(self) -> tuple[float, float]:
        """Since the server started: CPU seconds of its HTTP process, and prompt tokens that were computed."""
        async with self.session.get(f"{self.root}/metrics") as answer:
            text = await answer.text()

        def total(name: str) -> float:
            return sum(map(float, re.findall(rf"^{name}_total(?:\{{[^}}]*\}})? (\S+)", text, re.MULTILINE)))

        computed = total("vllm:prefix_cache_queries") - total("vllm:prefix_cache_hits")
        return total("process_cpu_seconds"), computed

    async def tokenize(self, **what: Any) -> list[int]:
        """The ids of a text or of a chat."""
        found: list[int] = (await self.post(f"{self.root}/tokenize", **what))["tokens"]
        return found


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    """A judgement as a chat request."""
    messages = [{"role": "user", "content": prompt}]
    return {"messages": messages, "max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20, **more}


def preference(choice: Any) -> float:
    """P(A) of the two single tokens "A" and "B", as /generative_scoring gives it."""
    top = {entry["token"]: entry["logprob"] for entry in choice["logprobs"]["content"][0]["top_logprobs"]}
    a, b = (math.exp(top.get(label, -math.inf)) for label in LABELS)
    return a / (a + b) if a + b else math.nan


async def chat(server: Server, prompts: Prompts, **more: Any) -> Found:
    """One request a pair."""
    url, started = f"{server.base_url}/chat/completions", time.perf_counter()
    answers = await asyncio.gather(*(server.post(url, **asked(text, **more)) for text in prompts.values()))
    return [preference(answer["choices"][0]) for answer in answers], started


async def chat_ids(server: Server, prompts: Prompts) -> Found:
    """One request a pair, with the ids of the labels."""
    return await chat(server, prompts, logprob_token_ids=server.ids)


async def scoring(server: Server, prompts: Prompts) -> Found:
    """One request a first answer, after the tokens of each prompt."""
    wanted = (server.tokenize(messages=asked(text)["messages"]) for text in prompts.values())
    ids = dict(zip(prompts, await asyncio.gather(*wanted), strict=True))
    started = time.perf_counter()

    async def one(first: int) -> list[float]:
        mine = [tokens for (i, _), tokens in ids.items() if i == first]
        shared = min(common(mine[0], other) for other in mine)
        data = await server.post(
            f"{server.root}/generative_scoring",
            query=mine[0][:shared],
            items=[tokens[shared:] for tokens in mine],
            label_token_ids=server.ids,
        )
        return [entry["score"] for entry in sorted(data["data"], key=lambda entry: entry["index"])]

    found = await asyncio.gather(*(one(first) for first in sorted({i for i, _ in prompts})))
    return list(itertools.chain(*found)), started


def common(one: list[int], other: list[int]) -> int:
    """How many of the first tokens are the same; a rest must not be empty."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one[:-1], other[:-1], strict=False))
    return sum(1 for _ in same)


async def batch(server: Server, prompts: Prompts) -> Found:
    """One request."""
    started = time.perf_counter()
    body = asked("", logprob_token_ids=server.ids)
    body["messages"] = [[{"role": "user", "content": text}] for text in prompts.values()]
    data = await server.post(f"{server.base_url}/chat/completions/batch", **body)
    return [preference(choice) for choice in sorted(data["choices"], key=lambda choice: choice["index"])], started


WAYS: dict[str, Callable[[Server, Prompts], Awaitable[Found]]] = {
    "chat": chat,
    "chat, ids": chat_ids,
    "scoring": scoring,
    "batch": batch,
}


def prompts_of(group: int, words: int, seed: str) -> Prompts:
    """The prompts of all ordered pairs, of a question and answers that no other seed has."""
    rng, template = random.Random(seed), Template("gram", required=("question", "answer_a", "answer_b"))
    question, *answers = (" ".join(rng.choices(WORDS, k=words)) for _ in range(group + 1))
    pairs = itertools.permutations(range(group), 2)
    blank: dict[str, Any] = {"system": "", "reference": None, "criteria": None}
    return {
        (i, j): template.fill(question=question, answer_a=answers[i], answer_b=answers[j], **blank) for i, j in pairs
    }


async def measured(server: Server, way: str, prompts: Prompts) -> tuple[Cost, list[float]]:
    """What one way costs, and what it finds."""
    (cpu, computed), requests, started = await server.spent(), server.requests, time.perf_counter()
    found, scored = await WAYS[way](server, prompts)
    ended = time.perf_counter()
    cpu_now, computed_now = await server.spent()
    cost = Cost(ended - started, ended - scored, cpu_now - cpu, computed_now - computed, server.requests - requests)
    return cost, found


async def compare(given: argparse.Namespace) -> None:
    """All ways by turns, in an order that changes with each run."""
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(300), connector=aiohttp.TCPConnector(limit=64))
    async with session:
        server = Server(session, given.base_url, given.model)
        server.ids = [(await server.tokenize(prompt=label, add_special_tokens=False))[0] for label in LABELS]
        costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
        for run in range(-1, given.runs):  # the first is to warm up
            for way in random.Random(run).sample(list(WAYS), len(WAYS)):
                cost, _ = await measured(server, way, prompts_of(given.group, given.words, f"{time.time()} {way}"))
                costs[way] += [cost] if run >= 0 else []
        table(costs)
        same = prompts_of(given.group, given.words, "the same")
        found = {way: (await measured(server, way, same))[1] for way in ("chat, ids", "scoring", "batch")}
        for way in ("scoring", "batch"):
            off = max(abs(a - b) for a, b in zip(found["chat, ids"], found[way], strict=True))
            print(f"largest difference of P(A) between chat, ids and {way}: {off:.1e}")


def table(costs: dict[str, list[Cost]]) -> None:
    """Medians, and medians of the ratios within a run."""
    head = ["way", "requests", "seconds", "chat / it", "without /tokenize", "chat / it"]
    head += ["HTTP process: CPU seconds", "chat / it", "prompt tokens computed", "chat / it"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for way, mine in costs.items():
        cells = [way, f"{mine[0].requests}"]
        for at, digits in ((0, 3), (1, 3), (2, 3), (3, 0)):
            ratios = [base[at] / max(cost[at], 1e-9) for base, cost in zip(costs["chat"], mine, strict=True)]
            cells += [f"{statistics.median(cost[at] for cost in mine):.{digits}f}", f"{statistics.median(ratios):.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    """Compare, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", help="of a vLLM server, e.g. http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="judge", help="as the server names it")
    parser.add_argument("--group", type=int, default=8, help="responses")
    parser.add_argument("--words", type=int, default=100, help="of the question and of each response")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    if not given.base_url:
        print("skipped: this needs a vLLM server, named by --base-url")
        return 0
    asyncio.run(compare(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
