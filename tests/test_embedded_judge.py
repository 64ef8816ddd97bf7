"""The judge that comes with the package, asked through the public rewards: right on questions that it never saw."""

import json
import statistics
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")

from grmrewards import (
    ConfigError,
    GRAMReward,
    IPGRMReward,
    IRPMReward,
    ListwiseReward,
    TransformersJudge,
    record,
)
from grmrewards.judges import embedded
from grmrewards.judges.embedded import domain

EXAMPLES = Path(__file__).parents[1] / "examples" / "embedded_judge"


@pytest.fixture(scope="module")
def judge():
    return TransformersJudge.embedded()


def test_an_edited_template_is_refused_with_what_to_do(monkeypatch):
    card = json.loads((embedded.JUDGE / "card.json").read_text())
    real = embedded.Template

    def edited(name):
        return real(real(name).text + " ") if name == "irpm" else real(name)

    monkeypatch.setattr(embedded, "Template", edited)
    assert set(card["templates"]) == {"ipgrm", "ipgrm_principles", "irpm", "listwise", "gram"}
    with pytest.raises(ConfigError, match=r"irpm.*Retrain"):
        TransformersJudge.embedded()


def test_models_and_tokenizers_take_at_most_2_5_mb():
    files = [path for folder in (embedded.JUDGE, embedded.POLICY) for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) <= 2_500_000


QUESTION = "Name 3 animals, but not cat."
BEST, MIDDLING, WORST = "dog, fox, owl", "dog, cat, owl", "red, hammer, tea"


@pytest.mark.parametrize("family", [IPGRMReward, ListwiseReward, IRPMReward, GRAMReward])
def test_every_family_orders_a_clear_case(judge, family):
    best, middling, worst = family(judge)(prompts=[QUESTION] * 3, completions=[BEST, MIDDLING, WORST])
    assert best > middling > worst


def test_the_record_tells_principles_and_critique(judge, tmp_path):
    path = tmp_path / "record.jsonl"
    IPGRMReward(judge, log_path=path)(prompts=[QUESTION], completions=[MIDDLING])
    (entry,) = [entry for entry in record.read(path) if entry["type"] == "completion"]
    assert "the item cat is not there" in entry["principles"]
    assert "cat forbidden" in entry["critique"]


@pytest.fixture(scope="module")
def drawn():
    """The cases of `evaluate.py`, drawn by its seed: no training prompt ever held their questions."""
    sys.path.insert(0, str(EXAMPLES))
    import evaluate

    return lambda kind: evaluate.examples(kind, "heldout_questions", evaluate.CASES[kind], (), evaluate.SEED)


def ask(reward, cases, **columns):
    """The rewards of all responses of all cases, and what they should be."""
    rows = [(case.question, response) for case in cases for response in case.responses]
    prompts = [[{"role": "user", "content": question.text}] for question, _ in rows]
    truth = [domain.judge_score(question, response) for question, response in rows]
    return reward(prompts=prompts, completions=[response for _, response in rows], **columns), truth


def exact(scores, truth, cases):
    """The share of right scores among responses that are answers at all; no judge is asked about an empty one."""
    responses = [response for case in cases for response in case.responses]
    judged = [(s, t) for s, t, response in zip(scores, truth, responses, strict=True) if response]
    return statistics.fmean(score == true for score, true in judged)


slow = pytest.mark.slow


@slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", [IPGRMReward, IRPMReward])
def test_pointwise_scores_are_exact_in_97_of_100(judge, drawn, family):
    cases = drawn(family.family)
    scores, truth = ask(family(judge, scale="raw", on_failure="none", group_size=1), cases)
    assert exact(scores, truth, cases) >= 0.97


@slow
@pytest.mark.timeout(600)
def test_listwise_scores_of_groups_of_8_are_exact_in_90_of_100(judge, drawn):
    cases = drawn("listwise")
    scores, truth = ask(ListwiseReward(judge, votes=1, scale="raw", group_size=8, on_failure="none"), cases)
    assert exact(scores, truth, cases) >= 0.90
    assert statistics.correlation([score or 0.0 for score in scores], truth) >= 0.97


@slow
@pytest.mark.timeout(600)
def test_the_better_of_two_is_preferred_in_96_of_100(judge, drawn):
    rewards, truth = ask(GRAMReward(judge, group_size=2), drawn("gram"))
    pairs = zip(rewards[::2], rewards[1::2], truth[::2], truth[1::2], strict=True)
    assert statistics.fmean((a > b) == (x > y) for a, b, x, y in pairs) >= 0.96


@slow
@pytest.mark.timeout(600)
def test_principles_are_exact_in_98_of_100(judge, drawn, tmp_path):
    cases = drawn("ipgrm_principles")
    path = tmp_path / "record.jsonl"
    prompts = [[{"role": "user", "content": case.question.text}] for case in cases]
    IPGRMReward(judge, log_path=path, group_size=1)(prompts=prompts, completions=["red"] * len(cases))
    written = [entry["principles"] for entry in record.read(path) if entry["type"] == "completion"]
    assert statistics.fmean(text == case.target for text, case in zip(written, cases, strict=True)) >= 0.98
