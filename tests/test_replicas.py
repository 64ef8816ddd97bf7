"""Several servers of one model, hard limits, clients of one's own, and that nothing is left: over real sockets."""

import asyncio
import functools
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from aiohttp import web

from grmrewards import ConfigError, FatalJudgeError, IRPMReward, JudgeOutage, Message, OpenAIJudge
from grmrewards.judges import endpoint
from grmrewards.judges.replica import LONGEST_OUT, Replica
from grmrewards.runner import run
from grmrewards.types import CALL, Call
from servers import Server, choice, completes, fails, hangs, in_turn, resets, says

ASK = [Message("user", "How good is it?")]

unprobed = functools.partial(OpenAIJudge, check_server=False)  # whose requests are all the test's own


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "AZURE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.005)
    servers = [Server(), Server()]
    yield servers
    for server in servers:
        server.stop()


def judge_at(*servers: Server, **arguments: Any) -> OpenAIJudge:
    return unprobed("judge", base_url=[server.url for server in servers], **arguments)


def many(judge: OpenAIJudge, times: int, *, seconds: float = 20.0) -> list[Any]:
    """So many answers, all asked for at once."""

    async def work() -> list[Any]:
        CALL.set(Call(deadline=asyncio.get_running_loop().time() + seconds))
        async with judge:
            return await asyncio.gather(*(judge.generate(ASK) for _ in range(times)))

    return asyncio.run(work())


def after(seconds: float) -> Callable[..., Any]:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return says("fine")

    return answer


# Replicas


def test_the_less_busy_server_is_asked(servers: list[Server]) -> None:
    slow, fast = servers
    slow.script, fast.script = lambda body: after(0.1), lambda body: after(0.01)
    many(judge_at(*servers, max_concurrency=4), 40)
    assert len(slow.bodies) + len(fast.bodies) == 40
    assert 2 <= len(slow.bodies) < len(fast.bodies) / 2


def test_a_dead_server_costs_nothing_but_a_few_requests(servers: list[Server]) -> None:
    dead, alive = servers
    dead.script = lambda body: resets
    judge = judge_at(*servers, max_concurrency=4)
    assert len(many(judge, 40)) == 40
    assert len(dead.bodies) <= 8
    assert len(alive.bodies) == 40
    seen = len(dead.bodies)
    many(judge, 8)
    assert len(dead.bodies) == seen, "it is left out in the next call, too"


def test_a_server_that_hangs_is_overtaken_by_the_other(servers: list[Server]) -> None:
    hanging, alive = servers
    alive.script = lambda body: after(0.01)
    judge = judge_at(*servers, max_concurrency=4)
    hanging.script = alive.script
    many(judge, 20)  # from now on it is known how long an answer takes
    hanging.script = lambda body: hangs
    started = time.monotonic()
    assert len(many(judge, 20)) == 20
    assert time.monotonic() - started < 5.0
    assert hanging.connections() == 0


def test_a_server_that_was_left_out_proves_itself_with_one_request() -> None:
    replica = Replica("http://localhost:8000/v1")
    for _ in range(64):
        replica.failed(100.0)
    assert replica.back_at == 101.0, "many that fail at once are one failure"
    assert not replica.fits(100.5)
    assert replica.fits(101.5)
    replica.outstanding = 1
    assert not replica.fits(101.5)
    for _ in range(20):
        replica.failed(replica.back_at)
    assert replica.back_at - replica.back_at // 1 <= LONGEST_OUT
    replica.answered()
    assert replica.fits(101.5)


@pytest.mark.parametrize("urls", [[], ["localhost:1"], ["http://a/v1", "http://a/v1"], ["http://a/v1", None]], ids=str)
def test_addresses_are_checked(urls: Any) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        unprobed("judge", base_url=urls)


