"""What an endpoint costs in time, CPU, requests and memory, against the limits that the client is held to.

    python benchmarks/endpoint.py                          # all four; about five minutes
    python benchmarks/endpoint.py stragglers               # 2 % hanging or dripping, then everything hanging
    python benchmarks/endpoint.py limit                    # 20 requests a second, first and second call
    python benchmarks/endpoint.py cost                     # client CPU a judgement, wall against the waves
    python benchmarks/endpoint.py scale                    # 4,096 and 65,536 judgements in one call

The server is a process of its own on loopback (`fault_server`). Seconds of a machine that does other work are noise: each
line has its figure, the limit and their ratio, from one run. The exit status is 1 if a judgement was lost, zeroed or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
from fault_rule import rows
from fault_server import FaultServer
from faults import Outcome, measure, write

from grmrewards import IRPMReward, Message, OpenAIJudge
from grmrewards.prompts import Template
from grmrewards.types import CALL, Call

JUDGEMENTS, GROUP = 256, 8
CONCURRENCY = 64
LONG = 84  # tokens of an answer, as in the measurements of other clients
CPU_LIMIT = 0.4  # ms a judgement
MEMORY_LIMIT = 200.0  # MB beyond the texts
Line = tuple[str, str, str, str]


class Board:
    """The lines of a measurement, and whether its judgements were had."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.good = True

    def add(self, what: str, found: float, limit: float | None = None, *, unit: str = "s", digits: int = 2) -> None:
        """One figure, the limit, and found / limit."""
        bound = "" if limit is None else f"{limit:.{digits}f} {unit}".strip()
        ratio = "" if limit is None else f"{found / limit:.2f}"
        self.lines.append((what, f"{found:.{digits}f} {unit}".strip(), bound, ratio))
        print("  ".join(cell for cell in self.lines[-1] if cell), file=sys.stderr, flush=True)

    def check(self, what: str, outcome: Outcome) -> Outcome:
        """Count what was lost, and say so."""
        if not outcome.good:
            self.good = False
            lost = f"{outcome.lost} lost, {outcome.zeroed} zeroed, {outcome.wrong} wrong of {outcome.judgements}"
            self.lines.append((f"{what}: judgements", lost, "0", ""))
            print(what, lost, outcome.raised, dict(outcome.reasons), file=sys.stderr)
        return outcome

    def table(self) -> str:
        """Markdown."""
        head = ("measured", "found", "limit", "found / limit")
        return "\n".join("| " + " | ".join(line) + " |" for line in (head, ("---",) * 4, *self.lines))


