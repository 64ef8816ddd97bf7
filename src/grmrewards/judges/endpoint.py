"""The way to a chat-completions server, or to several: connections by event loop, one bound on what is in flight, one
retry loop.

How a request is carried stands in `carrier`, when it may go in `pacing`, where it goes in `replica`, and what is done
when its answer is late in `hedging`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grmrewards.errors import TransportError
from grmrewards.judges import given, listing
from grmrewards.judges.address import Address, address, without_credentials
from grmrewards.judges.budget import Budget
from grmrewards.judges.carrier import Carrier, carriers, copied
from grmrewards.judges.faults import Again, Refused
from grmrewards.judges.hedging import Watch, race
from grmrewards.judges.replica import Lane, Replica, pick
from grmrewards.judges.secret import Secret
from grmrewards.types import CALL

if TYPE_CHECKING:
    import openai

LOG = logging.getLogger("grmrewards")
FIRST_WAIT, LONGEST_WAIT = 0.1, 8.0  # seconds between attempts: doubled each time, then jittered
WAIT_WHERE_OTHERS_ARE_ANSWERED = 1.0  # at most: the fault is of the request then, not of a server that needs rest
ATTEMPTS, PATIENCE = 6, 60.0  # attempts, and the longest wait in seconds, where no call sets a deadline
_jitter = random.Random()  # the global random state belongs to the training run


@dataclass
class _Line:
    """The connections within one event loop, shared by all calls that run there."""

    lanes: list[Lane]
    slots: asyncio.Semaphore
    closing: list[Callable[[], Awaitable[None]]]
    listing: asyncio.Lock
    testing: asyncio.Lock
    users: int = 0


class Endpoint:
    """The servers of one model, as an async context manager: connections are open while anybody is inside.

    What was learnt (the pace of each server, its health, how long answers take, what was used) stays for the next call.
    """

    def __init__(
        self,
        model: str,
        *,
        urls: Sequence[str | Secret[str] | None],
        api_key: Secret[str] | None,
        client: openai.AsyncOpenAI | None,
        max_concurrency: int,
        timeout: float,
        max_calls: int | None = None,
        max_tokens_total: int | None = None,
    ) -> None:
        self.model, self.client = model, client
        self.max_concurrency, self.timeout = max_concurrency, timeout
        self.budget = Budget(max_calls, max_tokens_total)
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)  # processes of this machine that ask the same servers
        self.replicas = [Replica(url, ranks=ranks) for url in urls]
        named = urls[0] or os.environ.get("OPENAI_BASE_URL")
        self._key = given.key(api_key, needed=not named) if client is None else given.NO_KEY_NEEDED
        self._addresses: dict[Replica, Address] = {}
        self._watch = Watch(max_concurrency)
        self._names: dict[str, str] = {}  # what these servers call a field; "" where they have none
        # By process too: in a fork, the parent's sockets and its epoll are still the parent's, so they are not touched.
        self._lines: dict[tuple[int, asyncio.AbstractEventLoop], _Line] = {}
        self._listed: tuple[int, list[str]] | None = None  # by the process that asked

    async def __aenter__(self) -> Endpoint:
        here = _here()
        if here not in self._lines:
            if not any(pid == here[0] for pid, _ in self._lines):
                self._forget_requests()
            self._lines[here] = self._open()
        self._lines[here].users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        line = self._lines[_here()]
        line.users -= 1
        if not line.users:
            del self._lines[_here()]
            for close in line.closing:
                await close()

    async def ask(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The completion for `fields`, asked for until it comes, the call's deadline passes or no retry can help."""
        line, call, loop = self._lines[_here()], CALL.get(), asyncio.get_running_loop()
        deadline = call.deadline if call else None
        faults: Counter[str] = Counter()
        while True:
            try:
                async with line.slots:
                    return await self._raced(line, self._wire(fields), deadline)
            except Refused as refused:
                self._rename(refused)
                continue
            except Again as again:
                faults[again.reason] += 1
                wait = again.after if again.after is not None else _back_off(faults.total(), line)
            exhausted = faults.total() >= ATTEMPTS if deadline is None else False
            if exhausted or wait > (PATIENCE if deadline is None else deadline - loop.time()):
                raise TransportError(self._gave_up(faults))
            await asyncio.sleep(wait)

    async def once(self, lane: Lane, fields: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """What one server answers, asked a single time. Raises `Again`, `Refused` or a fatal error."""
        async with self._lines[_here()].slots:
            await lane.turn(seconds)
            return await lane.ask(self._wire(fields), seconds)

    def testing(self) -> asyncio.Lock:
        """Held while what the servers can do is seen, for those of the running loop who wait for it."""
        return self._lines[_here()].testing

    def lanes(self) -> list[Lane]:
        """The servers in use."""
        return self._lines[_here()].lanes

    async def listed(self) -> list[str]:
        """What the servers say about their model, asked for once a process: see `listing`."""
        line = self._lines[_here()]
        async with line.listing:
            if self._listed is None or self._listed[0] != os.getpid():
                self._listed = os.getpid(), await listing.listed(line.lanes, self.model, self.timeout)
        return self._listed[1]

    def addresses(self) -> list[str]:
        """Those in use, without credentials."""
        return sorted(lane.address for lane in self._lines[_here()].lanes)

    def where(self) -> str:
        """The model and the addresses that are in use, without credentials: for messages."""
        return self._where(*(lane.address for lane in self._lines[_here()].lanes))

    async def _raced(self, line: _Line, body: dict[str, Any], deadline: float | None) -> dict[str, Any]:
        """One answer to one request, of whichever server gives it first. Raises `Again`, `Refused` or a fatal error."""
        now = asyncio.get_running_loop().time
        until = now() + PATIENCE if deadline is None else deadline
        lane = pick(line.lanes, now())
        await lane.turn(until - now())

        async def send() -> dict[str, Any]:
            left = self.timeout if deadline is None else min(self.timeout, deadline - now())
            return await self._timed(lane, body, left)

        async def copy() -> dict[str, Any]:
            nonlocal lane
            lane.replica.failed(now())  # being late three times in a row is as good as being dead
            lane = pick(line.lanes, now(), other_than=lane)
            await lane.turn(until - now())
            return await send()

        return await race(send, copy, self._watch, lambda: self.budget.spares(self.max_concurrency))

    async def _timed(self, lane: Lane, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        """One exchange, whose duration tells when others are late."""
        if seconds <= 0:
            raise Again("timed out")
        now = asyncio.get_running_loop().time
        sign, answered = self._watch.began(now()), False
        try:
            data = await lane.ask(body, seconds)
            answered = True
            return data
        finally:
            self._watch.ended(sign, now(), answered=answered)

    def _wire(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        named = {self._names.get(field, field): value for field, value in fields.items()}
        return {"model": self.model, **{field: value for field, value in named.items() if field}}

    def _rename(self, refused: Refused) -> None:
        """Call a field by its other name from now on, or leave it out, unless another request has just done so."""
        field = "max_tokens" if refused.field == "max_completion_tokens" else refused.field
        if self._names.get(field, field) == refused.field:
            self._names[field] = "max_completion_tokens" if refused.field == "max_tokens" else ""
            instead = f"sending {self._names[field]}" if self._names[field] else "leaving it out"
            LOG.warning("%s refuses %s (%s): %s from now on.", self.model, refused.field, refused, instead)

    def _forget_requests(self) -> None:
        """Nothing is on its way, whatever a parent had when it was forked; what was learnt stays."""
        self._watch.forget_requests()
        for replica in self.replicas:
            replica.waiting = replica.outstanding = 0

    def _open(self) -> _Line:
        """The connections for the running loop."""
        slots = asyncio.Semaphore(self.max_concurrency)
        if self.client is not None:
            carrier = copied(self.client, self.timeout)
            lane = self._lane(self.replicas[0], carrier, without_credentials(str(self.client.base_url)))
            return _Line([lane], slots, [carrier.close], asyncio.Lock(), asyncio.Lock())
        if not self._addresses:
            self._addresses = {replica: address(replica.base_url, self._key) for replica in self.replicas}
        carried, closing = carriers(list(self._addresses.values()), self.timeout)
        pairs = zip(self._addresses.items(), carried, strict=True)
        lanes = [self._lane(replica, carrier, to.where) for (replica, to), carrier in pairs]
        return _Line(lanes, slots, closing, asyncio.Lock(), asyncio.Lock())

    def _lane(self, replica: Replica, carrier: Carrier, where: str) -> Lane:
        return Lane(replica, carrier, self.budget, address=where, where=self._where(where))

    def _where(self, *addresses: str) -> str:
        return f"{self.model!r} at {', '.join(addresses)}"

    def _gave_up(self, faults: Counter[str]) -> str:
        """The most frequent reason first: it is what `JudgeOutage` counts by."""
        reasons = ", ".join(f"{reason} x{count}" for reason, count in faults.most_common())
        return f"{faults.most_common(1)[0][0]}: no answer of {self.where()} in {faults.total()} attempts ({reasons})"


def _here() -> tuple[int, asyncio.AbstractEventLoop]:
    return os.getpid(), asyncio.get_running_loop()


def _back_off(attempt: int, line: _Line) -> float:
    ailing = all(lane.replica.ailing for lane in line.lanes)
    longest = LONGEST_WAIT if ailing else WAIT_WHERE_OTHERS_ARE_ANSWERED
    return min(longest, FIRST_WAIT * 2.0 ** min(attempt - 1, 30)) * _jitter.uniform(0.5, 1.0)
