"""Each benchmark counts as its own paper does: hand-computed cases with ties, lost judgements and missing rows."""

import itertools
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import ConfigError
from grmrewards.evaluation import BENCHMARKS, Game, Item, Rules, table
from grmrewards.evaluation.bootstrap import intervals
from grmrewards.evaluation.items import decision, strata
from grmrewards.evaluation.ppe import best_of, roc_auc
from grmrewards.evaluation.rewardbench2 import Margins, Tied, ties_score

SHARED = Path(__file__).parents[2] / "shared" / "data"
steady = settings(deadline=None, derandomize=True)


def figures(name, rows, scores, **rules):
    """The table of a benchmark from the scores of each item's responses, by its id: all in one game, or several games."""
    benchmark = BENCHMARKS[name]
    items = benchmark.read(rows)
    games = {
        key: found if isinstance(found[0], Game) else [Game(tuple(range(len(found))), tuple(found))]
        for key, found in scores.items()
    }
    assert set(games) <= {item.id for item in items}, sorted(item.id for item in items)
    return table(benchmark, items, games, resamples=5, **rules)


# JudgeBench


@pytest.mark.skipif(not SHARED.exists(), reason="the stored scores of two public reward models are not shipped")
@pytest.mark.parametrize("model", ["Skywork_Skywork-Reward-Gemma-2-27B", "internlm_internlm2-20b-reward"])
def test_judgebench_gives_the_official_table_of_a_public_reward_model(model):
    lines = (SHARED / "judgebench/pairs_gpt-4o-2024-05-13.jsonl").read_text(encoding="utf-8").split("\n")
    benchmark = BENCHMARKS["judgebench"]
    items = benchmark.read(json.loads(line) for line in lines if line)
    first_is_better = {item.id: item.facts["a_first"] for item in items}
    games = {}
    for line in (SHARED / f"judgebench/scores_{model}.jsonl").read_text().split("\n")[:-1]:
        row = json.loads(line)
        a, b = (0, 1) if first_is_better[row["pair_id"]] else (1, 0)
        games[row["pair_id"]] = [Game((a, b), tuple(row["scores_AB"])), Game((b, a), tuple(row["scores_BA"]))]
    found = table(benchmark, items, games, resamples=5)
    official = json.loads((SHARED / "golden_judgebench_rm_scores.json").read_text())[model]
    assert {name: round(line.value, 2) for name, line in found.lines.items()} == official
    assert (found.items, found.missing, found.unscored) == (350, 0, 0)


def pair(key, label="A>B", source="mmlu-pro-law"):
    return {"pair_id": key, "question": "q", "response_A": "a", "response_B": "b", "label": label, "source": source}


BOTH = {  # the scores of the better and the worse answer in the first order, and in the second
    "right twice": (((9, 5), (8, 6)), 1),
    "right and a tie": (((9, 5), (6, 6)), 1),
    "right and lost": (((9, 5), (None, 6)), 1),
    "right and wrong": (((9, 5), (5, 6)), 0),
    "tied twice": (((7, 7), (6, 6)), 0),
    "wrong and a tie": (((5, 9), (6, 6)), 0),
    "lost twice": (((None, 5), (6, None)), 0),
}


@pytest.mark.parametrize(("orders", "points"), BOTH.values(), ids=BOTH)
@pytest.mark.parametrize("label", ["A>B", "B>A"])
def test_judgebench_both_orders(orders, points, label):
    (first, second) = orders
    games = [Game((0, 1), first), Game((1, 0), second[::-1])]
    assert figures("judgebench", [pair("p", label)], {"p": games})["Overall"].value == 100 * points


def test_judgebench_counts_missing_pairs_and_pools_the_categories():
    rows = [pair("a"), pair("b"), pair("c"), pair("d", source="livebench-math")]
    found = figures("judgebench", rows, {"a": [9, 1], "d": [9, 1]})
    assert {name: (round(line.value, 2), line.n) for name, line in found.lines.items()} == {
        "mmlu-pro": (33.33, 3),
        "livebench-math": (100.0, 1),
        "Overall": (50.0, 4),
    }
    assert (found.missing, found.unscored) == (2, 0)


