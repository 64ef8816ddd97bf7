"""The principle cache: one text a prompt, for all groups, rewards, processes and runs; never a bad or a torn one."""

import asyncio
import errno
import json
import multiprocessing
import os
import pickle
import random
import re
import stat
from pathlib import Path

import pytest

from grmrewards import ConfigError, IPGRMReward, JudgeError, Reply, ScriptedJudge, TransportError
from grmrewards.entries import INSIDE
from grmrewards.keys import content_key
from grmrewards.principles import VERSION, PrincipleCache

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


def named(name):
    """An `identity` for a judge."""

    async def identity():
        return name

    return identity


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


def test_a_key_tells_parts_apart_and_takes_any_text():
    assert content_key(a="bc") != content_key(a="b", c="c") != content_key(a=["b", "c"])
    assert re.fullmatch("[0-9a-f]{64}", content_key(a="\ud800 \0 ٨"))


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
    "truncated": b'{"v": 2, "key": "k", "princ',
    "nested-too-deep": b"[" * 100_000,
    "no-json": b"\x80\x04\x95 pickle",
    "no-text": b"\xff\xfe\x00",
    "no-object": b'["k", "principles"]',
    "another-version": b'{"v": 99, "key": "k", "principles": "theirs"}',
    "another-key": b'{"v": 2, "key": "j", "principles": "theirs", "written": 0}',
    "no-principles": b'{"v": 2, "key": "k", "written": 0}',
    "principles-of-none": b'{"v": 2, "key": "k", "principles": null, "written": 0}',
    "blank-principles": b'{"v": 2, "key": "k", "principles": " ", "written": 0}',
    "without-a-time": b'{"v": 2, "key": "k", "principles": "theirs"}',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_b2_47_a_file_that_is_not_ours_is_a_miss_and_is_passed_over(content, tmp_path):
    (tmp_path / "k.json").write_bytes(content)
    assert got(PrincipleCache(tmp_path)) == "mine"
    assert got(PrincipleCache(tmp_path), text="other") == "mine", "the next one finds what was written"
    assert (tmp_path / "k.json").read_bytes() == content, "what stands is nobody's to change"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["k.1.json", "k.json"]


def overtaken_by(text, folder):
    """What one gets who began to write "mine" before, and ended after, another one wrote `text`."""

    async def slow():
        assert await PrincipleCache(folder).get("k", first) == text
        return "mine"

    async def first():
        return text

    cache = PrincipleCache(folder)
    answer = asyncio.run(cache.get("k", slow))
    assert got(cache) == answer
    return answer


def test_b2_47_the_first_writer_wins_and_all_return_its_text(tmp_path):
    assert overtaken_by("theirs", tmp_path) == "theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["k.json"]


def without_links(monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "hard links are not supported")

    monkeypatch.setattr(os, "link", unsupported)


def test_b2_47_a_file_system_without_hard_links(tmp_path, monkeypatch):
    without_links(monkeypatch)
    assert overtaken_by("theirs", tmp_path) == "theirs", "the first writer wins there, too"
    assert got(PrincipleCache(tmp_path)) == "theirs"
    assert [place.name for place in tmp_path.iterdir()] == ["k.json"]


@pytest.mark.parametrize("links_first", [True, False])
def test_b2_47_processes_with_and_without_links_share_one_place(links_first, tmp_path, monkeypatch):
    def put(key, text, *, links):
        with monkeypatch.context() as patched:
            if not links:
                without_links(patched)
            return got(PrincipleCache(tmp_path), key=key, text=text)

    assert put("k", "theirs", links=links_first) == "theirs"
    assert put("k", "mine", links=not links_first) == "theirs"


