"""The log-probabilities of set answers, teacher-forced: what to compute, and each row's result as soon as it is whole. Pure.

A label of several tokens is read one token at a time after the prompt, so that the ten scores "1" to "10" of a response
are two short contexts ("" and "1") after one prompt, which they share with everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from grmrewards.judges.rows import Choice, Logprobs


class Contexts:
    """What must be read for some rows: `ids`, each the prompt of a row and the beginning of some of its labels."""

    def __init__(self, rows: Sequence[Choice], deliver: Callable[[int, Logprobs], None]) -> None:
        self.rows, self.deliver = rows, deliver
        self._places = [(r, start) for r, row in enumerate(rows) for start in _starts(row)]
        self._found: list[dict[tuple[int, ...], Mapping[int, float]]] = [{} for _ in rows]
        self._left = [len(_starts(row)) for row in rows]
        self.ids = [[*rows[r].ids, *start] for r, start in self._places]
        for r, left in enumerate(self._left):
            if not left:  # labels without a token
                deliver(r, [() for _ in rows[r].labels])

    def wanted(self, context: int) -> list[int]:
        """The tokens whose log-probabilities are wanted after it."""
        r, start = self._places[context]
        here = len(start)
        following = (label[here] for label in self.rows[r].labels if len(label) > here and label[:here] == start)
        return list(dict.fromkeys(following))

    def take(self, context: int, logprobs: Sequence[float]) -> None:
        """The log-probabilities of `wanted(context)`. With the last of a row's contexts, the row is delivered."""
        r, start = self._places[context]
        self._found[r][start] = dict(zip(self.wanted(context), logprobs, strict=True))
        self._left[r] -= 1
        if not self._left[r]:
            found = self._found[r]
            labels = self.rows[r].labels
            self.deliver(r, [tuple(found[label[:t]][token] for t, token in enumerate(label)) for label in labels])


def _starts(row: Choice) -> list[tuple[int, ...]]:
    """The beginnings of labels after which a token of one is to be judged."""
    return list(dict.fromkeys(label[:t] for label in row.labels for t in range(len(label))))
