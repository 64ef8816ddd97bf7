"""What real servers accept and ignore is seen by the probe and named: `transformers serve`, and that of llama-cpp-python.

LLAMA_PYTHON names the interpreter that has `llama-cpp-python[server]` and `gguf`; `make test-servers` tries to make one.
"""

import asyncio
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from grmrewards import FatalJudgeError, GRAMReward, Message, OpenAIJudge
from grmrewards.judges import probe
from grmrewards.judges.embedded import server
from grmrewards.judges.notices import oddities

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

LLAMA = os.environ.get("LLAMA_PYTHON", sys.executable)
HAS_LLAMA = (
    Path(LLAMA).exists()
    and subprocess.run([LLAMA, "-c", "import llama_cpp.server.app, gguf"], capture_output=True).returncode == 0
)
needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama-cpp-python is not installed")
ASK = [Message("user", "Name 3 animals.")]


@pytest.fixture(scope="module", params=["greedy", "sampling"])
def transformers(request, tmp_path_factory):
    """The embedded judge as it is shipped, and with the line that makes `transformers serve` sample."""
    pytest.importorskip("transformers.cli.serve", reason="needs transformers[serving]")
    folder = tmp_path_factory.mktemp("served") / "judge"
    shutil.copytree(server.JUDGE, folder)
    if request.param == "sampling":
        config = json.loads((folder / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(json.dumps({**config, "do_sample": True}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "JUDGE", folder)
        with server.serve() as judge:
            yield request.param, judge


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama") / "tiny.gguf"
    subprocess.run([LLAMA, str(Path(__file__).with_name("make_gguf.py")), str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def llama(gguf):
    with llama_server(gguf) as judge:
        yield judge


@contextmanager
def llama_server(gguf, *options):
    """A judge that asks a server of its own on loopback, which ends with the block, and with this process where it dies."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [LLAMA, "-m", "llama_cpp.server", "--model", str(gguf), "--host", "127.0.0.1", "--port", str(port)]
    limits = ["--n_ctx", "1024", "--n_threads", "1", "--n_threads_batch", "1"]
    process = subprocess.Popen(
        [*command, *limits, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    try:
        _wait_until_up(process, f"http://127.0.0.1:{port}/v1/models")
        yield OpenAIJudge("judge", base_url=f"http://127.0.0.1:{port}/v1", max_tokens=64)
    finally:
        process.terminate()
        process.wait()


def _end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _wait_until_up(process, url):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended at once"
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("the server was not up in time")


def ask(judge, fields):
    async def asked():
        async with judge._endpoint as endpoint:
            return await endpoint.ask({"messages": [{"role": "user", "content": "Name 3 animals."}], **fields})

    return asyncio.run(asked())


def kinds(judge, fields):
    """What the answer to a judge's own request shows in passing."""
    return [kind for kind, _ in oddities(fields, ask(judge, fields), model=judge.model)]


def named(report, *sentences):
    return [sentence for sentence in sentences if sentence not in report]


# transformers serve


def test_what_transformers_serve_ignores_is_named(transformers):
    how, judge = transformers
    found = probe.see(judge._endpoint)
    assert (found.n, found.logprobs, found.json_schema) == (1, "absent", "ignored")
    assert (found.token_limit, found.counts_tokens, found.checks_model) == ("max_tokens", True, True)
    assert (found.continues, found.unknown_fields) == ("refused", "refused")
    assert found.samples is (how == "sampling")
    assert not named(
        found.report(),
        "n: one answer comes where two are asked for",
        "logprobs: taken without a word and not given",
        "json_schema: taken without a word and ignored",
        "continue_final_message: refused",
        "unknown fields: refused",
    )
    assert ("! answers at temperature 1 are the same under every seed" in found.report()) is (how == "greedy")


def test_the_judge_itself_copes_with_transformers_serve_or_says_why_not(transformers):
    _, judge = transformers
    assert len(asyncio.run(judge.generate(ASK, n=3, max_tokens=8))) == 3
    with pytest.raises(FatalJudgeError, match="without log-probabilities"):
        GRAMReward(judge)(prompts=["Q"] * 2, completions=["cat", "dog"])
    with pytest.raises(FatalJudgeError, match="continue_final_message"):
        asyncio.run(judge.generate([*ASK, Message("assistant", "cat")]))
    typo = OpenAIJudge(judge.model, base_url=judge.base_url, extra_body={"chat_template_kwarg": {}})
    with pytest.raises(FatalJudgeError, match="chat_template_kwarg"):
        asyncio.run(typo.generate(ASK))
    with pytest.raises(FatalJudgeError, match="pinned"):
        asyncio.run(OpenAIJudge("another", base_url=judge.base_url).generate(ASK))


def test_answers_of_transformers_serve_show_in_passing_what_was_ignored(transformers):
    _, judge = transformers
    assert kinds(judge, {"max_tokens": 8}) == []
    assert kinds(judge, {"max_completion_tokens": 8}) == []
    assert kinds(judge, {"max_tokens": 8, "logprobs": True, "top_logprobs": 5}) == ["logprobs"]
    assert kinds(judge, {"max_tokens": 8, "response_format": probe.SCHEMA}) == ["schema"]
    with urllib.request.urlopen(f"{judge.base_url}/models", timeout=10) as listed:
        assert json.load(listed)["data"] == [], "docs/servers.md says so"


# llama.cpp


@needs_llama
def test_what_llama_cpp_ignores_is_named(llama):
    found = probe.see(llama._endpoint)
    assert (found.n, found.samples, found.seed) == (1, True, "repeats")
    assert (found.logprobs, found.json_schema, found.token_limit) == ("given", "refused", "max_tokens")
    assert 0 < found.top_logprobs < 20
    assert (found.continues, found.unknown_fields, found.checks_model) == ("ignored", "ignored", False)
    assert not named(
        found.report(),
        "n: one answer comes where two are asked for",
        f"top_logprobs: {found.top_logprobs} of 20 alternatives come",
        "json_schema: refused or failing",
        "continue_final_message: ignored",
        "unknown fields: ignored without a word",
        "model: any name is answered",
    )


@needs_llama
def test_the_limit_that_llama_cpp_ignores_under_its_other_name_is_named(llama):
    judge = OpenAIJudge("judge", base_url=llama.base_url)
    judge._endpoint._names["max_tokens"] = "max_completion_tokens"  # as after a refusal of max_tokens
    found = probe.see(judge._endpoint)
    assert found.token_limit == "ignored"
    assert "! answers are longer than the limit" in found.report()
    assert kinds(llama, {"max_completion_tokens": 8, "seed": 1}) == ["limit"]
    assert kinds(llama, {"max_tokens": 8, "seed": 1}) == []


@needs_llama
def test_the_judge_itself_copes_with_llama_cpp(llama):
    votes = asyncio.run(llama.generate(ASK, n=3, max_tokens=8, temperature=1.0, seed=1))
    assert len({vote.text for vote in votes}) == 3
    assert kinds(llama, {"max_tokens": 4, "logprobs": True, "top_logprobs": 20}) == []


@needs_llama
def test_log_probabilities_that_llama_cpp_was_not_started_for_are_named(gguf):
    with llama_server(gguf, "--logits_all", "false") as judge:
        found = probe.see(judge._endpoint)
    assert found.logprobs == "refused"
    assert "--logits_all true" in found.report()
