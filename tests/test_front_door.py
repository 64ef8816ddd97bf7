"""No key in what is shown, logged, recorded, raised or pickled; no code from models, caches, records or a judge's words.

A server knows the key that it was sent, and may repeat it wherever it likes. Records, logs and the trainer's tables are
shared with people who must not have it.
"""

import ast
import asyncio
import base64
import copy
import html
import io
import itertools
import json
import logging
import os
import pickle
import re
import sys
import traceback
import warnings
from pathlib import Path
from urllib.parse import quote

import openai
import pytest
from aiohttp import web

import grmrewards
from grmrewards import (
    ConfigError,
    FatalJudgeError,
    GRMError,
    IRPMReward,
    Message,
    OpenAIJudge,
    TransformersJudge,
    TransportError,
)
from grmrewards.judges import endpoint, probe
from grmrewards.judges.scrub import Scrubber
from grmrewards.judges.secret import Secret
from servers import Server, choice, completes, labels, says

ASK = [Message("user", "How good is it?")]
KEYS = {
    "long": "sk-proj-" + "aB3_" * 12 + "xYz9-Q",
    "special": "sk+a/b=c%d&e\"f<g>h'i\\j",
    "short": "sk-9x7Qz",
}
by_key = pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())


def forms(key):
    """How a key may be written."""
    basic = base64.b64encode(f"me:{key}".encode()).decode()
    yield from (key, quote(key, safe=""), html.escape(key), json.dumps(key)[1:-1], repr(key)[1:-1], key.encode().hex())
    yield from (
        base64.b64encode(key.encode()).decode().rstrip("="),
        basic,
        "".join(f"%{ord(c):02X}" for c in key),
        key.upper(),
    )


def leaks(text, key):
    return [form for form in forms(key) if form in text]


def chain(error):
    """All that an exception and those that it carries along say, and the objects that hang on them."""
    words = ["".join(traceback.format_exception(error))]
    while error is not None:
        words += [repr(error), str(error), repr(vars(error)), repr(error.args)]
        if request := getattr(error, "request", None):
            words += [repr(dict(request.headers))]
        error = error.__cause__ or error.__context__
    return "\n".join(words)


def dump(thing, depth=12, seen=None):
    """Everything that `vars` leads to, as a crash reporter writes it."""
    seen = set() if seen is None else seen
    if depth == 0 or id(thing) in seen or isinstance(thing, type(sys)):
        return ""
    seen.add(id(thing))
    inner = (
        [*thing, *thing.values()] if isinstance(thing, dict) else [*thing] if isinstance(thing, list | tuple) else []
    )
    inner += list(vars(thing).values()) if hasattr(thing, "__dict__") and not isinstance(thing, type) else []
    return "\n".join([repr(thing), *(dump(one, depth - 1, seen) for one in inner)])


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(probe, "PATIENCE", 0.1)
    monkeypatch.setattr(probe, "WARM_UP", 0.1)


def by_address(server, key):
    return OpenAIJudge("judge", base_url=server.url, api_key=key, check_server=False)


def by_environment(server, key):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", key)
        return OpenAIJudge("judge", base_url=server.url, check_server=False)


def by_password(server, key):
    url = server.url.replace("http://", f"http://me:{quote(key, safe='')}@")
    return OpenAIJudge("judge", base_url=url, api_key="none", check_server=False)


def by_client(server, key):
    client = openai.AsyncOpenAI(base_url=server.url, api_key=key, max_retries=0)
    return OpenAIJudge("judge", client=client, check_server=False)


def by_client_password(server, key):
    url = server.url.replace("http://", f"http://me:{quote(key, safe='')}@")
    return OpenAIJudge("judge", client=openai.AsyncOpenAI(base_url=url, api_key="none"), check_server=False)


def by_client_function(server, key):
    async def make():
        return key

    return OpenAIJudge("judge", client=openai.AsyncOpenAI(base_url=server.url, api_key=make), check_server=False)


MAKERS = [by_address, by_environment, by_password, by_client, by_client_password, by_client_function]
OURS = [by_address, by_environment, by_password]


# What is shown


