"""What goes into a local judge's model and what comes out, in token ids and numbers: the contract of every engine.

`network` is the engine on transformers, `isolated` the same in a process of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class Row(NamedTuple):
    """One answer that is asked for."""

    ids: list[int]  # of the prompt
    seed: int  # decides the answer, whatever shares its batch
    temperature: float  # 0 is greedy
    room: int  # the longest answer, in tokens
    top: int = 0  # how many alternatives each token is to be reported with; 0: no log-probabilities at all


class Step(NamedTuple):
    """One sampled token: its log-probability at T = 1, and the likeliest tokens with theirs."""

    logprob: float
    top: list[tuple[int, float]]


class Answer(NamedTuple):
    """A sampled answer: its tokens without the one that ended it, and a `Step` for each where they were asked for."""

    tokens: list[int]
    ended: bool  # or else cut off
    steps: list[Step]


class Choice(NamedTuple):
    """One question with set answers: the ids of its prompt, and those of each label."""

    ids: list[int]
    labels: tuple[tuple[int, ...], ...]


Logprobs = list[tuple[float, ...]]  # for each label, the log-probability of each of its tokens
More = Callable[[], Sequence[Row]]


def no_more() -> Sequence[Row]:
    """Nothing came meanwhile."""
    return ()


class Engine(Protocol):
    """A model that answers rows of token ids. Not for concurrent use: its owner lets one call in at a time.

    Results are delivered by their place among the rows, each as soon as it is known and from the calling thread, so that
    what is finished survives when the others are given up. Both methods give up, leaving rows without a result, soon
    after `stop` is set.
    """

    window: int  # the longest prompt with its answer, in tokens

    @property
    def lost(self) -> bool:
        """Whether it ended, and must be loaded again."""
        ...

    def generate(
        self,
        rows: Sequence[Row],
        *,
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More = no_more,
    ) -> None:
        """Sample an answer for each row, and for those that `more` gives meanwhile, whose places are the next ones.

        An engine need not ask for more; what it was given it must answer.
        """
        ...

    def choice_logprobs(
        self, rows: Sequence[Choice], *, stop: threading.Event, deliver: Callable[[int, Logprobs], None]
    ) -> None:
        """The log-probabilities of each row's labels as its next tokens, teacher-forced, over the whole vocabulary."""
        ...

    def fingerprint(self) -> str:
        """That of the weights that judge."""
        ...

    def release(self) -> None:
        """Give back memory that is held in reserve: the policy's generation needs it."""
        ...
