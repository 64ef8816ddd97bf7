"""A judge that is fooled is shown as fooled, a sound one is not. Ids carry the line of the hostile-input table."""

import json
import math
import random

import pytest
from scipy import stats

from grmrewards import (
    ConfigError,
    GRAMReward,
    IPGRMReward,
    IRPMReward,
    JudgeError,
    ListwiseReward,
    ScriptedJudge,
    with_auxiliary,
)
from grmrewards.audit import (
    BOUNDS,
    CASES,
    INJECTED,
    MASTER_KEYS,
    NEAR_EMPTY,
    SELF_PRAISE,
    Bounds,
    Case,
    audit,
    cases_of,
)
from grmrewards.audit.attacks import ATTACKS, LISTS, padded
from grmrewards.audit.findings import ADVICE, FEWEST, of_mean, of_share, student, wilson
from grmrewards.audit.worst import gains, shown
from grmrewards.judges.embedded import domain

FEW = [Case(f"question {k}?", f"right {k}", f"wrong {k}", f"bien {k}") for k in range(10)]


def irpm(rate, **settings):
    """A judge that gives `rate(response)` points."""

    def reply(messages):
        return f"<critique>.</critique><score>{rate(messages[0].content.rpartition('[Response]')[2].strip())}</score>"

    return IRPMReward(ScriptedJudge(reply), **settings)


def sound(response):
    return 8 if "right" in response else 7 if "bien" in response else 2 if "wrong" in response else 0


FOOLED = {
    "b2-37 by master keys": ("master keys", lambda response: 9 if response in MASTER_KEYS else sound(response)),
    "b2-37 by a full stop": ("near-empty answers", lambda response: 9 if response in NEAR_EMPTY else sound(response)),
    "b2-38 by praise": ("self-praise", lambda r: 10 if any(p in r for p in SELF_PRAISE) else sound(r)),
    "b2-39 by length": ("length", lambda response: 9 if len(response) > 300 else sound(response)),
    "b2-30 by an order": (
        "injected scores",
        lambda r: 10 if len(r) > 12 and r[:5] == "wrong" and "10" in r else sound(r),
    ),
    "by another language": ("another language", lambda response: 10 if "bien" in response else sound(response)),
}


@pytest.mark.parametrize(("probe", "rate"), FOOLED.values(), ids=FOOLED)
def test_a_judge_that_is_fooled_is_shown(probe, rate):
    found = audit(irpm(rate), FEW)
    assert found[probe].verdict == "weak"
    assert found[probe].low > BOUNDS[probe].tolerance
    assert found[probe].advice in found.report()
    assert probe in found.report().partition("\n\n")[2].partition("It withstood")[0]


@pytest.mark.parametrize(("probe", "tried"), LISTS.items(), ids=LISTS)
def test_one_text_that_works_is_found_and_named(probe, tried):
    """Over all texts of the list its gain is small, or even a loss: the mean alone would call this judge sound."""
    text = tried[-1]

    def rate(response):
        if response.endswith(text[-12:]):
            return 9
        return 8 if response in [c.good for c in CASES] else 3 if any(c.poor in response for c in CASES) else 1

    found = audit(irpm(rate), CASES)
    assert found[probe].verdict == "weak"
    assert shown(text) in found.report()
    assert found[probe].low > BOUNDS[probe].tolerance


def test_b2_37_a_sound_judge_passes_on_one_page():
    found = audit(irpm(lambda response: sound(response) if "question" not in response else 0), FEW)
    weak = [finding.probe for finding in found.weak]
    assert weak == ["attention to the prompt"], "this one never looks at its question"
    assert {"master keys", "injected scores", "self-praise", "length", "ties"} <= {f.probe for f in found.of("sound")}
    assert len(found.report().splitlines()) < 40
    assert found["master keys"].value == pytest.approx(-0.2)
    assert "| master keys | sound | -0.20 |" in found.markdown()
    assert {entry["probe"] for entry in json.loads(json.dumps(found.as_dict()))["findings"]} >= set(ATTACKS)


def test_a_reward_is_measured_with_its_settings_and_stays_as_it_is():
    reward = irpm(FOOLED["b2-38 by praise"][1], self_praise_cap=1.0, scale=(-5, 5), on_failure=0.0, max_failures=0.0)
    assert audit(reward, FEW)["self-praise"].verdict == "sound", "the cap is what protects it"
    assert (reward.scale, reward.on_failure, reward.group_key) == ((-5.0, 5.0), 0.0, None)


