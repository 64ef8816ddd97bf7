"""An evaluation asks what the protocol says, once, keeps it, and goes on after a kill."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap

import pytest

from grmrewards import (
    ConfigError,
    GRAMReward,
    IPGRMReward,
    IRPMReward,
    JudgeError,
    ListwiseReward,
    PairwiseReward,
    ScriptedJudge,
)
from grmrewards import record as records
from grmrewards.evaluation import compare, evaluate, rescore

PAIRS = [
    {"id": k, "prompt": f"q{k}", "chosen": f"virtue {k}", "rejected": f"vice {k}", "subset": "hep-go"}
    for k in range(20)
]
FAMILIES = {
    "ipgrm": (IPGRMReward, {}),
    "irpm": (IRPMReward, {}),
    "listwise": (ListwiseReward, {"votes": 1}),
    "gram": (GRAMReward, {}),
    "pairwise": (PairwiseReward, {}),
}


def reply(messages):
    """Finds "virtue" the better one, in the language of every family."""
    text = messages[0].content
    if "Write the evaluation principles now" in text:
        return "Evaluation Principles:\n1. [Right] (Weight: 100%): is it right?"
    places = [word for _, word in sorted((text.rindex(word), word) for word in ("virtue", "vice") if word in text)]
    if "[The Start of Assistant A's Answer]" in text:
        return "A" if places[0] == "virtue" else "B"
    points = [9 if place == "virtue" else 2 for place in places]
    if "<critique>" in text:
        return f"<critique>.</critique><score>{points[0]}</score>"
    return rf"Scores: \boxed{{{', '.join(map(str, points))}}}"


@pytest.mark.parametrize(("family", "settings"), FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("benchmark", ["rewardbench", "judgebench"])
def test_every_family_takes_a_benchmark(family, settings, benchmark):
    asked = []
    judge = ScriptedJudge(lambda messages: asked.append(messages) or reply(messages))
    rows = PAIRS[:6]
    if benchmark == "judgebench":
        source = {"source": "mmlu-pro-law", "label": "A>B"}
        rows = [
            {
                "pair_id": r["id"],
                "question": r["prompt"],
                "response_A": r["chosen"],
                "response_B": r["rejected"],
                **source,
            }
            for r in rows
        ]
    found = evaluate(family(judge, **settings), benchmark, rows, resamples=5)
    assert found.table["Overall"].value == 100.0
    each = {"ipgrm": 3, "irpm": 2, "listwise": 1, "gram": 2, "pairwise": 2}[family.family]
    if benchmark == "judgebench" and family is ListwiseReward:
        each = 2
    assert len(asked) == 6 * each, "both orders are two games, and no more"
    assert found.usage["calls"] == len(asked)


def test_judgebench_sees_that_a_judge_prefers_the_first_place():
    rows = [
        {"pair_id": k, "question": "q", "response_A": "a", "response_B": "b", "label": "A>B", "source": "livecodebench"}
        for k in range(4)
    ]
    found = evaluate(GRAMReward(ScriptedJudge(lambda messages: "A")), "judgebench", rows, resamples=5)
    assert found.table["Overall"].value == 0.0


def test_places_are_drawn_where_one_game_is_official():
    likes_first = ListwiseReward(ScriptedJudge(lambda messages: r"Scores: \boxed{9, 2}"), votes=1, shuffle=False)
    rows = [{**PAIRS[0], "id": k, "prompt": f"question {k}"} for k in range(200)]
    assert 40 < evaluate(likes_first, "rewardbench", rows, resamples=5).table["Overall"].value < 60


def test_lost_judgements_are_counted_by_the_rule_and_end_nothing():
    def fails(messages):
        if "vice 3" in messages[0].content:
            raise JudgeError("broken")
        return reply(messages)

    found = evaluate(IRPMReward(ScriptedJudge(fails)), "rewardbench", PAIRS[:4], resamples=5)
    assert found.table["Overall"].value == pytest.approx(100 * 3.5 / 4)
    assert (found.table.unscored, found.table.missing) == (1, 0)


def test_a_plain_function_is_asked_once_about_what_it_has_scored(tmp_path):
    asked = []

    def length(prompts, completions):
        asked.extend(completions)
        if len(asked) > 2 * 256:
            raise KeyboardInterrupt
        return [float(completion.startswith("virtue")) for completion in completions]

    rows = [{**PAIRS[0], "id": k, "chosen": f"virtue {k}", "rejected": f"vice {k}"} for k in range(300)]
    with pytest.raises(KeyboardInterrupt):
        evaluate(length, "rewardbench", rows, output=tmp_path, resamples=5)
    scored = len((tmp_path / "scores.jsonl").read_text().splitlines())
    assert 0 < scored < 300
    asked.clear()
    found = evaluate(length, "rewardbench", rows, output=tmp_path, resamples=5)
    assert len(asked) == 2 * (300 - scored)
    assert found.table["Overall"].value == 100.0


def test_a_stored_run_is_counted_again_without_a_judge(tmp_path):
    def ties(messages):
        good = "virtue" in messages[0].content or "vice 1" in messages[0].content
        return f"<critique>.</critique><score>{9 if good else 2}</score>"

    first = evaluate(IRPMReward(ScriptedJudge(ties)), "rewardbench", PAIRS[:10], output=tmp_path, resamples=50)
    assert rescore(tmp_path, resamples=50).table == first.table
    strict = rescore(tmp_path, ties="wrong", resamples=50)
    assert first.table["Overall"].value == pytest.approx(95.0)
    assert strict.table["Overall"].value == pytest.approx(90.0)
    assert not strict.table.official
    assert json.loads((tmp_path / "result.json").read_text())["lines"]["Overall"]["value"] == pytest.approx(95.0)
    assert "| Overall | 95.00 |" in (tmp_path / "result.md").read_text()
    assert "virtue 1" not in (tmp_path / "run.json").read_text(), "the texts of a benchmark are not copied"


def points(right):
    """A judge that is right on the questions of these numbers."""

    def reply(messages):
        text = messages[0].content
        known = int(text.split("virtue" if "virtue" in text else "vice")[1].split()[0])
        good = ("virtue" in text) == (known in right)
        return f"<critique>.</critique><score>{9 if good else 2}</score>"

    return IRPMReward(ScriptedJudge(reply))


def test_two_runs_are_compared_item_by_item(tmp_path):
    rows = [{**PAIRS[0], "id": k, "chosen": f"virtue {k}", "rejected": f"vice {k}"} for k in range(60)]
    for name, right in {"a": range(30), "b": range(33), "c": range(30, 60)}.items():
        evaluate(points(set(right)), "rewardbench", rows, output=tmp_path / name, resamples=5)
    better = compare(tmp_path / "b", tmp_path / "a", resamples=300)["Overall"]
    assert better.value == pytest.approx(5.0)
    assert 0 <= better.low <= better.high < 12, "what is the same in both is not noise"
    same = compare(tmp_path / "c", tmp_path / "a", resamples=300)["Overall"]
    assert same.value == pytest.approx(0.0)
    assert same.low < -20 < 20 < same.high
    assert "| Overall | +5.00 |" in compare(tmp_path / "b", tmp_path / "a", resamples=5).markdown()


def test_runs_of_two_benchmarks_are_not_compared(tmp_path):
    reward = IRPMReward(ScriptedJudge(reply))
    evaluate(reward, "rewardbench", PAIRS, output=tmp_path / "a", resamples=5)
    evaluate(reward, "preferences", PAIRS, output=tmp_path / "b", resamples=5)
    with pytest.raises(ConfigError, match="allowed are two of one"):
        compare(tmp_path / "a", tmp_path / "b")


OTHERS = {
    "another benchmark": {"benchmark": "preferences"},
    "other data": {"data": PAIRS[:3]},
    "another family": {"reward": ListwiseReward(ScriptedJudge(reply), votes=1)},
    "another number of votes": {"reward": IRPMReward(ScriptedJudge(reply), votes=3)},
    "another draw": {"seed": 1},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_a_folder_holds_one_run(tmp_path, change):
    call = {"reward": IRPMReward(ScriptedJudge(reply)), "benchmark": "rewardbench", "data": PAIRS[:4], "resamples": 5}
    evaluate(**call, output=tmp_path)
    with pytest.raises(ConfigError, match="holds another run"):
        evaluate(**{**call, **change}, output=tmp_path)


def test_a_limit_draws_at_random_and_always_the_same():
    reward = IRPMReward(ScriptedJudge(reply))
    found = [evaluate(reward, "preferences", PAIRS, limit=7, resamples=5, seed=seed).table for seed in (3, 3)]
    assert found[0] == found[1]
    assert found[0].items == 7


BAD = {
    "no such benchmark": ({"benchmark": "mt-bench"}, "rewardbench"),
    "no such rule": ({"ties": "lost"}, "dropped"),
    "no rows": ({"data": []}, "no rows"),
    "no such file": ({"data": "nowhere.jsonl"}, "no such file"),
    "no limit": ({"limit": 0}, "limit"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_told_before_a_judge_is_asked(change, message):
    judge = ScriptedJudge(lambda messages: pytest.fail("asked"))
    call = {"reward": IRPMReward(judge), "benchmark": "rewardbench", "data": PAIRS, **change}
    with pytest.raises(ConfigError, match=message):
        evaluate(**call)


def test_no_run_is_told(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        rescore(tmp_path)


def test_rows_come_from_files_of_every_kind(tmp_path):
    reward = IRPMReward(ScriptedJudge(reply))
    rows = [{k: v for k, v in row.items() if k != "subset"} for row in PAIRS[:4]]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({**row, "chosen": "virtue\u2028"}) + "\n" for row in rows))
    folder = tmp_path / "folder" / "deep"
    folder.mkdir(parents=True)
    (folder / "part.json").write_text(json.dumps(rows[:1]))
    (folder.parent / "other.jsonl").write_text(json.dumps(rows[1]) + "\n\n")
    assert evaluate(reward, "preferences", tmp_path / "list.json", resamples=5).table["Overall"].n == 4
    assert evaluate(reward, "preferences", str(tmp_path / "lines.jsonl"), resamples=5).table["Overall"].n == 4
    by_file = evaluate(reward, "preferences", folder.parent, resamples=5).table.lines
    assert set(by_file) == {"Overall", "deep/part", "other"}
    (tmp_path / "broken.jsonl").write_text('{"prompt": ')
    with pytest.raises(ConfigError, match="no JSON"):
        evaluate(reward, "preferences", tmp_path / "broken.jsonl")


def test_a_reference_in_one_s_own_data_reaches_the_judge():
    shown = []
    judge = ScriptedJudge(lambda messages: shown.append(messages[0].content) or reply(messages))
    rows = [{**PAIRS[k], "answer": f"the answer is {k}", "id": k} for k in range(3)]
    evaluate(IRPMReward(judge, reference_column="answer"), "preferences", rows, resamples=5)
    assert all(any(f"the answer is {k}" in text and f"q{k}" in text for text in shown) for k in range(3))


def test_parquet_is_read_and_a_hub_that_is_not_there_is_told(tmp_path):
    datasets = pytest.importorskip("datasets", reason="an extra")
    datasets.Dataset.from_list(PAIRS[:3]).to_parquet(tmp_path / "rows.parquet")
    reward = IRPMReward(ScriptedJudge(reply))
    assert evaluate(reward, "preferences", tmp_path / "rows.parquet", resamples=5).table["Overall"].n == 3
    with pytest.raises(ConfigError, match=r"allenai/reward-bench.*cannot be had.*pass data="):
        evaluate(reward, "rewardbench")


def test_a_benchmark_without_a_hub_says_so():
    with pytest.raises(ConfigError, match="on no hub; pass data="):
        evaluate(IRPMReward(ScriptedJudge(reply)), "rmb")


RUN = """
    import hashlib, os, sys
    from grmrewards import IRPMReward, JudgeError, ScriptedJudge
    from grmrewards.evaluation import evaluate

    output, asked_file, dies_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
    asked = 0

    def reply(messages):
        global asked
        asked += 1
        text = messages[0].content
        digest = hashlib.sha256(text.encode()).hexdigest()
        with open(asked_file, "a") as file:
            file.write(digest + "\\n")
        if asked == dies_at:
            os.kill(os.getpid(), 9)
        return f"<critique>{digest}</critique><score>{int(digest[:4], 16) % 11}</score>"

    rows = [
        {"id": k, "prompt": f"q{k}", "chosen": f"virtue {k}", "rejected": f"vice {k}", "subset": "hep-go"} for k in range(150)
    ]
    evaluate(IRPMReward(ScriptedJudge(reply)), "rewardbench", rows, output=output, resamples=50)
