"""Several processes, as launchers start them: every group is judged whole and once, and no rank is left waiting."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import on_ranks  # found by the line above, as it also runs as a script

from grmrewards import ScriptedJudge, judging, ranks, record

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(240)]

SCRIPT = Path(on_ranks.__file__)
REPEATS = 30
ALL = "layouts,failures,blocked,mistakes,principles,once,prefetched,replayed,watched"


@pytest.fixture(scope="module", params=[2, 4], ids=lambda world: f"{world}-ranks")
def world(request):
    return request.param


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def results(world, folder):
    """What each rank printed. All scenarios run in one set of processes: what one leaves behind would break the next."""
    calls = [
        [sys.executable, str(SCRIPT), ALL, str(rank), str(world), str(folder / "meet"), str(REPEATS)]
        for rank in range(world)
    ]
    processes = [
        subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) for call in calls
    ]
    try:
        outputs = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(out for out, _ in outputs), [err[-2000:] for _, err in outputs]
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in outputs]


def gathered(results, *keys):
    """The rows of all ranks one after the other, for each repeat."""
    per_rank = results
    for key in keys:
        per_rank = [found[key] for found in per_rank]
    return [[row for rows in repeat for row in rows] for repeat in zip(*per_rank, strict=True)]


def alone(family, sizes, turn=0):
    """What a single process gives for the same rows."""
    prompts, completions = on_ranks.batch(sizes, turn)
    reward = on_ranks.FAMILIES[family](ScriptedJudge(on_ranks.by_quality), group_size=on_ranks.G)
    return reward(prompts=prompts, completions=completions)


@pytest.mark.parametrize("family", on_ranks.FAMILIES)
@pytest.mark.parametrize("layout", on_ranks.LAYOUTS)
def test_rewards_equal_bit_for_bit_those_of_a_single_process(results, world, layout, family):
    sizes = on_ranks.LAYOUTS[layout](world)
    found = gathered(results, "layouts", f"{layout} {family}")
    assert len(found) == REPEATS
    assert found == [alone(family, sizes, turn) for turn in range(REPEATS)]


@pytest.mark.parametrize("how", ["judge-error-on-one", "hang-on-one"])
def test_a_failure_on_one_rank_leaves_its_groups_unscored_and_the_others_as_they_were(results, world, how):
    want = alone("irpm", [6] * world)
    for found in gathered(results, "failures", how):
        groups = [found[at : at + on_ranks.G] for at in range(0, len(found), on_ranks.G)]
        assert any(group == [None] * on_ranks.G for group in groups)
        assert how == "hang-on-one" or any(None not in group for group in groups)  # a busy machine is late, too
        assert all(reward in (None, same) for reward, same in zip(found, want, strict=True))
        assert all(group.count(None) in (0, on_ranks.G) for group in groups)


RAISED = {  # on the rank where it went wrong, on the others
    "unreachable-on-all": ("JudgeOutage", "JudgeOutage", "is the judge running"),
    "fatal-on-one": ("FatalJudgeError", "FatalJudgeError", "key refused"),
    "bug-on-one": ("KeyError", "RuntimeError", "oops"),
}


@pytest.mark.parametrize(("how", "there", "elsewhere", "words"), [(k, *v) for k, v in RAISED.items()], ids=RAISED)
def test_what_ends_the_run_is_raised_on_every_rank(results, world, how, there, elsewhere, words):
    for number, found in enumerate(results):
        for name, message in found["failures"][how]:
            assert name == (there if number == on_ranks.FAULTY else elsewhere)
            assert words in message
            assert how == "unreachable-on-all" or number == on_ranks.FAULTY or f"rank {on_ranks.FAULTY}" in message


def test_after_every_failure_the_ranks_still_meet(results, world):
    assert gathered(results, "failures", "recovers") == [alone("irpm", [6] * world)] * REPEATS


def test_a_judge_that_holds_its_thread_is_left_behind(results, world):
    stuck, then = ([row for found in results for row in found["blocked"][call]] for call in ("stuck", "next"))
    assert None in stuck
    assert all(reward in (None, right) for reward, right in zip(stuck, alone("irpm", [6] * world), strict=True))
    assert then == alone("irpm", [6] * world)


MISTAKES = {
    "column-on-one": "no column 'label'",
    "another-order": "first: rows, second: rows",
    "unpicklable-column": "pickle",
    "deadline-beyond-theirs": "ddp_timeout",
}


@pytest.mark.parametrize(("mistake", "words"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_on_one_rank_is_named_on_all(results, mistake, words):
    for found in results:
        _, message = found["mistakes"][mistake]
        assert words in message


def test_one_prompt_has_one_set_of_principles_over_all_ranks_and_calls(results):
    used = {tuple(pair) for found in results for pair in found["principles"]["used"]}
    prompts = Counter(prompt for prompt, _ in used)
    assert set(prompts.values()) == {1}
    assert sum(found["principles"]["written"] for found in results) == len(prompts)


def test_each_response_is_judged_once_and_every_rank_does_its_share(results, world):
    asked = [found["once"]["asked"] for found in results]
    _, completions = on_ranks.batch([6] * world)
    assert sorted(text for texts in asked for text in texts) == sorted(completions)
    assert all(asked[rank] for rank in range(min(world, 3)))  # the batch has three prompts


def test_every_rank_reports_the_figures_of_the_whole_call_and_the_critiques_of_its_rows(results, world):
    figures = [found["once"]["metrics"] for found in results]
    assert [f["once/calls"] for f in figures] == [6 * world] * world
    assert [{k: v for k, v in f.items() if "seconds" not in k} for f in figures[1:]] == [
        {k: v for k, v in figures[0].items() if "seconds" not in k}
    ] * (world - 1)
    _, completions = on_ranks.batch([6] * world)
    for found, own in zip(results, on_ranks.slices([6] * world), strict=True):
        (critiques,) = found["once"]["columns"].values()
        qualities = [text.rpartition(" ")[2] for text in completions[own]]
        assert critiques == [f"<score>{quality}</score>" for quality in qualities]


def test_the_record_has_every_row_once(results, world, folder):
    entries = list(record.read(folder / "meet.jsonl"))
    _, completions = on_ranks.batch([6] * world)
    rows = {entry["row"]: entry["response"] for entry in entries if entry["type"] == "completion"}
    assert rows == dict(enumerate(completions))
    assert len(entries) == 2 * len(completions) + 1  # a vote and a completion each, and a line for the call


def test_a_prefetch_is_shared_by_the_ranks_and_known_to_all(results, world):
    prompts = {prompt.rstrip("?") for prompt in on_ranks.batch([6] * world)[0]}
    found = [rank["prefetched"] for rank in results]
    assert [rank["ready"] for rank in found] == [len(prompts)] * world
    assert sorted(prompt for rank in found for prompt in rank["before"]) == sorted(prompts), "each on one rank"
    assert [rank["in_it"] for rank in found] == [[]] * world
    assert [row for rank in found for row in rank["rewards"]] == alone("ipgrm", [6] * world)


def test_a_second_run_on_all_ranks_asks_for_nothing(results, world):
    found = [rank["replayed"] for rank in results]
    assert [rank["asked"] for rank in found] == [0] * world
    assert [row for rank in found for row in rank["rewards"]] == alone("irpm", [6] * world)


DEADLINES = {  # given, seconds that the ranks wait, does every judge run here; the call's
    "endpoint": (None, math.inf, False, 600.0),
    "local": (None, math.inf, True, None),
    "endpoint-on-ranks": (None, 1800.0, False, 900.0),
    "local-on-ranks": (None, 1800.0, True, 900.0),
    "given": (1200.0, 1800.0, False, 1200.0),
}


@pytest.mark.parametrize(("given", "wait", "local", "want"), DEADLINES.values(), ids=DEADLINES)
def test_on_several_ranks_a_call_judges_half_as_long_as_they_wait_for_each_other(monkeypatch, given, wait, local, want):
    judge = ScriptedJudge(on_ranks.by_quality)
    judge.local = local
    monkeypatch.setattr(ranks, "timeout", lambda: wait)
    assert judging.seconds_of_a_call(given, [judge]) == want


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_shares_give_each_item_to_one_rank_and_equal_keys_to_the_same(world_size):
    keys = ["a", "b", "a", "c", "d", "b", "e"]
    found = ranks.shares(keys, world_size)
    assert len(found) == world_size
    assert sorted(i for share in found for i in share) == list(range(len(keys)))
    assert all(sum(keys[i] == key for share in found for i in share) == keys.count(key) for key in keys)
    assert all(len([share for share in found if any(keys[i] == key for i in share)]) == 1 for key in keys)


def test_all_ranks_watch_the_same_batch_and_stop_together(results, world):
    seen = [found["watched"] for found in results]
    assert all(found["flags"] == seen[0]["flags"] and found["calls"] == seen[0]["calls"] for found in seen)
    assert [flag[0] for flag in seen[0]["flags"]] == ["second_agreement"]
    assert all(found["ended"][0] == "RewardHacked" for found in seen)
    figures = [{name: value for name, value in found["metrics"].items() if "seconds" not in name} for found in seen]
    assert all(one == figures[0] for one in figures)
    asked = [response for found in seen for response in found["asked"]]
    assert len(asked) >= 8, "the window that the flag needs"
    assert len(asked) == len(set(asked)), "each response of the sample once, on one rank"