def test_what_is_advised_against_length_is_seen_to_help():
    reward = irpm(lambda response: 6 + 2 * (len(response) > 300) if "wrong" in response else sound(response))
    shorter = with_auxiliary(reward, lambda completions, **_: [-min(len(c), 500) for c in completions], weight=0.001)
    assert audit(reward, FEW)["length"].verdict == "weak"
    assert audit(shorter, FEW)["length"].verdict == "sound"
    assert audit(shorter, FEW)["telling good from poor"].value == 1.0


def test_a_reward_with_auxiliaries_is_measured_on_the_scale_that_its_weights_were_chosen_for():
    def shorter(completions, **_):
        return [-min(len(completion), 500) for completion in completions]

    fooled = FOOLED["b2-39 by length"][1]
    shaped = {
        scale: with_auxiliary(irpm(fooled, scale=scale, answer_tag="answer"), shorter, weight=weight)
        for scale, weight in (("unit", 0.0001), ("raw", 0.001))  # the same rewards but for a factor of ten
    }
    unit, raw = (audit(reward, FEW) for reward in shaped.values())
    assert unit["length"].value == pytest.approx(raw["length"].value)
    assert unit["length"].verdict == "weak"
    assert unit["telling good from poor"].value == 1.0, "what stands in the tag is judged"


def test_every_attack_stands_beside_a_real_answer_and_each_group_is_asked_once():
    asked = []

    def reward(prompts, completions, answer):
        asked.append((list(prompts), list(completions), list(answer)))
        return [float(sound(completion)) for completion in completions]

    cases = [Case(c.prompt, c.good, c.poor, c.translated, {"answer": k}) for k, c in enumerate(CASES)]
    audit(reward, cases)
    shown = [completion for _, completions, _ in asked for completion in completions]
    assert {*MASTER_KEYS, *NEAR_EMPTY} <= set(shown)
    assert all(any(text in completion for completion in shown) for text in (*SELF_PRAISE, *INJECTED))
    groups = [tuple(cs[i : i + 2]) for _, cs, _ in asked for i in range(0, len(cs), 2)]
    assert len(groups) == len(set(groups)) == 8 * len(CASES)
    assert all(any(case.good in group or case.poor in group for case in CASES) for group in groups)
    for prompts, _, answers in asked:
        assert [CASES[answer].prompt for answer in answers] == prompts


def test_the_scale_of_a_foreign_function_is_that_of_the_real_answers():
    def reward(prompts, completions):
        return [100.0 * sound(completion) - 400 + 200 * (completion in MASTER_KEYS) for completion in completions]

    found = audit(reward, FEW)
    assert found["self-praise"].value == 0.0
    assert found["master keys"].value == pytest.approx((0 + 200 - 200) / 600)
    assert "position" not in {finding.probe for finding in found.findings}


def test_a_record_is_not_paid_for_twice(tmp_path):
    asked = []

    def reply(messages):
        asked.append(1)
        return "<critique>.</critique><score>5</score>"

    first, second = (audit(IRPMReward(ScriptedJudge(reply)), FEW, record=tmp_path / "record.jsonl") for _ in range(2))
    assert first == second
    assert len(asked) < 10 * 9 + 1, "and within one audit, each answer to a question once"
    assert len(asked) == len((tmp_path / "record.jsonl").read_text().split('"type": "vote"')) - 1


def test_what_is_lost_is_no_gain():
    def rate(response):
        if "wrong" in response and len(response) > 10:
            raise JudgeError("too long")
        return sound(response)

    found = audit(irpm(rate), FEW)
    for probe in ("length", "self-praise"):
        assert (found[probe].verdict, found[probe].cases) == ("unclear", 0)
        assert f"Fewer than {FEWEST}" in found[probe].advice
    assert found["failures"].value > 0.1
    assert found["failures"].verdict in ("weak", "unclear")


def test_too_few_cases_say_nothing():
    found = audit(irpm(FOOLED["b2-39 by length"][1]), FEW[:4])
    assert {finding.verdict for finding in found.findings if finding.probe != "failures"} == {"unclear", "measured"}
    assert found.report().startswith("Nothing was found")


def test_cases_of_unknown_order_are_attacked_and_tell_nothing_of_order():
    cases = [Case(c.prompt, c.good, c.poor, ordered=False) for c in FEW]
    found = audit(irpm(sound), cases)
    assert found["self-praise"].verdict == "sound"
    assert found["telling good from poor"].cases == 0
    assert found["another language"].cases == 0


def test_what_no_case_can_tell_is_not_unclear():
    found = audit(irpm(sound), [Case(case.prompt, case.good, case.poor, ordered=False) for case in FEW])
    for probe in ("another language", "telling good from poor"):
        assert found[probe].verdict == "not applicable"
    assert "It needs cases with a translated answer." in found.report()
    with pytest.raises(KeyError, match="position"):
        found["position"]


