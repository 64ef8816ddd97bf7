"""How often a judge is asked again, and when that is vain."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from grmrewards import JudgeError, Message, ParseError, Reply, TransportError
from grmrewards.asking import REASKS, SURE_REASKS, ask, choose
from grmrewards.types import CALL, Call

QUESTIONS = 256


def number(reply: Reply) -> int:
    if not reply.text.isdigit():
        raise ParseError("no number in the answer")
    return int(reply.text)


class Judge:
    """Answers so that a share of the answers cannot be read, by question and seed."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.asked: list[tuple[str, Any]] = []

    async def generate(self, messages: Sequence[Message], *, seed: int | None = None, **_: Any) -> list[Reply]:
        await asyncio.sleep(0)
        question = str(messages[0].content)
        self.asked.append((question, seed))
        unusable = random.Random(f"{question} {len(self.asked)} {seed}").random() < self.share
        return [Reply("hm" if unusable else "7")]

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        if not (await self.generate(messages))[0].text.isdigit():
            raise ParseError("no label")
        return [(-0.1,), (-2.4,)]


async def all_at_once(judge: Judge, way: str) -> tuple[Call, list[Any]]:
    CALL.set(call := Call())

    async def one(i: int) -> Any:
        messages = [Message("user", str(i))]
        return (await ask(judge, messages, number, seed=i))[0] if way == "ask" else await choose(judge, messages, "AB")

    return call, await asyncio.gather(*(one(i) for i in range(QUESTIONS)))


@pytest.mark.parametrize("way", ["ask", "choose"])
def test_every_judgement_is_had_where_three_answers_in_ten_cannot_be_read(way: str) -> None:
    judge = Judge(0.3)
    call, votes = asyncio.run(all_at_once(judge, way))
    assert not any(vote.error for vote in votes)
    assert not call.failures
    assert len(judge.asked) < 1.6 * QUESTIONS
    assert len(set(judge.asked)) == len(judge.asked) or way == "choose", "each time under a new seed"


@pytest.mark.parametrize("way", ["ask", "choose"])
def test_a_judge_that_can_never_be_read_is_not_asked_for_ever(way: str) -> None:
    judge = Judge(1.0)
    call, votes = asyncio.run(all_at_once(judge, way))
    assert all(vote.error for vote in votes)
    assert len(judge.asked) == (1 + SURE_REASKS) * QUESTIONS
    assert sum(call.failures.values()) == QUESTIONS


def test_one_question_among_good_ones_is_given_up_in_the_end() -> None:
    judge = Judge(1.0)

    async def work() -> Any:
        CALL.set(call := Call())
        call.counts["usable"] = 100
        return await ask(judge, [Message("user", "?")], number)

    (vote,) = asyncio.run(work())
    assert vote.error == "no number in the answer"
    assert len(judge.asked) == 1 + REASKS


def test_what_was_lost_on_the_way_is_not_asked_for_again() -> None:
    class Gone(Judge):
        async def generate(self, messages: Sequence[Message], **_: Any) -> list[Reply]:
            self.asked.append(("", None))
            raise TransportError("timed out: no answer")

    judge = Gone(0.0)
    (vote,) = asyncio.run(ask(judge, [Message("user", "?")], number))
    assert vote.error.startswith("timed out")
    assert len(judge.asked) == 1
    assert issubclass(TransportError, JudgeError)
