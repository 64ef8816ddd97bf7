"""A local judge's model in a process of its own, out of reach of what is done to transformers in this one.

Unsloth replaces methods of whole model classes, so a policy and a judge of one family cannot share a process. They can
share a GPU: `RemoteNetwork` has the methods of `Network`, and the process behind it (`isolated_main`) holds the model.
Only token ids, numbers and errors pass between them, over the process's standard input and output. It is started as a
program instead of by multiprocessing, which would run the user's script a second time.

The process lives between calls, as a loaded model does. It ends with its judge, with the interpreter, and when its input
ends, which is when the parent dies, however that happens.
"""

from __future__ import annotations

import functools
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from grmrewards import errors
from grmrewards.errors import ConfigError, FatalJudgeError, GRMError, TransportError
from grmrewards.judges import frames
from grmrewards.judges.rows import More, no_more

if TYPE_CHECKING:
    from grmrewards.judges.rows import Answer, Choice, Logprobs, Row

Frames = queue.SimpleQueue[tuple[bytes, bytes] | None]  # None is the end

POLL = 0.02  # seconds between looks at the stop event
PARTING = 10.0  # seconds that a process which closed its pipes may take to end

_living: weakref.WeakSet[RemoteNetwork] = weakref.WeakSet()


class RemoteNetwork:
    """A `Network` in a process of its own: the same engine, and not for concurrent use either."""

    program = "grmrewards.judges.isolated_main"
    window: int
    _source: Mapping[str, Any]

    def __init__(self) -> None:
        # the same modules as here, wherever they come from, but none that lies in the working directory by chance
        path = {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a forked copy must have nothing left to write
            env={**os.environ, **path},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self._frames: Frames = queue.SimpleQueue()
        self._told: threading.Event | None = None  # the stop event that it was told of
        threading.Thread(
            target=_collect, args=(self._stdout, self._frames), name="grmrewards-isolated", daemon=True
        ).start()
        self.close = weakref.finalize(self, _end, self.process, os.getpid())
        _living.add(self)

    @property
    def lost(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def load(self, source: Mapping[str, Any], **special_ids: int | None) -> None:
        """Load the model, to compute on as many threads and in the precision that this process computes with."""
        self._source = source
        torch = sys.modules.get("torch")
        numerics = (torch.get_num_threads(), torch.get_float32_matmul_precision()) if torch else None
        self.window = self._ask("load", {"source": source, "numerics": numerics, **special_ids})

    def generate(
        self,
        rows: Sequence[Row],
        *,
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More = no_more,
    ) -> None:
        """As `Engine.generate`. Rows that came too late for one request are the first of the next."""
        asked, taken = list(rows), 0

        def joined() -> Sequence[Row]:
            asked.extend(new := more())
            return new

        while taken < len(asked) and not stop.is_set():
            first = functools.partial(_from, deliver, taken)
            taken += self._ask("generate", {"rows": asked[taken:]}, stop, first, joined)

    def choice_logprobs(
        self, rows: Sequence[Choice], *, stop: threading.Event, deliver: Callable[[int, Logprobs], None]
    ) -> None:
        """As `Engine.choice_logprobs`."""
        self._ask("choice_logprobs", {"rows": rows}, stop, deliver)

    def fingerprint(self) -> str:
        """As `Engine.fingerprint`; that process keeps it."""
        found: str = self._ask("fingerprint", {})
        return found

    def release(self) -> None:
        """That process gives its reserve back after each answer."""

    def forget(self) -> None:
        """In a forked copy: let go of the process, which is the parent's to use and to end."""
        self.close.detach()
        self._stdin.close()  # or the process would wait for this copy's end instead of the parent's
        self._stdout.close()
        self.process.returncode = 0  # or this copy would wait for it, and warn that it runs on

    def _ask(
        self,
        method: str,
        arguments: Mapping[str, Any],
        stop: threading.Event | None = None,
        deliver: Callable[[int, Any], None] | None = None,
        more: More = no_more,
    ) -> Any:
        request = _pickled(method, arguments)
        _make_room(self._source)
        try:
            frames.send(self._stdin, frames.REQUEST, request)
            kind, body = self._answer(stop, deliver, more)
        except OSError as error:  # a broken pipe
            raise TransportError(_epitaph(self.process)) from error
        if kind == frames.FAILURE:
            raise _revived(*pickle.loads(body))
        return pickle.loads(body)

    def _answer(
        self, stop: threading.Event | None, deliver: Callable[[int, Any], None] | None, more: More
    ) -> tuple[bytes, bytes]:
        """The frame that ends the answer, after its parts were delivered."""
        while True:
            frame = self._frame(stop, more)
            if frame is None:
                raise BrokenPipeError
            kind, body = frame
            if kind != frames.PART or deliver is None:
                return frame
            deliver(*pickle.loads(body))

    def _frame(self, stop: threading.Event | None, more: More) -> tuple[bytes, bytes] | None:
        """What the process says next, None if it ended. Meanwhile it is given more, or told once that `stop` is set."""
        while stop is not None and stop is not self._told:
            if stop.is_set():
                self._told = stop
                frames.send(self._stdin, frames.STOP)
            elif new := more():
                frames.send(self._stdin, frames.MORE, pickle.dumps(list(new)))
            try:
                return self._frames.get(timeout=POLL)
            except queue.Empty:
                continue
        return self._frames.get()


def _from(deliver: Callable[[int, Any], None], first: int, place: int, result: Any) -> None:
    """Deliver what is counted from the row `first` on."""
    deliver(first + place, result)


def _pickled(method: str, arguments: Mapping[str, Any]) -> bytes:
    try:
        return pickle.dumps((method, arguments))
    except Exception as error:
        raise ConfigError(
            f"model_kwargs or dtype cannot be sent to the judge's own process ({type(error).__name__}: {error}); allowed "
            "is what can be pickled. Give settings by name or as objects of a library, or pass isolate=False."
        ) from error


def _make_room(source: Mapping[str, Any]) -> None:
    """Give back the GPU memory that this process keeps in reserve: a process beside it cannot use that."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        from grmrewards.judges.network import own_device

        device = own_device(source["device"])
        if device.startswith("cuda"):
            with torch.cuda.device(device):  # else this thread would open the first GPU, and take memory there
                torch.cuda.empty_cache()


def _collect(pipe: IO[bytes], found: Frames) -> None:
    """A thread's work: all frames of a pipe, and None for its end."""
    with pipe:
        frames.await_ready(pipe)
        while frame := frames.receive(pipe):
            found.put(frame)
    found.put(None)


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _epitaph(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(PARTING)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    names = {-number: f" ({number.name})" for number in signal.Signals}
    return (
        f"the judge's own process ended with exit code {code}{names.get(code, '')}; its last words are on standard "
        "error. SIGKILL mostly means that memory ran out: take a smaller model, dtype or max_new_tokens, or judge with "
        "an OpenAIJudge on an endpoint. The next judgement starts a new process."
    )


def _revived(name: str, text: str) -> GRMError:
    """Errors of this package keep their class; others end the run, as they do where the model is in this process."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, GRMError):
        return kind(text)
    return FatalJudgeError(f"the judge's own process failed: {text}")


def _forget_all() -> None:
    for network in list(_living):
        network.forget()
    _living.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