@pytest.mark.parametrize(("ties", "value"), [(None, 50.0), ("wrong", 50.0), ("half", 75.0), ("dropped", 100.0)])
def test_judgebench_with_the_tie_rule_of_another_paper(ties, value):
    found = figures("judgebench", [pair("a"), pair("b")], {"a": [9, 1], "b": [5, 5]}, ties=ties)
    assert found["Overall"].value == value
    assert found.official == (ties in (None, "wrong"))


# RewardBench


def preference(key, subset):
    return {"id": key, "prompt": "q", "chosen": "good", "rejected": "bad", "subset": subset}


def test_rewardbench_weighs_subsets_by_fixed_counts_and_sections_alike():
    rows = [preference(1, "math-prm"), preference(1, "hep-cpp"), preference(2, "alpacaeval-easy")]
    rows += [preference(k, "alpacaeval-length") for k in range(4)]
    scores = {"math-prm/1": [9, 1], "hep-cpp/1": [1, 9], "alpacaeval-easy/2": [7, 7]}
    scores |= {"alpacaeval-length/0": [9, 1], "alpacaeval-length/1": [None, 1], "alpacaeval-length/2": [1, 9]}
    found = figures("rewardbench", rows, scores)
    length = (1 + 0.5 + 0 + 0.5) / 4  # right, lost, wrong, missing
    chat, reasoning = (0.5 * 100 + length * 95) / 195, 984 / (984 + 164)
    assert found["alpacaeval-length"].value == pytest.approx(100 * length)
    assert found["Chat"].value == pytest.approx(100 * chat)
    assert found["Reasoning"].value == pytest.approx(100 * reasoning)
    assert found["Overall"].value == pytest.approx(50 * (chat + reasoning))
    assert "Safety" not in found.lines, "a section without rows has no figure, and weighs nothing"
    assert list(found.lines)[:3] == ["Chat", "Reasoning", "Overall"]


RULES = {
    "official": ({}, 50.0),
    "ties wrong": ({"ties": "wrong"}, 37.5),
    "lost ones wrong": ({"errors": "wrong"}, 37.5),
    "lost ones dropped": ({"errors": "dropped"}, 50.0),
    "both dropped": ({"ties": "dropped", "errors": "dropped"}, 50.0),
    "both wrong": ({"ties": "wrong", "errors": "wrong"}, 25.0),
}


@pytest.mark.parametrize(("rules", "value"), RULES.values(), ids=RULES)
def test_rewardbench_with_other_rules(rules, value):
    rows = [preference(k, "donotanswer") for k in range(4)]
    said = {"donotanswer/0": [9, 1], "donotanswer/1": [5, 5], "donotanswer/2": [None, 5], "donotanswer/3": [1, 9]}
    assert figures("rewardbench", rows, said, **rules)["Safety"].value == value


# RewardBench 2


def four(key, subset="Math"):
    return {
        "id": key,
        "prompt": "q",
        "chosen": ["good"],
        "rejected": ["x", "y", "z"],
        "subset": subset,
        "num_correct": 1,
    }


BEST = {
    "alone at the top": ([9, 1, 2, 3], 1),
    "one of two": ([9, 9, 2, 3], 1 / 2),
    "one of four": ([5, 5, 5, 5], 1 / 4),
    "beaten": ([8, 9, 9, 3], 0),
    "itself lost": ([None, 1, 2, 3], 0),
    "others lost": ([5, None, None, None], 1),
    "all lost": ([None] * 4, 1 / 4),
}


@pytest.mark.parametrize(("scores", "worth"), BEST.values(), ids=BEST)
def test_rewardbench2_best_of_four(scores, worth):
    assert figures("rewardbench2", [four("i")], {"i": scores})["Math"].value == pytest.approx(100 * worth)


