"""The record: nothing that was judged is paid for twice, and a judgement of another judge is never taken for one's own."""

import asyncio
import hashlib
import json
import math
import os
import pickle
import random
import signal
import time
from collections import Counter

import pytest

from grmrewards import (
    ConfigError,
    GRAMReward,
    IPGRMReward,
    IRPMReward,
    ListwiseReward,
    Message,
    Part,
    Reply,
    TransportError,
    record,
)
from grmrewards.journal import Journal
from grmrewards.keys import content_key, message_parts
from grmrewards.types import TokenLogprob

PRINCIPLES = "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."
BATCH = {"prompts": ["p"] * 3 + ["q"] * 3, "completions": ["a", "b", "c"] * 2}


class Counting:
    """A judge that answers by content alone and counts what it is asked for."""

    local, model = True, "counting"

    def __init__(self, answer=None, *, version="1"):
        self.answer, self.version = answer, version
        self.paid = Counter()

    async def identity(self):
        return self.version

    async def generate(self, messages, *, n=1, temperature=None, seed=None, max_tokens=None):
        text = messages[0].content
        self.paid[text] += n
        if self.answer is not None:
            return [self.answer(text, seed)] * n
        return [Reply(self._answer(text, i), prompt_tokens=7, completion_tokens=3) for i in range(n)]

    async def choice_logprobs(self, messages, choices):
        self.paid[messages[0].content] += 1
        return [(-0.1,), (-math.inf,)]

    def _answer(self, text, vote):
        score = 1 + int.from_bytes(hashlib.sha256(f"{text} {vote}".encode()).digest()[:2], "big") % 9
        if "design" in text:
            return PRINCIPLES
        count = text.count("[The Begin of Response ")
        return rf"<score>{score}</score> \boxed{{{', '.join([str(score)] * max(count, 1))}}}"

    @property
    def total(self):
        return sum(self.paid.values())


FAMILIES = {
    "ipgrm": (IPGRMReward, {}),
    "listwise": (ListwiseReward, {"votes": 4}),
    "irpm": (IRPMReward, {"votes": 3}),
    "gram": (GRAMReward, {}),
}


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def make(request, tmp_path):
    """A function: judge to reward of each family, all with one record."""
    family, arguments = request.param
    return lambda judge, **more: family(judge, log_path=tmp_path / "r.jsonl", **{**arguments, "replay": True, **more})


def test_a_second_run_pays_for_nothing_and_gives_the_same(make):
    first, second = Counting(), Counting()
    rewards = make(first)(**BATCH)
    assert make(second)(**BATCH) == rewards
    assert None not in rewards
    assert (first.total > 0, second.total) == (True, 0)


def test_within_one_run_a_judgement_is_paid_for_once(make):
    judge = Counting()
    reward = make(judge)
    rewards, paid = reward(**BATCH), judge.total
    assert reward(**BATCH) == rewards
    assert judge.total == paid


def test_without_replay_all_is_asked_for_again(make):
    first, second = Counting(), Counting()
    make(first, replay=False)(**BATCH)
    make(second, replay=False)(**BATCH)
    assert first.paid == second.paid


@pytest.mark.parametrize(
    ("version", "changed"),
    [
        pytest.param("2", {}, id="a-judge-retrained-under-its-name"),
        pytest.param("1", {"seed": 1}, id="another-seed"),
        pytest.param("1", {"template": "another"}, id="another-template"),
    ],
)
def test_what_decides_a_judgement_decides_its_key(version, changed, make, tmp_path):
    first, second = Counting(), Counting(version=version)
    reward = make(first)
    reward(**BATCH)
    if changed.get("template"):
        changed = {"template": f"Another prompt.\n{reward.template.text}"}
    if "seed" in changed and isinstance(reward, GRAMReward):
        pytest.skip("the probabilities of two letters depend on no seed")
    again = make(second, **changed)
    again(**BATCH)
    principles = 2 if isinstance(reward, IPGRMReward) and "template" in changed else 0  # theirs is another template
    assert second.total == first.total - principles


def test_more_votes_pay_for_the_difference(tmp_path):
    log = {"log_path": tmp_path / "r.jsonl", "replay": True}
    few, many = Counting(), Counting()
    IRPMReward(few, votes=2, **log)(**BATCH)
    IRPMReward(many, votes=5, **log)(**BATCH)
    assert (few.total, many.total) == (12, 18)


def test_the_calls_cost_is_that_of_what_was_asked(tmp_path):
    figures = [{}, {}]
    for found in figures:
        IRPMReward(Counting(), name=str(id(found)), log_path=tmp_path / "r.jsonl", replay=True)(
            **BATCH, log_metric=lambda name, value, found=found: found.update({name.partition("/")[2]: value})
        )
    paid, replayed = figures
    assert (paid["calls"], paid["tokens"], paid.get("replayed")) == (6, 60, None)
    assert (replayed["calls"], replayed["tokens"], replayed["replayed"]) == (0, 0, 6)