def test_several_addresses_are_shown_and_pickled(servers: list[Server]) -> None:
    judge = judge_at(*servers, max_calls=7)
    assert repr(judge) == f"OpenAIJudge('judge', base_url={[server.url for server in servers]!r})"
    again = pickle.loads(pickle.dumps(judge))
    assert (again.base_url, again.max_calls) == (judge.base_url, 7)


# Limits


def test_max_calls_is_a_hard_limit_and_named(servers: list[Server]) -> None:
    server = servers[0]
    server.script = in_turn(lambda: fails(500), lambda: says("fine"))
    judge = unprobed("judge", base_url=server.url, max_calls=10, max_concurrency=1)
    many(judge, 5)
    with pytest.raises(
        FatalJudgeError, match=r"^max_calls=10 is used up: 10 requests were sent and 108 tokens .*Raise"
    ):
        IRPMReward(judge)(prompts=["Q"] * 20, completions=[f"answer {i}" for i in range(20)])
    assert len(server.bodies) == 10, "repeated requests count"
    assert server.connections() == 0


def test_tokens_count_whether_or_not_their_answer_can_be_used(servers: list[Server]) -> None:
    server = servers[0]
    server.script = lambda body: completes()  # no choices, but paid for
    judge = unprobed("judge", base_url=server.url, max_tokens_total=30)
    with pytest.raises(FatalJudgeError, match=r"^max_tokens_total=30 is used up: 3 requests were sent and 36 tokens"):
        many(judge, 1)


def test_tokens_of_an_answer_that_was_thrown_away_count_in_the_call(servers: list[Server]) -> None:
    servers[0].script = in_turn(lambda: completes(), lambda: says("fine"))

    async def work() -> tuple[Call, list[Any]]:
        CALL.set(call := Call())
        return call, await unprobed("judge", base_url=servers[0].url).generate(ASK)

    call, (reply,) = asyncio.run(work())
    assert (call.prompt_tokens, call.completion_tokens) == (7, 5), "the reward adds those of the reply itself"
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 5)


def test_a_fatal_answer_cancels_what_else_is_on_its_way(servers: list[Server]) -> None:
    server = servers[0]
    server.script = lambda body: fails(401) if len(server.bodies) == 4 else hangs
    started = time.monotonic()
    with pytest.raises(FatalJudgeError, match="OPENAI_API_KEY"):
        IRPMReward(unprobed("judge", base_url=server.url))(prompts=["Q"] * 4, completions=list("abcd"))
    assert time.monotonic() - started < 5.0
    assert server.connections() == 0


# Clients and environments


def test_an_azure_client_keeps_its_paths_and_asks_its_provider_for_each_request(servers: list[Server]) -> None:
    server, tokens = servers[0], iter(["one", "two"])
    seen: list[str] = []

    async def token() -> str:
        return next(tokens)

    async def deployment(request: web.Request) -> web.Response:
        seen.append(str(request.rel_url))
        return says("fine")

    server.script = lambda body: deployment
    client = openai.AsyncAzureOpenAI(
        azure_endpoint=server.url.removesuffix("/v1"), api_version="2024-06-01", azure_ad_token_provider=token
    )
    judge = unprobed("gpt", client=client)
    for _ in range(2):
        many(judge, 1)
    assert seen == ["/openai/deployments/gpt/chat/completions?api-version=2024-06-01"] * 2
    assert [headers["Authorization"] for headers in server.headers] == ["Bearer one", "Bearer two"]


def test_the_error_of_a_client_of_ones_own_is_told_and_not_carried_along(servers: list[Server]) -> None:
    server = servers[0]
    server.script = lambda body: fails(403, message="not from here")
    client = openai.AsyncOpenAI(base_url=server.url, api_key="k")
    with pytest.raises(FatalJudgeError, match=r"HTTP 403.*not from here") as raised:
        asyncio.run(unprobed("judge", client=client).generate(ASK))
    assert (raised.value.__cause__, raised.value.__context__) == (None, None), "it holds the request with its headers"


