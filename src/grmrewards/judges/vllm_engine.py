"""The engine of a `VLLMJudge`: rows of token ids in, sampled ids or log-probabilities out, computed by vLLM.

All rows of a call go in at once, so that vLLM batches them continuously and shares what their prompts begin with; each is
delivered when it is finished, and between two steps it is seen whether anybody still waits. vLLM's interface changes from
version to version: what this one has is tried, and never looked up in a table.
"""

from __future__ import annotations

import importlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from grmrewards.errors import ParseError, TransportError
from grmrewards.judges import isolated_main, vllm_start
from grmrewards.judges.loading import code_refused
from grmrewards.judges.rows import Answer, Choice, Logprobs, More, Row, Step, no_more

Deliver = Callable[[int, Any], None]


class Asked(NamedTuple):
    """One request to vLLM: the ids of its prompt, and its `SamplingParams`."""

    ids: list[int]
    sampling: Any


class VLLMEngine:
    """A judge's model on `vllm.LLM`, in the process that it has to itself. Not for concurrent use.

    It sleeps from `release` to the next batch where the platform can: its weights are then in CPU memory.
    """

    lost = False

    def __init__(self, source: Mapping[str, Any], *, end: int | None) -> None:
        self._source, self._print = source, ""
        self._end = [] if end is None else [end]
        self._llm, self.sleeps = vllm_start.start(source)
        self._asleep, self._names = False, itertools.count()
        self._forced = not self._takes_label_ids()
        self.window = int(self._config.max_model_len) - self._forced  # forced labels need room for one more token

    def generate(
        self,
        rows: Sequence[Row],
        *,
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More = no_more,
    ) -> None:
        """As `Engine.generate`. A seed decides an answer as far as vLLM's sums do not depend on what shares its batch."""
        taken = list(rows)

        def joined() -> list[Asked]:
            taken.extend(new := more())
            return [self._ask_for(row) for row in new]

        asked = [self._ask_for(row) for row in rows]
        self._run(asked, stop, lambda place, output: deliver(place, _answer(output, taken[place].top)), joined)

    def choice_logprobs(
        self, rows: Sequence[Choice], *, stop: threading.Event, deliver: Callable[[int, Logprobs], None]
    ) -> None:
        """As `Engine.choice_logprobs`: one token is sampled after each beginning of a label, and not used."""
        ask, read = (self._ask_forced, _read_forced) if self._forced else (self._ask, _read)
        questions = [ask(row) for row in rows]
        places = [(place, key) for place, question in enumerate(questions) for key in question]
        found: list[dict[tuple[int, ...], Any]] = [{} for _ in rows]

        def collect(i: int, output: Any) -> None:
            place, key = places[i]
            found[place][key] = output
            if len(found[place]) == len(questions[place]):
                deliver(place, read(rows[place], found[place]))

        for place, question in enumerate(questions):
            if not question:  # labels of no token
                deliver(place, read(rows[place], {}))
        self._run([asked for question in questions for asked in question.values()], stop, collect)

    def fingerprint(self) -> str:
        """That of the files on disk, read once."""
        self._print = self._print or vllm_start.fingerprint(self._source, str(self._config.dtype))
        return self._print

    def release(self) -> None:
        """Sleep, if it can: the policy's turn has come."""
        if self.sleeps and not self._asleep:
            self._llm.sleep(level=1)
            self._asleep = True

    @property
    def _config(self) -> Any:
        return self._llm.llm_engine.model_config

    def _run(
        self, asked: Sequence[Asked], stop: threading.Event, deliver: Deliver, more: Callable[[], list[Asked]] = list
    ) -> None:
        """Ask everything at once, and take results as they come. What is not wanted any more is taken back."""
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False
        engine, places = self._llm.llm_engine, itertools.count()
        running: dict[str, int] = {}
        try:
            while (asked or running) and not stop.is_set():
                for one in asked:
                    name = str(next(self._names))
                    engine.add_request(name, {"type": "token", "prompt_token_ids": one.ids}, one.sampling)
                    running[name] = next(places)
                for output in engine.step():
                    if output.finished and output.request_id in running:
                        deliver(running.pop(output.request_id), output)
                asked = more()
        finally:
            if running:
                engine.abort_request(list(running))

    def _ask_for(self, row: Row) -> Asked:
        sampling = self._sampling(row.room, temperature=row.temperature, seed=row.seed, logprobs=row.top or None)
        return Asked(row.ids, sampling)

    def _sampling(self, room: int, **options: Any) -> Any:
        vllm = importlib.import_module("vllm.sampling_params")
        return vllm.SamplingParams(
            max_tokens=room,
            stop_token_ids=self._end,  # beside those of the model's generation_config.json
            detokenize=False,
            output_kind=vllm.RequestOutputKind.FINAL_ONLY,
            **options,
        )

    def _takes_label_ids(self) -> bool:
        try:
            self._sampling(1, temperature=0.0, logprobs=1, logprob_token_ids=[0])
        except TypeError:  # a version without it
            return False
        return True

    def _ask(self, row: Choice) -> dict[tuple[int, ...], Asked]:
        """For each beginning of a label, how likely the tokens are that go on with one."""
        wanted: dict[tuple[int, ...], dict[int, None]] = {}
        for label in row.labels:
            for t, token in enumerate(label):
                wanted.setdefault(label[:t], {})[token] = None
        return {
            start: Asked(
                [*row.ids, *start],
                self._sampling(1, temperature=0.0, logprobs=len(tokens), logprob_token_ids=list(tokens)),
            )
            for start, tokens in wanted.items()
        }

    def _ask_forced(self, row: Choice) -> dict[tuple[int, ...], Asked]:
        """Each label as the end of a prompt, whose own log-probabilities are asked for: exact too, and slower."""
        return {
            label: Asked([*row.ids, *label], self._sampling(1, temperature=0.0, prompt_logprobs=1))
            for label in row.labels
        }


