"""The judge that comes with the package, asked through the public rewards: right on questions that it never saw."""

import json
import random
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
SEED = 9999
GROUPS, GROUP_SIZE = 50, 8


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
def held_out():
    """Groups of answers to questions that no training prompt ever held, and their scores by the rule."""
    sys.path.insert(0, str(EXAMPLES))
    from training_data import noisy_answer

    rng = random.Random(SEED)
    questions = [domain.make_question(rng, "heldout_questions") for _ in range(GROUPS)]
    rows = [(question, noisy_answer(rng, question) or "red") for question in questions for _ in range(GROUP_SIZE)]
    return rows, [domain.judge_score(question, answer) for question, answer in rows]


def ask(reward, rows, **columns):
    prompts = [[{"role": "user", "content": question.text}] for question, _ in rows]
    return reward(prompts=prompts, completions=[answer for _, answer in rows], **columns)


def exact(scores, truth):
    return statistics.fmean(score == true for score, true in zip(scores, truth, strict=True))


slow = pytest.mark.slow


@slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", [IPGRMReward, IRPMReward])
def test_pointwise_scores_are_exact_in_97_of_100(judge, held_out, family):
    rows, truth = held_out
    assert exact(ask(family(judge, scale="raw", on_failure="none"), rows), truth) >= 0.97


@slow
@pytest.mark.timeout(600)
def test_listwise_scores_of_groups_of_8_are_exact_in_90_of_100(judge, held_out):
    rows, truth = held_out
    scores = ask(ListwiseReward(judge, votes=1, scale="raw", group_size=GROUP_SIZE, on_failure="none"), rows)
    assert exact(scores, truth) >= 0.90
    assert statistics.correlation([score or 0.0 for score in scores], truth) >= 0.97


@slow
@pytest.mark.timeout(600)
def test_the_better_of_two_is_preferred_in_96_of_100(judge, held_out):
    rows, truth = held_out
    pairs = [(i, i + 1 - 2 * (i % 2)) for i in range(len(rows)) if truth[i] != truth[i + 1 - 2 * (i % 2)]]
    baselines = [rows[j][1] for _, j in pairs]
    preferences = ask(GRAMReward(judge, baseline_column="other"), [rows[i] for i, _ in pairs], other=baselines)
    right = [(p > 0.5) == (truth[i] > truth[j]) for p, (i, j) in zip(preferences, pairs, strict=True)]
    assert statistics.fmean(right) >= 0.96
