"""When a local judge runs a batch: whatever is waiting, as soon as nothing more is coming.

Families ask for all judgements of a call at once, a few event-loop turns apart. When the worker is free it waits until
none has arrived for 2 ms (at most 50 ms), drops those whose callers are gone, and runs all of the oldest one's kind; how
many of them share a pass is the engine's matter. Waiting for silence instead of a number of turns is what gives the ideal
number of batches whether requests come at once, after a file was read, or from behind a semaphore. What comes while a
batch runs collects, until the engine asks for more of its kind: the judgements of the first group whose principles are
written, and what is asked for again, decode beside those that still run.
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
More = Callable[[], Sequence[Any]]
RunBatch = Callable[[Any, Sequence[Any], threading.Event, Deliver, More], None]


@dataclass(eq=False)
class Request:
    """One row of a batch to be: its kind (only one kind runs at a time), its content, and who waits."""

    kind: Hashable
    content: Any
    done: asyncio.Future[Any]


class Batcher:
    """Collects requests on one event loop and runs them on one worker thread.

    `run_batch(kind, contents, stop, deliver, more)` is called on the worker and delivers one result for each content, by
    its number, as soon as it has it. It must look at the event `stop` between tokens and give up when it is set, which
    happens when no caller is left. It may ask for `more` contents, which are numbered on.
    """

    def __init__(self, run_batch: RunBatch) -> None:
        self.run_batch = run_batch
        self.waiting: list[Request] = []
        self.batches = 0
        self._pump: asyncio.Task[None] | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()  # over what waits, and over who is still waited for

    async def submit(self, kind: Hashable, content: Any) -> Any:
        """The result for `content`. Cancelling the caller takes the request out of the queue."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with self._lock:
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
            with self._lock:
                batch = self._take()
            if batch:
                await self._run_one(batch)

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        start, seen = loop.time(), -1
        while len(self.waiting) != seen and loop.time() - start < LONGEST_WAIT:
            seen = len(self.waiting)
            await asyncio.sleep(QUIET)

    def _take(self, *kinds: Hashable) -> list[Request]:
        """The oldest request and all of its kind; none where others than `kinds` wait, so that no kind starves."""
        self.waiting = [request for request in self.waiting if not request.done.done()]
        if not self.waiting or (kinds and any(request.kind not in kinds for request in self.waiting)):
            return []
        oldest = self.waiting[0].kind
        batch = [request for request in self.waiting if request.kind == oldest]
        self.waiting = [request for request in self.waiting if request.kind != oldest]
        return batch

    async def _run_one(self, batch: list[Request]) -> None:
        """Run a batch, which may grow meanwhile."""
        self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="grmrewards-judge")
        self.batches += 1
        stop, loop, kind = threading.Event(), asyncio.get_running_loop(), batch[0].kind

        def deliver(i: int, result: Any) -> None:
            loop.call_soon_threadsafe(_fulfil, batch[i], result)

        def more() -> list[Any]:
            with self._lock:
                joining = [] if stop.is_set() else self._take(kind)
                batch.extend(joining)
            return [request.content for request in joining]

        contents = [request.content for request in batch]
        job = loop.run_in_executor(self._worker, self.run_batch, kind, contents, stop, deliver, more)
        while not job.done():
            await self._first(job, [request.done for request in batch])
            with self._lock:
                if all(request.done.done() for request in batch):
                    stop.set()
            if stop.is_set():
                await asyncio.wait([job])
        error = job.exception() or RuntimeError("the batch ended without a result for this request")
        for request in batch:
            if not request.done.done():
                request.done.set_exception(error)

    @staticmethod
    async def _first(job: asyncio.Future[None], callers: Sequence[asyncio.Future[Any]]) -> None:
        """Wait until the job is done, or none of the callers waits any more."""
        gone = asyncio.gather(*callers, return_exceptions=True)
        first: list[asyncio.Future[Any]] = [job, gone]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)


def _fulfil(request: Request, result: Any) -> None:
    if not request.done.done():
        request.done.set_result(result)