@by_key
@pytest.mark.parametrize("make", OURS)
def test_a_judge_shows_no_key(server, key, make):
    judge = make(server, key)

    async def while_open():
        async with judge:
            await judge.generate(ASK)
            return "\n".join([repr(judge), f"{judge}", dump(judge), dump(copy.deepcopy(judge))])

    shown = asyncio.run(while_open()) + dump(judge) + dump(IRPMReward(judge))
    assert not leaks(shown, key)
    assert "***" in shown, "it was looked where the key is"
    sent = server.headers[0]["Authorization"]
    assert sent in (f"Bearer {key}", "Basic " + base64.b64encode(f"me:{key}".encode()).decode())


@by_key
def test_a_frame_that_fails_shows_no_key_in_its_variables(server, key):
    """As IPython and crash reporters show them: those of our frames, where the openai package or aiohttp is at fault."""
    failures = []
    for arguments in (
        {"api_key": key, "timeout": -1},
        {"api_key": key + "\n\x07"},
        {"api_key": key.encode()},
        {"base_url": f"http://me:{quote(key, safe='')}@:80/v1"},
        {"base_url": [f"http://me:{quote(key, safe='')}@host/v1"] * 2},
        {"base_url": f"me:{key}@host/v1"},
    ):
        with pytest.raises(ConfigError) as raised:
            OpenAIJudge("judge", **{"base_url": server.url, "check_server": False, **arguments})
        assert not {key[:8], key[-8:]} & {str(raised.value)[i : i + 8] for i in range(500)}
        failures.append(raised)
    server.script = lambda body: web.json_response({"error": key}, status=401)
    with pytest.raises(FatalJudgeError) as raised:
        asyncio.run(by_address(server, key).generate(ASK))
    failures.append(raised)
    for raised in failures:
        assert not leaks(chain(raised.value), key)
        for entry in raised.traceback[1:]:
            if "grmrewards" in str(entry.path) and "/tests/" not in str(entry.path):
                assert not leaks(repr(entry.frame.f_locals), key), (entry.name, entry.frame.f_locals)


@pytest.mark.parametrize("wrong", [{"stream": True}, {"x": object()}, "x"], ids=["a key of ours", "no JSON", "a text"])
def test_an_error_about_extra_fields_shows_none_of_their_values(wrong):
    body = {"api_key": KEYS["long"], **wrong} if isinstance(wrong, dict) else KEYS["long"]
    with pytest.raises(ConfigError, match="extra_body") as raised:
        OpenAIJudge("judge", base_url="http://localhost/v1", extra_body=body)
    assert KEYS["long"] not in str(raised.value)


