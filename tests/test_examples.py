"""The scripts of examples/ run, and what docs/one_gpu.md says of memory and of a sleeping judge is so."""

import ast
import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from grmrewards import FatalJudgeError, IPGRMReward, IRPMReward
from servers import Server, fails, says

ROOT = Path(__file__).parents[1]
SCRIPTS = [ROOT / "examples" / f"{name}.py" for name in ("ipgrm", "listwise", "irpm", "gram")]
PAGE = (ROOT / "docs" / "one_gpu.md").read_text(encoding="utf-8")
STEPS = 4

scripts = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


# The scripts


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def trained(tmp_path, *command):
    """Run a script with the small models; the rewards that it logged."""
    output = run(*command, "--tiny", "--output", tmp_path / "out", HF_HOME=str(tmp_path / "hub"))
    rewards = [float(value) for value in re.findall(r"'reward': '?([-\d.e]+)'?", output)]
    assert len(rewards) == STEPS, output
    return rewards


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("script", SCRIPTS[:2] + SCRIPTS[3:], ids=lambda path: path.stem)
def test_tiny_run_trains_and_logs_a_reward_a_step(script, tmp_path):
    assert all(0 <= reward <= 1 for reward in trained(tmp_path, script))
    assert list((tmp_path / "out").glob("*.safetensors")), "the model is saved"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_gram_without_a_baseline_lets_answers_meet_each_other(tmp_path):
    rewards = trained(tmp_path, SCRIPTS[3], "--opponents", 2)
    assert rewards == pytest.approx([0.5] * STEPS, abs=0.02), "what one wins, another loses"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_irpm_adds_up_two_rewards_and_keeps_a_record(tmp_path):
    rewards = trained(tmp_path, SCRIPTS[2])
    record = (tmp_path / "out" / "judgements.jsonl").read_text()
    completions = [entry for entry in map(json.loads, record.splitlines()) if entry["type"] == "completion"]
    assert len(completions) == STEPS * 16
    by_judge = sum(entry["reward"] for entry in completions) / len(completions)
    assert sum(rewards) / STEPS == pytest.approx(by_judge + 0.2, abs=1e-3), "all have the right form, at weight 0.2"


def test_help_loads_no_heavy_library():
    probe = f"""
import runpy, sys
for script in {[str(path) for path in SCRIPTS]}:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert ended.code == 0
print([name for name in ("torch", "transformers", "trl", "datasets", "peft", "openai") if name in sys.modules])
"""
    output = run("-c", probe, PYTHONPATH=str(ROOT / "examples"))
    assert output.splitlines()[-1] == "[]"
    assert all(f"accelerate launch --num_processes 8 examples/{path.name}" in output for path in SCRIPTS)


@scripts
def test_scripts_are_short(script):
    assert 40 <= len(script.read_text().splitlines()) <= 80


@scripts
@pytest.mark.trl
def test_options_exist_in_the_installed_trl(script):
    pytest.importorskip("trl", reason="needs the extra `trl`")
    from trl import GRPOConfig

    known = {field.name for field in dataclasses.fields(GRPOConfig)}
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    (config,) = [call for call in calls if getattr(call.func, "id", "") == "GRPOConfig"]
    assert {keyword.arg for keyword in config.keywords} <= known


# Memory


