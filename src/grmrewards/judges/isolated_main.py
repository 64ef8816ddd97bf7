"""The program behind `isolated.RemoteNetwork`: serves one model on standard input and output until the parent is gone."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from grmrewards.errors import GRMError
from grmrewards.judges import frames
from grmrewards.judges.loading import code_refused

if TYPE_CHECKING:
    from grmrewards.judges.rows import Engine

Rows = queue.SimpleQueue[bytes]
Jobs = queue.SimpleQueue[tuple[bytes, threading.Event, Rows]]  # requests, when to give up, and what comes meanwhile


class Server:
    """Answers the requests of one `RemoteNetwork`, in order: `load` first, then the methods of `Engine`."""

    network: Engine

    def __init__(self, outbox: IO[bytes]) -> None:
        self.outbox = outbox
        self.coming: Rows = queue.SimpleQueue()

    def deliver(self, place: int, result: Any) -> None:
        """Send a result on its way before the others are done."""
        frames.send(self.outbox, frames.PART, pickle.dumps((place, result)))

    def load(
        self, source: dict[str, Any], numerics: tuple[int, str] | None, stop: threading.Event, **special_ids: Any
    ) -> int:
        """Load the model. `numerics` are the threads and the precision of float32 products that the parent computes with."""
        import torch

        from grmrewards.judges.network import Network

        if numerics is not None:
            torch.set_num_threads(numerics[0])
            torch.set_float32_matmul_precision(numerics[1])
        with code_refused(source):
            self.network = Network(source, **special_ids)
        return self.network.window

    def generate(self, stop: threading.Event, rows: Any) -> int:
        """As `Engine.generate`. How many rows there were, with those that came meanwhile: the last may have come too late."""
        taken, coming = list(rows), self.coming

        def more() -> Any:
            new = [row for _ in range(coming.qsize()) for row in pickle.loads(coming.get())]
            taken.extend(new)
            return new

        self.network.generate(rows, stop=stop, deliver=self.deliver, more=more)
        return len(taken)

    def choice_logprobs(self, stop: threading.Event, rows: Any) -> None:
        """As `Engine.choice_logprobs`."""
        self.network.choice_logprobs(rows, stop=stop, deliver=self.deliver)

    def fingerprint(self, stop: threading.Event) -> str:
        """As `Engine.fingerprint`."""
        return self.network.fingerprint()

    def outcome(self, request: bytes, stop: threading.Event, coming: Rows) -> tuple[bytes, bytes]:
        """The frame that answers a request. Errors become text here: an exception of a library may not be picklable."""
        self.coming = coming
        try:
            method, arguments = pickle.loads(request)
            answer = pickle.dumps(getattr(self, method)(**arguments, stop=stop))
        except GRMError as error:
            return frames.FAILURE, pickle.dumps((type(error).__name__, str(error)))
        except Exception as error:
            text = f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}"
            return frames.FAILURE, pickle.dumps(("", text))
        return frames.ANSWER, answer


def main(make: Callable[[IO[bytes]], Server] = Server) -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the parent handles it, and sends STOP
    inbox, outbox = _own_pipes()
    jobs: Jobs = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox, jobs), daemon=True).start()
    outbox.write(frames.READY)
    server = make(outbox)
    while True:
        kind, answer = server.outcome(*jobs.get())
        _release_gpu_memory()  # before the parent goes on with its own work
        frames.send(outbox, kind, answer)


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the parent, moved to where nothing else reads or prints: libraries get standard error instead."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return inbox, outbox


def _listen(inbox: IO[bytes], jobs: Jobs) -> None:
    """A thread's work: queue requests, give the latest one more rows or an end, and end the process with its parent."""
    stop = threading.Event()
    coming: Rows = queue.SimpleQueue()
    while frame := frames.receive(inbox):
        kind, body = frame
        if kind == frames.STOP:
            stop.set()
        elif kind == frames.MORE:
            coming.put(body)
        else:
            stop, coming = threading.Event(), queue.SimpleQueue()
            jobs.put((body, stop, coming))
    os._exit(0)  # at once, in whatever the main thread is


def _release_gpu_memory() -> None:
    """What is kept in reserve here, the parent's policy cannot use."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
