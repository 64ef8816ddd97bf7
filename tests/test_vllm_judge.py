"""`VLLMJudge`: the same judgements as with transformers, in a process that knows nothing of the trainer's launch.

What needs vLLM runs where it is installed (a build for the CPU will do), with the judge of this package as the model:
`python -m pytest tests/test_vllm_judge.py`. Loading takes half a minute, so these tests share one judge.
"""

import asyncio
import importlib.util
import logging
import math
import os
import pickle
import shutil
import sys
import threading
import types

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")

from grmrewards import (
    ConfigError,
    FatalJudgeError,
    GRAMReward,
    IRPMReward,
    Message,
    TransformersJudge,
    TransportError,
    VLLMJudge,
)
from grmrewards.judges import embedded, vllm_start
from grmrewards.judges.rows import Choice, Row
from grmrewards.judges.vllm_engine import VLLMEngine

INSTALLED = importlib.util.find_spec("vllm") is not None
needs_vllm = [
    pytest.mark.skipif(not INSTALLED, reason="vllm is not installed here: a laboratory check"),
    pytest.mark.timeout(300),
]
ON_TWO_RANKS = {  # what `accelerate launch` leaves in the environment of its second process
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "9",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
SMALL = {"enforce_eager": True, "kv_cache_memory_bytes": 128 << 20}
QUESTIONS = ["Name 3 animals.", "Name 2 fruits, one of them plum.", "Name 4 colours, but not red."]
ANSWERS = ["cat, dog, cow", "plum, apple", "blue, green, red, red", "cat"]


@pytest.fixture
def findable(tmp_path, monkeypatch):
    """vLLM, or an empty module of its name: arguments are checked before it is imported."""
    if not INSTALLED:
        (tmp_path / "vllm.py").write_text("raise AssertionError('imported')")
        monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.skipif(INSTALLED, reason="vllm is installed here")
def test_without_vllm_the_error_says_what_to_install():
    with pytest.raises(ConfigError, match=r"vllm: pip install 'grmrewards\[vllm\]'"):
        VLLMJudge("Qwen/Qwen3-8B")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": object()}, "name or folder"),
        ({"model": " "}, "name or folder"),
        ({"tokenizer": "Qwen/Qwen3-8B"}, "AutoTokenizer"),
        ({"memory": 0}, "memory=0"),
        ({"memory": 1.5}, "at most 1"),
        ({"max_model_len": 0}, "max_model_len=0"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size=0"),
        ({"sleep": "yes"}, "sleep='yes'"),
        ({"engine_kwargs": ["enforce_eager"]}, "dict"),
        ({"engine_kwargs": {"gpu_memory_utilization": 0.5}}, r"VLLMJudge\(memory="),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_a_wrong_argument_is_refused_before_anything_is_loaded(findable, arguments, said):
    with pytest.raises(ConfigError, match=said):
        VLLMJudge(**{"model": "some/model", **arguments})


def test_a_pickled_judge_keeps_its_settings(findable):
    judge = VLLMJudge("some/model", memory=0.4, max_new_tokens=7, engine_kwargs={"enforce_eager": True})
    copy = pickle.loads(pickle.dumps(judge))
    assert (copy.model, copy.max_new_tokens, copy._source) == (judge.model, 7, judge._source)


@pytest.mark.parametrize(
    ("visible", "rank", "wanted", "seen"),
    [
        (None, "1", 1, "1"),
        ("4,5", "1", 1, "5"),
        ("GPU-a,GPU-b", "0", 1, "GPU-a"),
        ("4,5", "3", 1, "5"),
        (None, None, 1, "0"),
        ("4,5", "1", 2, "4,5"),
    ],
    ids=["second rank", "of those visible", "named", "more ranks than GPUs", "no launcher", "split over both"],
)
def test_each_rank_judges_on_its_own_gpu(visible, rank, wanted, seen):
    given = {"CUDA_VISIBLE_DEVICES": visible, "LOCAL_RANK": rank}
    environ = {name: value for name, value in given.items() if value is not None}
    vllm_start.stand_alone(environ, gpus=2, wanted=wanted)
    assert environ["CUDA_VISIBLE_DEVICES"] == seen


def test_the_launch_of_the_trainer_is_not_the_judges():
    environ = dict(ON_TWO_RANKS, PATH="/bin", VLLM_LOGGING_LEVEL="DEBUG")
    vllm_start.stand_alone(environ, gpus=0, wanted=1)
    assert not {*environ} & {*ON_TWO_RANKS}
    assert (environ["PATH"], environ["VLLM_LOGGING_LEVEL"]) == ("/bin", "DEBUG")


def source(model, **settings):
    given = {"memory": 0.3, "max_model_len": None, "tensor_parallel_size": 1, "sleep": True, "own_tokenizer": False}
    hub = {"dtype": "auto", "revision": None, "trust_remote_code": False}
    return {"model": str(model), **given, **hub, "engine_kwargs": {}, **settings}


def test_a_copied_judge_keeps_its_fingerprint_and_a_changed_one_does_not(tmp_path):
    copy = shutil.copytree(embedded.JUDGE, tmp_path / "copy")
    first = vllm_start.fingerprint(source(embedded.JUDGE), "bfloat16")
    assert vllm_start.fingerprint(source(copy, memory=0.5), "bfloat16") == first
    assert vllm_start.fingerprint(source(copy), "float16") != first
    assert vllm_start.fingerprint(source(copy, engine_kwargs={"quantization": "fp8"}), "bfloat16") != first
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    assert vllm_start.fingerprint(source(copy), "bfloat16") != first


def test_a_model_of_the_hub_is_known_by_its_commit(tmp_path):
    cached = tmp_path / "models--some--model"
    for commit in ("a" * 40, "b" * 40):
        (cached / "snapshots" / commit).mkdir(parents=True)
        (cached / "snapshots" / commit / "config.json").write_text("{}")
    (cached / "refs").mkdir()

    def seen(commit):
        (cached / "refs" / "main").write_text(commit)
        return vllm_start.fingerprint(source("some/model", engine_kwargs={"download_dir": str(tmp_path)}), "bfloat16")

    assert seen("a" * 40) != seen("b" * 40)
    assert seen("a" * 40) == seen("a" * 40)


def test_weights_that_cannot_be_identified_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"'no/where'.*give the judge a folder"):
        vllm_start.fingerprint(source("no/where", engine_kwargs={"download_dir": str(tmp_path)}), "bfloat16")


# Without a GPU vLLM has no sleep mode: a stand-in for it says in which state it was asked


class Asleep(Exception):
    """What a sleeping vLLM does when it is asked."""


@pytest.fixture
def stand_in(monkeypatch):
    """A vLLM that answers each request in one step with one token, and only while it is awake."""
    log = []

    class SamplingParams:
        refuses = None

        def __init__(self, **options):
            if self.refuses in options:
                raise TypeError(f"Unexpected keyword argument {self.refuses!r}")
            self.__dict__.update(options)

    class Engine:
        model_config = types.SimpleNamespace(max_model_len=100, dtype="bfloat16")

        def __init__(self):
            self.asleep, self.waiting = False, []

        def add_request(self, name, prompt, sampling):
            if self.asleep:
                raise Asleep
            self.waiting.append((name, prompt["prompt_token_ids"], sampling))

        def abort_request(self, names):
            log.append("abort")
            self.waiting = [one for one in self.waiting if one[0] not in names]

        def step(self):
            name, prompt, sampling = self.waiting.pop(0)
            at = {i: types.SimpleNamespace(logprob=-i / 10) for i in getattr(sampling, "logprob_token_ids", ())}
            sample = types.SimpleNamespace(token_ids=[5], finish_reason="length", logprobs=[at])
            forced = [None, *({i: types.SimpleNamespace(logprob=-i / 10)} for i in prompt[1:])]
            output = {"request_id": name, "finished": True, "outputs": [sample], "prompt_logprobs": forced}
            return [types.SimpleNamespace(**output)]

    class LLM:
        refuses = None

        def __init__(self, *, enable_sleep_mode=False, **options):
            if enable_sleep_mode and self.refuses:
                raise ValueError(self.refuses)
            self.llm_engine = Engine()

        def sleep(self, level):
            log.append(f"sleep {level}")
            self.llm_engine.asleep = True

        def wake_up(self):
            log.append("wake")
            self.llm_engine.asleep = False

    kinds = types.SimpleNamespace(FINAL_ONLY=2)
    parameters = types.SimpleNamespace(SamplingParams=SamplingParams, RequestOutputKind=kinds)
    monkeypatch.setitem(sys.modules, "vllm", types.SimpleNamespace(LLM=LLM))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    return types.SimpleNamespace(log=log, LLM=LLM, SamplingParams=SamplingParams)


def said(engine, texts, stop=None):
    found = {}
    rows = [Row([1, 2], 0, 0.0, 1) for _ in range(texts)]
    engine.generate(rows, stop=stop or threading.Event(), deliver=found.__setitem__)
    return found


def chosen(engine):
    found = {}
    engine.choice_logprobs([Choice([1], ((3,), (4, 5)))], stop=threading.Event(), deliver=found.__setitem__)
    return found


def test_it_sleeps_when_told_and_wakes_for_the_next_batch(stand_in):
    engine = VLLMEngine(source("some/model"), end=9)
    assert set(said(engine, 2)) == {0, 1}
    engine.release()
    engine.release()
    assert stand_in.log == ["sleep 1"]
    assert chosen(engine) == {0: [(-0.3,), (-0.4, -0.5)]}
    assert stand_in.log == ["sleep 1", "wake"]


@pytest.mark.parametrize(
    "refusal",
    ["Sleep mode is not supported on current platform.", "cumem allocator is not supported on current platform."],
)
def test_where_vllm_cannot_sleep_it_stays_awake(stand_in, refusal):
    stand_in.LLM.refuses = refusal
    engine = VLLMEngine(source("some/model"), end=9)
    engine.release()
    assert set(said(engine, 1)) == {0}
    assert stand_in.log == []
    assert not engine.sleeps


def test_another_refusal_of_vllm_is_not_taken_for_one_to_sleep(stand_in):
    stand_in.LLM.refuses = "max_model_len is too large"
    with pytest.raises(ValueError, match="too large"):
        VLLMEngine(source("some/model"), end=9)


def test_a_version_that_cannot_be_asked_for_labels_is_made_to_read_them(stand_in):
    stand_in.SamplingParams.refuses = "logprob_token_ids"
    engine = VLLMEngine(source("some/model"), end=9)
    assert chosen(engine) == {0: [(-0.3,), (-0.4, -0.5)]}
    assert engine.window == 99, "it samples one more token after the label"


def test_what_nobody_waits_for_is_taken_back(stand_in):
    engine, stop = VLLMEngine(source("some/model"), end=9), threading.Event()
    found = {}

    def deliver(place, answer):
        found[place] = answer
        stop.set()

    engine.generate([Row([1], 0, 0.0, 1) for _ in range(3)], stop=stop, deliver=deliver)
    assert set(found) == {0}
    assert stand_in.log == ["abort"]
    assert set(said(engine, 2)) == {0, 1}


# With vLLM


@pytest.fixture(scope="module")
def judge():
    """A judge that was loaded by the second process of a launch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        for name, value in ON_TWO_RANKS.items():
            patch.setenv(name, value)
        made = VLLMJudge(embedded.JUDGE, dtype="float32", memory=0.1, max_new_tokens=320, engine_kwargs=SMALL)
        generate(made, ["Name 1 fruit."], max_tokens=1)
    yield made
    made._loading.result().network.close()


@pytest.fixture(scope="module")
def here():
    """The same model on transformers, in this process."""
    return TransformersJudge.embedded()


def generate(judge, texts, **sampling):
    async def main():
        async with judge:
            return await asyncio.gather(*(judge.generate([Message("user", text)], **sampling) for text in texts))

    return asyncio.run(main())


def choices(judge, labels):
    async def main():
        async with judge:
            asked = (judge.choice_logprobs([Message("user", text)], labels) for text in QUESTIONS)
            return await asyncio.gather(*asked)

    return asyncio.run(main())


class Killer(threading.Event):
    """An event that kills a process when it is looked at, which happens while a batch runs."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def is_set(self):
        self.process.kill()
        return False


def close(a, b):
    return math.isclose(a, b, abs_tol=1e-3)


class TestWithVLLM:
    pytestmark = needs_vllm

    def test_greedy_answers_and_their_logprobs_equal_those_of_transformers(self, judge, here):
        sampling = {"temperature": 0.0, "top_logprobs": 5}
        for (found,), (expected,) in zip(
            generate(judge, QUESTIONS, **sampling), generate(here, QUESTIONS, **sampling), strict=True
        ):
            assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason)
            assert (found.prompt_tokens, found.completion_tokens) == (
                expected.prompt_tokens,
                expected.completion_tokens,
            )
            for a, b in zip(found.logprobs, expected.logprobs, strict=True):
                assert (a.token, len(a.top)) == (b.token, len(b.top))
                assert close(a.logprob, b.logprob)
                assert all(close(value, b.top[token]) for token, value in list(a.top.items())[:3])

    def test_a_short_answer_is_cut_off(self, judge, here):
        (found,), (expected,) = (
            generate(one, QUESTIONS[:1], temperature=0.0, max_tokens=2)[0] for one in (judge, here)
        )
        assert (found.text, found.finish_reason, found.completion_tokens) == (expected.text, "length", 2)

    @pytest.mark.parametrize("labels", [["A", "B"], ["A", "cat dog", "\\boxed{7}"]], ids=["of one token", "of several"])
    def test_choice_logprobs_equal_those_of_transformers(self, judge, here, labels):
        for found, expected in zip(choices(judge, labels), choices(here, labels), strict=True):
            assert [len(label) for label in found] == [len(label) for label in expected]
            assert all(close(a, b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True))

    def test_votes_differ_and_repeat_under_their_seed(self, judge):
        first, again, other = (
            [reply.text for reply in generate(judge, ["Name 9 animals."], n=8, temperature=2.0, seed=seed)[0]]
            for seed in (3, 3, 100)
        )
        assert first == again != other
        assert len(set(first)) > 1

    def test_a_caller_that_leaves_stops_the_engine(self, judge):
        expected = generate(judge, QUESTIONS, temperature=0.0)

        async def leave():
            async with judge:
                asked = judge.generate([Message("user", "Name 9 animals.")], n=20_000, temperature=2.0)
                await asyncio.wait_for(asked, 0.5)

        with pytest.raises(TimeoutError):
            asyncio.run(leave())
        assert generate(judge, QUESTIONS, temperature=0.0) == expected

    @pytest.mark.parametrize("family", [IRPMReward, GRAMReward])
    def test_rewards_equal_those_of_transformers(self, judge, here, family):
        asked = {"prompts": ["Name 3 animals."] * 4, "completions": ANSWERS}
        found, expected = (family(one, group_size=4)(**asked) for one in (judge, here))
        assert all(close(a, b) for a, b in zip(found, expected, strict=True))
        assert found[0] == max(found) > min(found)

    def test_where_there_is_no_gpu_it_is_said_once_that_it_cannot_sleep(self, judge, caplog):
        judge._loading.result().network.sleeps = True
        with caplog.at_level(logging.WARNING, logger="grmrewards"):
            generate(judge, QUESTIONS[:1], max_tokens=1)
            generate(judge, QUESTIONS[:1], max_tokens=1)
        assert caplog.text.count("no sleep mode") == 1

    def test_what_vllm_says_about_a_model_that_it_cannot_load_reaches_the_user(self, tmp_path):
        folder = shutil.copytree(embedded.JUDGE, tmp_path / "judge")
        config = (folder / "config.json").read_text().replace("Qwen3ForCausalLM", "NoSuchForCausalLM")
        (folder / "config.json").write_text(config.replace('"qwen3"', '"no_such"'))
        with pytest.raises(FatalJudgeError, match="no_such"):
            generate(VLLMJudge(folder, memory=0.1, engine_kwargs=SMALL), ["fox"])

    def test_a_process_that_dies_is_a_transport_error_and_the_next_request_starts_another(self, judge, monkeypatch):
        monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        expected, process = generate(judge, QUESTIONS, temperature=0.0), judge._loading.result().network.process
        run = judge._run_batch
        with monkeypatch.context() as patch:
            patch.setattr(judge, "_run_batch", lambda kind, rows, stop, *more: run(kind, rows, Killer(process), *more))
            with pytest.raises(TransportError, match=r"exit code -9 \(SIGKILL\)"):
                generate(judge, ["Name 9 animals."], n=2_000, temperature=2.0)
        assert generate(judge, QUESTIONS, temperature=0.0) == expected
