"""The judge's model in a process of its own: the same numbers, whatever became of transformers here, and no process left.

Starting one takes seconds, so most tests share one judge, and one script in which all that concerns a parent happens.
"""

import asyncio
import dataclasses
import gc
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tiny

pytest.importorskip("torch", reason="needs the extra `local`")

from grmrewards import ConfigError, FatalJudgeError, IRPMReward, JudgeOutage, Message, TransformersJudge, TransportError
from grmrewards.judges import isolated
from grmrewards.judges.isolated import RemoteNetwork
from grmrewards.judges.rows import Row

ENDLESS = 90_000  # tokens: minutes
TEXTS = ["fox", "the lazy dog jumps", "q" * 40, "x"]

NOISE = """
import os, pathlib, sys
print("noise before the first frame")
def hook(event, args):
    if event == "import" and args[0] == "torch":
        print("noise of a library")
        os.write(1, b"noise of a library in C")
        pathlib.Path({witness!r}).write_text("made")
sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that goes on until its limit, on disk."""
    path = str(tmp_path_factory.mktemp("model"))
    model, tokenizer = tiny.model_and_tokenizer(window=100_000)
    model.generation_config.eos_token_id = None
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def held():
    """Where the shared judge is kept, so that one test can let go of it."""
    judges = {}
    yield judges
    if "judge" in judges:
        network(judges["judge"]).close()


@pytest.fixture(scope="module")
def witness(tmp_path_factory):
    return tmp_path_factory.mktemp("noise") / "witness"


@pytest.fixture
def judge(held, folder, witness):
    """A judge that was pickled, and whose process prints to where its answers go."""
    return shared(held, folder, witness)


def shared(held, folder, witness):
    if "judge" not in held:
        (witness.parent / "sitecustomize.py").write_text(NOISE.format(witness=str(witness)))
        judge = TransformersJudge(folder, device="cpu", max_new_tokens=ENDLESS, isolate=True)
        held["judge"] = pickle.loads(pickle.dumps(judge))
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(witness.parent)
            generate(held["judge"], ["fox"])
    return held["judge"]


@pytest.fixture(scope="module")
def here(folder):
    """The same judge in this process."""
    return TransformersJudge(folder, device="cpu", max_new_tokens=ENDLESS, isolate=False)


def network(judge):
    return judge._loading.result().network


def generate(judge, texts, *, max_tokens=8, **sampling):
    async def main():
        asked = (judge.generate([Message("user", text)], max_tokens=max_tokens, **sampling) for text in texts)
        return await asyncio.gather(*asked)

    return asyncio.run(main())


def choices(judge, labels):
    async def main():
        return await asyncio.gather(*(judge.choice_logprobs([Message("user", text)], labels) for text in TEXTS))

    return asyncio.run(main())


@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 0.0}, {"temperature": 1.0, "seed": 7, "n": 3, "top_logprobs": 5}],
    ids=["greedy", "sampled"],
)
def test_answers_equal_those_of_a_model_in_this_process(judge, here, sampling):
    assert generate(judge, TEXTS, **sampling) == generate(here, TEXTS, **sampling)
    assert isinstance(network(judge), RemoteNetwork)
    assert not isinstance(network(here), RemoteNetwork)


@pytest.mark.parametrize("labels", [["A", "B"], ["A", "AB"]], ids=["of one token", "of several"])
def test_choice_logprobs_equal_those_of_a_model_in_this_process(judge, here, labels):
    assert choices(judge, labels) == choices(here, labels)


def test_what_libraries_print_does_not_reach_the_answers(judge, witness):
    assert witness.read_text() == "made"
    assert generate(judge, ["fox"])


def test_two_event_loops_share_one_process(judge):
    expected, found = generate(judge, TEXTS), {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: generate(judge, TEXTS)})) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: expected, 1: expected}


def test_a_deadline_stops_the_decoding_and_the_next_request_is_answered(judge):
    expected, process = generate(judge, ["fox"], temperature=0.0), network(judge).process
    with pytest.raises(JudgeOutage, match="deadline"):
        IRPMReward(judge, deadline=0.2)(prompts=["q"] * 2, completions=["a", "b"])
    assert generate(judge, ["fox"], temperature=0.0) == expected
    assert network(judge).process is process