@pytest.mark.parametrize(
    "bad", ["sk-eins\nzwei", "sk-\x00eins", "sk-einsé", "Bearer sk-eins", "sk-\u200beins"], ids=ascii
)
@pytest.mark.parametrize("place", ["argument", "environment"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(server, bad, place, monkeypatch):
    if place == "environment":
        if "\0" in bad:
            pytest.skip("no variable can hold it")
        monkeypatch.setenv("OPENAI_API_KEY", bad)
    with pytest.raises(ConfigError, match=r"api_key|OPENAI_API_KEY") as raised:
        OpenAIJudge("judge", base_url=server.url, **({"api_key": bad} if place == "argument" else {}))
    assert "eins" not in chain(raised.value)


# Pickles


@by_key
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("make", [by_address, by_password])
def test_a_pickle_carries_no_key_and_says_so_when_it_is_missed(server, key, protocol, make):
    pickled = pickle.dumps(IRPMReward(make(server, key)), protocol)
    assert not [form for form in forms(key) if form.encode() in pickled]
    judge = pickle.loads(pickled).judge
    assert repr(judge).startswith("OpenAIJudge('judge'")
    assert pickle.loads(pickle.dumps(judge)).model == "judge"
    with pytest.raises(ConfigError, match=r"pickles carry no keys.*OPENAI_API_KEY.*environment variable"):
        asyncio.run(judge.generate(ASK))
    assert not server.bodies, "nothing is sent, under no other key either"


@by_key
def test_a_pickle_names_the_variable_that_holds_the_key(server, key, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", key)
    pickled = pickle.dumps(by_address(server, os.environ["TOGETHER_API_KEY"]))
    assert b"TOGETHER_API_KEY" in pickled
    assert not [form for form in forms(key) if form.encode() in pickled]
    monkeypatch.setenv("TOGETHER_API_KEY", key + "-rotated")
    asyncio.run(pickle.loads(pickle.dumps(pickle.loads(pickled))).generate(ASK))
    assert server.headers[-1]["Authorization"] == f"Bearer {key}-rotated", "it is read in the process that unpickles"
    monkeypatch.delenv("TOGETHER_API_KEY")
    with pytest.raises(ConfigError, match="TOGETHER_API_KEY, which is not set"):
        asyncio.run(pickle.loads(pickled).generate(ASK))


def test_an_address_with_a_password_is_pickled_by_its_variable(server, monkeypatch):
    url = server.url.replace("http://", "http://me:hidden@")
    monkeypatch.setenv("JUDGE_URL", url)
    pickled = pickle.dumps(OpenAIJudge("judge", base_url=os.environ["JUDGE_URL"], check_server=False))
    assert b"hidden" not in pickled
    asyncio.run(pickle.loads(pickled).generate(ASK))
    assert server.headers[-1]["Authorization"] == "Basic " + base64.b64encode(b"me:hidden").decode()


def test_what_servers_without_keys_are_sent_is_no_secret(server):
    judge = pickle.loads(pickle.dumps(OpenAIJudge("judge", base_url=server.url, api_key="EMPTY", check_server=False)))
    server.script = lambda body: says("EMPTY")
    assert asyncio.run(judge.generate(ASK))[0].text == "EMPTY"


def test_a_key_in_a_short_variable_by_accident_is_not_pickled_by_its_name(monkeypatch):
    monkeypatch.setenv("SHLVL", "sk-1")
    with pytest.raises(ConfigError, match="pickles carry no keys"):
        pickle.loads(pickle.dumps(Secret("sk-1", "api_key"))).reveal()


# What servers say


def error(status, **headers):
    return lambda key, text: web.json_response(
        {"error": {"message": text, "code": key}}, status=status, headers=headers
    )


def redirect(key, text):
    return web.Response(
        status=302, headers={"Location": f"/v1/{quote(key, safe='')}/chat/completions?key={quote(text)}"}
    )


ECHOES = {
    **{str(status): error(status) for status in (400, 401, 402, 403, 404, 413, 422, 429, 500)},
    "filtered": lambda key, text: web.json_response({"error": {"message": text, "code": "content_filter"}}, status=400),
    "a list": lambda key, text: web.json_response({"detail": [{"msg": text, key: key}]}, status=422),
    "a text": lambda key, text: web.json_response(text, status=400),
    "HTML 401": lambda key, text: web.Response(text=f"<html>{text}", status=401, content_type="text/html"),
    "HTML 200": lambda key, text: web.Response(text=f"<html>{text}", content_type="text/html"),
    "no UTF-8": lambda key, text: web.Response(body=b"\xff" + text.encode(), status=400),
    "escaped": lambda key, text: web.Response(body=_escaped({"error": text}), status=400),
    "other fields": lambda key, text: web.json_response({"error": {}, text: text}),
    "redirect": redirect,
    "refused field": lambda key, text: web.json_response({"error": {"message": f"max_tokens {text}"}}, status=400),
}
ANSWERS = {
    "answer": lambda key, text: says(f"<critique>{text}</critique><score>4</score>"),
    "unreadable answer": lambda key, text: says(text),
    "reasoning": lambda key, text: completes(choice("<score>4</score>", message={"reasoning": text})),
    "in blocks": lambda key, text: completes(choice([{"text": key[:5]}, {"text": key[5:] + "<score>4</score>"}])),
    "finish": lambda key, text: completes(choice("<score>4</score>", finish_reason=text)),
    "model": lambda key, text: web.json_response({"model": text, "choices": [choice("<score>4</score>")]}),
    "escaped answer": lambda key, text: web.Response(body=_escaped({"choices": [choice(text + "<score>4</score>")]})),
}


def _escaped(body):
    """JSON in which each letter of a text is an escape."""
    return re.sub(r'(?<=": ")[^"\\]*', lambda m: "".join(f"\\u{ord(c):04x}" for c in m[0]), json.dumps(body)).encode()


def judged(judge, folder, **options):
    """What a reward with this judge leaves behind, as one text: error, record, tables, figures, warnings."""
    left = []
    reward = IRPMReward(judge, log_path=folder / "record.jsonl", **{"max_failures": 1.0, **options})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            table, figures = [], {}
            reward(
                prompts=["Q"] * 2,
                completions=["quokka", "walrus"],
                log_extra=lambda *given: table.append(given),
                log_metric=figures.__setitem__,
            )
            left += [repr(table), repr(figures)]
        except GRMError as error:
            left.append(chain(error))
    record = folder / "record.jsonl"
    return "\n".join([*left, *map(str, warned), record.read_text() if record.exists() else ""])


SIGNS = ("quite good", "***", "HTTP", "no ")  # of what a server said, or of what it is


def judged_by(server, make, key, folder):
    """As `judged`. Faults that are tried again take the whole deadline; a busy machine may need more to hear anything."""
    left = ""
    for seconds in (0.25, 20.0):
        if not server.bodies or not any(word in left for word in SIGNS):
            left += judged(make(server, key), folder, deadline=seconds)
    assert server.bodies
    return left


def logged(caplog):
    return "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])


@by_key
@pytest.mark.parametrize("echo", (ECHOES | ANSWERS).values(), ids=(ECHOES | ANSWERS).keys())
def test_a_server_that_repeats_the_key_does_not_publish_it(server, key, echo, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    said = " ".join(["quite good", *forms(key)])
    server.script = lambda body: echo(key, said)
    left = judged_by(server, by_address, key, tmp_path) + logged(caplog)
    assert not leaks(left, key)
    assert any(word in left for word in SIGNS), "something was told"


TOLD = [(echo, make) for make in MAKERS[1:] for echo in ("401", "400", "500", "HTML 401", "answer")]
TOLD += [("redirect", make) for make in OURS[1:]]  # httpx logs the address that a client is redirected to: SECURITY.md


@pytest.mark.parametrize(("echo", "make"), TOLD)
def test_nor_by_another_way_to_give_the_key(server, make, echo, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    key = KEYS["long"]
    said = " ".join(["quite good", *forms(key)])
    server.script = lambda body: (ECHOES | ANSWERS)[echo](key, said)
    left = judged_by(server, make, key, tmp_path) + logged(caplog)
    assert not leaks(left, key)


@by_key
def test_the_probe_and_the_notices_tell_no_key(server, key, caplog):
    caplog.set_level(logging.DEBUG)
    server.script = lambda body: web.json_response({"model": f"judge {key}", "choices": [choice(key)]})
    judge = OpenAIJudge("judge", base_url=server.url, api_key=key)
    report = judge.probe().report()
    asyncio.run(judge.generate(ASK))
    assert "judge" in report
    assert not leaks(report + repr(judge.probe()) + logged(caplog), key)


@by_key
def test_a_key_in_the_pieces_of_an_answer_is_taken_out_too(server, key):
    server.script = lambda body: labels((key, -0.1), ("B", -3.0))
    (reply,) = asyncio.run(by_address(server, key).generate(ASK, top_logprobs=2))
    assert not leaks(repr(reply), key)
    pieces = [{"token": key[i : i + 3], "logprob": -0.1, "top_logprobs": []} for i in range(0, len(key), 3)]
    server.script = lambda body: completes(choice(key, logprobs={"content": pieces}))
    (reply,) = asyncio.run(by_address(server, key).generate(ASK, top_logprobs=2))
    assert key not in "".join(token.token for token in reply.logprobs)


def test_another_server_that_one_redirects_to_is_not_told_the_key(server):
    other = Server()
    try:
        server.script = lambda body: web.Response(status=307, headers={"Location": f"{other.url}/chat/completions"})
        asyncio.run(by_address(server, KEYS["long"]).generate(ASK))
        assert other.bodies, "it was followed"
        assert not leaks(repr(dict(other.headers[0])), KEYS["long"])
    finally:
        other.stop()


@by_key
def test_nobody_there_tells_no_key(key, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    url = f"http://me:{quote(key, safe='')}@127.0.0.1:9/v1"
    for judge in (OpenAIJudge("judge", base_url=url, api_key=key), by_client(type("At", (), {"url": url}), key)):
        with pytest.raises(TransportError) as raised:
            asyncio.run(judge.generate(ASK))
        assert not leaks(chain(raised.value) + logged(caplog), key)


def test_an_address_of_the_environment_hides_its_password(server, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("http://", "http://me:hidden-word@"))
    server.script = lambda body: web.json_response({"error": "hidden-word"}, status=400)
    judge = OpenAIJudge("judge", api_key=KEYS["long"], check_server=False)
    with pytest.raises(FatalJudgeError) as raised:
        asyncio.run(judge.generate(ASK))
    assert server.headers[0]["Authorization"].startswith("Basic ")
    assert "hidden-word" not in chain(raised.value) + logged(caplog) + dump(judge)


def test_a_proxy_with_a_password_tells_nothing(monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("http_proxy", "http://me:hidden-word@127.0.0.1:9")
    judge = OpenAIJudge("judge", base_url="http://judge.example/v1", check_server=False)
    with pytest.raises(TransportError) as raised:
        asyncio.run(judge.generate(ASK))
    assert "hidden-word" not in chain(raised.value) + logged(caplog) + dump(judge)


@by_key
def test_every_way_to_write_a_key_is_known(key):
    scrubber = Scrubber([key])
    written = [
        *forms(key),
        quote(key).lower(),
        "".join(f"&#{ord(c)};" for c in key),
        "".join(f"\\u{ord(c):04x}" for c in key),
    ]
    for form, before in itertools.product(written, ["", "x", "key=", "(("]):
        assert "***" in scrubber.text(f"{before}{form} and"), form
    for sign in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(f"{'u' * sign}:{key}!".encode()).decode()
            assert "***" in scrubber.text(encoded)
    assert scrubber.text("sk-proj-aB3... is masked by the server") == "sk-proj-aB3... is masked by the server"


def test_a_score_is_not_mistaken_for_a_key():
    assert (
        Scrubber(["10"]).answer(b'{"choices": [{"message": {"content": "10"}}]}')["choices"][0]["message"]["content"]
        == "10"
    )


# No code from data

ALLOWED = {  # pickles pass between processes of one run, over a pipe or the process group; none is read from a file
    ("ranks.py", "pickle.loads"),
    ("judges/isolated.py", "pickle.loads"),
    ("judges/isolated_main.py", "pickle.loads"),
}
CODE = {"eval", "exec", "compile", "__import__", "execfile"}
READERS = re.compile(
    r"(c?pickle|dill|cloudpickle|marshal|shelve|joblib|torch|jsonpickle|pandas)\.(load|loads|open|Unpickler|read_pickle|decode)"
    r"|yaml\.(load|load_all|unsafe_load|full_load)|(numpy|np)\.load|os\.(system|popen)|subprocess\.(getoutput|getstatusoutput)"
)


def dangerous(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "dill", "shelve", "yaml"):
            yield f"from {node.module} import"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in CODE or READERS.fullmatch(name):
            yield name
        for keyword in node.keywords:
            if keyword.arg == "shell" or (keyword.arg == "trust_remote_code" and ast.unparse(keyword.value) == "True"):
                yield f"{keyword.arg}="


def test_no_text_and_no_file_becomes_code():
    root = Path(grmrewards.__file__).parent
    found = {(path.relative_to(root).as_posix(), what) for path in root.rglob("*.py") for what in dangerous(path)}
    assert found == ALLOWED


@pytest.mark.parametrize(
    "line", ["eval(x)", "torch.load(f)", "run(c, shell=True)", "yaml.load(f)", "from pickle import loads", "np.load(f)"]
)
def test_what_would_be_code_is_seen(line, tmp_path):
    (tmp_path / "file.py").write_text(line)
    assert list(dangerous(tmp_path / "file.py"))


MODELING = """
import pathlib
from transformers import Qwen2Config, Qwen2ForCausalLM
pathlib.Path({witness!r}).write_text("ran")
class OwnConfig(Qwen2Config):
    model_type = "own-judge"
class OwnModel(Qwen2ForCausalLM):
    config_class = OwnConfig
"""
TOKENIZING = """
import pathlib
from transformers import PreTrainedTokenizerFast
pathlib.Path({witness!r}).write_text("ran")
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(scope="module")
def own_code(tmp_path_factory):
    """Two folders of a model that comes with code: in its model, and in its tokenizer alone."""
    pytest.importorskip("torch", reason="needs the extra `local`")
    import tiny

    folders = {}
    for part in ("model", "tokenizer"):
        folder = folders[part] = tmp_path_factory.mktemp(part)
        model, tokenizer = tiny.model_and_tokenizer()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        name, changes, code = {
            "model": (
                "config.json",
                {
                    "model_type": "own-judge",
                    "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
                },
                MODELING,
            ),
            "tokenizer": (
                "tokenizer_config.json",
                {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}},
                TOKENIZING,
            ),
        }[part]
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**config, **changes}))
        folders["loaded"] = tokenizer
        (folder / "own.py").write_text(code.format(witness=str(folder / "witness")))
    return folders


def asked(folder, *tokenizer, **options):
    """What became of a judgement, and whether the code ran."""
    judge = TransformersJudge(str(folder), *tokenizer, device="cpu", max_new_tokens=2, **options)
    try:
        told = asyncio.run(judge.generate(ASK))[0].finish_reason
    except ConfigError as error:
        told = str(error)
    ran, _ = (folder / "witness").exists(), (folder / "witness").unlink(missing_ok=True)
    return told, ran


@pytest.fixture
def modules(monkeypatch, tmp_path):
    """Where transformers puts code that it is allowed to run."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.mark.parametrize("part", ["model", "tokenizer"])
@pytest.mark.usefixtures("modules")
def test_code_that_comes_with_a_model_runs_only_when_asked_for(own_code, part):
    told, ran = asked(own_code[part], isolate=False)
    assert not ran
    assert "trust_remote_code=False" in told or part == "tokenizer", "transformers may take its own tokenizer instead"
    assert asked(own_code[part], isolate=False, trust_remote_code=True) == ("length", True)


@pytest.mark.slow
@pytest.mark.usefixtures("modules")
def test_nor_does_it_run_in_a_process_of_its_own(own_code):
    import tiny

    told, ran = asked(own_code["model"], tiny.model_and_tokenizer()[1], isolate=True)
    assert not ran
    assert "trust_remote_code=False" in told


@pytest.mark.parametrize("given", [{}, {"trust_remote_code": True, "revision": "r1"}], ids=["by default", "asked for"])
def test_the_model_and_the_tokenizer_are_loaded_as_the_judge_was_told(own_code, given, monkeypatch):
    import transformers

    seen = {}

    def kept(name):
        def from_pretrained(source, **options):
            seen[name] = (options["trust_remote_code"], options["revision"])
            raise KeyError(name)

        return from_pretrained

    for name in ("AutoTokenizer", "AutoModelForCausalLM"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", kept(name))
    for tokenizer in ((), (own_code["loaded"],)):
        with pytest.raises(KeyError):
            asyncio.run(TransformersJudge(f"some/{len(given)}", *tokenizer, isolate=False, **given).generate(ASK))
    wanted = (given.get("trust_remote_code", False), given.get("revision"))
    assert seen == {"AutoTokenizer": wanted, "AutoModelForCausalLM": wanted}


def test_a_record_is_no_pickle(tmp_path):
    """Nor is any file that the package writes: a line that is none is skipped."""
    from grmrewards import record

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    out = io.BytesIO()
    pickle.dump(Evil(), out)
    (tmp_path / "record.jsonl").write_bytes(out.getvalue() + b'\n{"type": "x"}\n')
    assert [entry["type"] for entry in record.read(tmp_path / "record.jsonl")] == ["x"]
    assert not (tmp_path / "made").exists()
