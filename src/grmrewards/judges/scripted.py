"""A judge that answers by a function of the messages: for tests, your own and ours.

It answers by content, never by the order of the calls, since calls are concurrent.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from grmrewards.errors import ConfigError
from grmrewards.judges.codehash import code_hash
from grmrewards.types import Message, Reply

Scripted = str | Reply | Sequence[str | Reply] | Mapping[str, float]


class ScriptedJudge:
    """A judge without a model. Nothing leaves the process and nothing waits.

    Args:
        reply: A function of the messages, plain or async. For sampled answers it returns a text, a `Reply`, or a list of
            them (one a vote, repeated as needed). For choices it returns the log-probability of each, or the text of the
            one it prefers (probability 0.99). It may raise `JudgeError`.

    >>> judge = ScriptedJudge(lambda messages: "<critique>Short.</critique><score>4</score>")
    """

    local = True  # no deadline of an endpoint

    def __init__(self, reply: Callable[[Sequence[Message]], Scripted | Awaitable[Scripted]]) -> None:
        if not callable(reply):
            raise ConfigError(
                f"reply={reply!r}; allowed is a function of the messages that returns the judge's answer."
            )
        self.reply = reply
        self.model = f"scripted:{getattr(reply, '__qualname__', type(reply).__name__)}"

    async def generate(self, messages: Sequence[Message], *, n: int = 1, **sampling: Any) -> list[Reply]:
        """`n` answers: those that `reply` returns, repeated as needed."""
        answers = await self._answers(messages)
        texts = answers if isinstance(answers, (list, tuple)) else [answers]
        return [_as_reply(texts[i % len(texts)]) for i in range(n)] if texts else []

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """One token a choice."""
        answer = await self._answers(messages)
        if isinstance(answer, Mapping):
            return [(float(answer[choice]),) for choice in choices]
        if answer not in choices:
            raise ConfigError(f"a scripted judge answered {answer!r} where one of {list(choices)} was asked for.")
        return [(math.log(0.99 if choice == answer else 0.01 / max(len(choices) - 1, 1)),) for choice in choices]

    async def identity(self) -> str:
        """The function's name and a hash of its code: another function of that name is another judge."""
        return f"{self.model}:{code_hash(self.reply)}"

    async def _answers(self, messages: Sequence[Message]) -> Any:
        answer = self.reply(messages)
        return await answer if inspect.isawaitable(answer) else answer


def _as_reply(answer: Any) -> Reply:
    return answer if isinstance(answer, Reply) else Reply(str(answer))
