"""Which model is better, by a judge: Bradley-Terry and Elo with intervals, and the matches that they stand on."""

import json
import math
import random

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from grmrewards import ConfigError, GRAMReward, IRPMReward, JudgeError, ListwiseReward, PairwiseReward, ScriptedJudge
from grmrewards.evaluation import Match, bradley_terry, contest, elo, read_answers
from grmrewards.evaluation.ranking import PRIOR, SCALE

steady = settings(deadline=None, derandomize=True, max_examples=30)


def drawn(strengths, prompts, seed=0):
    """Matches of all pairs on each prompt, by the model itself."""
    rng = random.Random(seed)
    names = sorted(strengths)
    return [
        Match(a, b, float(rng.random() < 1 / (1 + 10 ** ((strengths[b] - strengths[a]) / 400))), str(prompt))
        for prompt in range(prompts)
        for a in names
        for b in names
        if a < b
    ]


TRUE = {"a": 150.0, "b": 0.0, "c": -20.0, "d": -130.0}


def test_two_models_by_hand():
    matches = [Match("a", "b", 1.0, str(k)) for k in range(3)] + [Match("a", "b", 0.5, "tie")]
    won, lost = 3.5 + PRIOR / 2, 0.5 + PRIOR / 2
    gap = 400 * math.log10(won / lost)
    ranking = bradley_terry(matches, resamples=10)
    assert ranking["a"].rating == pytest.approx(gap / 2, abs=0.1)
    assert ranking["b"].rating == pytest.approx(-gap / 2, abs=0.1)
    assert (ranking["a"].matches, ranking["a"].win_rate) == (4, 3.5 / 4)


def test_ratings_are_the_likeliest_ones():
    matches = drawn(TRUE, 60)
    names = sorted(TRUE)

    def loss(ratings):
        total = 0.0
        for i, j, won in [(names.index(m.first), names.index(m.second), m.won) for m in matches]:
            gap = (ratings[i] - ratings[j]) / SCALE
            total += won * numpy.logaddexp(0, -gap) + (1 - won) * numpy.logaddexp(0, gap)
        for i in range(len(names)):
            for j in range(i):
                gap = (ratings[i] - ratings[j]) / SCALE
                total += PRIOR / 2 * (numpy.logaddexp(0, -gap) + numpy.logaddexp(0, gap))
        return total

    best = minimize(loss, numpy.zeros(4), method="BFGS", options={"gtol": 1e-6}).x
    ranking = bradley_terry(matches, resamples=2)
    assert [ranking[name].rating for name in names] == pytest.approx(list(best - best.mean()), abs=0.3)


def test_intervals_hold_the_true_rating_about_as_often_as_they_say():
    centred = {name: rating - sum(TRUE.values()) / 4 for name, rating in TRUE.items()}
    held = total = 0
    for seed in range(25):
        ranking = bradley_terry(drawn(TRUE, 80, seed), resamples=100, seed=seed)
        held += sum(ranking[name].low <= rating <= ranking[name].high for name, rating in centred.items())
        total += 4
    assert 0.85 <= held / total <= 1.0


def test_how_surely_one_is_above_the_next():
    ranking = bradley_terry(drawn(TRUE, 100), resamples=200)
    assert [s.name for s in ranking.standings][0::3] == ["a", "d"]
    assert ranking["a"].better > 0.99
    assert 0.2 < ranking.standings[1].better < 0.95, "b and c are hardly different"
    assert ranking["d"].better is None


def test_one_who_wins_all_has_a_rating():
    ranking = bradley_terry([Match("best", "worst", 1.0, str(k)) for k in range(50)], resamples=20)
    assert 300 < ranking["best"].rating < 500


def test_elo_comes_near_to_bradley_terry():
    matches = drawn(TRUE, 400)
    by_elo, by_likelihood = elo(matches, k=2.0, resamples=10), bradley_terry(matches, resamples=10)
    for name in TRUE:
        assert by_elo[name].rating == pytest.approx(by_likelihood[name].rating, abs=25)


def test_a_judge_in_circles_ranks_nobody_first():
    circle = [("a", "b"), ("b", "c"), ("c", "a")]
    ranking = bradley_terry([Match(x, y, 1.0, f"{x}{k}") for k in range(20) for x, y in circle], resamples=50)
    assert all(abs(s.rating) < 1 for s in ranking.standings)


MATCHES = st.lists(
    st.builds(
        Match,
        st.just("a"),
        st.sampled_from("bc"),
        st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        st.sampled_from("xyz"),
    ),
    min_size=1,
)


@steady
@given(MATCHES, st.randoms(use_true_random=False))
def test_neither_order_nor_side_nor_name_matters(matches, rng):
    turned = [Match(m.second, m.first, 1 - m.won, m.prompt) if rng.random() < 0.5 else m for m in matches]
    rng.shuffle(turned)
    other = {"a": "z", "b": "a", "c": "q"}
    named = [Match(other[m.first], other[m.second], m.won, m.prompt) for m in matches]
    first, second, third = (bradley_terry(found, resamples=2) for found in (matches, turned, named))
    for standing in first.standings:
        assert second[standing.name].rating == pytest.approx(standing.rating, abs=0.05)
        assert third[other[standing.name]].rating == pytest.approx(standing.rating, abs=0.05)
    assert sum(s.rating for s in first.standings) == pytest.approx(0, abs=1e-6)