def test_rewardbench2_a_missing_row_is_a_lost_one_and_the_total_is_the_mean_of_subsets():
    rows = [four("a"), four("b"), four("c", "Safety")]
    found = figures("rewardbench2", rows, {"a": [9, 1, 1, 1], "c": [1, 9, 1, 1]})
    assert found["Math"].value == pytest.approx(62.5)
    assert found["Overall"].value == pytest.approx((62.5 + 0) / 2)


def of_ties(kind, k, right, wrong):
    return {
        "id": f"{kind}:{k}",
        "prompt": "q",
        "chosen": [f"r{i}" for i in range(right)],
        "rejected": [f"w{i}" for i in range(wrong)],
        "subset": "Ties",
        "num_correct": right,
    }


def test_rewardbench2_ties_by_hand():
    rows = [of_ties("ref", 0, 1, 2), of_ties("tied", 0, 2, 2), of_ties("ref", 1, 1, 2), of_ties("tied", 1, 3, 1)]
    scores = {
        "ref:0": [9, 4, 5],  # m = 4, accurate
        "tied:0": [9, 8, 5, 4],  # m = 3, d = 1, accurate
        "ref:1": [6, None, 5],  # m = 1, accurate; the lost one has -1
        "tied:1": [9, 9, 5, 6],  # m = -1, d = 4, not accurate
    }
    expected = 0.30 * 1 / 2 + 0.30 * 2 / 2 + 0.20 * 1 / 2 + 0.20 * 1 / 2
    expected += 0.01 * (math.tanh(3 / 1 - 1) + math.tanh(-1 / 4 - 1)) / 2
    found = figures("rewardbench2", rows, scores)
    assert found["Ties"].value == pytest.approx(100 * expected)
    assert found["Ties"].n == 2


TIES = {
    "no spread, right above wrong": (Tied(Margins(3, None), Margins(2, 0.0)), 1.01),
    "no spread, all alike": (Tied(Margins(0, None), Margins(0, 0.0)), 0.0),
    "no spread, wrong above right": (Tied(Margins(-3, None), Margins(-2, 0.0)), -0.01),
    "the reference decides the hard one": (Tied(Margins(1, None), Margins(3, 2.0)), 0.8 + 0.01 * math.tanh(-0.5)),
    "a question without its reference": (Tied(None, Margins(3, 1.0)), 0.3),
}


@pytest.mark.parametrize(("question", "score"), TIES.values(), ids=TIES)
def test_rewardbench2_ties_at_the_edges(question, score):
    assert ties_score([question]) == pytest.approx(score)


# RM-Bench


def styles(key, domain):
    return {"id": key, "prompt": "q", "chosen": ["a", "b", "c"], "rejected": ["x", "y", "z"], "domain": domain}


def test_rmbench_matrix_by_hand():
    rows = [styles(1, "chat"), styles(1, "safety-refuse"), styles(1, "safety-response"), styles(2, "safety-response")]
    scores = {
        "chat/1": [5, 6, 7, 4, 5, 7],  # cells: 1 0 0 / 1 1 0 / 1 1 0: a tie is wrong
        "safety-refuse/1": [9, 9, 9, 1, 1, 1],
        "safety-response/1": [9, None, 9, 1, 1, 1],  # a lost one is wrong: 1 1 1 / 0 0 0 / 1 1 1
    }
    found = figures("rm-bench", rows, scores)
    values = {name: round(line.value, 4) for name, line in found.lines.items()}
    safety = {"hard": (1 + 2 / 3 + 0) / 3, "normal": (1 + 2 / 3 + 0) / 3, "easy": (1 + 2 / 3 + 0) / 3}
    chat = {"hard": 0.0, "normal": 2 / 3, "easy": 1.0}
    assert values["chat"] == round(100 * sum(chat.values()) / 3, 4)
    assert values["safety"] == round(100 * sum(safety.values()) / 3, 4)
    assert values["hard"] == round(50 * (chat["hard"] + safety["hard"]), 4)
    assert values["chat normal"] == round(100 * chat["normal"], 4)
    assert values["Overall"] == round((values["chat"] + values["safety"]) / 2, 4)
    assert "math" not in values
    assert (found["safety"].n, found["chat"].n, found["Overall"].n) == (3, 1, 4)


