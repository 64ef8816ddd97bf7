"""What names a judge in the keys of caches and records: all that decides its judgements, and nothing else."""

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys

import openai
import pytest
from aiohttp import web

import tiny
from grmrewards import FatalJudgeError, Message, OpenAIJudge, ScriptedJudge, TransportError
from grmrewards.judges import endpoint, listing
from grmrewards.types import CALL, Call
from servers import Server, fails, hangs, resets

ASK = [Message("user", "How good is it?")]


def identity(judge):
    return asyncio.run(judge.identity())


# A server's model


class Listing(Server):
    """A chat-completions server that lists its models, too: `models` says what to answer."""

    def __init__(self):
        self.asked = 0
        self.models = lambda: listed()
        super().__init__()

    async def _start(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        app.router.add_get("/v1/models", self._list)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    async def _list(self, request):
        self.asked += 1
        self.headers.append(request.headers)
        answer = self.models()
        return await answer(request) if callable(answer) else answer


def listed(**entry):
    volatile = {"object": "model", "created": 7, "permission": [{"id": "modelperm-1", "created": 7}]}
    model = {"id": "judge", "root": "out/checkpoint-100", "owned_by": "vllm", **volatile, **entry}
    return web.json_response({"object": "list", "data": [{"id": "policy", "root": "elsewhere"}, model]})


@pytest.fixture
def servers(monkeypatch):
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(listing, "WAIT", 0.002)
    servers = [Listing(), Listing()]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def server(servers):
    return servers[0]


def at(server, **options):
    return OpenAIJudge("judge", base_url=server.url, **{"check_server": False, **options})


DIFFERENT = {
    "root": {"root": "out/checkpoint-200"},
    "parent": {"parent": "Qwen/Qwen3-8B"},
    "window": {"max_model_len": 4096},
    "owner": {"owned_by": "sglang"},
    "size": {"meta": {"n_params": 8_030_261_248, "size": 4_912_898_304}},
}


@pytest.mark.parametrize("entry", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_other_weights_under_one_name_and_address_are_another_judge(server, entry):
    before = identity(at(server))
    server.models = lambda: listed(**entry)
    assert identity(at(server)) != before


@pytest.mark.parametrize("entry", [{"created": 8}, {"permission": []}, {"object": "x"}, {"meta": None}], ids=str)
def test_a_server_that_was_started_again_is_the_same_judge(server, entry):
    before = identity(at(server))
    server.models = lambda: listed(**entry)
    assert identity(at(server)) == before


@pytest.mark.parametrize(
    "options",
    [{"revision": "r2"}, {"temperature": 0.5}, {"max_tokens": 9}, {"extra_body": {"top_k": 1}}, {"model": "policy"}],
    ids=str,
)
def test_what_the_judge_was_told_is_part_of_it(server, options):
    before = identity(at(server))
    model = {"model": options.pop("model", "judge")}
    assert identity(OpenAIJudge(**model, base_url=server.url, check_server=False, **options)) != before


@pytest.mark.parametrize(
    "options", [{"max_concurrency": 2}, {"timeout": 3}, {"max_calls": 5}, {"api_key": "sk-o"}], ids=str
)
def test_what_decides_no_judgement_is_not(server, options):
    assert identity(at(server, **options)) == identity(at(server))


def test_the_server_is_asked_once(server):
    judge = at(server, max_calls=1)

    async def calls():
        async with judge:
            return {await judge.identity() for _ in range(3)}

    assert len(asyncio.run(calls()) | asyncio.run(calls())) == 1
    assert server.asked == 1
    assert asyncio.run(judge.generate(ASK))[0].text == "fine", "it counts in no budget"


NOTHING = {
    "404": lambda: fails(404),
    "405": lambda: web.Response(status=405),
    "501": lambda: web.Response(status=501, text="<html>"),
    "400": lambda: fails(400),
    "HTML": lambda: web.Response(text="<html>", content_type="text/html"),
    "a list": lambda: web.json_response([1]),
    "data of texts": lambda: web.json_response({"data": ["judge"]}),
    "no data": lambda: web.json_response({"data": None}),
    "others": lambda: web.json_response({"data": [{"id": "a"}, {"id": "b"}]}),
    "a key that may not list": lambda: fails(403, message="Missing scopes: api.model.read"),
}


@pytest.mark.parametrize("answer", NOTHING.values(), ids=NOTHING.keys())
def test_a_server_without_a_list_says_nothing_each_time(server, answer):
    server.models = answer
    assert json.loads(identity(at(server)).partition(":")[2])["server"] == []
    assert identity(at(server)) == identity(at(server))


def test_the_only_model_is_the_one_that_is_asked_under_any_name(server):
    server.models = lambda: web.json_response({"data": [{"id": "/models/judge.gguf", "meta": {"n_params": 7}}]})
    assert "judge.gguf" in identity(at(server))


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_the_error_of_a_judgement(server, status):
    server.models = lambda: fails(status, message="no sk-my-own-key")
    server.script = lambda body: fails(status, message="no sk-my-own-key")
    judge, said = at(server, api_key="sk-my-own-key"), []
    for ask in (judge.identity, functools.partial(judge.generate, ASK)):
        with pytest.raises(FatalJudgeError, match=rf"HTTP {status}") as raised:
            asyncio.run(ask())
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert "sk-my-own-key" not in said[0]


@pytest.mark.parametrize("fault", [lambda: fails(500), lambda: fails(429), lambda: resets], ids=["500", "429", "reset"])
def test_a_fault_that_passes_costs_a_retry(server, fault):
    answers = [fault, fault, listed]
    server.models = lambda: answers.pop(0)()
    assert "checkpoint-100" in identity(at(server))


def test_a_server_that_cannot_be_reached_is_a_transport_error_and_not_kept(server):
    server.models = lambda: resets
    judge = at(server, timeout=0.05)
    with pytest.raises(TransportError, match="no list of models of 'judge' at"):
        identity(judge)
    server.models = listed
    assert "checkpoint-100" in identity(judge)


@pytest.mark.parametrize("fault", [lambda: fails(503), lambda: hangs], ids=["503", "hangs"])
def test_a_server_that_fails_to_say_it_judges_but_is_nobody_that_was_known(server, fault, caplog):
    server.models = fault
    first, second = at(server, timeout=0.05), at(server, timeout=0.05)
    assert identity(first) == identity(first) != identity(second)
    assert "does not list its models" in caplog.text
    assert asyncio.run(first.generate(ASK))[0].text == "fine"


def test_all_that_ask_at_once_wait_for_one_answer(server):
    judge = at(server)

    async def together():
        async with judge:
            return await asyncio.gather(*(judge.identity() for _ in range(50)))

    assert len(set(asyncio.run(together()))) == 1
    assert server.asked == 1


def test_it_ends_with_the_call(server):
    server.models = lambda: hangs

    async def work():
        now = asyncio.get_running_loop().time
        started = now()
        CALL.set(Call(deadline=started + 0.1))
        await at(server).identity()
        return now() - started

    assert asyncio.run(work()) < 2.0


def test_replicas_are_one_judge_whichever_answers(servers):
    def both(*urls):
        return OpenAIJudge("judge", base_url=list(urls), check_server=False)

    one, two = servers
    together = identity(both(one.url, two.url))
    assert identity(both(two.url, one.url)) == together
    two.models = lambda: resets
    assert identity(both(one.url, two.url)) == together
    two.models = lambda: listed(root="out/checkpoint-200")
    differ = identity(both(one.url, two.url))
    assert differ != together
    assert differ.count("checkpoint-") == 2


def test_a_client_of_ones_own_is_asked_the_same(server):
    client = openai.AsyncOpenAI(base_url=server.url, api_key="sk-my-own-key")
    mine = OpenAIJudge("judge", client=client, check_server=False)
    assert identity(mine) == identity(at(server, api_key="sk-other-key"))
    server.models = lambda: fails(401, message="sk-my-own-key")
    with pytest.raises(FatalJudgeError, match="HTTP 401"):
        identity(OpenAIJudge("judge", client=client, check_server=False))


def test_no_credential_is_in_it(server):
    url = server.url.replace("http://", "http://me:hidden-word@")
    server.models = lambda: listed(root="/srv/sk-my-own-key/hidden-word")
    secret = {"api_key": "sk-another", "user": "me@home", "top_k": 3}
    found = identity(OpenAIJudge("judge", base_url=url, api_key="sk-my-own-key", extra_body=secret))
    assert "top_k" in found
    for word in ("hidden-word", "sk-my-own-key", "sk-another", "me@"):
        assert word not in found


# A scripted judge


def scripts():
    """Functions of one name that judge differently, or the same."""

    def one(messages):
        return "<score>3</score>"

    first = one

    def one(messages):
        return "<score>4</score>"

    def of(score):
        return lambda messages: f"<score>{score}</score>"

    return first, one, of


def test_another_function_of_one_name_is_another_scripted_judge():
    first, second, of = scripts()
    assert identity(ScriptedJudge(first)) == identity(ScriptedJudge(scripts()[0]))
    assert identity(ScriptedJudge(first)) != identity(ScriptedJudge(second))
    assert ScriptedJudge(first).model == ScriptedJudge(second).model
    assert identity(ScriptedJudge(of(3))) != identity(ScriptedJudge(of(4)))
    assert identity(ScriptedJudge(functools.partial(second, x=1))) != identity(
        ScriptedJudge(functools.partial(second, x=2))
    )


def test_the_place_of_a_function_is_not_part_of_it():
    code = "def judge(m):\n    return [x for x in {'a', 'b', 'c'} if x in 'abc'] + [lambda: 3]"

    def made(file, lines):
        space = {}
        exec(compile("\n" * lines + code, file, "exec"), space)
        return space["judge"]

    assert identity(ScriptedJudge(made("a.py", 0))) == identity(ScriptedJudge(made("elsewhere/b.py", 9)))


def test_a_scripted_judge_is_the_same_in_every_process():
    code = (
        "import asyncio; from grmrewards import ScriptedJudge\n"
        "print(asyncio.run(ScriptedJudge(lambda m: str(m in {'a', 'b', 'c'})).identity()))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout != b""


def test_an_object_that_judges_is_known_by_its_method():
    class Judge:
        def __init__(self, score):
            self.score = score

        def __call__(self, messages):
            return str(self.score)

    assert identity(ScriptedJudge(Judge(1))) == identity(ScriptedJudge(Judge(2)))
    assert "0x" not in identity(ScriptedJudge(Judge(1)))
    assert identity(ScriptedJudge(str)) != identity(ScriptedJudge(repr))


# A local judge


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs the extra `local`")


@pytest.fixture
def network(torch):
    return tiny.model_and_tokenizer()


def local(*model, **options):
    from grmrewards import TransformersJudge

    return TransformersJudge(*model, **{"device": "cpu", "max_new_tokens": 2, "isolate": False, **options})


def saved(network, folder):
    for part in network:
        part.save_pretrained(folder)
    return str(folder)


def test_a_judge_trained_on_in_its_folder_is_another(network, tmp_path):
    before = identity(local(saved(network, tmp_path)))
    assert identity(local(str(tmp_path))) == before
    network[0].model.layers[0].mlp.up_proj.weight.data[3, 5] += 1e-3
    assert identity(local(saved(network, tmp_path))) != before


def test_a_copied_judge_is_the_same(network, tmp_path):
    before = identity(local(saved(network, tmp_path / "one")))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert identity(local(str(tmp_path / "two"))) == before
    assert identity(local(*network)) == before, "the same weights as an object"


@pytest.mark.slow
def test_it_is_the_same_in_a_process_of_its_own(network, tmp_path):
    folder = saved(network, tmp_path)
    judge = local(folder, isolate=True)
    try:
        assert identity(judge) == identity(local(folder))
    finally:
        judge._loading.result().network.close()


CHANGES = {
    "two rows": lambda w: w["q"].data.__setitem__([0, 1], w["q"].data[[1, 0]].clone()),
    "two values": lambda w: w["q"].data[0].__setitem__([0, 1], w["q"].data[0, [1, 0]].clone()),
    "two tensors": lambda w: (lambda a, b: (w["gate"].data.copy_(b), w["up"].data.copy_(a)))(
        w["gate"].data.clone(), w["up"].data.clone()
    ),
    "a sign of zero": lambda w: w["norm"].data.__setitem__(0, -0.0),
    "the last value": lambda w: w["norm"].data.__setitem__(-1, 1.0001),
    "a NaN": lambda w: w["norm"].data.__setitem__(-1, float("nan")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_model_given_as_an_object_is_read_again_each_time(network, change):
    model, _ = network
    layer = model.model.layers[0]
    weights = {"q": layer.self_attn.q_proj.weight, "gate": layer.mlp.gate_proj.weight}
    weights |= {"up": layer.mlp.up_proj.weight, "norm": layer.input_layernorm.weight}
    weights["norm"].data[0] = 0.0
    judge = local(*network)
    before = identity(judge)
    assert identity(judge) == before
    change(weights)
    assert identity(judge) != before


def test_within_one_call_the_weights_are_read_once(network, monkeypatch):
    from grmrewards.judges import network as module

    reads = []
    monkeypatch.setattr(module, "fingerprint", lambda model: reads.append(model) or str(len(reads)))
    judge = local(*network)

    async def call():
        async with judge:
            return set(await asyncio.gather(*(judge.identity() for _ in range(3)))) | {await judge.identity()}

    assert len(asyncio.run(call())) == len(asyncio.run(call())) == 1
    assert len(reads) == 2


def test_a_model_by_name_is_read_once_after_it_was_loaded(network, tmp_path, monkeypatch):
    from grmrewards.judges import network as module

    reads = []
    monkeypatch.setattr(module, "fingerprint", lambda model: reads.append(model) or str(len(reads)))
    judge = local(saved(network, tmp_path))
    assert identity(judge) == identity(judge)
    assert len(reads) == 1


@pytest.mark.parametrize(
    "options", [{"chat_template_kwargs": {"a": 1}}, {"max_new_tokens": 3}, {"dtype": "bfloat16"}], ids=str
)
def test_the_settings_of_a_local_judge_are_part_of_it(torch, network, tmp_path, options):
    folder = saved(network, tmp_path)
    if "dtype" in options:
        options = {"dtype": getattr(torch, options["dtype"])}
    assert identity(local(folder, **options)) != identity(local(folder))
    assert "0x" not in identity(local(folder, chat_template_kwargs={"tools": [print]}))


def test_another_chat_template_is_another_judge(network):
    before = identity(local(*network))
    network[1].chat_template += " "
    assert identity(local(*network)) != before


def test_it_leaves_no_trace(torch, network):
    model, _ = network
    model.train()
    state, versions = torch.random.get_rng_state(), [p._version for p in model.parameters()]
    assert identity(local(*network))
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert [p._version for p in model.parameters()] == versions
    assert all(p.requires_grad for p in model.parameters())


def test_all_number_formats_are_told_apart(torch):
    from grmrewards.judges.fingerprint import checksum

    names = ["float32", "float64", "bfloat16", "float16", "int8", "uint8", "bool", "int64", "float8_e4m3fn"]
    for dtype in (getattr(torch, name) for name in names):
        for size in (1, 3, 8, 17):
            bits = torch.arange(size * 2).reshape(size, 2) % 5 == 1
            value, swapped = bits.to(dtype), bits.flip(1).to(dtype)
            assert checksum(value) == checksum(value.clone())
            assert checksum(value) != checksum(swapped), (dtype, size)
            assert checksum(value.t()) == checksum(value.t().contiguous()), "as it is seen, not as it is stored"
    assert checksum(torch.zeros(0)) == checksum(torch.zeros(0, 3))
    assert checksum(torch.zeros(3, device="meta")) == "not in memory"


def test_chunks_do_not_matter(torch, monkeypatch):
    from grmrewards.judges import fingerprint

    value = torch.arange(1000, dtype=torch.int16)
    whole = fingerprint.checksum(value)
    monkeypatch.setattr(fingerprint, "CHUNK", 64)
    assert fingerprint.checksum(value) == whole
    assert fingerprint.checksum(torch.cat([value[32:64], value[:32], value[64:]])) != whole, "chunks change places"


def test_tied_weights_count_once_and_derived_buffers_not_at_all(torch):
    from grmrewards.judges.fingerprint import fingerprint

    def module(**buffers):
        both = torch.nn.Module()
        both.a = both.b = torch.nn.Linear(3, 3)
        torch.nn.init.ones_(both.a.weight)
        torch.nn.init.zeros_(both.a.bias)
        for name, (value, stored) in buffers.items():
            both.register_buffer(name, torch.tensor([value]), persistent=stored)
        return both

    assert fingerprint(module(x=(1.0, True))) != fingerprint(module(x=(2.0, True)))
    assert fingerprint(module(x=(1.0, False))) == fingerprint(module(x=(2.0, False)))


def test_weights_that_were_given_to_other_memory_are_read_there(torch, network):
    accelerate = pytest.importorskip("accelerate")
    from grmrewards.judges.fingerprint import fingerprint

    model, _ = network
    before = fingerprint(model)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert any(p.is_meta for p in model.parameters())
    assert fingerprint(model) == before


def test_the_protocol_tells_of_it():
    from grmrewards.types import Judge

    assert "async def identity(self) -> str" in Judge.__doc__
    assert not hasattr(Judge, "identity"), "a judge of one's own may do without"
