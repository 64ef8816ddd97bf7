"""Look-alike rows: in the published forms, right by the rule, and the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards.errors import ConfigError
from grmrewards.judges.embedded.domain import parse_question, rule_score, split_of
from grmrewards.judges.embedded.lookalikes import GAP, SUBSETS, rows

BENCHMARKS = ("rewardbench", "rewardbench2", "rm-bench", "judgebench", "rmb", "ppe", "preferences")
FORMS = {  # the published columns that are read; others may stand beside them
    "rewardbench": {"prompt", "chosen", "rejected", "subset", "id"},
    "rewardbench2": {
        *(
            "id",
            "prompt",
            "chosen",
            "rejected",
            "num_correct",
            "num_incorrect",
            "total_completions",
            "models",
            "subset",
        ),
    },
    "rm-bench": {"id", "prompt", "chosen", "rejected", "domain"},
    "judgebench": {
        *("pair_id", "original_id", "source", "question", "response_model", "response_A", "response_B", "label"),
    },
    "rmb": {"conversation_input", "category_path"},
    "ppe": {"question_id", "prompt", "response_1", "response_2"},
    "preferences": {"prompt", "chosen", "rejected"},
}


def question_of(row):
    turns = row.get("conversation_input", [{}])
    return parse_question(row.get("prompt") or row.get("question") or turns[0]["content"])


def right_and_wrong(row):
    """The texts of a row, as its labels tell them apart, read without the code that made them."""
    if "label" in row:
        pair = [row["response_A"]], [row["response_B"]]
        return pair if row["label"] == "A>B" else pair[::-1]
    if "winner" in row:
        pair = [row["response_1"]], [row["response_2"]]
        return {"model_a": pair, "model_b": pair[::-1]}.get(row["winner"], ([*pair[0], *pair[1]], []))
    if "scores" in row:
        texts = [(right, row[f"response_{place + 1}"]) for place, right in enumerate(row["scores"])]
        return [text for right, text in texts if right], [text for right, text in texts if not right]
    if "bon_best" in row:
        return [row["bon_best"]["answer"]], [loser["answer"] for loser in row["loser_list"]]
    if "reject" in row:
        return [row["chosen"]["answer"]], [row["reject"]["answer"]]
    listed = isinstance(row["chosen"], list)
    return (row["chosen"], row["rejected"]) if listed else ([row["chosen"]], [row["rejected"]])


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_row_has_the_published_columns(benchmark):
    for row in rows(benchmark):
        assert FORMS[benchmark] <= row.keys()


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@settings(deadline=None, derandomize=True, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_labels_agree_with_the_rule(benchmark, seed):
    for row in rows(benchmark, seed=seed):
        question = question_of(row)
        right, wrong = right_and_wrong(row)
        assert right
        assert all(rule_score(question, text) == 1 for text in right), row
        assert all(rule_score(question, text) <= 1 - GAP + 1e-6 for text in wrong), row
        assert len({*right, *wrong}) == len(right) + len(wrong)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_no_question_is_of_the_training(benchmark):
    splits = Counter(split_of(question_of(row)) for row in rows(benchmark))
    assert set(splits) == {"heldout_questions", "heldout_words"}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(benchmark):
    assert rows(benchmark, seed=3) == rows(benchmark, seed=3)
    assert rows(benchmark, seed=3) != rows(benchmark, seed=4)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("n", [1, 7, 60])
def test_so_many_rows_as_asked_for_and_a_longer_list_begins_with_the_shorter(benchmark, n):
    assert len(rows(benchmark, n=n)) == n
    assert rows(benchmark, n=n) == rows(benchmark, n=61)[:n]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_answers_are_short_enough_for_the_embedded_judge(benchmark):
    for row in rows(benchmark):
        right, wrong = right_and_wrong(row)
        assert all(0 < len(text) <= 80 and "\n" not in text for text in (*right, *wrong))


def test_rewardbench_has_all_subsets_evenly():
    counts = Counter(row["subset"] for row in rows("rewardbench"))
    assert len(counts) == len(SUBSETS) == 23
    assert set(counts.values()) == {2}


def test_rewardbench2_has_one_of_four_and_pairs_of_ties():
    by_subset = {}
    for row in rows("rewardbench2"):
        assert row["num_correct"] == len(row["chosen"])
        assert row["num_incorrect"] == len(row["rejected"])
        assert row["total_completions"] == len(row["models"]) == row["num_correct"] + row["num_incorrect"]
        by_subset.setdefault(row["subset"], []).append(row)
    ties = by_subset.pop("Ties")
    assert set(by_subset) == {"Factuality", "Precise IF", "Math", "Safety", "Focus"}
    assert all((row["num_correct"], row["num_incorrect"]) == (1, 3) for own in by_subset.values() for row in own)
    numbers = {kind: [row["id"] for row in ties if row["id"].startswith(f"{kind}:")] for kind in ("ref", "tied")}
    assert [name.removeprefix("ref:") for name in numbers["ref"]] == [n.removeprefix("tied:") for n in numbers["tied"]]
    assert all((row["num_correct"] > 1) == row["id"].startswith("tied:") for row in ties)


def test_rm_bench_has_three_styles_of_the_same_items_in_all_domains():
    found = rows("rm-bench")
    assert {row["domain"] for row in found} == {"chat", "code", "math", "safety-refuse", "safety-response"}
    for row in found:
        for texts in (row["chosen"], row["rejected"]):
            assert len({rule_score(question_of(row), text) for text in texts}) == 1
            assert len(set(texts)) == 3
            assert len(texts[0]) < len(texts[1]) <= len(texts[2])


def test_judgebench_has_all_categories_and_both_labels():
    found = rows("judgebench")
    assert {row["source"].partition("-")[0] for row in found} == {"mmlu", "livebench", "livecodebench"}
    assert {"livebench-reasoning", "livebench-math"} <= {row["source"] for row in found}
    assert {row["label"] for row in found} == {"A>B", "B>A"}
    assert len({row["pair_id"] for row in found}) == len(found)


def test_rmb_has_pairs_and_sets_of_both_goals():
    found = rows("rmb")
    assert {tuple(row["category_path"].split("/")[:2]) for row in found} == {
        (kind, goal) for kind in ("Pairwise_set", "BoN_set") for goal in ("Helpfulness", "Harmlessness")
    }
    for row in found:
        assert ("bon_best" in row) == row["category_path"].startswith("BoN_set/")
        assert ("bon_uid" in row) == ("bon_best" in row) == ("pair_uid" not in row)
        assert [turn.keys() for turn in row["conversation_input"]] == [{"role", "content", "language"}]
        assert len(row.get("loser_list", [0, 0])) >= 2


def test_ppe_has_votes_with_ties_and_sets_of_answers_with_conflicts():
    found = rows("ppe")
    assert {row["winner"] for row in found if "winner" in row} == {"model_a", "model_b", "tie"}
    sets = [row for row in found if "scores" in row]
    assert {row["file"] for row in sets} == {
        f"PPE-{name}-Best-of-K" for name in ("MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus")
    }
    for row in sets:
        assert sum(key.startswith("response_") for key in row) == len(row["scores"]) == 8
        assert row["mean_score"] == pytest.approx(sum(row["scores"]) / 8)
        assert row["sampled_conflict_pairs"]
        assert all(row["scores"][i] != row["scores"][j] for i, j in row["sampled_conflict_pairs"])


@pytest.mark.parametrize(("benchmark", "n", "said"), [("rewardbench3", 1, "rewardbench2"), ("ppe", 0, "n=0")])
def test_what_cannot_be_made_is_refused(benchmark, n, said):
    with pytest.raises(ConfigError, match=said):
        rows(benchmark, n=n)
