"""What `OpenAIJudge` promises, against real HTTP servers on loopback; nothing below the socket is faked."""

import asyncio
import copy
import json
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from aiohttp import web

from grmrewards import (
    ConfigError,
    ContextOverflow,
    FatalJudgeError,
    GRAMReward,
    GRMError,
    IPGRMReward,
    JudgeOutage,
    Message,
    OpenAIJudge,
    ParseError,
    Part,
    TransportError,
)
from grmrewards.judges import endpoint
from grmrewards.types import CALL, Call
from servers import Answer, Script, Server, choice, completes, cuts_off, fails, hangs, in_turn, labels, resets, says

KEY = "sk-very-secret"
ASK = [Message("user", "How good is it?")]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.005)


def judge_at(server: Server, **arguments: Any) -> OpenAIJudge:
    return OpenAIJudge("judge", base_url=server.url, **{"api_key": KEY, "check_server": False, **arguments})


def generate(judge: OpenAIJudge, messages: Any = ASK, *, seconds: float | None = None, **sampling: Any) -> list[Any]:
    """The answers as a reward gets them, with `seconds` until the deadline of the call."""
    return asyncio.run(_within(seconds, lambda: judge.generate(messages, **sampling)))


def choose(judge: OpenAIJudge, choices: Any = ("A", "B")) -> list[tuple[float, ...]]:
    return asyncio.run(_within(None, lambda: judge.choice_logprobs(ASK, choices)))


async def _within(seconds: float | None, ask: Callable[[], Any]) -> Any:
    now = asyncio.get_running_loop().time()
    CALL.set(Call(deadline=None if seconds is None else now + seconds))
    return await ask()


# End to end


def by_word(body: dict[str, Any]) -> web.Response:
    """A judge that writes principles, and scores 10 where the answer "quokka" stands."""
    prompt = body["messages"][0]["content"]
    if "[The Begin of Response]" not in prompt:
        return says("Evaluation Principles:\n1. [Right] (Weight: 100%): is it right?")
    return says(r"Score: \boxed{10}" if "quokka" in prompt else r"Score: \boxed{1}")


def test_ipgrm_rewards_come_over_the_wire(server: Server) -> None:
    server.script = by_word
    rewards = IPGRMReward(judge_at(server))(prompts=["Q"] * 4, completions=["quokka", "walrus", "a quokka", "a walrus"])
    assert rewards == [1.0, 0.0, 1.0, 0.0]
    assert len(server.bodies) == 5, "one for the principles, one a response"
    assert server.connections() == 0, "nothing stays open after a call"