def test_rmbench_in_pairs_is_the_same_as_all_at_once():
    scores = [5, 6, 7, 4, 5, 7]
    pairs = [Game((i, 3 + j), (scores[i], scores[3 + j])) for i in range(3) for j in range(3)]
    at_once = figures("rm-bench", [styles(1, "chat")], {"chat/1": scores})
    assert figures("rm-bench", [styles(1, "chat")], {"chat/1": pairs}).lines == at_once.lines


def test_rmbench_reads_the_domain_off_a_files_name():
    row = {name: value for name, value in styles(7, "").items() if name != "domain"}
    assert BENCHMARKS["rm-bench"].read([{**row, "file": "data/safety-refuse_filtered"}])[0].stratum == "safety-refuse"


# RMB


def rmb_pair(key, goal="Helpfulness"):
    turn = {"role": "user", "content": "q", "language": "English"}
    answers = {"chosen": {"llm_name": "m", "answer": "good"}, "reject": {"llm_name": "n", "answer": "bad"}}
    return {"pair_uid": key, "conversation_input": [turn], "category_path": f"Pairwise_set/{goal}/Chat", **answers}


def rmb_best(key, goal="Helpfulness", losers=2):
    turn = {"role": "user", "content": "q", "language": "English"}
    answers = {"bon_best": {"answer": "best"}, "loser_list": [{"answer": f"worse {k}"} for k in range(losers)]}
    return {"bon_uid": key, "conversation_input": [turn], "category_path": f"BoN_set/{goal}/Chat", **answers}


def test_rmb_by_hand():
    rows = [rmb_pair("1"), rmb_pair("2"), rmb_pair("3", "Harmlessness"), rmb_best("4"), rmb_best("5"), rmb_best("6")]
    path = "Set/Helpfulness/Chat"
    scores = {
        f"Pairwise_s{path[1:]}/1": [9, 1],
        f"Pairwise_s{path[1:]}/2": [5, 5],  # a tie is wrong
        "Pairwise_set/Harmlessness/Chat/3": [9, None],  # lost: wrong
        f"BoN_s{path[1:]}/4": [9, 1, 2],
        f"BoN_s{path[1:]}/5": [9, 1, 9],  # beats one, not every one
        # 6 is missing: wrong
    }
    found = figures("rmb", rows, scores)
    values = {name: round(line.value, 2) for name, line in found.lines.items()}
    assert values["Helpfulness Pairwise"] == 50.0
    assert values["Harmlessness Pairwise"] == 0.0
    assert values["Helpfulness BoN"] == 33.33
    assert values["Overall"] == 27.78
    assert "Harmlessness BoN" not in values


BEATS = {
    "beats all": ([9, 1, 2], 100.0, 100.0, 100.0),
    "ties with one": ([9, 1, 9], 0.0, 50.0, 0.0),
    "loses to one, ties with the other": ([5, 9, 5], 0.0, 0.0, 0.0),
    "one is lost": ([9, None, 2], 0.0, 0.0, 50.0),
    "loses to one, the other is lost": ([5, 9, None], 0.0, 0.0, 0.0),
}


@pytest.mark.parametrize(("scores", "official", "ties_half", "errors_half"), BEATS.values(), ids=BEATS)
def test_rmb_best_of_n_beats_every_loser(scores, official, ties_half, errors_half):
    key = "BoN_set/Helpfulness/Chat/1"
    for rules, value in (({}, official), ({"ties": "half"}, ties_half), ({"errors": "half"}, errors_half)):
        assert figures("rmb", [rmb_best("1")], {key: scores}, **rules)["Overall"].value == value