REFUSED = {
    "no match": ([], "no matches"),
    "points beyond one": ([Match("a", "b", 2.0)], "outside"),
    "a model with itself": ([Match("a", "a", 1.0)], "with itself"),
    "two that never met": ([Match("a", "b", 1.0), Match("c", "d", 1.0)], "c, d never met a"),
}


@pytest.mark.parametrize(("matches", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_ranked_is_told(matches, message):
    with pytest.raises(ConfigError, match=message):
        bradley_terry(matches)


def test_the_table_says_it_all():
    ranking = bradley_terry([Match("a", "b", 1.0)], resamples=3)
    assert "| a | +" in ranking.markdown()
    assert json.loads(json.dumps(ranking.as_dict()))["standings"][0]["name"] == "a"


# Matches

PROMPTS = [f"question {k}" for k in range(6)]
ANSWERS = {  # quality stands in the text
    "base": [f"quality3 base {k}" for k in range(6)],
    "tuned": [f"quality8 tuned {k}" for k in range(6)],
    "same": [f"quality8 tuned {k}" for k in range(6)],
}


def reply(messages):
    text = messages[0].content
    points = [int(part[0]) for part in text.split("quality") if part[0].isdigit()]
    if "[The Start of Assistant A's Answer]" in text:
        return "A" if points[0] > points[1] else "B"
    if "<critique>" in text:
        return f"<critique>.</critique><score>{points[0]}</score>"
    return rf"Scores: \boxed{{{', '.join(map(str, points))}}}"


@pytest.mark.parametrize(
    ("family", "settings", "calls"),
    [(IRPMReward, {}, 12), (GRAMReward, {}, 24), (PairwiseReward, {}, 24), (ListwiseReward, {"votes": 1}, 18)],
    ids=["irpm", "gram", "pairwise", "listwise"],
)
def test_every_family_holds_a_contest(family, settings, calls):
    asked = []
    judge = ScriptedJudge(lambda messages: asked.append(1) or reply(messages))
    matches = contest(family(judge, **settings), PROMPTS, ANSWERS)
    assert len(matches) == 3 * 6
    assert all(match.won < 0.5 for match in matches if (match.first, match.second) == ("base", "tuned"))
    assert all(match.won == 0.5 for match in matches if (match.first, match.second) == ("tuned", "same"))
    assert len(asked) == calls
    assert bradley_terry(matches, resamples=5).standings[-1].name == "base"


def test_gram_s_probability_is_what_a_match_is_worth():
    class Unsure(ScriptedJudge):
        async def choice_logprobs(self, messages, choices):
            good_first = messages[0].content.index("quality8") < messages[0].content.index("quality3")
            p = 0.7 if good_first else 0.3
            return [(math.log(p),), (math.log(1 - p),)]

    answers = {name: ANSWERS[name][:1] for name in ("base", "tuned")}
    (match,) = contest(GRAMReward(Unsure(reply)), PROMPTS[:1], answers)
    assert match.won == pytest.approx(0.3)


def test_a_lost_judgement_is_no_match():
    def fails(messages):
        if "tuned 3" in messages[0].content:
            raise JudgeError("broken")
        return reply(messages)

    two = {name: ANSWERS[name] for name in ("base", "tuned")}
    with pytest.warns(UserWarning, match="1 of 6 pairs could not be judged"):
        assert len(contest(IRPMReward(ScriptedJudge(fails)), PROMPTS, two)) == 5


def test_only_against_one_opponent():
    matches = contest(IRPMReward(ScriptedJudge(reply)), PROMPTS, ANSWERS, opponent="base")
    assert {(match.first, match.second) for match in matches} == {("base", "tuned"), ("base", "same")}


def test_a_record_is_not_paid_for_twice(tmp_path):
    asked = []
    judge = ScriptedJudge(lambda messages: asked.append(1) or reply(messages))
    first, second = (contest(GRAMReward(judge), PROMPTS, ANSWERS, record=tmp_path / "record.jsonl") for _ in range(2))
    assert first == second
    assert len(asked) == 24


def test_answers_come_from_files_in_any_order(tmp_path):
    for name, order in (("base", range(3)), ("tuned", (2, 0, 1))):
        lines = [json.dumps({"prompt": PROMPTS[k], "completion": ANSWERS[name][k]}) for k in order]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    files = {name: tmp_path / f"{name}.jsonl" for name in ("base", "tuned")}
    prompts, answers = read_answers(files)
    assert prompts == PROMPTS[:3]
    assert answers == {name: ANSWERS[name][:3] for name in files}
    files["tuned"].write_text(json.dumps({"prompt": "another", "completion": "."}))
    with pytest.raises(ConfigError, match="differ in their prompts"):
        read_answers(files)
    files["tuned"].write_text('{"prompt": "q"}')
    with pytest.raises(ConfigError, match="line 1: no JSON object"):
        read_answers(files)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"opponent": "nobody"}, "allowed is one of base"), ({"prompts": PROMPTS[:2]}, "answers every prompt")],
    ids=["no such opponent", "a prompt is missing"],
)
def test_a_contest_that_does_not_line_up_is_told(change, message):
    call = {"prompts": PROMPTS, "answers": ANSWERS, **change}
    with pytest.raises(ConfigError, match=message):
        contest(IRPMReward(ScriptedJudge(reply)), **call)
