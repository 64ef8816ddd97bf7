"""Preference data as it is published, read alike whatever its form."""

import pytest

from grmrewards import ConfigError, Message
from grmrewards.training import Preference, read_preferences


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


ASKED = (Message("user", "1+1?"),)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        pytest.param({"prompt": "1+1?", "chosen": "2", "rejected": "3"}, ("2", "3", None), id="TRL, texts"),
        pytest.param(
            {"prompt": [user("1+1?")], "chosen": [assistant("2")], "rejected": [assistant("3")]},
            ("2", "3", None),
            id="TRL, messages",
        ),
        pytest.param(
            {"chosen": [user("1+1?"), assistant("2")], "rejected": [user("1+1?"), assistant("3")]},
            ("2", "3", None),
            id="TRL, implicit prompt",
        ),
        pytest.param(
            {"prompt": "1+1?", "chosen": [user("1+1?"), assistant("2")], "rejected": [user("1+1?"), assistant("3")]},
            ("2", "3", None),
            id="a prompt, and conversations that repeat it",
        ),
        pytest.param(
            {"prompt": "1+1?", "chosen": "2", "rejected": "3", "score_chosen": 8, "score_rejected": 3.5},
            ("2", "3", 4.5),
            id="scored",
        ),
        pytest.param({"prompt": "1+1?", "chosen": "2", "rejected": "3", "margin": 2}, ("2", "3", 2.0), id="margin"),
        pytest.param(
            {"context": [user("1+1?")], "response1": "2", "response2": "3", "overall_preference": -3},
            ("2", "3", 3.0),
            id="HelpSteer3, the first is better",
        ),
        pytest.param(
            {"context": [user("1+1?")], "response1": "3", "response2": "2", "overall_preference": 1},
            ("2", "3", 1.0),
            id="HelpSteer3, the second is slightly better",
        ),
        pytest.param(
            {"prompt": "1+1?", "chosen": "<think>Hm.</think>2", "rejected": "3"}, ("2", "3", None), id="after reasoning"
        ),
    ],
)
def test_forms(row, found):
    assert read_preferences([row]) == [Preference(ASKED, *found)]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"prompt": "?", "chosen": "2", "rejected": "2"}, id="equal answers"),
        pytest.param(
            {"prompt": "?", "chosen": "2", "rejected": "3", "score_chosen": 1, "score_rejected": 1}, id="equal scores"
        ),
        pytest.param(
            {"context": [user("?")], "response1": "2", "response2": "3", "overall_preference": 0},
            id="HelpSteer3, a tie",
        ),
        pytest.param(
            {"context": [user("?")], "response1": "2", "response2": "3", "overall_preference": None}, id="no label"
        ),
        pytest.param({"prompt": "?", "responses": ["2", "3"], "scores": [4, 4]}, id="rated alike"),
    ],
)
def test_ties_are_left_out(row):
    assert read_preferences([row]) == []


def test_rated_responses_give_every_pair_whose_scores_differ():
    found = read_preferences([{"prompt": "1+1?", "responses": ["a", "b", "c"], "scores": [1, 5, 1]}])
    assert [(one.chosen, one.rejected, one.strength) for one in found] == [("b", "a", 4.0), ("b", "c", 4.0)]


def test_weaker_preferences_can_be_left_out():
    rows = [
        {"context": [user("?")], "response1": "2", "response2": "3", "overall_preference": p} for p in (-3, -2, -1, 1)
    ]
    assert [one.strength for one in read_preferences(rows, min_strength=2)] == [3.0, 2.0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param({"question": "?", "answer": "2"}, "row 0.*overall_preference", id="another form"),
        pytest.param(
            {"prompt": "?", "chosen": "2", "rejected": "3", "score_chosen": 1, "score_rejected": 4},
            "lower score",
            id="upside down",
        ),
        pytest.param({"prompt": "?", "chosen": "2", "rejected": "3", "margin": float("nan")}, "finite", id="NaN"),
        pytest.param({"chosen": "1+1? 2", "rejected": "1+1? 3"}, "Add a column prompt", id="texts without a prompt"),
        pytest.param(
            {"chosen": [user("a"), assistant("2")], "rejected": [user("b"), assistant("3")]},
            "Add a column",
            id="two questions",
        ),
        pytest.param(
            {"prompt": "?", "responses": ["2"], "scores": [1, 2]}, "1 responses and 2 scores", id="a score too many"
        ),
    ],
)
def test_what_is_not_understood_is_refused(row, said):
    with pytest.raises(ConfigError, match=said):
        read_preferences([row])


def test_a_strength_that_is_not_there_cannot_be_asked_for():
    with pytest.raises(ConfigError, match="says no strength"):
        read_preferences([{"prompt": "?", "chosen": "2", "rejected": "3"}], min_strength=2)