def _answer(output: Any, top: int) -> Answer:
    sample = output.outputs[0]
    if sample.finish_reason not in ("stop", "length"):
        raise TransportError(f"vLLM gave up an answer: {sample.finish_reason!r}.")
    ended = sample.finish_reason == "stop"
    tokens = list(sample.token_ids)[: -1 if ended else None]
    steps = [_step(token, at, top) for token, at in zip(tokens, sample.logprobs, strict=False)] if top else []
    return Answer(tokens, ended, steps)


def _step(token: int, at: Mapping[int, Any], top: int) -> Step:
    """VLLM's order is of no meaning, and the sampled token may be one too many."""
    likeliest = sorted(((i, one.logprob) for i, one in at.items()), key=lambda pair: -pair[1])
    return Step(at[token].logprob, likeliest[:top])


def _read(row: Choice, found: Mapping[tuple[int, ...], Any]) -> Logprobs:
    at = {start: output.outputs[0].logprobs[0] for start, output in found.items()}
    return [tuple(_logprob(at[label[:t]], token) for t, token in enumerate(label)) for label in row.labels]


def _read_forced(row: Choice, found: Mapping[tuple[int, ...], Any]) -> Logprobs:
    """A token that several labels share has one log-probability, though each computed its own in another batch."""
    at: dict[tuple[int, ...], float] = {}
    for label, output in found.items():
        for t, logprobs in enumerate(output.prompt_logprobs[len(row.ids) :][: len(label)]):
            at.setdefault(label[: t + 1], _logprob(logprobs, label[t]))
    return [tuple(at[label[: t + 1]] for t in range(len(label))) for label in row.labels]


def _logprob(at: Mapping[int, Any], token: int) -> float:
    if token not in at or math.isnan(at[token].logprob):
        raise ParseError(f"vLLM gave no log-probability for token {token}, which was asked for; it gave {sorted(at)}.")
    return float(at[token].logprob)


class Server(isolated_main.Server):
    """Answers the requests of the process that `vllm.RemoteVLLM` started this one from."""

    network: VLLMEngine

    def load(self, source: dict[str, Any], numerics: object, stop: threading.Event, **special_ids: Any) -> int:
        """Load the model. Threads and precision are vLLM's own matter, and no row is filled up with `pad`."""
        torch = importlib.import_module("torch")
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        vllm_start.stand_alone(os.environ, gpus=gpus, wanted=source["tensor_parallel_size"])
        with code_refused(source):
            self.network = VLLMEngine(source, end=special_ids["end"])
        return self.network.window

    def rest(self, stop: threading.Event) -> bool:
        """Sleep until there is more to do. Whether it can."""
        self.network.release()
        return self.network.sleeps


if __name__ == "__main__":
    isolated_main.main(Server)
