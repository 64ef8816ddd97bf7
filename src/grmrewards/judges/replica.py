"""One server of several that serve the same model: how busy, how healthy and how fast it is, and who is asked next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from grmrewards.judges.budget import Budget
from grmrewards.judges.carrier import Answer, Carrier
from grmrewards.judges.faults import TOO_MANY, Again, fault
from grmrewards.judges.pacing import Pacer
from grmrewards.judges.replies import completion, tokens
from grmrewards.judges.secret import Secret
from grmrewards.types import CALL

FAILURES = 3  # in a row, after which a server is left out
LONGEST_OUT = 32.0  # seconds until it is tried again; from one second on, doubled with each failure
_random = random.Random()  # the global random state belongs to the training run


class Replica:
    """What is known of one server. It outlives a call, and all event loops share it."""

    def __init__(self, base_url: str | Secret[str] | None, *, ranks: int = 1) -> None:
        self.base_url = base_url
        self.pacer = Pacer(ranks=ranks)
        self.waiting = self.outstanding = self.failures = 0
        self.back_at = 0.0

    @property
    def ailing(self) -> bool:
        """Whether it failed so often in a row that it is left out."""
        return self.failures >= FAILURES

    def fits(self, now: float) -> bool:
        """Whether it may be asked: one that was left out gets a single request to prove itself."""
        return self.back_at <= now and not (self.ailing and self.outstanding)

    def failed(self, now: float) -> None:
        """It did not answer, or with a fault."""
        if now < self.back_at:
            return  # one of those that were on their way when it was left out
        self.failures += 1
        if self.ailing:
            self.back_at = now + min(LONGEST_OUT, 2.0 ** min(self.failures - FAILURES, 30))

    def answered(self) -> None:
        """It is there."""
        self.failures, self.back_at = 0, 0.0


class Lane:
    """A replica as one event loop sees it: with the connections and the queue of that loop."""

    def __init__(self, replica: Replica, carrier: Carrier, budget: Budget, *, address: str, where: str) -> None:
        self.replica, self.carrier, self.address, self.where = replica, carrier, address, where
        self._budget, self._gate = budget, asyncio.Lock()

    async def turn(self, patience: float) -> None:
        """Wait until the pace allows a request. Raises `Again` where that is longer than `patience`.

        One waits on the clock and the others on it, so that a new pace holds for all at once.
        """
        pacer, replica, now = self.replica.pacer, self.replica, asyncio.get_running_loop().time
        replica.waiting += 1
        try:
            async with self._gate:
                while (wait := pacer.wait(now())) > 0.001:
                    if wait > patience:
                        raise Again(TOO_MANY, wait)
                    await asyncio.sleep(wait)
                pacer.went(now())
        finally:
            replica.waiting -= 1

    async def ask(self, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        """One exchange: the completion, or why there is none. Who asks next is told how it went."""
        replica, now = self.replica, asyncio.get_running_loop().time
        sent = now()
        self._budget.spend()
        replica.outstanding += 1
        try:
            data = self._read(await self.carrier.post(body, seconds), body)
        except Again as again:
            if again.reason == TOO_MANY:
                replica.pacer.refused(sent, now(), again.after)
            else:
                replica.failed(now())
            raise
        finally:
            replica.outstanding -= 1
        replica.answered()
        return data

    def _read(self, answer: Answer, body: Mapping[str, Any]) -> dict[str, Any]:
        """The completion in an answer; its tokens count whether or not it can be used."""
        data = answer.scrub.answer(answer.raw)
        used = tokens(data if isinstance(data, dict) else {})
        self._budget.use(*used)
        if answer.status < 300:
            try:
                return completion(data)
            except Again:
                _count(*used)  # those of an answer that can be used are counted where it is
                raise
        detail = data.get("error", data) if isinstance(data, dict) else answer.raw.decode(errors="replace")
        raise fault(answer.status, answer.headers, answer.scrub.error(detail), body, where=self.where)


def pick(lanes: Sequence[Lane], now: float, *, other_than: Lane | None = None) -> Lane:
    """The server with the shortest queue, then with the fewest requests; if none may be asked, the one that is out least."""
    if len(lanes) == 1:
        return lanes[0]
    fit = [lane for lane in lanes if lane is not other_than and lane.replica.fits(now)]

    def busy(lane: Lane) -> tuple[float, int, int, float]:
        replica = lane.replica
        return 0.0 if fit else replica.back_at, replica.waiting, replica.outstanding, _random.random()

    return min(fit or lanes, key=busy)


def _count(prompt_tokens: int, completion_tokens: int) -> None:
    if (call := CALL.get()) is not None:
        call.prompt_tokens += prompt_tokens
        call.completion_tokens += completion_tokens