def test_b2_47_a_place_that_another_process_takes_while_it_is_looked_at(tmp_path, monkeypatch):
    """Absent in one moment, a folder with the entry in the next: read as what it is, at whatever moment it came."""
    arrived = tmp_path / "k.json"

    def arriving(path, *arguments, open_=Path.open, **more):
        if path == arrived and not path.exists():
            path.mkdir()
            (path / INSIDE).write_text(json.dumps({"v": VERSION, "key": "k", "principles": "theirs", "written": 1.0}))
        return open_(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", arriving)
    assert got(PrincipleCache(tmp_path)) == "theirs"


@pytest.mark.parametrize("failing", ["open", "fsync", "mkdir"])
def test_b2_47_a_folder_that_cannot_be_written_is_one_warning(failing, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", os.urandom(4).hex())  # each time about another file

    judge, written = judging_by()
    reward = IPGRMReward(judge, cache_dir=tmp_path / "cache")
    module = {"open": "pathlib.Path.open", "fsync": "os.fsync", "mkdir": "pathlib.Path.mkdir"}[failing]
    monkeypatch.setattr(module, full)
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
    old, new, folder = (tmp_path / f".writing-{name}" for name in ("old", "new", "folder"))
    for torn in (old, new):
        torn.write_text('{"v": 2, "key": "k", "principles": "torn')
    folder.mkdir()
    for left in (old, folder):
        os.utime(left, (0, 0))
    assert got(PrincipleCache(tmp_path)) == "mine"
    assert sorted(place.name for place in tmp_path.iterdir()) == [".writing-new", "k.json"], "another may be writing it"


@pytest.mark.skipif(os.name != "posix", reason="rights as on Unix")
def test_b2_47_another_user_may_read_what_the_folders_owner_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        got(PrincipleCache(tmp_path))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "k.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("folder", [5, True, "", " "], ids=repr)
def test_a_wrong_folder_is_named(folder):
    with pytest.raises(ConfigError, match="cache_dir="):
        PrincipleCache(folder)


# Many processes


def operations(folder, number, links, start, results):
    """A process's work: 1,000 operations on 120 keys, each by a cache that has nothing in memory; what it saw."""
    if not links:
        without_links(pytest.MonkeyPatch())
    rng, seen, disagreements = random.Random(number), {}, 0
    start.wait()

    async def all_of_them():
        nonlocal disagreements
        for n in range(1_000):
            key, text = f"k{rng.randrange(120)}", f"process {number}, operation {n} " + "x" * rng.randrange(5_000)

            async def write(text=text):
                return text

            found = await PrincipleCache(folder).get(key, write)
            disagreements += seen.setdefault(key, found) != found

    asyncio.run(all_of_them())
    results.put((seen, disagreements))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.faults
@pytest.mark.parametrize("links", [[True] * 4, [False] * 4, [True, True, False, False]], ids=["links", "none", "mixed"])
def test_b2_47_processes_never_disagree(links, tmp_path):
    for n in range(0, 120, 10):
        (tmp_path / f"k{n}.json").write_text('{"v": 2, "key": "torn by a broken disk')
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.SimpleQueue()
    processes = [
        context.Process(target=operations, args=(tmp_path, number, has_links, start, results))
        for number, has_links in enumerate(links)
    ]
    for process in processes:
        process.start()
    start.set()
    outcomes = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert [disagreements for _, disagreements in outcomes] == [0] * 4
    agreed = {}
    for seen, _ in outcomes:
        assert all(agreed.setdefault(key, text) == text for key, text in seen.items())
    assert len(agreed) == 120
    assert not list(tmp_path.glob(".writing-*"))


# Taking them elsewhere, and writing them anew


def test_refreshed_principles_are_written_anew_and_count_from_then_on(tmp_path):
    texts = iter([LISTED, LISTED.replace("Right", "Kind")])
    judge, written = judging_by(lambda messages: next(texts))
    judge.identity = named("the same judge")
    reward = IPGRMReward(judge, cache_dir=tmp_path, log_path=tmp_path / "log" / "r.jsonl", replay=True)
    reward(prompts=["q"], completions=["a"])
    reward.cache.refresh()
    reward(prompts=["q"], completions=["a"])
    reward(prompts=["q"], completions=["a"])
    assert len(written) == 2, "not taken from the record either"
    (entry,) = PrincipleCache(tmp_path)._entries.all()
    assert "[Kind]" in entry["principles"]
    shown = []
    later = ScriptedJudge(lambda messages: shown.append(messages[0].content) or r"Score: \boxed{8}")
    later.identity = judge.identity
    IPGRMReward(later, cache_dir=tmp_path)(prompts=["q"], completions=["a"])
    assert "[Kind]" in shown[0]


def test_refreshing_without_a_folder():
    judge, written = judging_by()
    reward = IPGRMReward(judge)
    reward(prompts=["q"], completions=["a"])
    reward.cache.refresh()
    reward(prompts=["q"], completions=["b"])
    assert len(written) == 2


@pytest.mark.parametrize("from_folder", [True, False], ids=["folder", "memory"])
def test_what_is_exported_can_be_imported(from_folder, tmp_path):
    folder = tmp_path / "cache" if from_folder else None
    cache = PrincipleCache(folder)
    got(cache, key="k", text="one 😀 \u2028 two")
    got(cache, key="j", text="three")
    file = tmp_path / "principles.jsonl"
    assert (PrincipleCache(folder) if folder else cache).export(file) == 2
    assert all(json.loads(line)["principles"] for line in file.read_text().split("\n")[:-1])
    taken = PrincipleCache(tmp_path / "elsewhere")
    assert got(taken, key="j", text="mine") == "mine"
    assert taken.import_(file) == 1, "what is there stays"
    assert got(PrincipleCache(tmp_path / "elsewhere"), key="k", text="other") == "one 😀 \u2028 two"
    assert got(PrincipleCache(tmp_path / "elsewhere"), key="j", text="other") == "mine"


def test_an_entry_tells_people_what_it_is(tmp_path):
    judge, _ = judging_by()
    IPGRMReward(judge, cache_dir=tmp_path / "cache")(prompts=["What is 1+1?"], completions=["2"])
    IPGRMReward(judge, cache_dir=tmp_path / "cache").cache.export(tmp_path / "principles.jsonl")
    entry = json.loads((tmp_path / "principles.jsonl").read_text())
    assert (entry["prompt"], entry["judge"], entry["principles"]) == ("What is 1+1?", judge.model, LISTED)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("not JSON", id="no-json"),
        pytest.param('["k"]', id="no-object"),
        pytest.param('{"principles": "p", "written": 0}', id="no-key"),
        pytest.param('{"key": "../../escaped", "principles": "p", "written": 0}', id="key-that-leaves-the-folder"),
        pytest.param('{"key": "k", "principles": " ", "written": 0}', id="blank"),
        pytest.param('{"key": "k", "principles": 5, "written": 0}', id="no-text"),
        pytest.param("[" * 100_000, id="nested-too-deep"),
    ],
)
def test_a_wrong_line_of_an_import_is_named_and_nothing_is_taken(line, tmp_path):
    file = tmp_path / "principles.jsonl"
    file.write_text('{"key": "good", "principles": "p", "written": 0}\n' + line + "\n")
    cache = PrincipleCache(tmp_path / "cache")
    with pytest.raises(ConfigError, match="line 2"):
        cache.import_(file)
    assert len(cache) == 0
    assert not (tmp_path / "cache").exists()


def test_b2_47_a_judge_of_the_same_name_has_principles_of_its_own(tmp_path):
    judge, written = judging_by()
    for version in ("before its training", "after it"):
        judge.identity = named(version)
        IPGRMReward(judge, cache_dir=tmp_path)(prompts=["q"], completions=["a"])
    assert len(written) == 2