# PPE


def human(key, winner, language="English"):
    row = {"question_id": key, "prompt": "q", "response_1": "one", "response_2": "two", "winner": winner}
    return {**row, "language": language, "model_a": "a", "model_b": "b"}


def test_ppe_human_preference_leaves_out_what_people_call_a_tie():
    rows = [
        human(1, "model_a"),
        human(2, "model_b"),
        human(3, "tie"),
        human(4, "model_a", "Chinese"),
        human(5, "model_b"),
    ]
    assert [item.responses for item in BENCHMARKS["ppe"].read(rows)][:2] == [("one", "two"), ("two", "one")]
    found = figures("ppe", rows, {"human/1": [9, 1], "human/2": [5, 5], "human/4": [1, 9]})
    assert found["human preference"].value == pytest.approx(50.0)  # right, a tie, wrong; the missing one is left out
    assert found["human preference English"].value == pytest.approx(75.0)
    assert found["human preference other languages"].value == 0.0
    assert found.missing == 1


def answers(key, right, pairs):
    row = {"question_id": key, "prompt": "q", "domain": "MATH", "scores": right, "sampled_conflict_pairs": pairs}
    return {**row, **{f"response_{k + 1}": f"r{k}" for k in range(len(right))}}


def test_ppe_best_of_k_by_hand():
    rows = [
        answers(1, [True, False, False], [[0, 1], [2, 0]]),
        answers(2, [False, True, True], [[0, 1], [2, 0], [1, 2]]),
    ]
    found = figures("ppe", rows, {"MATH/1": [9, 5, 9], "MATH/2": [8, 6, None]})
    assert found["MATH"].value == pytest.approx(
        100 * (0.75 + 0.0) / 2
    )  # right and a tie; wrong, and a lost one left out
    # stretched: 1, 0, 1 and 1, 0: right at 1 and 0, wrong at 0, 1, 1
    assert found["MATH AUC"].value == pytest.approx(100 * ((1 + 0.5 + 0.5) + (0.5 + 0 + 0)) / 6)
    assert found["MATH best of k"].value == pytest.approx(100 * (0.5 + 0.0) / 2)
    assert found["correctness"].value == found["MATH"].value


def test_ppe_a_judge_that_compares_has_an_accuracy_and_no_curve():
    games = [Game((0, 1), (9.0, 1.0))]
    found = figures("ppe", [answers(1, [True, False, False], [[0, 1]])], {"MATH/1": games})
    assert found["MATH"].value == 100.0
    assert "MATH AUC" not in found.lines


@steady
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=9))
def test_the_area_is_the_share_of_pairs_in_order(scored):
    right, wrong = ([s for s, is_right in scored if is_right is kind] for kind in (True, False))
    pairs = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    assert roc_auc(scored) == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


@steady
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
def test_the_best_of_k_is_the_mean_over_all_choices_of_k(scored):
    for k, chance in enumerate(best_of(scored), 1):
        worth = []
        for drawn in itertools.combinations(scored, k):
            tops = [is_right for score, is_right in drawn if score == max(drawn)[0]]
            worth.append(sum(tops) / len(tops))
        assert chance == pytest.approx(sum(worth) / len(worth))


# One's own


def test_own_preferences_by_subset_and_each_row_once():
    rows = [
        {"prompt": "q", "chosen": "good", "rejected": "bad", "subset": "a"},
        {"prompt": "q", "chosen": "good", "rejected": "bad", "subset": "b"},
        {"prompt": "q", "responses": ["x", "y", "z"], "scores": [3, 2, 1], "subset": "b"},
    ]
    found = figures("preferences", rows, {"0": [9, 1], "1": [None, 1], "2": [9, 5], "2/1": [9, 9], "2/2": [1, 9]})
    assert found["a"].value == 100.0
    assert found["b"].value == pytest.approx(100 * (0.5 + 0.5) / 2)
    assert found["Overall"].value == pytest.approx(100 * (1 + 0.5 + 0.5) / 3)
    assert found["Overall"].n == 3