def test_gram_rewards_come_over_the_wire(server: Server) -> None:
    def script(body: dict[str, Any]) -> web.Response:
        prompt = body["messages"][0]["content"]
        quokka_is_a = prompt.index("quokka") < prompt.index("walrus")
        p = 0.9 if quokka_is_a else 0.1
        return labels(("A", math.log(p)), (" B", math.log(1 - p)))

    server.script = script
    figures: dict[str, float] = {}
    rewards = GRAMReward(judge_at(server))(
        prompts=["Q"] * 2, completions=["quokka", "walrus"], log_metric=figures.__setitem__
    )
    assert rewards == pytest.approx([0.9, 0.1])
    sent = server.bodies[0]
    assert {name: sent[name] for name in ("max_tokens", "temperature", "logprobs", "top_logprobs")} == {
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert sum(value for name, value in figures.items() if name.endswith("tokens")) == 2 * (7 + 5)
    assert server.connections() == 0


def test_a_judge_serves_several_threads_and_a_running_loop_at_once(server: Server) -> None:
    server.script = by_word
    judge = judge_at(server)
    rewards = [IPGRMReward(judge) for _ in range(3)]
    results: list[Any] = []

    def work(reward: IPGRMReward) -> None:
        results.append(reward(prompts=["Q"] * 2, completions=["quokka", "walrus"]))

    async def notebook() -> None:
        threads = [threading.Thread(target=work, args=(reward,)) for reward in rewards[1:]]
        for thread in threads:
            thread.start()
        work(rewards[0])
        results.append([reply.text for reply in await judge.generate(ASK, n=1)])
        for thread in threads:
            thread.join()

    asyncio.run(notebook())
    assert results.count([1.0, 0.0]) == 3
    assert len(results) == 4
    assert server.connections() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_judge_works_in_a_forked_child_while_its_parent_is_connected(server: Server, tmp_path: Any) -> None:
    # A process of its own, since this one has threads that a fork would not copy.
    script = tmp_path / "forks.py"
    script.write_text(
        "import asyncio, os, sys, threading\n"
        "from grmrewards import Message, OpenAIJudge\n"
        "judge, ask = OpenAIJudge('judge', base_url=sys.argv[1], check_server=False), [Message('user', 'Q')]\n"
        "loop = asyncio.new_event_loop()\n"
        "threading.Thread(target=loop.run_forever, daemon=True).start()\n"
        "here = lambda c: asyncio.run_coroutine_threadsafe(c, loop).result()\n"
        "here(judge.__aenter__())\n"
        "here(judge.generate(ask))\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    os._exit(asyncio.run(judge.generate(ask))[0].text != 'fine')\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert here(judge.generate(ask))[0].text == 'fine'\n"
        "here(judge.__aexit__(None, None, None))\n"
    )
    ended = subprocess.run([sys.executable, str(script), server.url], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert len(server.bodies) == 3


# Faults that pass


FAULTS: dict[str, Callable[[], Answer]] = {
    "500": lambda: fails(500),
    "429": lambda: fails(429, code="rate_limit_exceeded"),
    "429 with a wait": lambda: fails(429, headers={"Retry-After-Ms": "5"}),
    "429 that says quota but means a minute": lambda: fails(429, message="You exceeded your current quota"),
    "wait without sense": lambda: fails(503, headers={"Retry-After": "99999999999999"}),
    "408": lambda: fails(408),
    "409": lambda: fails(409),
    "425": lambda: fails(425),
    "reset": lambda: resets,
    "HTML": lambda: web.Response(text="<html>busy</html>", content_type="text/html"),
    "cut-off JSON": lambda: web.Response(text='{"choices": [{"mess', content_type="application/json"),
    "cut-off connection": lambda: cuts_off,
    "empty choices": lambda: completes(),
    "choices null": lambda: web.json_response({"choices": None}),
    "no message": lambda: web.json_response({"choices": [{}]}),
    "error with status 200": lambda: web.json_response({"error": {"message": "overloaded"}}),
    "a list": lambda: web.json_response([]),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_passing_fault_costs_a_retry_and_nothing_else(server: Server, fault: Callable[[], Answer]) -> None:
    server.script = in_turn(fault, fault, lambda: says("fine"))
    assert [reply.text for reply in generate(judge_at(server), seconds=5)] == ["fine"]
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[2]
    assert server.connections() == 0


def test_a_slow_attempt_is_given_up_and_asked_again(server: Server) -> None:
    server.script = in_turn(lambda: hangs, lambda: says("fine"))
    assert generate(judge_at(server, timeout=0.05))[0].text == "fine"
    assert len(server.bodies) == 2


def test_without_a_call_the_number_of_attempts_is_bounded(server: Server) -> None:
    server.script = in_turn(lambda: fails(500), lambda: fails(500), lambda: fails(503))
    with pytest.raises(TransportError, match=r"^HTTP 503: .* in 6 attempts \(HTTP 503 x4, HTTP 500 x2\)$"):
        generate(judge_at(server))
    assert len(server.bodies) == 6


def test_a_server_that_is_not_there_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match=r"^no connection \(ClientConnectorError\): "):
        generate(OpenAIJudge("judge", base_url="http://127.0.0.1:9/v1"))


@pytest.mark.parametrize("seconds", [1.0, None], ids=["beyond the deadline", "beyond patience"])
def test_a_wait_that_is_too_long_is_not_waited_for(server: Server, seconds: float | None) -> None:
    server.script = lambda body: fails(429, headers={"Retry-After": "600"})
    started = time.monotonic()
    with pytest.raises(TransportError, match=r"^HTTP 429: "):
        generate(judge_at(server), seconds=seconds)
    assert time.monotonic() - started < 1.5
    assert len(server.bodies) == 1


def test_retries_end_with_the_call(server: Server) -> None:
    server.script = lambda body: fails(500)
    started = time.monotonic()
    with pytest.raises(TransportError):
        generate(judge_at(server), seconds=0.4)
    assert time.monotonic() - started < 1.5
    assert len(server.bodies) > 1


def test_a_reward_returns_in_time_though_some_answers_hang(server: Server) -> None:
    def script(body: dict[str, Any]) -> Answer:
        return hangs if "stuck" in body["messages"][0]["content"] else by_word(body)

    server.script = script
    reward = IPGRMReward(judge_at(server), deadline=0.6, on_failure="none")
    started = time.monotonic()
    assert reward(prompts=["Q"] * 3, completions=["quokka", "walrus", "stuck"]) == [1.0, 0.0, None]
    assert time.monotonic() - started < 2.0
    assert server.connections() == 0


@pytest.mark.parametrize("answer", [lambda: hangs, lambda: fails(500)], ids=["hanging", "failing"])
def test_a_dead_server_is_an_outage_on_time(server: Server, answer: Callable[[], Answer]) -> None:
    server.script = lambda body: answer()
    started = time.monotonic()
    with pytest.raises(JudgeOutage):
        IPGRMReward(judge_at(server), deadline=0.1)(prompts=["Q"] * 2, completions=["quokka", "walrus"])
    assert time.monotonic() - started < 2.0
    assert server.connections() == 0


# Refusals


@pytest.mark.parametrize(
    ("answer", "says_what"),
    [
        (lambda: fails(401, message=f"Incorrect API key provided: {KEY}"), "OPENAI_API_KEY"),
        (lambda: fails(402), "quota"),
        (lambda: fails(403), "ask for access"),
        (lambda: fails(404), "No such model or path"),
        (lambda: fails(429, code="insufficient_quota"), "quota is used up"),
        (lambda: fails(400, message="unknown field 'x'"), "It says: unknown field 'x'"),
        (lambda: web.json_response({"detail": [{"msg": "bad"}]}, status=422), "bad"),
        (lambda: web.Response(text="<html>", status=404), "No such model or path"),
    ],
    ids=["401", "402", "403", "404", "quota", "400", "422", "404 HTML"],
)
def test_what_no_retry_mends_ends_at_once(server: Server, answer: Callable[[], Answer], says_what: str) -> None:
    server.script = lambda body: answer()
    with pytest.raises(FatalJudgeError, match=says_what) as raised:
        IPGRMReward(judge_at(server))(prompts=["Q"], completions=["quokka"])
    assert len(server.bodies) == 1
    assert f"'judge' at {server.url}" in str(raised.value)
    assert KEY not in str(raised.value)
    assert server.connections() == 0


OVERFLOWS = [
    "This model's maximum context length is 1024 tokens. However, you requested 1500 tokens.",
    "the request exceeds the available context size (512 tokens), try increasing it",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "The decoder prompt (length 2000) is longer than the maximum model length of 1024.",
    "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    "prompt is too long: 210000 tokens > 200000 maximum",
    "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
]


@pytest.mark.parametrize("message", OVERFLOWS)
def test_a_prompt_that_is_too_long_is_told_apart(server: Server, message: str) -> None:
    server.script = lambda body: fails(400, message=message)
    with pytest.raises(ContextOverflow):
        generate(judge_at(server))
    assert len(server.bodies) == 1


def test_a_code_tells_the_overflow_whatever_the_words(server: Server) -> None:
    server.script = lambda body: fails(400, message="zu lang", code="context_length_exceeded")
    with pytest.raises(ContextOverflow):
        generate(judge_at(server))


def test_a_prompt_that_the_filter_refuses_costs_its_row_only(server: Server) -> None:
    server.script = lambda body: fails(400, code="content_filter")
    with pytest.raises(ParseError, match="content filter"):
        generate(judge_at(server))


def refuses(field: str, **error: Any) -> Script:
    return lambda body: fails(400, **error) if field in body else says("fine")


@pytest.mark.parametrize(
    ("field", "error", "then_sent"),
    [
        (
            "max_tokens",
            {"param": "max_tokens", "message": "Use 'max_completion_tokens'."},
            {"max_completion_tokens": 9},
        ),
        ("max_tokens", {"message": "'max_tokens' is not supported"}, {"max_completion_tokens": 9}),
        ("temperature", {"param": "temperature"}, {"max_tokens": 9}),
        ("temperature", {"message": "Unsupported value: 'temperature' does not support 0"}, {"max_tokens": 9}),
        (
            "seed",
            {"message": "[{'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]"},
            {"max_tokens": 9},
        ),
    ],
    ids=["param max_tokens", "message max_tokens", "param temperature", "message temperature", "message seed"],
)
def test_a_field_that_the_server_refuses_is_not_sent_again(
    server: Server, field: str, error: dict[str, Any], then_sent: dict[str, Any]
) -> None:
    server.script = refuses(field, **error)
    judge = judge_at(server)
    for _ in range(2):
        assert generate(judge, temperature=0.0, max_tokens=9, seed=3)[0].text == "fine"
    assert len(server.bodies) == 3, "the refusal is remembered"
    assert field not in server.bodies[-1]
    assert server.bodies[-1].items() >= then_sent.items()


def test_a_field_refused_under_both_names_is_left_out(server: Server) -> None:
    server.script = lambda body: (
        fails(422, message="max_tokens, max_completion_tokens: no") if any("max" in f for f in body) else says("fine")
    )
    assert generate(judge_at(server))[0].text == "fine"
    assert ["max_tokens" in body for body in server.bodies] == [True, False, False]
    assert ["max_completion_tokens" in body for body in server.bodies] == [False, True, False]


def test_many_requests_that_learn_of_a_refusal_together_learn_it_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = refuses("max_tokens", param="max_tokens")
    judge = judge_at(server)

    async def many() -> list[Any]:
        return await asyncio.gather(*(judge.generate(ASK) for _ in range(8)))

    asyncio.run(many())
    assert all("max_completion_tokens" in body for body in server.bodies if "max_tokens" not in body)
    assert [record.message.partition(" (")[0] for record in caplog.records] == ["judge refuses max_tokens"]


# Votes


def test_votes_are_asked_for_in_one_request_and_their_tokens_counted_once(server: Server) -> None:
    server.script = lambda body: says(*"abc")
    votes = generate(judge_at(server), n=3)
    assert [vote.text for vote in votes] == ["a", "b", "c"]
    assert server.bodies[0]["n"] == 3
    assert [(vote.prompt_tokens, vote.completion_tokens) for vote in votes] == [(7, 5), (0, 0), (0, 0)]


def test_votes_that_are_missing_are_asked_for_one_by_one_from_then_on(server: Server) -> None:
    server.script = lambda body: says("a")
    judge = judge_at(server)
    assert len(generate(judge, n=4, seed=1)) == 4
    assert [body.get("n") for body in server.bodies] == [4, None, None, None]
    assert len({body["seed"] for body in server.bodies}) == 4, "one seed for all would give one answer"
    assert sum(vote.prompt_tokens for vote in generate(judge, n=2)) == 14
    assert [body.get("n") for body in server.bodies[4:]] == [None, None]


def test_a_server_that_refuses_n_is_asked_one_by_one(server: Server) -> None:
    server.script = refuses("n", message="only 'n' = 1 is supported")
    assert len(generate(judge_at(server), n=3)) == 3


def test_votes_that_are_lost_do_not_take_the_others_along(server: Server) -> None:
    server.script = in_turn(lambda: says("a"), lambda: says("b"), lambda: fails(413))
    assert sorted(vote.text for vote in generate(judge_at(server), n=3)) == ["a", "b"]


def test_no_more_than_max_concurrency_requests_are_in_flight(server: Server) -> None:
    three = asyncio.Barrier(3)

    async def with_two_others(request: web.Request) -> web.Response:
        await three.wait()
        return says("fine")

    server.script = lambda body: with_two_others
    judge = judge_at(server, max_concurrency=3)

    async def many() -> None:
        await asyncio.gather(*(judge.generate(ASK) for _ in range(12)))

    asyncio.run(many())
    assert server.most_in_flight == 3
    assert len(server.bodies) == 12


# Replies and requests


@pytest.mark.parametrize(
    ("given", "text", "reasoning", "finish"),
    [
        (choice("a"), "a", "", "stop"),
        (choice("a", message={"reasoning": "r"}), "a", "r", "stop"),
        (choice("a", message={"reasoning_content": "r"}), "a", "r", "stop"),
        (choice("a", message={"reasoning": None, "reasoning_content": "r"}), "a", "r", "stop"),
        (choice(None, finish_reason="length", message={"reasoning": "r"}), "", "r", "length"),
        (choice("a", finish_reason="content_filter"), "a", "", "content_filter"),
        (choice(None, message={"refusal": "no"}), "", "", "stop"),
        (choice("a", finish_reason=None), "a", "", "stop"),
        (choice([{"type": "text", "text": "a"}, {"type": "other"}]), "a", "", "stop"),  # type: ignore[arg-type]
    ],
    ids=["plain", "reasoning", "reasoning_content", "both", "cut off", "filtered", "refused", "unfinished", "blocks"],
)
def test_an_answer_is_read(server: Server, given: dict[str, Any], text: str, reasoning: str, finish: str) -> None:
    server.script = lambda body: completes(given)
    (reply,) = generate(judge_at(server))
    assert (reply.text, reply.reasoning, reply.finish_reason) == (text, reasoning, finish)


def test_log_probabilities_come_with_the_answer_where_asked_for(server: Server) -> None:
    server.script = lambda body: labels(("A", -0.5), (" B", -1.5), ("C", -9999.0), ("D", None))
    (reply,) = generate(judge_at(server), top_logprobs=4)
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 4)
    (token,) = reply.logprobs
    assert (token.token, token.logprob, token.top) == ("A", -0.5, {"A": -0.5, " B": -1.5})


@pytest.mark.parametrize(
    ("own", "asked", "sent"),
    [
        ({}, {}, {"max_tokens": 2048}),
        ({}, {"temperature": 0.0, "max_tokens": 5, "seed": 4}, {"temperature": 0.0, "max_tokens": 5, "seed": 4}),
        (
            {"temperature": 0.0, "max_tokens": 9},
            {"temperature": 1.0, "max_tokens": 5},
            {"temperature": 0.0, "max_tokens": 9},
        ),
        ({"extra_body": {"top_k": 3}}, {}, {"max_tokens": 2048, "top_k": 3}),
    ],
    ids=["nothing asked", "the reward asks", "the judge's own wins", "extra fields"],
)
def test_only_what_was_asked_for_is_sent(
    server: Server, own: dict[str, Any], asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    generate(judge_at(server, **own), **asked)
    messages = [{"role": "user", "content": "How good is it?"}]
    assert server.bodies == [{"model": "judge", "messages": messages, **sent}]


def test_any_text_can_be_sent(server: Server) -> None:
    text = "nul \0, half \ud800, pair \ud83d\ude00, bidi \u202e, " + "e\u0301" * 100
    generate(judge_at(server), [Message("user", text)])
    received = server.bodies[0]["messages"][0]["content"]
    assert received == text.replace("\ud800", "\ufffd", 1).replace("\ud83d\ude00", "\U0001f600")


def test_images_are_sent_by_their_address(server: Server) -> None:
    parts = (
        Part("text", "Look:"),
        Part("image", data="data:image/png;base64,AA"),
        Part("image_url", data={"url": "u"}),
    )
    generate(judge_at(server), [Message("user", parts)])
    assert server.bodies[0]["messages"][0]["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "image_url", "image_url": {"url": "u"}},
    ]


def test_an_image_without_an_address_is_a_mistake(server: Server) -> None:
    with pytest.raises(ConfigError, match="URL or data URL"):
        generate(judge_at(server), [Message("user", (Part("image", data=b"png"),))])
    assert not server.bodies


def test_an_answer_that_was_begun_is_continued(server: Server) -> None:
    generate(judge_at(server), [*ASK, Message("assistant", "Score:")])
    assert (server.bodies[0]["continue_final_message"], server.bodies[0]["add_generation_prompt"]) == (True, False)


# Labels

LN2 = math.log(2)


@pytest.mark.parametrize(
    ("answer", "p_a", "p_b"),
    [
        (lambda: labels(("A", -LN2), ("B", -LN2)), 0.5, 0.5),
        (lambda: labels(("A", -2 * LN2), (" A", -2 * LN2), ("B", -LN2)), 0.5, 0.5),
        (lambda: labels(("ĠA", -LN2), ("▁B", -2 * LN2)), 0.5, 0.25),
        (lambda: labels(("A\n", -LN2), ("\nB", -2 * LN2)), 0.5, 0.25),
        (lambda: labels(("A", -LN2), ("The", -2 * LN2), ("X", math.log(0.01))), 0.5, 0.01),
        (lambda: labels(("A", math.log(0.99)), ("The", math.log(0.007))), 0.99, 0.003),
        (lambda: labels(("B", math.log(0.9)), ("A", -9999.0), ("C", None)), 0.1, 0.9),
        (lambda: labels(("A", math.log(0.9)), sampled=("B", math.log(0.1))), 0.9, 0.1),
        (lambda: labels(("A", 1e-6)), 1.0, 1e-9),
        (lambda: labels(("a", math.log(0.05)), ("A", math.log(0.8)), ("B", math.log(0.1))), 0.8, 0.1),
    ],
    ids=[
        "two",
        "spaced",
        "marked",
        "lines",
        "one missing",
        "rest bounds",
        "sentinel",
        "sampled",
        "certain",
        "lower case",
    ],
)
def test_labels_get_their_whole_mass(server: Server, answer: Callable[[], Answer], p_a: float, p_b: float) -> None:
    server.script = lambda body: answer()
    ((log_a,), (log_b,)) = choose(judge_at(server))
    assert (math.exp(log_a), math.exp(log_b)) == pytest.approx((p_a, p_b))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: labels(("<think>", -0.01)), "begins with '<think>' .*enable_thinking"),
        (lambda: labels(("The", math.log(0.6)), ("A", math.log(0.2)), ("B", math.log(0.2))), "0.40"),
        (lambda: labels(("A", math.nan), ("B", -1.0)), "not a number"),
        (lambda: labels(("A", -9999.0), ("B", -9999.0)), "nothing"),
        (lambda: completes(choice("", logprobs={"content": []})), "nothing"),
        (lambda: completes(choice(None, finish_reason="content_filter", logprobs=None)), "nothing"),
    ],
    ids=["thinking", "little mass", "NaN", "sentinels only", "no tokens", "filtered"],
)
def test_an_answer_that_is_no_label_is_no_preference(server: Server, answer: Callable[[], Answer], why: str) -> None:
    server.script = lambda body: answer()
    with pytest.raises(ParseError, match=why):
        choose(judge_at(server))


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}], ids=["null", "empty", "content null"])
def test_a_server_without_log_probabilities_is_told_apart_from_a_tie(server: Server, logprobs: Any) -> None:
    server.script = lambda body: completes(choice("A", logprobs=logprobs))
    with pytest.raises(FatalJudgeError, match=r"without log-probabilities.*TransformersJudge"):
        GRAMReward(judge_at(server))(prompts=["Q"] * 2, completions=["quokka", "walrus"])


