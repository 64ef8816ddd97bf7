"""When a local judge runs a batch: whatever is waiting, as soon as nothing more is coming.

Families ask for all judgements of a call at once, a few event-loop turns apart. While a batch runs, requests only
collect. When the worker is free it waits until none has arrived for 2 ms (at most 50 ms), drops those whose callers are
gone, and runs all of the oldest one's kind; how many of them share a pass is the engine's matter. Waiting for silence
instead of a number of turns is what gives the ideal number of batches whether requests come at once, after a file was
read, or from behind a semaphore.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

QUIET = 0.002  # seconds without a new request
LONGEST_WAIT = 0.050  # seconds, however steadily they come


Deliver = Callable[[int, Any], None]
RunBatch = Callable[[Any, Sequence[Any], threading.Event, Deliver], None]


@dataclass(eq=False)
class Request:
    """One row of a batch to be: its kind (only one kind runs at a time), its content, and who waits."""

    kind: Hashable
    content: Any
    done: asyncio.Future[Any]


class Batcher:
    """Collects requests on one event loop and runs them on one worker thread.

    `run_batch(kind, contents, stop, deliver)` is called on the worker and delivers one result for each content, by its
    number, as soon as it has it. It must look at the event `stop` between tokens and give up when it is set, which
    happens when no caller is left.
    """

    def __init__(self, run_batch: RunBatch) -> None:
        self.run_batch = run_batch
        self.waiting: list[Request] = []
        self.batches = 0
        self._pump: asyncio.Task[None] | None = None
        self._worker: ThreadPoolExecutor | None = None

    async def submit(self, kind: Hashable, content: Any) -> Any:
        """The result for `content`. Cancelling the caller takes the request out of the queue."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append(Request(kind, content, done))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._run())
        return await done

    async def close(self) -> None:
        """Wait until the worker is idle, and let its thread go."""
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)
        if self._worker is not None:
            self._worker.shutdown(wait=True)
            self._worker = None

    async def _run(self) -> None:
        while self.waiting:
            await self._settle()
            self.waiting = [request for request in self.waiting if not request.done.done()]
            batch = self._take()
            if batch:
                await self._run_one(batch)

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        start, seen = loop.time(), -1
        while len(self.waiting) != seen and loop.time() - start < LONGEST_WAIT:
            seen = len(self.waiting)
            await asyncio.sleep(QUIET)

    def _take(self) -> list[Request]:
        """The oldest request and all of its kind."""
        batch = [request for request in self.waiting if request.kind == self.waiting[0].kind] if self.waiting else []
        taken = set(map(id, batch))
        self.waiting = [request for request in self.waiting if id(request) not in taken]
        return batch

    async def _run_one(self, batch: list[Request]) -> None:
        self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="grmrewards-judge")
        self.batches += 1
        stop = threading.Event()
        contents = [request.content for request in batch]
        loop = asyncio.get_running_loop()

        def deliver(i: int, result: Any) -> None:
            loop.call_soon_threadsafe(_fulfil, batch[i], result)

        job = loop.run_in_executor(self._worker, self.run_batch, batch[0].kind, contents, stop, deliver)
        callers_gone = asyncio.gather(*(request.done for request in batch), return_exceptions=True)
        first: list[asyncio.Future[Any]] = [job, callers_gone]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            stop.set()
        await asyncio.wait([job])
        error = job.exception() or RuntimeError("the batch ended without a result for this request")
        for request in batch:
            if not request.done.done():
                request.done.set_exception(error)
        await callers_gone


def _fulfil(request: Request, result: Any) -> None:
    if not request.done.done():
        request.done.set_result(result)