def test_headers_of_the_environment_are_sent(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    many(judge_at(*servers), 1)
    (headers,) = [headers for server in servers for headers in server.headers]
    assert (headers["OpenAI-Organization"], headers["OpenAI-Project"]) == ("org-1", "proj-1")
    assert headers["Content-Type"] == "application/json"


def test_the_proxy_of_the_environment_is_used(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, _ = servers
    asked: list[str] = []

    async def forwards(request: web.Request) -> web.Response:
        asked.append(request.headers["Host"])
        return says("fine")

    proxy.script = lambda body: forwards
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "")
    assert many(unprobed("judge", base_url="http://judge.example/v1"), 1)[0][0].text == "fine"
    assert asked == ["judge.example"]


def test_a_name_and_a_password_in_the_address_win_over_a_key(servers: list[Server]) -> None:
    url = servers[0].url.replace("http://", "http://me:hidden@")
    many(unprobed("judge", base_url=url, api_key="key"), 1)
    assert servers[0].headers[0]["Authorization"].startswith("Basic ")


# Nothing is left


@pytest.mark.parametrize("ends", ["well", "deadline", "fatal", "cancelled"])
def test_nothing_is_left_behind(servers: list[Server], ends: str) -> None:
    server = servers[0]
    answer = {"well": lambda: says("fine"), "fatal": lambda: fails(401)}.get(ends, lambda: hangs)
    judge = unprobed("judge", base_url=server.url.replace("127.0.0.1", "localhost"))
    many(judge, 16)

    async def call() -> set[asyncio.Task[Any]]:
        loop = asyncio.get_running_loop()
        CALL.set(Call(deadline=loop.time() + 0.3))
        asking = asyncio.gather(*(judge.generate(ASK) for _ in range(16)), return_exceptions=True)
        if ends == "cancelled":
            loop.call_later(0.2, asking.cancel)
        await asyncio.wait([asking])
        return asyncio.all_tasks() - {asyncio.current_task()}

    before = left_open(server)
    server.script = lambda body: answer()
    assert asyncio.run(call()) == set()
    assert left_open(server) == before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread on this system")
def test_ctrl_c_leaves_nothing_behind(servers: list[Server], request: pytest.FixtureRequest) -> None:
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with none
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, earlier))
    server, main = servers[0], threading.main_thread().ident
    reward = IRPMReward(unprobed("judge", base_url=server.url.replace("127.0.0.1", "localhost")))
    batch = {"prompts": ["Q"] * 16, "completions": [f"answer {i}" for i in range(16)]}
    server.script = lambda body: says("<score>8</score>")
    assert reward(**batch) == [0.8] * 16
    before = left_open(server)

    def interrupted(body: Any) -> Any:
        signal.pthread_kill(main, signal.SIGINT)
        return hangs

    server.script = in_turn(lambda: interrupted(None), *[lambda: hangs] * 15)
    with pytest.raises(KeyboardInterrupt):
        reward(**batch)
    assert left_open(server) == before
    assert run(tasks()) == 1  # the one that counts
    server.script = lambda body: says("<score>6</score>")
    assert reward(**batch) == [0.6] * 16


async def tasks() -> int:
    return len(asyncio.all_tasks())


def left_open(server: Server) -> tuple[int, set[str]]:
    """File handles and threads of this process, which has no connection to the server."""
    assert server.connections() == 0
    for thread in threading.enumerate():
        if thread.name.startswith("grmrewards-names"):
            thread.join(5.0)  # it was told to end, and takes its moment
    return len(os.listdir("/proc/self/fd")), {thread.name for thread in threading.enumerate()}


def test_an_outage_says_what_happened_and_how_often(servers: list[Server]) -> None:
    servers[0].script = lambda body: web.Response(text="<html>busy</html>", content_type="text/html")
    with pytest.raises(JudgeOutage, match=r"no JSON in the answer .* x2"):
        IRPMReward(unprobed("judge", base_url=servers[0].url), deadline=0.5)(prompts=["Q"] * 2, completions=["a", "b"])
    assert choice()["finish_reason"] == "stop"