@pytest.mark.parametrize("late", [False, True], ids=["while-it-runs", "too-late-for-it"])
def test_rows_that_come_meanwhile_are_answered(judge, late):
    generate(judge, ["fox"])
    engine, found, ended = network(judge), {}, []
    ids = [5, 6, 7, 8]
    rows = [Row(ids, 1, 1.0, 4), Row(ids, 2, 1.0, 4), Row(ids, 3, 1.0, 4)]

    def more():
        if ended or (late and not found):
            return []
        ended.append(True)
        return rows[1:]

    engine.generate(rows[:1], stop=threading.Event(), deliver=found.__setitem__, more=more)
    alone = {}
    engine.generate(rows, stop=threading.Event(), deliver=alone.__setitem__)
    assert found == alone
    assert len(found) == 3


def test_an_error_of_a_library_comes_with_its_traceback_and_the_process_lives_on(judge):
    with pytest.raises(FatalJudgeError, match=r"IndexError: [\s\S]*Traceback[\s\S]*network\.py"):
        network(judge).generate([Row([10**6], 0, 0.0, 1)], stop=threading.Event(), deliver=lambda i, answer: None)
    assert generate(judge, ["fox"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_copy_neither_uses_nor_ends_the_process(judge):
    expected, process = generate(judge, ["fox"], temperature=0.0), network(judge).process

    async def starts_anew(remote):
        async with judge:
            return judge._loading is None and not remote.close.alive and remote._stdin.closed

    copy = os.fork()
    if copy == 0:
        let_go = False
        try:
            let_go = asyncio.run(starts_anew(network(judge)))
            gc.collect()
        finally:
            os._exit(0 if let_go else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0
    assert generate(judge, ["fox"], temperature=0.0) == expected
    assert network(judge).process is process


class Killer(threading.Event):
    """An event that kills a process when it is looked at, which happens while a batch runs."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def is_set(self):
        self.process.kill()
        return False


@pytest.mark.slow
def test_a_process_that_dies_is_a_transport_error_and_the_next_request_starts_another(judge, monkeypatch):
    expected, process, run = generate(judge, ["fox"], temperature=0.0), network(judge).process, judge._run_batch
    with monkeypatch.context() as patch:
        patch.setattr(judge, "_run_batch", lambda kind, rows, stop, *more: run(kind, rows, Killer(process), *more))
        with pytest.raises(TransportError, match=r"exit code -9 \(SIGKILL\).*memory"):
            generate(judge, ["fox"], max_tokens=ENDLESS, temperature=0.0)
    assert generate(judge, ["fox"], temperature=0.0) == expected
    assert network(judge).process is not process


def test_a_judge_that_is_let_go_of_ends_its_process(held, folder, witness):
    process = network(shared(held, folder, witness)).process
    assert process.poll() is None
    del held["judge"]
    gc.collect()
    assert process.poll() is not None


SCRIPT = """
import asyncio, dataclasses, json, os, sys, types
from grmrewards import ConfigError, Message, TransformersJudge

print("started", flush=True)
judge = TransformersJudge({folder!r}, device="cpu")
sys.modules["unsloth"] = types.ModuleType("unsloth")
judge._load()  # its process imports while this one does

from transformers.models.qwen2 import modeling_qwen2

def forward(self, *args, **kwargs):
    raise AssertionError("written for training")

forward.__module__ = "unsloth.models.llama"
modeling_qwen2.Qwen2Attention.forward = forward

def ask(judge, **options):
    return asyncio.run(judge.generate([Message("user", "fox")], **options))

(reply,) = ask(judge, max_tokens=8, temperature=1.0, seed=7)
try:
    refusal = ask(TransformersJudge({folder!r}, device="cpu", isolate=False), max_tokens=8)
except ConfigError as error:
    refusal = str(error)

if hasattr(os, "fork") and os.fork() == 0:  # a copy that outlives the script, as a loader of data may
    for inherited in (0, 1, 2):
        os.close(inherited)
    os.read({until}, 1)
    os._exit(0)
print(json.dumps([dataclasses.asdict(reply), refusal]), flush=True)
ask(judge, max_tokens={endless}, temperature=0.0)
"""


@pytest.fixture(scope="module")
def script(folder, tmp_path_factory):
    """A script without a `__main__` guard, in the middle of a long judgement, and what it found before."""
    until, end = os.pipe()
    path = tmp_path_factory.mktemp("script") / "train.py"
    path.write_text(SCRIPT.format(folder=folder, until=until, endless=ENDLESS))
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, path], stdout=pipe, stderr=pipe, text=True, pass_fds=[until])
    yield process, [process.stdout.readline() for _ in range(2)]
    process.kill()
    process.communicate()
    os.close(end)
    os.close(until)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="file descriptors are not passed on there")
class TestScript:
    """What concerns the parent process as a whole."""

    def test_a_script_without_a_main_guard_runs_once(self, script):
        _, (first, second) = script
        assert first == "started\n"
        assert json.loads(second)

    def test_with_unsloth_imported_a_judge_by_name_answers_right_from_its_own_process(self, script, here):
        reply, _ = json.loads(script[1][1])
        ((expected,),) = generate(here, ["fox"], temperature=1.0, seed=7)
        assert reply == json.loads(json.dumps(dataclasses.asdict(expected)))

    def test_in_process_the_patched_class_is_named(self, script):
        _, refusal = json.loads(script[1][1])
        assert "Qwen2Attention.forward" in refusal
        assert "isolate=True" in refusal

    def test_a_killed_parent_takes_the_process_with_it(self, script):
        process, _ = script
        process.kill()
        _, last_words = process.communicate(timeout=30)  # to the end of stderr, which the judge's process holds too
        assert "started" not in last_words


def test_a_loaded_model_cannot_be_isolated():
    with pytest.raises(ConfigError, match=r"isolate=True with a loaded Qwen2ForCausalLM.*save_pretrained"):
        TransformersJudge(*tiny.model_and_tokenizer(), isolate=True)


def test_settings_that_cannot_travel_are_named_and_leave_no_process(folder):
    before = {remote for remote in isolated._living if not remote.lost}
    judge = TransformersJudge(folder, model_kwargs={"attn_implementation": lambda: None}, isolate=True)
    with pytest.raises(ConfigError, match="model_kwargs"):
        generate(judge, ["fox"])
    assert {remote for remote in isolated._living if not remote.lost} == before


@pytest.mark.parametrize("isolate", [None, True, False])
def test_the_embedded_judge_takes_the_choice_and_pickles_carry_it(isolate):
    judge = pickle.loads(pickle.dumps(TransformersJudge.embedded(isolate=isolate)))
    assert (judge.isolate, judge._loading) == (isolate, None)


def test_an_unknown_value_of_isolate_is_named():
    with pytest.raises(ConfigError, match="isolate='yes'"):
        TransformersJudge("m", isolate="yes")


UNSLOTH = """
import asyncio, dataclasses, json, sys
from grmrewards import ConfigError, Message, TransformersJudge

def found(judge):
    async def main():
        messages = [Message("user", "Name 3 animals, but not cat.")]
        replies = await judge.generate(messages, n=3, max_tokens=40, temperature=1.0, seed=7, top_logprobs=3)
        return [[dataclasses.asdict(reply) for reply in replies], await judge.choice_logprobs(messages, ["A", "B"])]
    return asyncio.run(main())

if sys.argv[1:] == ["patched"]:
    import unsloth
    from unsloth.models.qwen2 import FastQwen2Model
    from unsloth.models.qwen3 import FastQwen3Model

    early = TransformersJudge.embedded(isolate=False)
    found(early)
    FastQwen2Model.pre_patch()
    FastQwen3Model.pre_patch()
    refusals = []
    for judge in (early, TransformersJudge.embedded(isolate=False), TransformersJudge({folder!r}, isolate=False)):
        try:
            found(judge)
        except ConfigError as error:
            refusals.append(str(error))
    assert len(refusals) == 3, refusals
    assert all("isolate=True" in refusal for refusal in refusals), refusals
print(json.dumps([found(TransformersJudge.embedded()), found(TransformersJudge({folder!r}, device="cpu"))]))
"""


@pytest.mark.skipif(importlib.util.find_spec("unsloth_zoo") is None, reason="unsloth is not installed")
@pytest.mark.timeout(240)
def test_a_judge_of_a_family_that_unsloth_patched_answers_as_in_a_clean_process(folder, tmp_path):
    path = Path(tmp_path, "script.py")
    path.write_text(UNSLOTH.replace("{folder!r}", repr(folder)))
    env = {**os.environ, "UNSLOTH_ALLOW_CPU": "1", "TORCHDYNAMO_DISABLE": "1"}  # what Unsloth compiles is not looked at

    def answers(*arguments):
        done = subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert answers("patched") == answers()