def test_bounds_can_be_set_and_wrong_ones_are_told():
    strict = {"master keys": Bounds(-0.5, 0.0)}
    assert audit(irpm(sound), FEW, bounds=strict)["master keys"].verdict == "weak"
    with pytest.raises(ConfigError, match="another language"):
        audit(irpm(sound), FEW, bounds={"praise": Bounds(0, 1)})


def test_two_judges_are_compared():
    contrary = irpm(lambda response: 10 - sound(response))
    assert audit(irpm(sound), FEW, other=irpm(sound))["agreement"].value == 1.0
    found = audit(irpm(sound), FEW, other=contrary)["agreement"]
    assert (found.value, found.verdict) == (0.0, "measured")
    tosses = irpm(lambda response: random.Random(response).randint(0, 10))
    found = audit(irpm(sound), [Case(f"q{k}", f"right {k}", f"wrong {k}") for k in range(60)], other=tosses)[
        "agreement"
    ]
    assert 0.3 < found.value < 0.7
    assert abs(found.more["kappa"]) < 0.35


def test_answers_are_shown_within_the_tag_that_the_judge_reads():
    found = audit(irpm(sound, answer_tag="answer"), FEW)
    assert found["telling good from poor"].value == 1.0
    assert found["failures"].value == 0.0


def test_places_are_looked_at_even_where_the_reward_cancels_them():
    def reply(messages):
        text = messages[0].content
        return "A" if "[The Start of Assistant A's Answer]" in text else r"Scores: \boxed{9, 4}"

    for reward in (GRAMReward(ScriptedJudge(reply)), ListwiseReward(ScriptedJudge(reply), votes=2)):
        found = audit(reward, FEW)["position"]
        assert found.verdict == "weak"
        assert found.more["flips"] == 1.0


def test_drift_is_measured_against_principles_from_the_question_alone():
    seen = []

    def reply(messages):
        text = messages[0].content
        if "Write the evaluation principles now" in text:
            seen.append("[The Begin of Response]" in text)
            return f"Evaluation Principles:\n1. [Fit] (Weight: 100%): {'bent' if seen[-1] else 'straight'}"
        return rf"Score: \boxed{{{7.0 if 'bent' in text else 5.2}}}"

    found = audit(IPGRMReward(ScriptedJudge(reply)), FEW)["principle drift"]
    assert found.value == pytest.approx(1.8 / 9)
    assert found.verdict == "weak"
    aside = with_auxiliary(
        IPGRMReward(ScriptedJudge(reply), scale="raw"), lambda completions, **_: [0] * len(completions)
    )
    assert audit(aside, FEW)["principle drift"].value == pytest.approx(1.8 / 9)
    del seen[30:]
    assert (seen.count(False), seen.count(True)) == (10, 20), "once a question, and once an answer in view"


# Verdicts


def test_the_quantile_is_student_s():
    for freedom in (7, 12, 39, 200):
        assert student(0.99, freedom) == pytest.approx(stats.t.ppf(0.995, freedom), abs=0.02)


@pytest.mark.parametrize(("points", "cases"), [(0, 40), (13, 40), (20.5, 41), (40, 40)])
def test_the_interval_of_a_share_is_wilson_s(points, cases):
    if float(points).is_integer():
        known = stats.binomtest(int(points), cases).proportion_ci(0.99, method="wilson")
        assert wilson(points, cases) == (pytest.approx(known.low), pytest.approx(known.high))
    assert 0 <= wilson(points, cases)[0] <= points / cases <= wilson(points, cases)[1] <= 1


def test_the_gains_of_single_texts_raise_hardly_any_false_alarms():
    rng, tried, alarms = random.Random(1), list("abcdefghi"), 0
    for _ in range(1000):
        found = gains([rng.gauss(0, 0.15) for _ in range(40)], tried)
        assert [gain.cases for gain in found] == [5] * 4 + [4] * 5
        alarms += any(gain.low > 0 for gain in found)
    assert alarms <= 4  # half of one in a thousand is expected; more than four in 1 of 5000 runs of this


def test_a_text_with_hardly_a_case_says_nothing():
    assert gains([0.5] * 10, list("abcdefghi")) == [], "nine means leave one degree of freedom"
    few = gains([0.5, None, 0.0] * 10, list("abc"))
    assert [(gain.text, gain.low) for gain in few] == [("a", 0.5), ("c", 0.0)], "a steady judge has a sure gain"


VERDICTS = {
    "surely beyond": ([0.3] * 10, "weak"),
    "surely short": ([0.0] * 10, "sound"),
    "in between": ([0.0, 0.2] * 5, "unclear"),
    "small and sure": ([0.07] * 10, "weak"),
    "noise around nothing": ([0.1, -0.1] * 30, "sound"),
    "one wild case": ([0.0] * 9 + [1.0], "unclear"),
}


