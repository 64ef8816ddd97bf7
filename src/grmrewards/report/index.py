"""What a page's browser knows of every judgement before it opens a text: numbers, column by column."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from grmrewards.report.html import Html
from grmrewards.report.lines import Run, Vote
from grmrewards.report.pack import element, packed
from grmrewards.report.words import model

UNSCORED, FAILED, PRAISE, FLAGGED, WRONG = 1, 2, 4, 8, 16  # bits of a row


class _Words:
    """Words by number."""

    def __init__(self) -> None:
        self.all: dict[str, int] = {}

    def of(self, word: str) -> int:
        return self.all.setdefault(word, len(self.all))


def elements(run: Run, *, flagged: Collection[int] = (), wrong: Collection[int] = ()) -> Iterator[Html]:
    """The data of a page: first the numbers of the rows, then those of the votes, then the texts.

    `flagged` are calls that the monitor spoke of, `wrong` rows whose judgement is known to be wrong.
    """
    words = _Words()
    rows = _rows(run, words, flagged, wrong)
    votes = _votes(run, words)
    yield element("rows", packed({**rows, "words": list(words.all), "firsts": _firsts(run), "texts": len(run.texts)}))
    yield element("votes", packed(votes))
    yield from run.texts.elements()


def _firsts(run: Run) -> list[int]:
    run.texts.flush()
    return run.texts.firsts


def _rows(run: Run, words: _Words, flagged: Collection[int], wrong: Collection[int]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "name": [words.of(row.name) for row in run.rows],
        "step": [row.step for row in run.rows],
        "call": [row.call for row in run.rows],
        "group": [row.group for row in run.rows],
        "score": [row.score for row in run.rows],
        "reward": [row.reward for row in run.rows],
        "length": [row.length for row in run.rows],
        "prompt": [row.prompt for row in run.rows],
        "response": [row.response for row in run.rows],
        "notes": [[[words.of(kind), *ids] for kind, ids in row.notes.items()] for row in run.rows],
        "votes": [list(row.votes) for row in run.rows],
    }
    columns["bits"] = [
        UNSCORED * (row.score is None)
        | FAILED * any(run.votes[v].error >= 0 for v in row.votes)
        | PRAISE * row.praise
        | FLAGGED * (row.call in flagged)
        | WRONG * (k in wrong)
        for k, row in enumerate(run.rows)
    ]
    return columns


def _votes(run: Run, words: _Words) -> list[list[Any]]:
    return [
        [*vote[:4], words.of(vote.kind), words.of(model(vote.judge)), vote.round, _tokens(vote)] for vote in run.votes
    ]


def _tokens(vote: Vote) -> Any:
    return list(vote.tokens) if vote.tokens else None