def test_an_answer_that_could_not_be_read_is_not_paid_for_twice(tmp_path):
    """Asking goes on where it ended: the answers of the first rounds are known, the next round has another seed."""
    log = tmp_path / "r.jsonl"
    first = Counting(lambda text, seed: Reply("no idea"))
    IRPMReward(first, log_path=log, max_failures=1.0)(prompts=["q"], completions=["a"])
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0])  # killed after the first answer
    second = Counting(lambda text, seed: Reply("<score>5</score>"))
    assert IRPMReward(second, log_path=log, replay=True)(prompts=["q"], completions=["a"]) == [0.5]
    assert second.total == 1
    votes = [entry for entry in record.read(log) if entry["type"] == "vote"]
    assert [(vote["round"], vote["error"] is None) for vote in votes] == [(0, False), (1, True)]


def test_what_stayed_unreadable_to_the_end_stays_so(make):
    first, second = (Counting(lambda text, seed: Reply("no idea")) for _ in range(2))
    if isinstance(make(first), GRAMReward):
        pytest.skip("reads no text")
    assert make(first, max_failures=1.0)(**BATCH) == [None] * 6
    assert make(second, max_failures=1.0)(**BATCH) == [None] * 6
    assert second.total == 0


def test_what_never_came_is_asked_for_again(tmp_path):
    def gone(text, seed):
        if "[Response]\na" in text:
            raise TransportError("gone")
        return Reply("<score>5</score>")

    log = {"log_path": tmp_path / "r.jsonl", "replay": True}
    columns = {"prompts": ["q"] * 2, "completions": ["a", "b"]}
    assert IRPMReward(Counting(gone), on_failure="none", **log)(**columns) == [None, 0.5]
    second = Counting(lambda text, seed: Reply("<score>9</score>"))
    assert IRPMReward(second, **log)(**columns) == [0.9, 0.5]
    assert second.total == 1


def test_a_reply_comes_back_whole(tmp_path):
    reply = Reply(
        "lone \ud800 and \u2028 <score>5</score>",
        reasoning="why",
        logprobs=(TokenLogprob("5", -0.5, {"5": -0.5, "6": -math.inf}),),
    )
    seen = []

    class Keeps(IRPMReward):
        def _read(self, reply):
            seen.append(reply)
            return super()._read(reply)

    for _ in range(2):
        Keeps(Counting(lambda text, seed: reply), log_path=tmp_path / "r.jsonl", replay=True)(
            prompts=["q"], completions=["a"]
        )
    assert seen == [reply, reply]


def test_a_judge_that_cannot_be_named_is_not_asked(tmp_path):
    class Nameless(Counting):
        async def identity(self):
            raise TransportError("no answer to who it is")

    judge = Nameless()
    reward = IRPMReward(judge, log_path=tmp_path / "r.jsonl", max_failures=1.0)
    assert reward(**BATCH) == [None] * 6
    assert judge.total == 0


def test_a_judge_without_a_record_is_not_asked_for_its_name():
    class Nameless(Counting):
        async def identity(self):
            raise AssertionError

    assert None not in IRPMReward(Nameless())(**BATCH)


def test_replay_needs_a_record():
    with pytest.raises(ConfigError, match="log_path="):
        IRPMReward(Counting(), replay=True)
    with pytest.raises(ConfigError, match="replay="):
        IRPMReward(Counting(), replay="yes", log_path="r.jsonl")


def test_a_pickled_reward_replays(tmp_path):
    first = Counting()
    reward = IRPMReward(first, log_path=tmp_path / "r.jsonl", replay=True)
    rewards = reward(**BATCH)
    copied = pickle.loads(pickle.dumps(reward))
    copied.judge.paid.clear()
    assert copied(**BATCH) == rewards
    assert copied.judge.total == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("picture", "picture", True, id="text"),
        pytest.param(b"\1", b"\1", True, id="equal-bytes"),
        pytest.param(b"\1", b"\2", False, id="other-bytes"),
        pytest.param(memoryview(b"\1"), memoryview(b"\1"), True, id="equal-arrays"),
        pytest.param(memoryview(b"\1"), memoryview(b"\2"), False, id="other-arrays"),
        pytest.param(object(), object(), False, id="what-cannot-be-compared"),
    ],
)
def test_pictures_are_part_of_the_key(one, other, same):
    keys = [content_key(messages=message_parts([Message("user", (Part("image", "", data),))])) for data in (one, other)]
    assert (keys[0] == keys[1]) == same


# A file that was not closed well


def lines_of(path):
    return [entry["n"] for entry in record.read(path)]


def test_a_line_that_met_a_torn_one_is_found(tmp_path):
    path = tmp_path / "r.jsonl"
    record.append(path, {"n": 1})
    whole = path.read_bytes()
    path.write_bytes(b'{"v": 2, "n": 0, "text": "a \\"quoted\\" {\\"v\\": 2} te' + whole)
    assert lines_of(path) == [1]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_wherever_the_last_line_was_cut_no_other_is_lost(cut, tmp_path):
    path = tmp_path / "r.jsonl"
    record.append(path, {"n": 1, "text": "x"}, {"n": 2, "text": "y" * 40})
    path.write_bytes(path.read_bytes()[:-cut])
    record.append(path, {"n": 3})
    assert [n for n in lines_of(path) if n != 2] == [1, 3]


