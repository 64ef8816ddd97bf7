"""The principle cache: one text a prompt, for all groups, rewards, processes and runs; never a bad or a torn one."""

import asyncio
import json
import multiprocessing
import os
import pickle
import re
import stat

import pytest

from grmrewards import ConfigError, IPGRMReward, JudgeError, Reply, ScriptedJudge, TransportError
from grmrewards.principles import PrincipleCache, cache_key

LISTED = "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."


def judging_by(principles=LISTED):
    """A judge that writes `principles` (text, reply, or function of the messages), and its calls for them."""
    written = []

    def reply(messages):
        if "[The Begin of Response]" in messages[0].content:
            return r"Score: \boxed{8}"
        written.append(messages[0].content)
        return principles(messages) if callable(principles) else principles

    return ScriptedJudge(reply), written


def got(cache, key="k", text="mine"):
    """What `cache` gives for `key` to one who would write `text`."""

    async def write():
        return text

    return asyncio.run(cache.get(key, write))


# One call


def test_groups_that_ask_at_once_wait_for_one_call():
    judge, written = judging_by()
    rewards = IPGRMReward(judge, group_size=2)(prompts=["q"] * 8, completions=[f"answer {i}" for i in range(8)])
    assert len(set(rewards)) == 1
    assert len(written) == 1


def test_all_that_ask_at_once_get_the_one_text():
    cache, calls = PrincipleCache(), []

    async def ask_together():
        async def write():
            calls.append(1)
            await asyncio.sleep(0)
            return f"text {len(calls)}"

        return await asyncio.gather(*(cache.get("k", write) for _ in range(20)))

    assert set(asyncio.run(ask_together())) == {"text 1"}
    assert len(calls) == 1


def test_each_prompt_has_principles_of_its_own():
    judge, written = judging_by()
    reward = IPGRMReward(judge)
    reward(prompts=["p", "p", "q", "q"], completions=["a", "b", "c", "d"])
    reward(prompts=["p", "p", "q", "q"], completions=["e", "f", "g", "h"])
    assert len(written) == 2


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"principles_template": "Other words.\n{question}"}, id="template"),
        pytest.param({"principles_judge": "another"}, id="judge"),
    ],
)
def test_b2_47_what_decides_the_principles_decides_the_key(other, tmp_path):
    judge, written = judging_by()
    IPGRMReward(judge, cache_dir=tmp_path)(prompts=["q"], completions=["a"])
    if "principles_judge" in other:
        other = {"principles_judge": (another := judging_by())[0]}
        another[0].model = "another"
        written = [*written, another[1]]
    IPGRMReward(judge, cache_dir=tmp_path, **other)(prompts=["q"], completions=["a"])
    assert len(written) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_b2_47_a_system_message_is_part_of_the_key():
    judge, written = judging_by()
    user = {"role": "user", "content": "q"}
    prompts = [[user], [{"role": "system", "content": "Be brief."}, user]]
    IPGRMReward(judge)(prompts=prompts, completions=["a", "b"])
    assert len(written) == 2


def test_cache_key_tells_parts_apart_and_takes_any_text():
    assert cache_key(a="bc") != cache_key(a="b", c="c") != cache_key(a=["b", "c"])
    assert re.fullmatch("[0-9a-f]{64}", cache_key(a="\ud800 \0 ٨"))


# Never a bad one


def test_failures_are_not_stored(tmp_path):
    replies = iter([TransportError("gone"), JudgeError("gone")])

    def failing_first(messages):
        if error := next(replies, None):
            raise error
        return LISTED

    judge, written = judging_by(failing_first)
    reward = IPGRMReward(judge, cache_dir=tmp_path)
    columns = {"prompts": ["q", "q"], "completions": ["a", "b"]}
    kept = {"prompts": ["r"], "completions": ["c"], "principles": ["Be kind."]}  # so that not all requests are lost
    both = {name: [*columns[name], *kept[name]] for name in columns} | {"principles": [None, None, "Be kind."]}
    assert reward(**both)[:2] == [None, None]
    assert reward(**both)[:2] == [None, None]
    assert list(tmp_path.iterdir()) == []
    assert None not in reward(**both)
    assert len(written) == 3
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("I'm sorry, I can't help with that.", id="B2-2-refusal"),
        pytest.param("", id="B2-1-empty"),
        pytest.param(Reply(LISTED + "\n2. [To", finish_reason="length"), id="B2-3-cut-off"),
    ],
)
def test_b2_47_what_cannot_be_read_is_asked_for_again_and_never_stored(bad, tmp_path):
    judge, written = judging_by(bad)
    assert IPGRMReward(judge, cache_dir=tmp_path)(prompts=["q"], completions=["a"]) == [None]
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_b2_47_a_good_text_after_a_bad_one_is_stored(tmp_path):
    replies = iter(["no", LISTED])
    judge, _ = judging_by(lambda messages: next(replies))
    assert None not in IPGRMReward(judge, cache_dir=tmp_path)(prompts=["q"], completions=["a"])
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["principles"] == LISTED


# The folder


def test_a_folder_is_shared_by_two_rewards_and_outlives_them(tmp_path):
    folder = tmp_path / "not" / "there" / "yet"
    judge, written = judging_by()
    for _ in range(2):
        IPGRMReward(judge, cache_dir=str(folder))(prompts=["q"], completions=["a"])
    assert len(written) == 1


