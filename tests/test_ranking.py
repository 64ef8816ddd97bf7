"""Which model is better, by a judge: Bradley-Terry and Elo with intervals, and the matches that they stand on."""

import itertools
import json
import math
import random

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from grmrewards import (
    ConfigError,
    GRAMReward,
    IRPMReward,
    JudgeError,
    ListwiseReward,
    PairwiseReward,
    ScriptedJudge,
    TransformersJudge,
)
from grmrewards.evaluation import Match, bradley_terry, contest, elo, read_answers
from grmrewards.evaluation.ranking import PRIOR, SCALE
from grmrewards.judges.embedded import domain

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
    assert ranking["a"].rating == pytest.approx(gap / 2, abs=1e-6)
    assert ranking["b"].rating == pytest.approx(-gap / 2, abs=1e-6)
    assert (ranking["a"].matches, ranking["a"].win_rate) == (4, 3.5 / 4)


def a_chain(length):
    """Each meets the next one only, and the upper wins three of four: the hardest case for slow steps."""
    names = "abcdefghij"[:length]
    pairs = itertools.pairwise(names)
    return [Match(a, b, float(k % 4 > 0), f"{a}{k}") for a, b in pairs for k in range(200)]


def one_wins_all(prompts):
    return [Match("a", name, 1.0, str(k)) for k in range(prompts) for name in "bcd"]


@pytest.mark.parametrize(
    "matches",
    [drawn(TRUE, 60), a_chain(8), one_wins_all(1000), [m._replace(won=0.2 + 0.5 * m.won) for m in drawn(TRUE, 20)]],
    ids=["all pairs", "a chain", "one wins all", "probabilities"],
)
def test_ratings_are_the_likeliest_ones(matches):
    names = sorted({name for m in matches for name in m[:2]})
    games = [(names.index(m.first), names.index(m.second), m.won) for m in matches]
    games += [(i, j, 0.5) for i in range(len(names)) for j in range(i)]  # that of the prior, at its weight
    first, second, won = map(numpy.array, zip(*games, strict=True))
    weights = numpy.array([1.0] * len(matches) + [PRIOR] * (len(games) - len(matches)))

    def loss(ratings):
        gap = ratings[first] - ratings[second]
        return weights @ (won * numpy.logaddexp(0, -gap) + (1 - won) * numpy.logaddexp(0, gap))

    best = minimize(loss, numpy.zeros(len(names)), method="BFGS", options={"gtol": 1e-5}).x
    ranking = bradley_terry(matches, resamples=2)
    assert [ranking[name].rating for name in names] == pytest.approx(list(SCALE * (best - best.mean())), abs=0.1)


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


def test_twins_are_as_likely_above_each_other_as_below():
    matches = [Match("x", twin, float(k % 3 == 0), str(k)) for k in range(30) for twin in ("one", "two")]
    ranking = bradley_terry(matches + [Match("one", "two", 0.5, str(k)) for k in range(30)], resamples=50)
    assert ranking["one"].better == 0.5
    assert ranking["one"].rating == pytest.approx(ranking["two"].rating)


@pytest.mark.parametrize("rank", [bradley_terry, elo])
def test_matches_on_one_prompt_do_not_narrow_an_interval(rank):
    once = [Match("a", "b", float(k % 3 > 0), str(k)) for k in range(30)]
    wide = {n: rank([m for m in once for _ in range(n)], resamples=100)["a"] for n in (1, 8)}
    assert wide[8].high - wide[8].low > 0.8 * (wide[1].high - wide[1].low)


def test_matches_without_a_prompt_are_independent():
    matches = [Match("a", "b", float(k % 3 > 0), str(k)) for k in range(30)]
    named, unnamed = (
        bradley_terry(own, resamples=200)["a"] for own in (matches, [m._replace(prompt="") for m in matches])
    )
    assert unnamed.high - unnamed.low == pytest.approx(named.high - named.low, rel=0.3)
    assert unnamed.low < unnamed.rating < unnamed.high