def test_a_disk_that_takes_only_a_part_is_said(tmp_path, monkeypatch):
    path = tmp_path / "r.jsonl"

    class Short:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            return self.file.write(data[:10])

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(record, "open", lambda *a, **k: Short(open(*a, **k)), raising=False)  # noqa: SIM115
    with pytest.warns(UserWarning, match=r"r\.jsonl cannot be written"):
        assert IRPMReward(Counting(), log_path=path)(prompts=["q"], completions=["a"]) != [None]
    monkeypatch.undo()
    record.append(path, {"n": 1})
    assert lines_of(path) == [1]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"[" * 100_000, id="nested-too-deep"),
        pytest.param(b'{"v": 1, "key": "k", "answered": true, "text": "old"}', id="an-older-form"),
        pytest.param(b'{"v": 2, "key": "k", "answered": 1}', id="not-answered"),
        pytest.param(
            b'{"v": 2, "key": "k", "answered": true, "round": 0, "text": 5, "error": null}', id="text-of-a-number"
        ),
        pytest.param(b'{"v": 2, "key": "k", "answered": true, "text": "t", "error": null}', id="without-a-round"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
        pytest.param(b"__import__('os').abort()", id="code"),
    ],
)
def test_foreign_lines_are_no_judgements(line, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(line + b"\n")
    replay = record.Replay(path)
    replay.catch_up()
    assert replay.answers("k") == []


def test_several_records_of_one_file_see_each_others_lines(tmp_path):
    first, second = Counting(), Counting()
    path = tmp_path / "r.jsonl"
    one, other = (IRPMReward(judge, log_path=path, replay=True) for judge in (first, second))
    one(**BATCH)
    other(**BATCH)
    assert (first.total, second.total) == (6, 0)


def test_a_journal_without_a_path_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Journal(None).append([{"n": 1}])
    assert not list(tmp_path.iterdir())


# Killed


class Ledger(Counting):
    """A judge that writes down what it is paid for, where no kill of its caller reaches, with eight answers on their way."""

    at_once = 8

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.slots = None

    async def generate(self, messages, *, n=1, **sampling):
        self.slots = self.slots or asyncio.Semaphore(self.at_once)
        async with self.slots:
            await asyncio.sleep(random.uniform(0, 0.003))
            name = hashlib.sha256(messages[0].content.encode()).hexdigest()
            with open(self.path, "ab", buffering=0) as file:
                file.write(f"{name}\n".encode())
            await asyncio.sleep(random.uniform(0, 0.003))
            (reply,) = await super().generate(messages)
            return [Reply(f"{reply.text} {name}" if "design" in messages[0].content else f"{name} {reply.text}")]


COLUMNS = {
    "prompts": [f"prompt {i // 4}" for i in range(80)],
    "completions": [f"response {i}" for i in range(80)],
}


def run_of(folder, ledger):
    reward = IPGRMReward(Ledger(ledger), cache_dir=folder / "cache", log_path=folder / "r.jsonl", replay=True)
    return reward(**COLUMNS)


def killed_after(seconds, folder, ledger):
    """Whether a process that judges was still at it when it was killed. If not, it judged all."""
    pid = os.fork()
    if not pid:
        run_of(folder, ledger)
        os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def finished(folder):
    """What the record says was judged, by the name in each answer."""
    if not (folder / "r.jsonl").exists():
        return set()
    votes = [entry["text"] for entry in record.read(folder / "r.jsonl") if entry["type"] == "vote"]
    return {word for text in votes for word in text.split() if len(word) == 64}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.timeout(180)
@pytest.mark.faults
@pytest.mark.parametrize("kills", [200])
def test_b2_47_killed_at_random_moments(kills, tmp_path):
    random.seed(kills)
    expected = run_of(tmp_path / "whole", tmp_path / "ledger")
    done = jobs = in_flight = 0
    while done < kills or not in_flight:  # on a slow machine it takes longer until a judgement is under way
        folder, jobs = tmp_path / f"job {jobs}", jobs + 1
        folder.mkdir()
        running = True
        while running and (done < kills or not in_flight):
            before, ledger = finished(folder), folder / f"ledger {done}"
            ledger.touch()
            running = killed_after(random.uniform(0.005, 0.06) * max(1.0, done / kills), folder, ledger)
            done += running
            paid = Counter(ledger.read_text().split())
            assert set(paid.values()) <= {1}
            assert not before & set(paid), "a finished judgement was paid for again"
            lost = set(paid) - finished(folder)
            assert len(lost) <= Ledger.at_once, "what was lost was on its way"
            in_flight += len(lost)
            for file in (folder / "cache").glob("*.json"):
                assert json.loads(file.read_bytes())["principles"].startswith(PRINCIPLES)
        last = folder / "last ledger"
        last.touch()
        before = finished(folder)
        assert run_of(folder, last) == expected
        assert not before & set(last.read_text().split())
    print(f"{done} kills in {jobs} jobs of 100 judgements; {in_flight} answers were on their way")  # noqa: T201