def test_one_answer_without_log_probabilities_is_an_accident(server: Server) -> None:
    without, good = (lambda: completes(choice("A", logprobs=None))), lambda: labels(("A", -LN2), ("B", -LN2))
    server.script = in_turn(without, good, without, good)
    judge = judge_at(server)
    assert choose(judge)[0] == pytest.approx((-LN2,)), "the very first answer"
    with pytest.raises(ParseError, match="that others had"):
        choose(judge)
    assert choose(judge)[0] == pytest.approx((-LN2,)), "a reward asks again"


@pytest.mark.parametrize(
    "choices", [("A",), ("A", "A"), ("A", ""), ("A", "B C"), ("A", "because"), ("A", None), ("A", " B")]
)
def test_choices_must_be_short_labels(server: Server, choices: Any) -> None:
    with pytest.raises(ConfigError, match="choices="):
        choose(judge_at(server), choices)
    assert not server.bodies


# Arguments, keys, clients, pickles


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": 3}, "base_url"),
        ({"api_key": " "}, "api_key"),
        ({"base_url": None}, "no key"),
        ({"client": Ellipsis}, "client"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": math.inf}, "timeout"),
        ({"extra_body": []}, "extra_body"),
        ({"extra_body": "x"}, "extra_body"),
        ({"extra_body": {"stream": True}}, "extra_body"),
        ({"extra_body": {"x": Ellipsis}}, "extra_body"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        OpenAIJudge(**{"model": "judge", "base_url": "http://localhost/v1", **arguments})


@pytest.mark.parametrize(
    ("environment", "arguments", "key"),
    [
        ({}, {"api_key": "mine"}, "mine"),
        ({"OPENAI_API_KEY": "env"}, {}, "env"),
        ({"OPENAI_API_KEY": "env"}, {"api_key": "mine\n"}, "mine"),
        ({}, {}, "no-key"),
    ],
    ids=["argument", "environment", "argument wins", "none"],
)
def test_the_key_comes_from_the_argument_the_environment_or_is_not_needed(
    server: Server, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], arguments: dict[str, str], key: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    generate(OpenAIJudge("judge", base_url=server.url, **arguments))
    assert server.headers[0]["Authorization"] == f"Bearer {key}"


def test_the_address_may_come_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert generate(OpenAIJudge("judge"))[0].text == "fine"


def test_no_secret_is_shown(server: Server) -> None:
    url = server.url.replace("http://", "http://me:hidden@")
    judge = OpenAIJudge("judge", base_url=url, api_key=KEY)
    server.script = lambda body: fails(500, message=f"{KEY} hidden")
    with pytest.raises(GRMError) as raised:
        generate(judge)
    for text in (repr(judge), str(raised.value)):
        assert KEY not in text
        assert "hidden" not in text


def test_a_pickle_carries_the_arguments_and_no_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THIS_JUDGE", KEY)
    judge = judge_at(server, temperature=0.5, max_tokens=9, max_concurrency=2, timeout=3, extra_body={"top_k": 1})

    async def while_open() -> bytes:
        async with judge:
            await judge.generate(ASK)
            return pickle.dumps(judge)

    for other in (pickle.loads(asyncio.run(while_open())), copy.deepcopy(judge)):
        generate(other)
        assert server.bodies[-1] == server.bodies[0]
        assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"
        assert (other.max_concurrency, other.timeout) == (2, 3)


def test_a_client_of_ones_own_is_used_copied_and_left_open(server: Server) -> None:
    async def notebook() -> None:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=KEY, default_headers={"X-Team": "blue"}) as client:
            messages: Any = [{"role": "user", "content": "before"}]
            await client.chat.completions.create(model="judge", messages=messages)  # a connection in this loop
            judge = OpenAIJudge("judge", client=client)
            server.script = by_word
            assert IPGRMReward(judge)(prompts=["Q"] * 2, completions=["quokka", "walrus"]) == [1.0, 0.0]
            assert server.headers[-1]["X-Team"] == "blue"
            assert not client.is_closed()
            await client.chat.completions.create(model="judge", messages=messages)
            with pytest.raises(ConfigError, match="pass model, base_url and api_key"):
                pickle.dumps(judge)

    asyncio.run(notebook())
    assert server.connections() == 0


def test_an_http_client_of_ones_own_is_shared_and_left_open(server: Server) -> None:
    async def script() -> None:
        http_client = openai.DefaultAsyncHttpxClient(headers={"X-Team": "blue"})
        client = openai.AsyncOpenAI(base_url=server.url, api_key=KEY, http_client=http_client)
        assert (await OpenAIJudge("judge", client=client).generate(ASK))[0].text == "fine"
        assert server.headers[-1]["X-Team"] == "blue"
        assert not client.is_closed()
        await client.close()

    asyncio.run(script())


def test_a_client_replaces_the_address(server: Server) -> None:
    client = openai.AsyncOpenAI(base_url=server.url, api_key=KEY)
    with pytest.raises(ConfigError, match="either the client or these"):
        OpenAIJudge("judge", client=client, base_url=server.url)


def test_the_package_is_loaded_when_the_judge_is_first_asked() -> None:
    code = (
        "import sys; from grmrewards import OpenAIJudge; OpenAIJudge('m', base_url='http://localhost/v1'); "
        "sys.exit('openai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


def test_tokens_of_an_answer_may_be_unknown(server: Server) -> None:
    server.script = lambda body: web.json_response({"choices": [choice("a")], "usage": None})
    (reply,) = generate(judge_at(server))
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)
    assert json.dumps(server.bodies[0])


@pytest.mark.parametrize("impossible", [5.0, 10**400, float("inf"), True], ids=str)
def test_an_impossible_log_probability_is_not_certainty(impossible):
    from grmrewards.judges.replies import label_logprobs

    top = [{"token": "A", "logprob": impossible}, {"token": "B", "logprob": -0.1}]
    position = {"token": "B", "logprob": -0.1, "top_logprobs": top}
    data = {"choices": [{"message": {"content": "B"}, "finish_reason": "stop", "logprobs": {"content": [position]}}]}
    log_a, log_b = label_logprobs(data, ["A", "B"], where="here")
    assert log_a < log_b