def test_without_a_folder_two_rewards_share_nothing():
    judge, written = judging_by()
    for _ in range(2):
        IPGRMReward(judge)(prompts=["q"], completions=["a"])
    assert len(written) == 2


def test_a_pickle_carries_the_folder_alone(tmp_path):
    cache = PrincipleCache(tmp_path)
    assert got(cache) == "mine"
    copied = pickle.loads(pickle.dumps(cache))
    assert len(copied) == 0
    assert got(copied, text="other") == "mine"
    assert len(pickle.loads(pickle.dumps(PrincipleCache()))) == 0


FOREIGN = {
    "empty": b"",
    "truncated": b'{"v": 1, "key": "k", "princ',
    "no-json": b"\x80\x04\x95 pickle",
    "no-text": b"\xff\xfe\x00",
    "no-object": b'["k", "principles"]',
    "another-version": b'{"v": 99, "key": "k", "principles": "theirs"}',
    "another-key": b'{"v": 1, "key": "j", "principles": "theirs"}',
    "no-principles": b'{"v": 1, "key": "k"}',
    "principles-of-none": b'{"v": 1, "key": "k", "principles": null}',
    "blank-principles": b'{"v": 1, "key": "k", "principles": " "}',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_b2_47_a_file_that_is_not_ours_is_a_miss_and_gives_way(content, tmp_path):
    (tmp_path / "k.json").write_bytes(content)
    assert got(PrincipleCache(tmp_path)) == "mine"
    assert got(PrincipleCache(tmp_path), text="other") == "mine", "the next one finds what was written"


def test_b2_47_the_first_writer_wins_and_all_return_its_text(tmp_path):
    cache = PrincipleCache(tmp_path)

    async def overtaken():
        assert await PrincipleCache(tmp_path).get("k", first) == "theirs"
        return "mine"

    async def first():
        return "theirs"

    assert asyncio.run(cache.get("k", overtaken)) == "theirs"
    assert got(cache) == "theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["k.json"]


@pytest.mark.parametrize("overtaken", [False, True])
def test_b2_47_a_file_system_without_hard_links(overtaken, tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError("hard links are not supported")

    monkeypatch.setattr(os, "link", unsupported)
    if overtaken:
        got(PrincipleCache(tmp_path), text="theirs")
    assert got(PrincipleCache(tmp_path)) == ("theirs" if overtaken else "mine")
    assert [file.name for file in tmp_path.iterdir()] == ["k.json"]


@pytest.mark.parametrize("failing", ["mkstemp", "fsync", "mkdir"])
def test_b2_47_a_folder_that_cannot_be_written_is_one_warning(failing, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", os.urandom(4).hex())  # each time about another file

    module = {"mkstemp": "tempfile.mkstemp", "fsync": "os.fsync", "mkdir": "pathlib.Path.mkdir"}[failing]
    monkeypatch.setattr(module, full)
    judge, written = judging_by()
    reward = IPGRMReward(judge, cache_dir=tmp_path / "cache")
    with pytest.warns(UserWarning, match="kept in memory only") as warned:
        rewards = reward(prompts=["p", "q", "r"], completions=["a", "b", "c"])
    assert None not in rewards, "training goes on"
    assert len(warned) == 1
    reward(prompts=["p", "q", "r"], completions=["a", "b", "c"])
    assert len(written) == 3, "what is in memory is used"
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="only a user who is not root can be kept out")
def test_b2_47_a_read_only_folder_is_still_read(tmp_path):
    got(PrincipleCache(tmp_path), text="theirs")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert got(PrincipleCache(tmp_path)) == "theirs"
        with pytest.warns(UserWarning, match="kept in memory only"):
            assert got(PrincipleCache(tmp_path), key="j") == "mine"
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_b2_47_a_folder_that_is_a_file_is_one_warning(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.warns(UserWarning, match="taken"):
        assert got(PrincipleCache(tmp_path / "taken")) == "mine"


def test_b2_47_a_folder_deleted_under_us_costs_nothing(tmp_path):
    cache = PrincipleCache(tmp_path / "cache")
    assert got(cache) == "mine"
    (tmp_path / "cache" / "k.json").unlink()
    (tmp_path / "cache").rmdir()
    assert got(cache, text="other") == "mine"
    assert got(cache, key="j", text="other") == "other"


def test_b2_47_stale_beginnings_of_killed_writers_are_never_read(tmp_path):
    (tmp_path / ".writing-x").write_text('{"v": 1, "key": "k", "principles": "torn')
    assert got(PrincipleCache(tmp_path)) == "mine"


@pytest.mark.parametrize("folder", [5, True, "", " "], ids=repr)
def test_a_wrong_folder_is_named(folder):
    with pytest.raises(ConfigError, match="cache_dir="):
        PrincipleCache(folder)


def race(folder, name, start, results):
    start.wait()
    results.put([got(PrincipleCache(folder), key=f"k{i}", text=f"{name} {i}") for i in range(50)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_b2_47_processes_that_race_agree(tmp_path):
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.SimpleQueue()
    processes = [context.Process(target=race, args=(tmp_path, name, start, results)) for name in "abc"]
    for process in processes:
        process.start()
    start.set()
    texts = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert texts[0] == texts[1] == texts[2]
