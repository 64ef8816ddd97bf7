"""Several answers to one question, and answers with log-probabilities, of servers that may know neither."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from grmrewards.errors import FatalJudgeError, JudgeError, ParseError
from grmrewards.judges.first_use import FirstUse
from grmrewards.judges.label_ids import FIELD, LabelIds
from grmrewards.judges.notices import Notices
from grmrewards.judges.replies import has_logprobs, replies, tokens
from grmrewards.types import CALL, Reply

SEED_STEP = 1_000_003  # between votes that are asked for one by one: far from the small steps of re-asking
LOGPROB_ATTEMPTS = 3  # answers without log-probabilities, and none with them, after which a server gives none


class Answers:
    """The answers of one server, and what they showed that it can do."""

    def __init__(self, notices: Notices, first_use: FirstUse, label_ids: LabelIds) -> None:
        self._notices, self._first_use, self._label_ids = notices, first_use, label_ids
        self._knows_n, self._gives_logprobs = True, False

    async def several(self, fields: Mapping[str, Any], n: int) -> list[Reply]:
        """`n` answers, or fewer where some could not be had."""
        if n == 1:
            return replies(await self._notices.ask(fields))[:1]
        if not (self._knows_n and self._first_use.takes_n):
            answers = await self._one_by_one(fields, range(n))
        elif len(answers := replies(await self._notices.ask({**fields, "n": n}))[:n]) < n:
            self._knows_n = False  # llama.cpp and others ignore the field without a word
            answers += await self._one_by_one(fields, range(len(answers), n), may_fail=True)
        self._notices.votes([a.text for a in answers], fields.get("temperature"))
        return answers

    async def with_logprobs(self, fields: Mapping[str, Any], ids: Mapping[int, str]) -> dict[str, Any]:
        """The completion, with the log-probabilities of the tokens `ids` where there are any.

        One answer without log-probabilities is an accident; a server that never gives any is not.
        """
        for _ in range(LOGPROB_ATTEMPTS):
            data = await (self._exactly(fields, ids) if ids else self._notices.ask(fields))
            _count(data)
            if has_logprobs(data):
                self._gives_logprobs = True
                break
            if self._gives_logprobs:
                raise ParseError("an answer without the log-probabilities that others had")
        return data

    async def _exactly(self, fields: Mapping[str, Any], ids: Mapping[int, str]) -> dict[str, Any]:
        """A run does not end for a field that it can do without: of several servers, one may be of another kind."""
        try:
            return await self._notices.ask({**fields, FIELD: [*ids]})
        except FatalJudgeError:
            data = await self._notices.ask(fields)
            self._label_ids.drop()
            return data

    async def _one_by_one(self, fields: Mapping[str, Any], votes: range, *, may_fail: bool = False) -> list[Reply]:
        """One request a vote, all at once. A seed of their own each, or all would be the same answer."""
        lost: list[JudgeError] = []

        async def one(vote: int) -> list[Reply]:
            seed = {"seed": (fields["seed"] + vote * SEED_STEP) % 2**31} if "seed" in fields else {}
            try:
                return replies(await self._notices.ask({**fields, **seed}))[:1]
            except JudgeError as error:
                lost.append(error)
                return []

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(vote)) for vote in votes]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        answers = [reply for task in tasks for reply in task.result()]
        if not answers and not may_fail:
            raise lost[0]
        return answers


def _count(data: Mapping[str, Any]) -> None:
    """Add the tokens of an answer that no `Reply` reports."""
    if (call := CALL.get()) is not None:
        prompt_tokens, completion_tokens = tokens(data)
        call.prompt_tokens += prompt_tokens
        call.completion_tokens += completion_tokens