@pytest.mark.parametrize("rank", [bradley_terry, elo])
def test_one_prompt_says_nothing_about_others(rank):
    ranking = rank([Match("a", "b", 1.0, "only")], resamples=3)
    assert ranking["a"].rating > ranking["b"].rating
    assert (ranking["a"].low, ranking["a"].high, ranking["a"].better) == (None, None, None)
    assert "–" in ranking.report()


@pytest.mark.parametrize("rank", [bradley_terry, elo])
def test_ratings_may_be_differences_to_one_model(rank):
    free, held = (rank(drawn(TRUE, 40), resamples=20, anchor=anchor) for anchor in (None, "d"))
    assert (held["d"].rating, held["d"].low, held["d"].high) == (0.0, 0.0, 0.0)
    assert held["a"].rating == pytest.approx(free["a"].rating - free["d"].rating)
    assert [s.better for s in held.standings] == [s.better for s in free.standings]
    assert "above d" in held.report()


def test_one_who_wins_all_has_a_rating():
    ranking = bradley_terry([Match("best", "worst", 1.0, str(k)) for k in range(50)], resamples=20)
    assert 300 < ranking["best"].rating < 500


def test_elo_comes_near_to_bradley_terry():
    matches = drawn(TRUE, 400)
    by_elo, by_likelihood = elo(matches, k=2.0, resamples=10), bradley_terry(matches, resamples=10)
    for name in TRUE:
        assert by_elo[name].rating == pytest.approx(by_likelihood[name].rating, abs=25)
    turned = [Match(m.second, m.first, 1 - m.won, m.prompt) for m in reversed(matches)]
    again = elo(turned, k=2.0, resamples=10)
    assert [(s.name, s.rating, s.low) for s in again.standings] == [(s.name, s.rating, s.low) for s in by_elo.standings]


def test_elo_s_rating_lies_within_its_own_interval():
    for standing in elo(drawn(TRUE, 60), resamples=50).standings:
        assert standing.low < standing.rating < standing.high


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
    first, second, third = (bradley_terry(found, resamples=5) for found in (matches, turned, named))
    for standing in first.standings:
        same = [second[standing.name], third[other[standing.name]]]
        for field in ("rating", "low", "high"):
            wanted = getattr(standing, field)
            assert [getattr(one, field) for one in same] == [wanted and pytest.approx(wanted, abs=1e-5)] * 2
    assert sum(s.rating for s in first.standings) == pytest.approx(0, abs=1e-6)


REFUSED = {
    "no match": ([], "no matches"),
    "points beyond one": ([Match("a", "b", 2.0)], "outside"),
    "a model with itself": ([Match("a", "a", 1.0)], "with itself"),
    "points that are no number": ([Match("a", "b", math.nan)], "outside"),
    "two that never met": ([Match("a", "b", 1.0), Match("c", "d", 1.0)], "c, d never met a"),
}