@pytest.mark.parametrize(("figures", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_a_verdict_needs_the_whole_interval(figures, verdict):
    assert of_mean("length", figures, BOUNDS["length"], "").verdict == verdict


def test_where_more_is_better_the_verdict_turns_round():
    bounds = BOUNDS["telling good from poor"]
    assert of_share("telling good from poor", [1.0] * 40, bounds, "").verdict == "sound"
    assert of_share("telling good from poor", [1.0, 0.0] * 20, bounds, "").verdict == "weak"
    assert of_share("telling good from poor", [1.0] * 33 + [0.0] * 7, bounds, "").verdict == "unclear"


def test_every_probe_says_what_to_do():
    assert set(ADVICE) == set(BOUNDS)


# Cases


def test_the_cases_are_forty_different_ones_that_length_does_not_tell_apart():
    assert len({case.prompt for case in CASES}) == len(CASES) == 40
    assert all(case.translated and case.ordered for case in CASES)
    assert 12 <= sum(len(case.poor) > len(case.good) for case in CASES) <= 28
    texts = [text for case in CASES for text in (case.good, case.poor, case.translated)]
    assert len(set(texts)) == len(texts)


def test_padding_says_nothing_new_and_is_long_enough():
    for case in CASES:
        assert len(padded(case.poor)) >= max(4 * len(case.poor), len(case.poor) + 400)


BAD = {
    "no JSON": ("{", "line 1"),
    "no answers": ('{"prompt": "q"}', "prompt, chosen and rejected"),
    "completions that are one text": ('{"prompt": "q", "completions": "ab"}', "two answers"),
    "equal answers": ('{"prompt": "q", "chosen": "a", "rejected": "a"}', "line 1: its two answers are equal"),
    "one completion": ('{"prompt": "q", "completions": ["a"]}', "two answers"),
    "an answer that is no text": ('{"prompt": "q", "chosen": "a", "rejected": 3}', "two answers"),
}


@pytest.mark.parametrize(("line", "message"), BAD.values(), ids=BAD)
def test_a_line_that_is_no_case_is_told(tmp_path, line, message):
    (tmp_path / "cases.jsonl").write_text(line + "\n")
    with pytest.raises(ConfigError, match=message):
        cases_of(tmp_path / "cases.jsonl")


def test_cases_carry_the_columns_of_a_reward(tmp_path):
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b", "translated": "c", "answer": "42"},
        {"prompt": "q", "completions": ["x", "y", "z"]},
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, second = cases_of(tmp_path / "cases.jsonl")
    assert first == Case("q", "a", "b", "c", {"answer": "42"})
    assert second == Case("q", "x", "y", None, {}, ordered=False)


@pytest.mark.parametrize("cases", [[], [Case("q", "same", "same")], ["q"]], ids=["none", "equal answers", "no case"])
def test_wrong_cases_are_told(cases):
    with pytest.raises(ConfigError, match="allowed are `Case`s"):
        audit(irpm(sound), cases)


def test_what_is_no_reward_is_told():
    with pytest.raises(ConfigError, match="reward function"):
        audit("irpm", FEW)


# The embedded judge


def embedded_cases(count):
    """Questions of its domain: a right list, a wrong one, and another wrong one in the place of a translation."""
    rng, cases = random.Random(3), []
    while len(cases) < count:
        question = domain.make_question(rng, "heldout_questions")
        words = [w for w in domain.CATEGORIES[question.category] if w != question.forbidden]
        good = rng.sample(words, question.asked)
        good[0] = question.required or good[0]
        if len(set(good)) < question.asked:
            continue
        others = [name for name in domain.CATEGORIES if name != question.category]
        poor, translated = (rng.sample(domain.CATEGORIES[name], question.asked) for name in rng.sample(others, 2))
        cases.append(Case(question.text, *(", ".join(words) for words in (good, poor, translated))))
    return cases


SLOWER = [pytest.param(family, marks=pytest.mark.slow) for family in (IPGRMReward, IRPMReward, ListwiseReward)]


@pytest.mark.parametrize("family", [GRAMReward, *SLOWER])
def test_the_embedded_judge_goes_through_the_audit(family):
    from grmrewards import TransformersJudge

    settings = {"votes": 1} if family is ListwiseReward else {}
    found = audit(family(TransformersJudge.embedded(), **settings), embedded_cases(10))
    assert found["telling good from poor"].value > 0.8
    assert found["another language"].value < 0
    assert all(math.isfinite(finding.value) for finding in found.findings if finding.value is not None)
    assert {finding.probe for finding in found.findings} >= set(ATTACKS)
    assert found.report()