@pytest.fixture(scope="module")
def memory():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import memory

        yield memory
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def model_of(shape):
    """A model of `shape`, of transformers."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
    )
    return AutoModelForCausalLM.from_config(config)


def small(memory, **changes):
    return dataclasses.replace(memory.Shape(32, 3, 4, 2, 16, 48, 50, tied=True), **changes)


@pytest.mark.parametrize("name", ["0.6B", "1.7B", "4B", "8B"])
def test_parameters_are_those_of_real_models(memory, name):
    torch = pytest.importorskip("torch")
    shape = memory.SHAPES[name]
    with torch.device("meta"):
        model = model_of(shape)
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters()
    linear = [module for module in model.model.modules() if isinstance(module, torch.nn.Linear)]
    assert sum(module.weight.numel() for module in linear) == shape.linear_parameters()


def test_a_cache_has_the_size_of_a_real_one(memory):
    torch = pytest.importorskip("torch")
    shape = small(memory)
    cache = model_of(shape)(torch.ones(2, 7, dtype=torch.long), use_cache=True).past_key_values
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    assert sum(tensor.nbytes for tensor in tensors) == shape.cache_bytes(2 * 7, width=4)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # peft's own affair
@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_has_the_parameters_that_peft_makes(memory, tied):
    peft = pytest.importorskip("peft")
    shape = small(memory, tied=tied)
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trained, everything = peft.get_peft_model(model_of(shape), config).get_nb_trainable_parameters()
    assert trained == shape.lora_parameters(4)
    assert everything == shape.lora_parameters(4) + shape.parameters()


def test_the_page_has_the_table_that_the_program_makes(memory):
    assert memory.tables(memory.Sizes()) in PAGE, "run: python benchmarks/memory.py --write docs/one_gpu.md"


def test_a_smaller_judge_leaves_more(memory):
    found = memory.judges("4B", memory.Sizes(), lora=True)
    peaks = [
        found[f"a second model, {name} in {kind}"].peak() for name in ("1.7B", "4B", "8B") for kind in ("4-bit", "bf16")
    ]
    assert peaks[0::2] == sorted(peaks[0::2])
    assert all(packed < plain for packed, plain in zip(peaks[0::2], peaks[1::2], strict=True))
    assert found["an endpoint elsewhere"].peak() == 0
    assert memory.verdict(memory.Use(memory.GB, 0, memory.GB, 0), 2.0) == "no", "5 % are left free"
    assert memory.verdict(memory.Use(memory.GB, 0, memory.GB, 0), 4.0) == "fits with 1.8 GB to spare"


# A judge that sleeps


class SleepingServer(Server):
    """Judges while it is awake, refuses while it sleeps, and keeps what came in which order."""

    def __init__(self):
        self.events, self.awake = [], False
        self.answer = lambda: says("<critique>Good.</critique><score>7</score>")
        super().__init__()
        self.script = self.judge

    async def _start(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        app.router.add_post("/{told:wake_up|sleep}", self._tell)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return "http://{}:{}".format(*self.runner.addresses[0][:2])

    async def _tell(self, request):
        self.events.append(str(request.rel_url))
        self.awake = request.match_info["told"] == "wake_up"
        return web.Response()

    def judge(self, body):
        self.events.append("judge")
        return self.answer() if self.awake else fails(503)


@pytest.fixture
def server():
    server = SleepingServer()
    yield server
    server.stop()


@pytest.fixture
def judge(server):
    """The class of the page, from the page."""
    pytest.importorskip("torch")
    (block,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class SleepingJudge" in block
    ]
    names = {}
    exec(compile(block, "docs/one_gpu.md", "exec"), names)
    return names["SleepingJudge"]("a-model", server.url)


def awake_only_for_judging(events, calls=1):
    told = [event for event in events if event != "judge"]
    assert told == ["/wake_up", "/sleep?level=1"] * calls
    assert events[0] == "/wake_up"
    assert events[-1] == "/sleep?level=1"
    return "judge" in events


def test_the_server_is_woken_judges_and_sleeps_again(server, judge):
    reward = IRPMReward(judge)
    for _ in range(2):
        assert reward(prompts=["q"] * 3, completions=["a", "b", "c"]) == [0.7] * 3
    assert awake_only_for_judging(server.events, calls=2)
    assert not server.awake


def test_the_server_sleeps_again_where_judging_raises(server, judge):
    server.answer = lambda: fails(401)
    with pytest.raises(FatalJudgeError):
        IRPMReward(judge)(prompts=["q"] * 3, completions=["a", "b", "c"])
    assert awake_only_for_judging(server.events)

    server.events.clear()
    server.answer = lambda: says("<critique>Good.</critique><score>7</score>")

    class Broken(IRPMReward):
        async def score(self, group):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Broken(judge)(prompts=["q"], completions=["a"])
    awake_only_for_judging(server.events)


def test_principles_ahead_of_training_wake_the_server_too(server, judge):
    server.answer = lambda: says("Evaluation Principles:\n1. [Right] (Weight: 100%): is it right?")
    assert IPGRMReward(judge).prefetch([{"prompt": "q"}, {"prompt": "r"}]) == 2
    assert awake_only_for_judging(server.events)


def test_a_server_that_cannot_be_woken_ends_the_run(server, judge):
    judge.server += "/nowhere"
    with pytest.raises(Exception, match="404"):
        IRPMReward(judge)(prompts=["q"], completions=["a"])
    assert server.events == []


def test_a_copy_of_it_judges_too(server, judge):
    assert IRPMReward(copy.deepcopy(judge))(prompts=["q"], completions=["a"]) == [0.7]
    assert awake_only_for_judging(server.events)


def test_code_on_the_page_is_python():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        ast.parse(block)