@pytest.mark.parametrize(("matches", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_ranked_is_told(matches, message):
    with pytest.raises(ConfigError, match=message):
        bradley_terry(matches)


@pytest.mark.parametrize(
    ("rank", "name", "value"),
    [
        (bradley_terry, "anchor", "nobody"),
        (bradley_terry, "level", 95),
        (bradley_terry, "resamples", 0),
        (elo, "anchor", "nobody"),
        (elo, "level", 95),
        (elo, "k", 0),
        (elo, "orders", 0),
    ],
)
def test_arguments_are_checked(rank, name, value):
    with pytest.raises(ConfigError, match=f"{name}="):
        rank([Match("a", "b", 1.0)], **{name: value})


def test_the_table_says_it_all():
    ranking = bradley_terry([Match("a", "b", 1.0)] * 2, resamples=3)
    head, first, second, foot = ranking.report().splitlines()
    assert len(head) == len(first) == len(second)
    assert first.startswith("a ")
    assert "100.0%" in first
    assert foot.startswith("2 prompts")
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
    [(IRPMReward, {}, 12), (GRAMReward, {}, 24), (PairwiseReward, {}, 24), (ListwiseReward, {"votes": 1}, 12)],
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


@pytest.mark.parametrize(
    "reward",
    [
        lambda prompts, completions: [math.nan if "tuned" in c else 1.0 for c in completions],
        lambda prompts, completions: [None if "tuned" in c else 1.0 for c in completions],
    ],
    ids=["not a number", "None"],
)
def test_a_function_without_a_score_loses_no_match(reward):
    two = {name: ANSWERS[name] for name in ("base", "tuned")}
    with pytest.warns(UserWarning, match="6 of 6 pairs could not be judged"):
        assert contest(reward, PROMPTS, two) == []


@pytest.mark.parametrize("family", [GRAMReward, PairwiseReward, ListwiseReward])
@pytest.mark.parametrize("blank", ["", "<think>never ends"])
def test_an_answer_beats_none_without_a_judge(family, blank):
    asked = []
    judge = ScriptedJudge(lambda messages: asked.append(1) or reply(messages))
    for names in (("base", "silent"), ("silent", "base")):
        answers = {"base": ANSWERS["base"][:1], "silent": [blank]}
        (match,) = contest(family(judge), PROMPTS[:1], {name: answers[name] for name in names})
        assert match == Match(*names, float(names[0] == "base"), "0")
    assert not asked


@pytest.mark.parametrize("scale", ["unit", "two_slope", (-1.0, 1.0)], ids=str)
def test_a_probability_does_not_depend_on_the_scale_of_training(scale):
    two = {name: ANSWERS[name] for name in ("tuned", "base")}
    assert all(0.5 < m.won <= 1 for m in contest(GRAMReward(ScriptedJudge(reply), scale=scale), PROMPTS, two))


def test_a_function_may_look_at_the_reasoning():
    answers = {"long": ["<think>well</think>2"], "short": ["<think></think>2"]}
    (match,) = contest(lambda prompts, completions: [len(c) for c in completions], ["1+1?"], answers)
    assert match.won == 1.0


@pytest.mark.parametrize("shuffle", [True, False])
def test_another_model_pays_for_its_own_matches_alone(shuffle, tmp_path):
    asked = []
    judge = ScriptedJudge(lambda messages: asked.append(1) or reply(messages))
    reward = ListwiseReward(judge, votes=1, shuffle=shuffle)
    prompts = [f"question {k}" for k in range(40)]
    points = {"new": 5, "base": 3, "tuned": 8}
    answers = {name: [f"quality{p} {name} {k}" for k in range(40)] for name, p in points.items()}
    two = {name: answers[name] for name in ("base", "tuned")}
    first, second = (contest(reward, prompts, own, record=tmp_path / "record.jsonl") for own in (two, answers))
    assert len(asked) == 40 + 80
    assert set(first) <= set(second)


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
    with pytest.raises(ConfigError, match=r"differ in their prompts: .*base\.jsonl has no answer to \"another\""):
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


# The judge of this package


def policy(share, seed):
    """Answers of which about that share of the items is right."""
    rng = random.Random(seed)

    def answer(question):
        words = domain.CATEGORIES[question.category]
        right = [word for word in words if word not in (question.required, question.forbidden)]
        right = [question.required, *rng.sample(right, 5)] if question.required else rng.sample(right, 5)
        wrong = [word for word in domain.CATEGORY_OF if domain.CATEGORY_OF[word] != question.category]
        return ", ".join(right[k] if rng.random() < share else rng.choice(wrong) for k in range(question.asked))

    return answer


@pytest.mark.parametrize("family", [IRPMReward, GRAMReward])
def test_the_better_checkpoint_is_ranked_first_by_the_embedded_judge(family):
    pytest.importorskip("torch", reason="needs the extra `local`")
    rng = random.Random(0)
    questions = [domain.make_question(rng, "heldout_questions") for _ in range(16)]
    shares = {"step0": 0.3, "step200": 0.6, "step400": 0.9}
    answers = {name: list(map(policy(share, name), questions)) for name, share in shares.items()}
    matches = contest(family(TransformersJudge.embedded()), [question.text for question in questions], answers)
    ranking = bradley_terry(matches, resamples=200, anchor="step0")
    assert [s.name for s in ranking.standings] == ["step400", "step200", "step0"]
    assert ranking["step400"].low > 0


def test_a_name_cannot_break_the_table():
    table = bradley_terry([Match("a|b", "c", 1.0)], resamples=2).markdown()
    assert table.count("|") - table.count("\\|") == 7 * 4
    assert "a\\|b" in table
