"""The exact rule that the embedded judge and policy are measured by."""

import random

import pytest

from grmrewards.judges.embedded import domain

FOX, NOT_CAT, PLAIN = "Name 4 animals, one of them fox.", "Name 3 animals, but not cat.", "Name 2 drinks."


@pytest.mark.parametrize(
    ("text", "response", "rule", "judged"),
    [
        (FOX, "fox, cat, dog, owl.", 1.0, 10),
        (FOX, "cat, dog, owl, bear", 0.7, 7),
        (FOX, "fox, cat, cat, red", 0.5, 5),
        (FOX, "cat", 0.0, 1),
        (FOX, "", 0.0, 1),
        (NOT_CAT, "cat, dog, owl", 2 / 3, 7),
        (NOT_CAT, "  Dog ,  OWL , , frog . ", 1.0, 10),
        (NOT_CAT, "dog owl", 2 / 3, 7),
        (PLAIN, "tea, milk, red, tea", 0.5, 5),
        (PLAIN, "tea tea tea tea tea tea tea tea", 0.125, 1),
        (PLAIN, "I cannot name any.", 0.0, 1),
    ],
)
def test_scores(text: str, response: str, rule: float, judged: int) -> None:
    question = domain.parse_question(text)
    assert question is not None
    assert domain.rule_score(question, response) == pytest.approx(rule)
    assert domain.judge_score(question, response) == judged


def test_labels_name_the_first_fault() -> None:
    question = domain.parse_question(NOT_CAT)
    assert question is not None
    labels = domain.label_items(question, "cat, cat, dog, pear, pear")
    assert [label for _, label in labels] == ["forbidden", "again", "good", "wrong", "again"]


@pytest.mark.parametrize("split", ["train", "heldout_questions", "heldout_words"])
def test_questions_belong_to_their_split_and_can_be_read_back(split: domain.Split) -> None:
    rng = random.Random(0)
    for _ in range(200):
        question = domain.make_question(rng, split)
        assert domain.split_of(question) == split
        assert domain.parse_question(question.text) == question


@pytest.mark.parametrize("text", ["", "Name animals.", "Name 3 stars.", "Name 3 animals, and fox.", "Say 3 animals."])
def test_other_texts_are_no_questions(text: str) -> None:
    assert domain.parse_question(text) is None
