"""Reading prompts: each stretch that several of them share is computed once, whatever the order they came in.

The tree of their token ids (`prefix`) is read from its root on, in batches of stretches of like length (`packing`), each
attending to the keys and values of the stretches before it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

import torch

from grmrewards.judges.cache import Buffer, Segment
from grmrewards.judges.memory import Memory, give_back
from grmrewards.judges.packing import cut
from grmrewards.judges.passes import Passes
from grmrewards.judges.prefix import Node, tree

# What a pass costs beside its tokens, in tokens: reading all weights takes as long as computing with them for so many.
OVERHEAD = {"cpu": 16, "cuda": 256}
# The tokens of one pass, padding included: more are not faster each, and need memory for all that is computed on the way.
PASS = {"cpu": 2048, "cuda": 16_384}
EARLY = 4  # tokens by which a prompt may end before a pass does: "1" on the way to "10"


class Reading:
    """The prompts of some rows, read as far as they were asked for.

    `keep`: the keys and values of all stretches stay in `kept`, for those who go on from there. Or else they go as soon
    as nothing follows them. `least`: tokens that a stretch of its own must save, by default what a pass costs.
    """

    def __init__(
        self,
        passes: Passes,
        memory: Memory,
        rows: Sequence[Sequence[int]],
        stop: threading.Event,
        *,
        keep: bool,
        least: int | None = None,
    ) -> None:
        self.passes, self.memory, self.rows, self.stop, self.keep = passes, memory, rows, stop, keep
        kind = "cpu" if passes.device.type == "cpu" else "cuda"
        self.overhead, self.limit = OVERHEAD[kind], PASS[kind]
        self.kept: dict[Node, Segment] = {}
        self.root = tree(rows, least=self.overhead if least is None else least, early=0 if keep else EARLY)

    def ends(self) -> Iterator[tuple[Node, list[int], torch.Tensor]]:
        """Each stretch in which rows end, those rows, and the logits of what comes next, [vocabulary].

        Fewer where `stop` is set.
        """
        todo: list[tuple[list[Node], bool]] = [(self.root.children, False)]
        while todo and not self.stop.is_set():
            level, below_is_read = todo.pop()
            if below_is_read:
                for node in level:
                    self.kept.pop(node, None)
                continue
            level, rest = self._fitting(level)
            yield from self._level(level)
            below = [child for node in level for child in node.children]
            todo += [(rest, False)] if rest else []
            todo += [(level, True)] if not self.keep else []
            todo += [(below, False)] if below else []

    def segments(self, node: Node) -> list[Segment]:
        """The keys and values from the first token up to where `node` begins, and its own if they are kept."""
        return [self.kept[one] for one in node.line() if one in self.kept]

    def _fitting(self, level: list[Node]) -> tuple[list[Node], list[Node]]:
        """So many nodes that what must be kept of them and of all below fits, one at least; and the rest."""
        room = self.memory.tokens()
        for i, node in enumerate(level):
            room -= sum(len(one) for one in node.walk() if one.children)
            if room < 0 and i:
                return level[:i], level[i:]
        return level, []

    def _level(self, level: Sequence[Node]) -> Iterator[tuple[Node, list[int], torch.Tensor]]:
        """Nodes whose parents were read, in batches; one that does not fit into memory is halved."""
        batches = deque(self._batches(level))
        while batches and not self.stop.is_set():
            nodes = batches.popleft()
            try:
                logits = self._pass(nodes)
            except (RuntimeError, MemoryError) as error:
                if not self.memory.shrinks(error, tokens=self._tokens(nodes), rows=len(nodes)):
                    raise
                batches.extendleft([nodes[len(nodes) // 2 :], nodes[: len(nodes) // 2]])
                logits = None
            if logits is None:  # here, where the error no longer holds what was computed
                give_back(self.passes.device)
                continue
            for node, last in zip(nodes, logits, strict=True):
                yield from (
                    (node, rows, last[-1 - back]) for back, rows in {0: node.rows, **node.early}.items() if rows
                )

    def _tokens(self, nodes: Sequence[Node]) -> int:
        """How many are in memory during a pass: what is kept, and the batch with its padding."""
        return sum(map(len, self.kept)) + len(nodes) * max(node.end for node in nodes)

    def _batches(self, level: Sequence[Node]) -> Iterator[list[Node]]:
        room = self.memory.tokens()
        for batch in cut([len(node) for node in level], overhead=self.overhead, limit=min(self.limit, room)):
            most = max(1, room // max(level[i].end for i in batch))
            for first in range(0, len(batch), most):
                yield [level[i] for i in batch[first : first + most]]

    def _pass(self, nodes: Sequence[Node]) -> torch.Tensor:
        """The logits after the last tokens of each node, as many as are asked for, [B, last, vocabulary]."""
        columns = max(node.end for node in nodes)
        before = [
            self.segments(node)[: len(node.line()) - 1] for node in nodes
        ]  # a batch that failed may have kept some
        ends = [columns - len(node) for node in nodes]
        buffer = Buffer(self.passes.layout, before, ends=ends, past=min(ends), columns=columns)
        news = [self.rows[node.row][node.start : node.end] for node in nodes]
        last = 1 + max(max(node.early, default=0) for node in nodes)
        logits = self.passes.read(buffer, news, [node.end for node in nodes], last=last)
        for row, node in enumerate(nodes):
            if self.keep or node.children:
                segment = buffer.segment(row, columns - len(node), columns)
                self.kept[node] = [part.clone() for part in segment]  # or the whole buffer would stay with it
        return logits
