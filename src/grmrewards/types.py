"""The nouns that families and judges share: messages, groups, replies, votes, and the `Judge` protocol.

A judge is any object with the two methods of `Judge`; it needs no base class. Those that open connections or own a
worker may also be async context managers: `Reward` enters them once a call and leaves them before it returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
NO_COLUMNS: Mapping[str, tuple[Any, ...]] = {}
NO_ALTERNATIVES: Mapping[str, float] = {}


@dataclass(frozen=True)
class Part:
    """One piece of a message that is not plain text alone: `kind` is "text", "image" or what the trainer named it."""

    kind: str
    text: str = ""
    data: Any = field(default=None, repr=False)  # that of an image names its place in memory: no ground for a seed


@dataclass(frozen=True)
class Message:
    """One turn. A final message of the assistant is to be continued by the judge."""

    role: str
    content: str | tuple[Part, ...]


@dataclass(frozen=True)
class Group:
    """All that a judge may see of one prompt: G responses in the trainer's order, and the named columns of their rows."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: NO_COLUMNS)


@dataclass(frozen=True)
class TokenLogprob:
    """The log-probability of one sampled token at T = 1, with the alternatives that the judge reports beside it."""

    token: str
    logprob: float
    top: Mapping[str, float] = field(default_factory=lambda: NO_ALTERNATIVES)


@dataclass(frozen=True)
class Reply:
    """One sampled answer of a judge. `text` is without the reasoning; `finish_reason` "length" means cut off."""

    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Vote(Generic[T]):
    """What became of one answer that was asked for: `value` as the family read it, or None with `error` saying why."""

    value: T | None
    reply: Reply | None = None
    error: str = ""


class Judge(Protocol):
    """A language model that judges: it samples text, and gives the log-probability of set continuations.

    Only keywords that differ from their default are passed, so a judge of one's own may take fewer.

    A judge may also have `async def identity(self) -> str`: a text that names all that decides a judgement besides prompt
    and sampling (the weights, the chat template, the settings), and no key. Caches and records are kept by it, so that a
    judge that was trained on under the same name does not find what the old one said. It is called inside the entered
    judge, before each judgement where a record or a folder of principles is kept, so it must be cheap when repeated; it
    may raise `JudgeError`. A judge without it is known by its class and its attribute `model`.

    One whose `choice_logprobs` takes any texts as choices, also after a begun answer of the assistant (a final message of
    that role), may say so by `exact_choices = True`. Without it, what a score may have been is read from the alternatives
    that `generate` reports.

    And it may have `control_tokens`, a sequence of texts that its tokenizer or its chat format gives a meaning of their
    own: what is filled into its prompts cannot write them. Those of the formats in use are known without it.
    """

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        top_logprobs: int | None = None,
    ) -> list[Reply]:
        """Sample `n` answers. Raises `JudgeError` when none can be had, `FatalJudgeError` when asking again is vain."""
        ...

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """For each choice, one log-probability a token, as the judge's next words after `messages`."""
        ...


@dataclass
class Call:
    """The state of one `Reward.__call__`: the deadline that judges keep, and what was asked, used and lost."""

    deadline: float | None = None  # on the clock of the running loop
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)  # by reason
    values: dict[str, list[float]] = field(default_factory=dict)  # by name of a figure, whose mean is told

    def add(self, other: Call) -> None:
        """Count what `other` counted, too: one call of a reward that ran on several processes."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.counts.update(other.counts)
        self.failures.update(other.failures)
        for name, values in other.values.items():
            self.values.setdefault(name, []).extend(values)

    def seen(self, name: str, *values: float) -> None:
        """Note values of a figure, such as how sure the judge was to say one of the labels."""
        self.values.setdefault(name, []).extend(values)


CALL: ContextVar[Call | None] = ContextVar("grmrewards_call", default=None)
