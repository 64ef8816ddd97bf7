"""What the probe and the notices say of servers that accept and ignore, against real HTTP servers on loopback."""

import asyncio
import logging
import random
import threading
import time

import pytest
from aiohttp import web

from grmrewards import FatalJudgeError, OpenAIJudge, TransportError
from grmrewards.judges import capabilities, probe
from grmrewards.judges.first_use import FirstUse
from grmrewards.judges.notices import EQUAL, Notices, oddities
from grmrewards.types import CALL, Call

UNKNOWN = "grmrewards_unknown_field"


class Server:
    """A chat-completions server in a thread. `ignores` and `refuses` name fields; the rest is what it says of itself."""

    alternatives, model, usage, names, checks, text, logprob = 20, "judge", True, True, True, None, -3.0

    def __init__(self, ignores=(), refuses=None, message=None, **options):
        self.ignores, self.refuses, self.message = set(ignores), refuses or {}, message or {}
        self.bodies, self.hangs, self.rng = [], False, random.Random(0)
        self.__dict__.update(options)

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(10)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _start(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    async def _handle(self, request):
        body = await request.json()
        self.bodies.append(body)
        if self.hangs:
            await asyncio.Event().wait()
        refused = [field for field in self.refuses if field in body or field == "model"]
        if body["model"] == probe.NO_MODEL and self.checks:
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        if refused:
            error = {"message": f"'{refused[0]}' is not for here" if self.names else "no"}
            return web.json_response({"error": error}, status=self.refuses[refused[0]])
        return web.json_response(self._complete({k: v for k, v in body.items() if k not in self.ignores}))

    def _complete(self, body):
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 900
        choices = [self._choice(body, i, limit) for i in range(body.get("n", 1))]
        turn = body["messages"][-1]["role"] == "assistant"
        usage = {
            "prompt_tokens": 20 + (1 if body.get("continue_final_message") else 5) * turn,
            "completion_tokens": limit * len(choices),
        }
        return {"model": self.model, "choices": choices, **({"usage": usage} if self.usage else {})}

    def _choice(self, body, index, limit):
        seed = f"{body['seed']}-{index}" if "seed" in body else self.rng.random()
        letters = random.Random(seed if body.get("temperature", 1.0) else 0)
        content = self.text or " ".join(letters.choice("abcdefgh") for _ in range(limit))
        if "response_format" in body:
            content = '{"score": 1}'
        logprobs = None
        if body.get("logprobs"):
            top = [{"token": str(i), "logprob": -3.0} for i in range(self.alternatives)]
            logprobs = {"content": [{"token": "0", "logprob": self.logprob, "top_logprobs": top}] * 2}
        message = {"role": "assistant", "content": content, **self.message}
        return {"index": index, "message": message, "finish_reason": "length", "logprobs": logprobs}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(probe, "PATIENCE", 0.3)
    monkeypatch.setattr(probe, "WARM_UP", 0.3)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def endpoint(server, model="judge"):
    return OpenAIJudge(model, base_url=server.url, api_key="sk-secret")._endpoint


def look(server, extra=None):
    return probe.see(endpoint(server), extra)


# What is seen


GOOD = {
    "n": 2,
    "copies": False,
    "samples": True,
    "seed": "repeats",
    "logprobs": "given",
    "top_logprobs": 20,
    "json_schema": "constrained",
    "token_limit": "max_tokens",
    "counts_tokens": True,
    "reasoning": "",
    "continues": "continued",
    "unknown_fields": "ignored",
    "answers_as": "judge",
    "checks_model": True,
}

QUIRKS = {
    "nothing": ({}, {}, []),
    "n ignored": ({"ignores": ["n"]}, {"n": 1}, ["one answer comes where two are asked for"]),
    "n refused": ({"refuses": {"n": 400}}, {"n": 1}, ["a request of its own"]),
    "n refused without its name": (
        {"refuses": {"n": 400}, "names": False},
        {"n": 1, "seed": ""},
        ["a request of its own"],
    ),
    "logprobs ignored": (
        {"ignores": ["logprobs"]},
        {"logprobs": "absent", "top_logprobs": 0},
        ["logprobs: taken without a word and not given"],
    ),
    "logprobs refused": (
        {"refuses": {"logprobs": 400}},
        {"logprobs": "refused", "top_logprobs": 0},
        ["logprobs: refused", "logits_all"],
    ),
    "logprobs forbidden": ({"refuses": {"logprobs": 403}}, {"logprobs": "refused", "top_logprobs": 0}, []),
    "logprobs break it": ({"refuses": {"logprobs": 500}}, {"logprobs": "refused", "top_logprobs": 0}, []),
    "17 of 20": ({"alternatives": 17}, {"top_logprobs": 17}, ["17 of 20 alternatives"]),
    "seed ignored": ({"ignores": ["seed"]}, {"seed": "ignored"}, ["cannot be repeated"]),
    "temperature ignored": (
        {"text": "always this"},
        {"samples": False, "seed": ""},
        ["! answers at temperature 1 are the same", "do_sample", "seed: no telling"],
    ),
    "schema ignored": ({"ignores": ["response_format"]}, {"json_schema": "ignored"}, ["json_schema: taken without"]),
    "schema breaks it": ({"refuses": {"response_format": 500}}, {"json_schema": "refused"}, ["json_schema: refused"]),
    "schema refused": ({"refuses": {"response_format": 422}}, {"json_schema": "refused"}, []),
    "limit ignored": (
        {"ignores": ["max_tokens"]},
        {"token_limit": "ignored"},
        ["! answers are longer than the limit"],
    ),
    "limit under its other name": (
        {"refuses": {"max_tokens": 400}},
        {"token_limit": "max_completion_tokens"},
        ["length: max_completion_tokens"],
    ),
    "limit ignored under its other name": (
        {"refuses": {"max_tokens": 400}, "ignores": ["max_completion_tokens"]},
        {"token_limit": "ignored"},
        ["! answers are longer"],
    ),
    "limit refused": (
        {"refuses": {"max_tokens": 400, "max_completion_tokens": 400}},
        {"token_limit": "ignored"},
        ["! answers are longer"],
    ),
    "limit ignored, no usage": (
        {"ignores": ["max_tokens"], "usage": False},
        {"token_limit": "ignored", "counts_tokens": False, "continues": ""},
        ["! answers are longer", "counts no tokens"],
    ),
    "no usage": (
        {"usage": False},
        {"counts_tokens": False, "continues": ""},
        ["counts no tokens", "continue_final_message: no telling"],
    ),
    "reasoning": (
        {"message": {"reasoning": "hm"}},
        {"reasoning": "reasoning"},
        ["reasoning: stands in 'reasoning'"],
    ),
    "reasoning_content": (
        {"message": {"reasoning_content": "hm", "content": None}, "ignores": ["response_format"]},
        {"reasoning": "reasoning_content", "json_schema": "", "samples": False, "seed": ""},
        ["stands in 'reasoning_content'", "json_schema: no telling"],
    ),
    "reasoning in the text": (
        {"text": "<think>hm"},
        {"reasoning": "content", "samples": False, "seed": ""},
        ["! the reasoning stands in the text", "reasoning parser"],
    ),
    "begun answers ignored": (
        {"ignores": ["continue_final_message"]},
        {"continues": "ignored"},
        ["taken as a finished turn"],
    ),
    "begun answers and unknown fields refused": (
        {"refuses": {"continue_final_message": 422, UNKNOWN: 422}},
        {"continues": "refused", "unknown_fields": "refused"},
        ["cannot use this server", "ends the run with its message"],
    ),
    "any model": ({"checks": False}, {"checks_model": False}, ["model: any name is answered"]),
    "another model": (
        {"model": "tiny"},
        {"answers_as": "tiny"},
        ["! answers name the model 'tiny' where 'judge' was asked for"],
    ),
}


@pytest.mark.parametrize(("server", "differs", "says"), QUIRKS.values(), ids=QUIRKS.keys())
def test_each_quirk_is_seen_and_named(server, differs, says):
    with Server(**server) as server:
        found = look(server)
    assert {name: getattr(found, name) for name in GOOD} == GOOD | differs
    report = found.report()
    assert report.startswith(f"'judge' at {server.url}:")
    assert [sentence for sentence in says if sentence not in report] == []
    assert len(found.warnings()) == report.count("\n  ! ")


def test_copies_are_told_apart_from_no_sampling(monkeypatch):
    monkeypatch.setattr(Server, "_choice", lambda self, body, i, limit, f=Server._choice: f(self, body, 0, limit))
    with Server() as server:
        found = look(server)
    assert (found.copies, found.samples, found.n) == (True, True, 2)
    assert "votes would be copies" in found.report()
    assert "n: one answer" in found.report(), "they are asked for one by one"


def test_a_confident_judge_is_not_one_that_does_not_sample():
    with Server(text="always this", logprob=-0.01) as server:
        found = look(server)
    assert (found.samples, found.copies, found.seed) == (None, False, "")
    assert not found.warnings()


def test_a_server_that_hangs_over_its_first_log_probabilities_is_waited_for(monkeypatch):
    async def handle(self, request, answer=Server._handle):
        if "logprobs" in await request.json():
            await asyncio.sleep(1 if len(self.bodies) < 7 else 0)
        elif self.bodies:
            await asyncio.sleep(0.7)
        return await answer(self, request)

    monkeypatch.setattr(Server, "_handle", handle)
    monkeypatch.setattr(probe, "WARM_UP", 5.0)
    with Server() as server:
        found = look(server)
    assert {name: getattr(found, name) for name in GOOD} == GOOD


def test_what_never_answers_is_not_called_a_refusal(monkeypatch):
    async def handle(self, request, answer=Server._handle):
        if self.bodies:
            await asyncio.Event().wait()
        return await answer(self, request)

    monkeypatch.setattr(Server, "_handle", handle)
    with Server() as server:
        found = look(server)
    assert (found.n, found.logprobs, found.json_schema, found.continues, found.unknown_fields) == (0, "", "", "", "")
    assert found.report().count("no telling") == 6
    assert not found.warnings()


def test_it_costs_six_short_requests_and_at_most_three_more():
    with Server() as server:
        look(server, {"top_k": 3, "response_format": {"type": "text"}})
        assert len(server.bodies) == 6
        assert sum(body["max_tokens"] * body.get("n", 1) for body in server.bodies) <= 80
        assert all(body["top_k"] == 3 for body in server.bodies)
        assert ["response_format" in body for body in server.bodies].count(True) == 1
    with Server(refuses={"logprobs": 400}, text="always this") as server:
        look(server)
        assert len(server.bodies) == 9


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_is_wrong_with_the_set_up_is_raised(status):
    with Server(refuses={"model": status}) as server, pytest.raises(FatalJudgeError, match=f"HTTP {status}"):
        look(server)
    assert len(server.bodies) == 1


def test_a_server_that_is_not_there_is_an_error():
    judge = OpenAIJudge("judge", base_url="http://127.0.0.1:9/v1")

    async def soon():
        CALL.set(Call(deadline=asyncio.get_running_loop().time() + 0.3))
        async with judge._endpoint as open_endpoint:
            await probe.probe(open_endpoint)

    with pytest.raises(TransportError):
        asyncio.run(soon())


def test_a_server_that_breaks_is_not_waited_for():
    started = time.monotonic()
    with Server(refuses={"response_format": 500}) as server:
        look(server)
    assert time.monotonic() - started < 3


def test_it_can_be_asked_for_within_a_running_loop():
    async def cell():
        return probe.see(endpoint(server))

    with Server() as server:
        assert asyncio.run(cell()).n == 2


# At first use


def first_use(server, **options):
    open_endpoint = endpoint(server)
    return open_endpoint, FirstUse(open_endpoint, {}, **{"wanted": True, **options})


async def call(open_endpoint, first, *, until=lambda: True):
    async with open_endpoint:
        first.begin()
        while not until():
            await asyncio.sleep(0.001)
        await first.end()


def test_a_process_probes_once_and_says_it_in_the_log(caplog):
    caplog.set_level(logging.INFO, "grmrewards")
    with Server(ignores=["n"], text="always this") as server:
        open_endpoint, first = first_use(server)
        for _ in range(2):
            asyncio.run(call(open_endpoint, first, until=lambda: first.found))
        assert len(server.bodies) == 7
    (report,) = [r.message for r in caplog.records if r.levelno == logging.INFO and "unknown fields" in r.message]
    assert "n: one answer comes" in report
    assert ["temperature does nothing" in r.message for r in caplog.records if r.levelno == logging.WARNING] == [True]


def test_it_ends_with_the_call_and_is_tried_again_three_times_at_most():
    with Server() as server:
        server.hangs = True
        open_endpoint, first = first_use(server)
        for seen in (1, 2, 3, 3):
            asyncio.run(call(open_endpoint, first, until=lambda seen=seen: len(server.bodies) == seen))
            assert first._task is None
        assert first.found is None


def test_it_raises_nothing_and_may_be_left_out(caplog):
    caplog.set_level(logging.INFO, "grmrewards")
    with Server(refuses={"model": 404}) as server:
        open_endpoint, first = first_use(server)
        asyncio.run(call(open_endpoint, first, until=lambda: "was not seen" in caplog.text))
        assert "HTTP 404" in caplog.text
        asyncio.run(call(*first_use(server, wanted=False)))
        assert len(server.bodies) == 1


# In passing


def answers(content, *, used=5, model="judge", **choice):
    choice = {"message": {"content": content}, **choice}
    return {"model": model, "choices": [choice], "usage": {"completion_tokens": used} if used else None}


OBJECT = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
LIST = {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}
GIVEN = {"logprobs": {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": []}]}}


@pytest.mark.parametrize(
    ("sent", "answer", "kinds"),
    [
        ({"max_tokens": 16}, answers("a", used=24), []),
        ({"max_tokens": 16}, answers("a", used=947), ["limit"]),
        ({"max_completion_tokens": 5}, answers("a", used=947), ["limit"]),
        ({"max_tokens": 5}, answers("a" * 9000, used=0), ["limit"]),
        ({"max_tokens": 500}, answers("a" * 9000, used=0), []),
        ({"max_tokens": 16}, answers("a", model="tiny"), ["model"]),
        ({"max_tokens": 16}, answers("a", model="org/judge-2026"), []),
        ({"max_tokens": 16}, answers("a", model=None), []),
        ({"logprobs": True}, answers("a"), ["logprobs"]),
        ({"logprobs": True}, answers("a", **GIVEN), []),
        ({"logprobs": True}, answers(""), []),
        ({"response_format": OBJECT}, answers("Score: 1"), ["schema"]),
        ({"response_format": {"type": "json_object"}}, answers("Score: 1"), ["schema"]),
        ({"response_format": OBJECT}, answers(' {"score": 1}'), []),
        ({"response_format": LIST}, answers("[1]"), []),
        ({"response_format": {"type": "text"}}, answers("Score: 1"), []),
        ({}, answers(None, used=0), []),
    ],
)
def test_an_answer_shows_what_was_silently_not_done(sent, answer, kinds):
    assert [kind for kind, _ in oddities(sent, answer, model="judge")] == kinds


class Here:
    """An endpoint that is not asked."""

    model = "judge"

    def where(self):
        return "here"


def test_each_oddity_is_said_once(caplog):
    notices = Notices(Here())
    for _ in range(3):
        notices.look({"max_tokens": 5}, answers("a", used=947))
    assert [record.message for record in caplog.records] == [f"here: {capabilities.LIMIT_IGNORED}"]


@pytest.mark.parametrize(
    ("votes", "temperature", "said"),
    [
        ([["w" * 40] * 2] * EQUAL, 1.0, True),
        ([["w" * 40] * 2] * EQUAL, None, True),
        ([["w" * 40] * 2] * EQUAL, 0, False),
        ([["w" * 40] * 2] * (EQUAL - 1), 1.0, False),
        ([["w" * 39] * 2] * EQUAL, 1.0, False),
        ([["w" * 40]] * EQUAL, 1.0, False),
        ([["w" * 40] * 2] * (EQUAL - 1) + [["w" * 40, "v" * 40]] + [["w" * 40] * 2], 1.0, False),
    ],
    ids=["all equal", "no temperature set", "temperature 0", "too few", "short", "one vote", "one differs"],
)
def test_votes_that_are_always_the_same_are_noticed(caplog, votes, temperature, said):
    notices = Notices(Here())
    for texts in votes:
        notices.votes(texts, temperature)
    assert ("same to the letter" in caplog.text) is said
