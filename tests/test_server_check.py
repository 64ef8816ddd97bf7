"""What `OpenAIJudge` makes of the probe and the notices: at its first use, when asked, and on the command line."""

import asyncio
import logging
import pickle

import pytest

from grmrewards import FatalJudgeError, IRPMReward, Message, OpenAIJudge
from grmrewards.judges import probe
from test_probe import Server

SCORE = "<critique>Fine.</critique><score>4</score>"


@pytest.fixture(autouse=True)
def _quick(monkeypatch, caplog):
    monkeypatch.setattr(probe, "PATIENCE", 0.3)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "RANK"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.INFO, "grmrewards")


def judge_at(server, **arguments):
    return OpenAIJudge("judge", base_url=server.url, **arguments)


def judged(server, judge, calls=1):
    """The requests of judgements and those of the probe."""
    reward = IRPMReward(judge)
    for _ in range(calls):
        assert reward(prompts=["Q"] * 4, completions=["a", "b", "c", "d"]) == [0.4] * 4
    probing = [body for body in server.bodies if probe.ASK in body["messages"]]
    return len(server.bodies) - len(probing), len(probing)


class Slow(Server):
    """Judgements take longer than the probe, as they do."""

    text = SCORE

    async def _handle(self, request):
        if probe.ASK not in (await request.json())["messages"]:
            await asyncio.sleep(0.2)
        return await super()._handle(request)


def test_the_first_call_of_a_process_shows_what_the_server_ignores(caplog):
    with Slow(ignores=["n"]) as server:
        assert judged(server, judge_at(server), calls=3) == (3 * 4, 7)
    reports = [record for record in caplog.records if "n: one answer comes" in record.message]
    assert [record.levelname for record in reports] == ["INFO"]
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert ["temperature does nothing" in message for message in warnings] == [True]


@pytest.mark.parametrize("arguments", [{"check_server": False}, {"max_calls": 100}], ids=str)
def test_it_is_left_out_where_requests_are_counted(arguments):
    with Slow() as server:
        assert judged(server, judge_at(server, **arguments)) == (4, 0)


def test_of_several_ranks_the_first_one_looks(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with Slow() as server:
        assert judged(server, judge_at(server)) == (4, 0)


def test_votes_that_would_be_copies_are_asked_for_one_by_one(monkeypatch):
    monkeypatch.setattr(Server, "_choice", lambda self, body, i, limit, f=Server._choice: f(self, body, 0, limit))

    async def votes(judge):
        async with judge:
            while not judge._first_use.found:
                await asyncio.sleep(0.001)
            return await judge.generate([Message("user", "Q")], n=3, temperature=1.0, seed=1)

    with Server() as server:
        assert len({vote.text for vote in asyncio.run(votes(judge_at(server)))}) == 3


def test_a_judge_tells_when_asked():
    with Server(ignores=["n"]) as server:
        judge = judge_at(server)
        assert judge.probe().n == 1
        assert "n: one answer comes" in judge.probe().report()
    assert pickle.loads(pickle.dumps(judge_at(server, check_server=False))).check_server is False


@pytest.mark.parametrize("ignored", [[], ["n"]], ids=["votes in one request", "votes one by one"])
def test_answers_are_looked_at_in_passing(caplog, ignored):
    async def votes(judge):
        for _ in range(8):
            await judge.generate([Message("user", "Q")], n=2, max_tokens=4, temperature=1.0)

    with Server(ignores=["max_tokens", *ignored], text="always the same " * 4) as server:
        asyncio.run(votes(judge_at(server)))
    said = [record.message.partition(": ")[2][:28] for record in caplog.records]
    assert said == ["answers are longer than the ", "the votes on 8 questions in "]


def test_a_model_that_is_not_there_ends_the_probe():
    with Server(refuses={"model": 404}) as server, pytest.raises(FatalJudgeError):
        judge_at(server).probe()
