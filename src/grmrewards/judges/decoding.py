"""Writing answers: rows that decode together, join when there is room and leave when they have ended.

All rows that fit into memory are read (`reading`) and decode as one batch. When a quarter of it has ended, those go, and
waiting ones take their places; those that come meanwhile join after a few tokens. What a row has written outlives
everything: where memory runs out, all rows are read anew with what they have written, fewer at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence

import torch

from grmrewards.judges.cache import Buffer, Segment
from grmrewards.judges.memory import Memory, give_back
from grmrewards.judges.passes import Passes
from grmrewards.judges.reading import Reading
from grmrewards.judges.rows import Answer, More, Row, Step
from grmrewards.judges.sampling import Sampler, sampled, steps

USUAL = 256  # tokens of an answer, while none has ended
COLUMNS = 128  # that a batch has room for before it is put into a larger piece of memory
LISTENING = 16  # tokens between looks at what has come meanwhile
LEAVING = 4  # rows leave when one in so many has ended: to move the others costs about as much as a few steps


class Draft:
    """A row and what it has written so far."""

    def __init__(self, place: int, row: Row) -> None:
        self.place, self.row = place, row
        self.ids = list(row.ids)  # of the prompt and the answer
        self.segments: list[Segment] = []  # the keys and values of all ids but the last
        self.sampler: Sampler | None = None
        self.steps: list[Step] = []
        self.ended = False

    @property
    def written(self) -> list[int]:
        """The ids of its answer."""
        return self.ids[len(self.row.ids) :]

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return not self.ended and len(self.ids) - len(self.row.ids) < self.row.room

    def answer(self) -> Answer:
        """What it is in the end, without the token that ended it."""
        written = self.written[:-1] if self.ended else self.written
        return Answer(written, self.ended, self.steps[: len(written)])

    def interrupt(self) -> None:
        """Let go of everything but what is written."""
        self.segments, self.sampler = [], None


class Decoding:
    """Rows that are answered by one model."""

    def __init__(
        self,
        passes: Passes,
        memory: Memory,
        *,
        stops: Collection[int],
        penalty: float,
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More,
    ) -> None:
        self.passes, self.memory, self.stops, self.penalty = passes, memory, frozenset(stops), penalty
        self.stop, self.deliver, self.more = stop, deliver, more
        self.usual = float(USUAL)
        self.waiting: deque[Draft] = deque()
        self.taken = 0
        self.fitting = memory.tokens()  # while nothing of it is in use

    def run(self, rows: Sequence[Row]) -> None:
        """Deliver the answer of each row, and of those that come meanwhile, unless `stop` is set before."""
        self._take(rows)
        live: list[Draft] = []
        while (self.waiting or live) and not self.stop.is_set():
            self._take(self.more())
            live = self._parked(live)
            live += self._admitted(live)
            try:
                self._read([draft for draft in live if not draft.segments])
                self._decode([draft for draft in live if draft.open])
                interrupted = False
            except (RuntimeError, MemoryError) as error:
                if not self.memory.shrinks(error, tokens=sum(map(self._needs, live)), rows=len(live)):
                    raise
                interrupted = True
            live = [draft for draft in live if draft.open]
            if interrupted:  # here, where the error no longer holds what was computed
                for draft in live:
                    draft.interrupt()
                give_back(self.passes.device)
                self.waiting.extendleft(reversed(live))
                live = []

    def _take(self, rows: Sequence[Row]) -> bool:
        """Let rows wait, those that share a prefix side by side. Whether there were any."""
        drafts = [Draft(place, row) for place, row in enumerate(rows, self.taken)]
        self.taken += len(drafts)
        self.waiting += sorted(drafts, key=lambda draft: draft.ids)
        return bool(drafts)

    def _parked(self, live: list[Draft]) -> list[Draft]:
        """The live rows, if they still fit as they have grown. Or else those that have written least wait again."""
        most = self._most(max(map(self._needs, live), default=1))
        live = sorted(live, key=lambda draft: len(draft.written), reverse=True)
        for draft in live[most:]:
            draft.interrupt()
        self.waiting.extendleft(reversed(live[most:]))
        return live[:most]

    def _admitted(self, live: Sequence[Draft]) -> list[Draft]:
        """Those of the waiting rows that fit in beside the live ones; one at least, where there is none."""
        admitted: list[Draft] = []
        longest = max(map(self._needs, live), default=1)
        while self.waiting:
            longest = max(longest, self._needs(self.waiting[0]))
            if len(live) + len(admitted) >= self._most(longest):
                break
            admitted.append(self.waiting.popleft())
        return admitted

    def _most(self, tokens: int) -> int:
        """How many rows of so many tokens fit into memory: one at least."""
        return max(1, min(self.fitting, self.memory.most or self.fitting) // tokens)

    def _needs(self, draft: Draft) -> int:
        """How many tokens it will have, if it writes as much as others do."""
        return max(len(draft.ids), len(draft.row.ids) + min(int(self.usual), draft.row.room))

    def _read(self, drafts: Sequence[Draft]) -> None:
        """Read drafts that are not in memory, and write the first token after each."""
        reading = Reading(self.passes, self.memory, [draft.ids for draft in drafts], self.stop, keep=True)
        for node, rows, logits in reading.ends():
            ending = [drafts[row] for row in rows]
            for draft in ending:
                draft.segments = reading.segments(node)
            self._write(ending, logits.expand(len(ending), -1))

    def _decode(self, live: Sequence[Draft]) -> None:
        """Write on, token by token, until some have ended or the columns are full."""
        if self.stop.is_set() or not live:
            return
        past = max(len(draft.ids) for draft in live) - 1
        room = max(draft.row.room + len(draft.row.ids) - len(draft.ids) for draft in live)
        segments = [draft.segments for draft in live]
        columns = past + min(room, COLUMNS)
        buffer = Buffer(self.passes.layout, segments, ends=[past] * len(live), past=past, columns=columns)
        for draft in live:
            draft.segments = []  # they are in the buffer now
        del segments
        while buffer.past < columns and not self.stop.is_set():
            logits = self.passes.read(buffer, [draft.ids[-1:] for draft in live], [len(draft.ids) for draft in live])
            going = [i for i, draft in enumerate(live) if draft.open]
            self._write([live[i] for i in going], logits[:, 0] if len(going) == len(live) else logits[going, 0])
            ended = sum(not draft.open for draft in live)
            listens = (columns - buffer.past) % LISTENING == 0
            if ended * LEAVING >= len(live) or (listens and self._take(self.more())):
                break
        for row, draft in enumerate(live):
            draft.segments = [buffer.segment(row, buffer.past - len(draft.ids) + 1, buffer.past)] if draft.open else []

    def _write(self, drafts: Sequence[Draft], logits: torch.Tensor) -> None:
        """One token more for each draft. Those that it ends are delivered."""
        samplers = [self._sampler(draft, logits[0]) for draft in drafts]
        tokens = sampled(logits, samplers)
        if top := max(draft.row.top for draft in drafts):
            for draft, step in zip(drafts, steps(logits, tokens, top), strict=True):
                draft.steps += [Step(step.logprob, step.top[: draft.row.top])] if draft.row.top else []
        for draft, token in zip(drafts, tokens, strict=True):
            draft.ids.append(token)
            draft.ended = token in self.stops
            if not draft.open:
                draft.interrupt()
                self.usual += (len(draft.written) - self.usual) / 8
                self.deliver(draft.place, draft.answer())

    def _sampler(self, draft: Draft, like: torch.Tensor) -> Sampler:
        draft.sampler = draft.sampler or Sampler(draft.row, draft.written, like, penalty=self.penalty)
        return draft.sampler