def stragglers(server: FaultServer, board: Board, seed: int) -> None:
    """All 256 in time though some answers never come; and an end in time when none comes."""
    size = {"prompts": JUDGEMENTS // GROUP, "responses": GROUP}
    clean = [board.check("clean", measure(server, "irpm", settings={}, **size)) for _ in range(3)]
    seconds = statistics.median(outcome.seconds for outcome in clean)
    median = statistics.median(outcome.stats["median_seconds"] for outcome in clean)
    board.add("clean run of 256", seconds)
    board.add("median latency of a request", median, digits=3)
    for kind in ("hang", "drip"):
        settings = {"faults": {kind: 0.02}, "seed": seed}
        outcome = board.check(f"2 % {kind}", measure(server, "irpm", settings=settings, deadline=60.0, **size))
        met = outcome.stats["counts"].get(kind, 0)
        board.add(f"2 % {kind} ({met} of {outcome.requests} requests)", outcome.seconds, seconds + 3 * median + 1)
    outcome = measure(server, "irpm", settings={"faults": {"hang": 1.0}}, deadline=3.0, **size)
    board.add("everything hangs, deadline 3 s", outcome.seconds, 3.0)
    board.add("  ... requests left open afterwards", server.stats()["in_flight"], unit="", digits=0)
    print("says:", outcome.raised or dict(outcome.reasons), file=sys.stderr)


def limit(server: FaultServer, board: Board, seed: int) -> None:
    """A token bucket of 20 a second that the client is not told of."""
    size = {"prompts": JUDGEMENTS // GROUP, "responses": GROUP}
    for header in (False, True):
        with_header = "with Retry-After" if header else "without Retry-After"
        judge = OpenAIJudge(
            "judge", base_url=server.url, api_key="none", check_server=False, max_concurrency=CONCURRENCY
        )
        for number, most in ((1, 1.15), (2, 1.05)):
            settings = {"rate": 20.0, "burst": 20.0, "retry_after": header, "seed": seed}
            what = f"20 a second, {with_header}, call {number}"
            outcome = measure(server, "irpm", settings=settings, judge=judge, batch=number, deadline=120.0, **size)
            board.check(what, outcome)
            board.add(f"{what}: seconds (bound {(JUDGEMENTS - 20) / 20:.1f})", outcome.seconds, 13.0)
            board.add(f"{what}: requests a judgement", outcome.requests / JUDGEMENTS, most, unit="")


def cost(server: FaultServer, board: Board, seed: int) -> None:
    """CPU of this process a judgement, and the wall against what the server's latency makes necessary."""
    answer = 0.05 + 0.004 * LONG
    for concurrency, worst in ((64, 1.1), (256, 1.5)):
        judge = OpenAIJudge(
            "judge", base_url=server.url, api_key="none", check_server=False, max_concurrency=concurrency
        )
        bound = math.ceil(JUDGEMENTS / concurrency) * answer
        server.set(tokens=LONG, seed=seed)
        named: list[tuple[str, Callable[[int], None]]] = [
            ("aiohttp alone", lambda batch, at=concurrency: floor(server.url, at, batch)),
            ("generate", lambda batch, judge=judge: bare(judge, batch)),
            ("IRPMReward", lambda batch, judge=judge: whole(judge, batch)),
        ]
        for name, call in named:
            wall, cpu = best_of(call)
            what = f"{name}, {JUDGEMENTS} judgements at concurrency {concurrency}"
            board.add(f"{what}: CPU a judgement", 1000 * cpu / JUDGEMENTS, CPU_LIMIT, unit="ms")
            board.add(f"{what}: wall (bound {bound:.2f} s)", wall, worst * bound)


def best_of(call: Callable[[int], None], times: int = 6) -> tuple[float, float]:
    """The least seconds and the least CPU seconds of several calls after a first that does not count."""
    found = []
    for batch in range(times + 1):
        prompts(batch)  # made before the clock runs
        started, cpu = time.monotonic(), time.process_time()
        call(batch)
        found.append((time.monotonic() - started, time.process_time() - cpu))
    return min(wall for wall, _ in found[1:]), min(cpu for _, cpu in found[1:])


def bare(judge: OpenAIJudge, batch: int) -> None:
    """The judge alone, with no reward around it."""

    async def ask() -> None:
        CALL.set(Call(deadline=asyncio.get_running_loop().time() + 600))
        async with judge:
            await asyncio.gather(*(judge.generate([Message("user", text)], seed=1) for text in prompts(batch)))

    asyncio.run(ask())


def floor(url: str, concurrency: int, batch: int) -> None:
    """The same requests by an HTTP client that looks at nothing: what this server and machine allow."""

    async def ask() -> None:
        slots = asyncio.Semaphore(concurrency)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(text: str) -> None:
                body = {"model": "judge", "messages": [{"role": "user", "content": text}]}
                async with slots, session.post(f"{url}/chat/completions", json=body) as answer:
                    json.loads(await answer.read())

            await asyncio.gather(*map(one, prompts(batch)))

    asyncio.run(ask())


@functools.lru_cache
def prompts(batch: int) -> list[str]:
    """As long as those of a reward: with the template of IRPM."""
    template = Template("irpm", required=("question", "response"))
    pairs = zip(*rows(JUDGEMENTS // GROUP, GROUP, batch), strict=True)
    return [template.fill(question=asked, response=said, system="", reference=None) for asked, said in pairs]


def whole(judge: OpenAIJudge, batch: int) -> None:
    """A reward as a trainer calls it."""
    asked, said = rows(JUDGEMENTS // GROUP, GROUP, batch)
    found = IRPMReward(judge, group_size=GROUP)(prompts=asked, completions=said)
    assert None not in found


def scale(server: FaultServer, board: Board, seed: int) -> None:
    """Seconds and memory of many judgements in one call, with a server that answers at once."""
    settings = {"latency": 0.0, "per_token": 0.0, "seed": seed}
    slope: dict[int, tuple[float, float]] = {}
    for judgements in (4096, 4096, 65536):  # the first of them warms up
        texts = rows(judgements // GROUP, GROUP)
        before = resident()
        size = {"prompts": judgements // GROUP, "responses": GROUP, "texts": texts, "deadline": 3000.0}
        outcome = board.check(f"{judgements} judgements", measure(server, "irpm", settings=settings, **size))
        beyond = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
        slope[judgements] = (outcome.seconds / judgements, outcome.cpu / judgements)
    for which, what in ((0, "seconds"), (1, "CPU")):
        few, many = slope[4096][which], slope[65536][which]
        board.add(
            f"{what} a judgement, 65,536 in one call against 4,096", 1000 * many, 1000 * 1.1 * few, unit="ms", digits=3
        )
    board.add("resident memory beyond the texts, 65,536 in one call", beyond, MEMORY_LIMIT, unit="MB", digits=0)


def resident() -> float:
    """MB of this process now."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


MEASUREMENTS = {"stragglers": stragglers, "limit": limit, "cost": cost, "scale": scale}


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", nargs="*", help=f"some of {', '.join(MEASUREMENTS)}; all where none is named")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--write", type=Path, help="a document with markers such as <!-- limit --> ... <!-- end of limit -->"
    )
    given = parser.parse_args()
    if unknown := set(given.measurement) - set(MEASUREMENTS):
        parser.error(f"there is no measurement {unknown}; there are {', '.join(MEASUREMENTS)}")
    good = True
    with FaultServer() as server:
        measure(server, "irpm", prompts=1, responses=1, settings={})  # imports, at nobody's cost
        for name in given.measurement or MEASUREMENTS:
            board = Board()
            MEASUREMENTS[name](server, board, given.seed)
            print(board.table(), end="\n\n")
            good = good and board.good
            if given.write:
                write(given.write, name, board.table())
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