# What all of them share

BAD = {
    "judgebench: no such label": ("judgebench", [{**pair("p"), "label": "A"}], "allowed are 'A>B'"),
    "judgebench: an answer is missing": ("judgebench", [{**pair("p"), "response_B": None}], "no response_B"),
    "rewardbench: no subset": ("rewardbench", [{"prompt": "q", "chosen": "a", "rejected": "b"}], "no subset"),
    "rewardbench2: two right answers": ("rewardbench2", [{**four("x"), "chosen": ["a", "b"]}], "exactly one"),
    "rewardbench2: an id of Ties": ("rewardbench2", [{**of_ties("ref", 1, 1, 1), "id": "7"}], "ref:k"),
    "rm-bench: two styles": ("rm-bench", [{**styles(1, "chat"), "chosen": ["a", "b"]}], "three styles"),
    "rm-bench: no such domain": ("rm-bench", [styles(1, "poetry")], "allowed are chat"),
    "rmb: no loser": ("rmb", [rmb_best("1", losers=0)], "loser"),
    "ppe: no such set": ("ppe", [{**answers(1, [True, False], [[0, 1]]), "domain": "chess"}], "MMLU-Pro"),
}


@pytest.mark.parametrize(("name", "rows", "message"), BAD.values(), ids=BAD)
def test_a_row_of_another_form_is_told(name, rows, message):
    with pytest.raises(ConfigError, match=message):
        BENCHMARKS[name].read(rows)


def test_other_rules_have_names():
    with pytest.raises(ConfigError, match="'wrong'"):
        figures("judgebench", [pair("p")], {}, ties="random")


@steady
@given(st.lists(st.sampled_from([1, 0, -1, None]), min_size=1, max_size=30), st.sampled_from(["ties", "errors"]))
def test_no_rule_is_worth_more_than_half_and_wrong_never_more_than_half(decisions, kind):
    items = [Item(str(k), "q", ("good", "bad"), "all") for k in range(len(decisions))]
    games = {str(k): [] if d is None else [Game((0, 1), (float(d), 0.0))] for k, d in enumerate(decisions)}
    own = BENCHMARKS["preferences"]
    by = {count: table(own, items, games, resamples=2, **{kind: count})["Overall"].value for count in ("wrong", "half")}
    assert 0 <= by["wrong"] <= by["half"] <= 100


def test_the_order_of_a_game_does_not_matter_to_the_decision():
    assert decision([Game((1, 0), (2.0, 5.0))], 0, 1) == decision([Game((0, 1), (5.0, 2.0))], 0, 1) == 1
    assert decision([], 0, 1) is None
    assert Rules(ties="half", errors="dropped").credit(None) is None


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = random.Random(5)
    held = 0
    for seed in range(60):
        sample = [float(rng.random() < 0.7) for _ in range(80)]
        low, high = intervals({"all": sample}, strata, resamples=200, seed=seed)["all"]
        held += low <= 0.7 <= high
    assert 51 <= held <= 60


def test_intervals_draw_within_each_subset():
    fixed = {"sure": [1.0] * 5, "open": [0.0, 1.0] * 20}
    found = intervals(fixed, strata, resamples=100)
    assert found["sure"] == (1.0, 1.0)
    assert found["open"][0] < 0.5 < found["open"][1]


def test_markdown_says_how_it_was_counted():
    found = figures("judgebench", [pair("a|b", source="mmlu-pro")], {"a|b": [5, 5]}, ties="half")
    text = found.markdown()
    assert "| Overall | 50.00 | 50.00 to 50.00 | 1 |" in text
    assert "other rules than the official ones: ties count half, lost judgements are wrong" in text
    assert json.loads(json.dumps(found.as_dict()))["lines"]["Overall"]["value"] == 50.0
