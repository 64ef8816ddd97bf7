"""What the prompts of a batch have in common, found without being told: a tree of token ids.

A group's prompts begin with the same instructions, question and principles, and differ in the response alone; GRAM's 56
ordered pairs of 8 responses share the question, and seven of them each first answer; votes share all. Each stretch is
computed once, and what follows it attends to its keys and values. Pure: lists of integers in, a tree out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np


@dataclass(eq=False)
class Node:
    """The ids of row `row` from `start` to `end`, which all rows below share.

    `rows` are those that end here, `early` those that end so many ids before.
    """

    row: int
    start: int
    end: int
    parent: Node | None = None
    rows: list[int] = field(default_factory=list)
    early: dict[int, list[int]] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def __len__(self) -> int:
        return self.end - self.start

    def adopt(self, child: Node) -> None:
        """Hang `child` below, with all of its ids that do not stand here."""
        child.parent, child.start = self, self.end
        self.children.append(child)

    def walk(self) -> Iterator[Node]:
        """The node and all below, parents first."""
        below = [self]
        while below:
            node = below.pop()
            yield node
            below += reversed(node.children)

    def levels(self) -> Iterator[list[Node]]:
        """The nodes below this one, those of one depth at a time."""
        level = self.children
        while level:
            yield level
            level = [child for node in level for child in node.children]

    def line(self) -> list[Node]:
        """The nodes from the first token to the last of this one: all but the empty root."""
        line: list[Node] = []
        node = self
        while node.parent is not None:
            line.append(node)
            node = node.parent
        return line[::-1]


def tree(rows: Sequence[Sequence[int]], *, least: int = 1, early: int = 0) -> Node:
    """The prefix tree of `rows`: its root, which is empty.

    What several rows share is a node of its own where that saves `least` tokens, since a pass of its own costs something.
    A row that one other goes on from, by at most `early` ids, ends early in the node of the other.

    >>> [(len(node), node.rows) for node in tree([[1, 2, 3, 4], [1, 2, 3, 5], [9]]).walk()]
    [(0, []), (3, []), (1, [0]), (1, [1]), (1, [2])]
    """
    root = _grown(rows)
    for node in reversed(list(root.walk())):
        ways = len(node.children) + bool(node.rows)
        if node.parent is not None and node.children and len(node) * (ways - 1) < least:
            _dissolve(node, node.parent)
        elif node.rows and len(node.children) == 1:
            _lengthen(node, node.children[0], early)
    return root


def _grown(rows: Sequence[Sequence[int]]) -> Node:
    """The tree with a node wherever rows part."""
    order, common = _sorted(rows)
    root = Node(row=0, start=0, end=0)
    grown = [(root, 0, len(order))]
    while grown:
        node, low, high = grown.pop()  # rows order[low:high] share what stands up to here; those that end come first
        while low < high and len(rows[order[low]]) == node.end:
            node.rows.append(order[low])
            low += 1
        cuts = [i for i in range(low + 1, high) if common[i] == node.end]
        for first, last in pairwise([low, *cuts, high] if low < high else []):
            end = min(common[first + 1 : last], default=len(rows[order[first]]))
            child = Node(order[first], node.end, end)
            node.adopt(child)
            grown.append((child, first, last))
    return root


def _sorted(rows: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The rows in the order of a dictionary, and how many ids each begins with that the one before it begins with."""
    words = [np.array(row, dtype=">u4") for row in rows]  # this way round, bytes sort as the numbers do
    order = sorted(range(len(rows)), key=[word.tobytes() for word in words].__getitem__)
    return order, [0, *(_common(words[a], words[b]) for a, b in pairwise(order))]


def _common(one: np.ndarray, other: np.ndarray) -> int:
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    return int(differ.argmax()) if differ.any() else length


def _dissolve(node: Node, parent: Node) -> None:
    """Let each row that passes through `node` compute its ids itself."""
    parent.children.remove(node)
    for child in node.children:
        parent.adopt(child)
    if node.rows:
        parent.adopt(Node(node.row, parent.end, node.end, rows=node.rows))


def _lengthen(node: Node, only: Node, early: int) -> None:
    """Let the rows of `node` end early in the one node that follows, if that is short and the last."""
    if len(only) + max(node.early, default=0) > early or only.children:
        return
    node.early = {len(only): node.rows} | {len(only) + back: rows for back, rows in node.early.items()} | only.early
    node.row, node.end, node.rows, node.children = only.row, only.end, only.rows, []
