"""How a judge runs whose keys and values cannot be shared: each prompt for itself, in padded batches.

For models that keep something else than keys and values (state-space and hybrid ones), share them between layers, or
bring code of their own, and for settings of generation that only transformers' own `generate` knows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria

from grmrewards.judges import patches
from grmrewards.judges.memory import Memory, give_back
from grmrewards.judges.packing import cut
from grmrewards.judges.passes import takes
from grmrewards.judges.rows import Answer, More, Row, Step, no_more
from grmrewards.judges.sampling import Sampler, noisy, steps


class Plain:
    """The passes of one model, without a memory between them."""

    def __init__(self, model: Any, memory: Memory, *, vocabulary: int, pad: int) -> None:
        self.model, self.memory, self.vocabulary, self.pad = model, memory, vocabulary, pad

    def ends(self, rows: Sequence[Sequence[int]], stop: threading.Event) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Rows by number, with the logits of what comes next, [vocabulary]."""
        for batch, logits in self._batches([len(row) for row in rows], stop, lambda batch: self._last(rows, batch)):
            yield from (([row], last) for row, last in zip(batch, logits, strict=True))

    def generate(
        self,
        rows: Sequence[Row],
        *,
        stops: Collection[int],
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More = no_more,
    ) -> None:
        """Deliver the answer of each row, unless `stop` is set before. Others must wait until all are answered."""
        lengths = [len(row.ids) + row.room for row in rows]
        done = self._batches(lengths, stop, lambda batch: self._answers([rows[i] for i in batch], stops, stop))
        for batch, answers in done:
            for i, answer in zip(batch, answers, strict=True):
                deliver(i, answer)

    def _batches(
        self, lengths: Sequence[int], stop: threading.Event, run: Callable[[list[int]], Any]
    ) -> Iterator[tuple[list[int], Any]]:
        """What `run` makes of each batch; one that does not fit into memory is halved."""
        batches = deque(cut(lengths, overhead=256, limit=self.memory.tokens()))
        while batches and not stop.is_set():
            batch, result = batches.popleft(), None
            try:
                result = run(batch)
            except (RuntimeError, MemoryError) as error:
                if not self.memory.shrinks(error, tokens=sum(lengths[i] for i in batch), rows=len(batch)):
                    raise
                batches.extendleft([batch[len(batch) // 2 :], batch[: len(batch) // 2]])
            if result is None:  # here, where the error no longer holds what was computed
                give_back(self.model.device)
            elif not stop.is_set():  # or else the answers were cut off
                yield batch, result

    def _last(self, rows: Sequence[Sequence[int]], batch: Sequence[int]) -> torch.Tensor:
        inputs = self._padded([rows[i] for i in batch])
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        extras = {"position_ids": positions, "logits_to_keep": 1}
        extras = {name: value for name, value in extras.items() if takes(type(self.model).forward, name)}
        logits: torch.Tensor = self.model(**inputs, use_cache=False, **extras).logits
        patches.refuse_hidden_states(logits.shape[-1], self.vocabulary)
        return logits[:, -1].float()

    def _answers(self, rows: Sequence[Row], stops: Collection[int], stop: threading.Event) -> list[Answer]:
        inputs = self._padded([row.ids for row in rows])
        sampling = _Sampling(rows, self.vocabulary)
        output = self.model.generate(
            **inputs,
            max_new_tokens=max(row.room for row in rows),
            do_sample=False,  # the processor adds the noise, and argmax does the rest
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            pad_token_id=self.pad,
            logits_processor=[sampling],
            stopping_criteria=[_Stopped(stop)],
        )
        written = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [
            _answer(row, tokens, [step[i] for step in sampling.steps], stops)
            for i, (row, tokens) in enumerate(zip(rows, written, strict=True))
        ]

    def _padded(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Left-padded ids and their mask, on the model's device."""
        longest = max(map(len, rows))
        ids = [[self.pad] * (longest - len(row)) + list(row) for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}


class _Sampling(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """Adds each row's own noise, and keeps what is to be told of each step."""

    def __init__(self, rows: Sequence[Row], vocabulary: int) -> None:
        self.rows, self.vocabulary, self.steps = rows, vocabulary, list[list[Step]]()
        self.samplers: list[Sampler] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        patches.refuse_hidden_states(scores.shape[-1], self.vocabulary)
        logits = scores.float()
        self.samplers = self.samplers or [Sampler(row, [], logits[0], penalty=1.0) for row in self.rows]
        chosen = noisy(logits, self.samplers)
        if top := max(row.top for row in self.rows):
            self.steps.append(steps(logits, chosen.argmax(dim=-1).tolist(), top))
        return chosen


class _Stopped(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
    """Ends generation when nobody waits for it any more."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.stop.is_set(), device=input_ids.device)


def _answer(row: Row, tokens: Sequence[int], found: Sequence[Step], stops: Collection[int]) -> Answer:
    written = list(tokens[: row.room])
    end = next((i for i, token in enumerate(written) if token in stops), len(written))
    told = [Step(step.logprob, step.top[: row.top]) for step in found[:end]] if row.top else []
    return Answer(written[:end], end < len(written), told)