"""


def run(tmp_path, name, dies_at=0):
    """One run of the evaluation in a process of its own: what it asked, and its exit code."""
    asked = tmp_path / f"{name}-{dies_at}.txt"
    command = [sys.executable, "-c", textwrap.dedent(RUN), str(tmp_path / name), str(asked), str(dies_at)]
    code = subprocess.run(command, check=False, env={**os.environ, "PYTHONWARNINGS": "error"}).returncode
    return asked.read_text().split() if asked.exists() else [], code


def answered(folder):
    """What the record holds: the digest of a question stands in the critique."""
    texts = [entry["text"] for entry in records.read(folder / "record.jsonl") if entry["type"] == "vote"]
    return [text.partition("</critique>")[0].removeprefix("<critique>") for text in texts]


def test_a_killed_evaluation_goes_on_asks_for_nothing_twice_and_gives_the_same_table(tmp_path):
    whole, code = run(tmp_path, "whole")
    assert (len(whole), code) == (300, 0)
    wanted = json.loads((tmp_path / "whole/result.json").read_text())
    rng = random.Random(10)
    for name in ("first", "second"):
        left = 300
        while left > 40:
            asked, code = run(tmp_path, name, dies_at=rng.randrange(1, left))
            assert code == -signal.SIGKILL
            known = answered(tmp_path / name)
            assert len(known) == len(set(known))
            left = 300 - len(known)
        known = answered(tmp_path / name)
        asked, code = run(tmp_path, name)
        assert code == 0
        assert not set(asked) & set(known), "what was answered is not asked again"
        assert len(asked) == 300 - len(known)
        found = json.loads((tmp_path / name / "result.json").read_text())
        assert {**found, "usage": None} == {**wanted, "usage": None}
        assert run(tmp_path, name)[0] == asked, "a finished run asks nothing at all"
