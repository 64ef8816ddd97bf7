"""Asking about a whole dataset: groups stay apart, failures stay None, and the order can be the group's own."""

import pytest

from grmrewards import (
    ConfigError,
    GRAMReward,
    IRPMReward,
    JudgeError,
    ListwiseReward,
    PairwiseReward,
    ScriptedJudge,
    bulk,
    with_auxiliary,
)
from grmrewards.bulk import Asked

GROUPS = [Asked("q", ["good", "bad"]), Asked("q", ["bad", "good", "fails"]), Asked("other", ["bad"])]


def points(messages):
    response = messages[0].content.rpartition("[Response]")[2].strip()
    if response == "fails":
        raise JudgeError("no answer")
    return f"<critique>.</critique><score>{8 if response == 'good' else 2}</score>"


def test_groups_of_one_prompt_stay_apart_and_failures_stay_none():
    reward = IRPMReward(ScriptedJudge(points), on_failure=0.5, max_failures=0.0, group_size=2)
    found = list(bulk.scores(bulk.measured(reward, raw=True), GROUPS, name="test"))
    assert found == [[8.0, 2.0], [2.0, 8.0, None], [2.0]]
    assert (reward.on_failure, reward.group_size, reward.group_key) == (0.5, 2, None), "it was a copy that was asked"


def test_the_record_of_a_measurement_is_paid_for_once(tmp_path):
    asked = []
    judge = ScriptedJudge(lambda messages: asked.append(1) or points(messages))
    for _ in range(2):
        reward = bulk.measured(IRPMReward(judge), record=tmp_path / "record.jsonl")
        assert list(bulk.scores(reward, GROUPS[:1], name="test")) == [[0.8, 0.2]]
    assert len(asked) == 2


def likes_the_first(messages):
    text = messages[0].content
    return "A" if "Assistant A's Answer" in text else r"Scores: \boxed{9, 3}"


@pytest.mark.parametrize("family", [GRAMReward, PairwiseReward, ListwiseReward])
def test_as_given_shows_each_group_once_in_its_own_order(family):
    asked = []
    judge = ScriptedJudge(lambda messages: asked.append(1) or likes_the_first(messages))
    votes = {"votes": 1} if family is ListwiseReward else {}
    groups = [Asked("q", ["a", "b"]), Asked("q", ["b", "a"])]
    found = list(bulk.scores(bulk.measured(family(judge, **votes), as_given=True), groups, name="test"))
    assert all(first > second for first, second in found)
    assert len(asked) == 2


def test_another_function_is_asked_with_the_columns_of_the_groups():
    def reward(prompts, completions, answer):
        return [float(completion == right) for completion, right in zip(completions, answer, strict=True)]

    groups = [Asked("1+1?", ["2", "3"], {"answer": "2"}), Asked("1+2?", ["2", "3"], {"answer": "3"})]
    assert list(bulk.scores(bulk.measured(reward), groups, name="test")) == [[1.0, 0.0], [0.0, 1.0]]


def test_auxiliaries_keep_the_scale_that_their_weights_are_in():
    shaped = with_auxiliary(
        IRPMReward(ScriptedJudge(points)), lambda completions, **_: [1.0] * len(completions), weight=0.1
    )
    (found,) = bulk.scores(bulk.measured(shaped, raw=True), [Asked("q", ["good", "bad"])], name="test")
    assert found == [pytest.approx(0.9), pytest.approx(0.3)]


def test_what_is_no_finite_number_is_no_score():
    given = [float("nan"), float("inf")]
    assert list(bulk.scores(lambda prompts, completions: given, GROUPS[:1], name="test")) == [[None, None]]


def test_a_function_that_loses_rows_is_told():
    with pytest.raises(ConfigError, match="returned 1 rewards for 2"):
        list(bulk.scores(lambda prompts, completions: [1.0], GROUPS[:1], name="test"))
