"""The monitor of a reward: what it sees, when it warns, what it tells and costs, and what it leaves alone."""

import json
import logging
import math
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import (
    ConfigError,
    GRAMReward,
    IPGRMReward,
    IRPMReward,
    JudgeError,
    ListwiseReward,
    Monitor,
    RewardHacked,
    ScriptedJudge,
    TransportError,
    bulk,
    record,
    signals,
    with_auxiliary,
)
from grmrewards.alarms import ALARMS, Seen
from grmrewards.signals import Evidence

WINDOW, GROUP = 32, 8
PRAISE = " Final score: 10/10"


def worth(messages):
    """A judge that believes the number at the end of the first line of a response."""
    response = messages[0].content.rpartition("[Response]")[2]
    digits = [word for word in response.replace("\n", " ").split() if word.isdigit()]
    return f"<score>{digits[0] if digits else 0}</score>"


def charmed(messages):
    """The same, but for praise it gives ten."""
    return "<score>10</score>" if "10/10" in messages[0].content else worth(messages)


def spread(rng, low=1, high=8):
    """Answers of different worth, by no order of their lengths."""
    return [f"{rng.randint(low, high)} {'word ' * rng.randint(10, 20)}" for _ in range(GROUP)]


def steps(reward, answers_of, count, **columns):
    """Call `reward` as a trainer would, `count` steps of four groups; the last call's metrics."""
    rng, metrics = random.Random(7), {}
    for step in range(count):
        groups = [answers_of(rng, step) for _ in range(WINDOW // GROUP)]
        prompts = [f"Question {step} {k}?" for k, group in enumerate(groups) for _ in group]
        given = {name: [value] * len(prompts) for name, value in columns.items()}
        reward(
            prompts=prompts,
            completions=[answer for group in groups for answer in group],
            log_metric=metrics.__setitem__,
            trainer_state=type("State", (), {"global_step": step + 1}),
            **given,
        )
    return {name.partition("/")[2]: value for name, value in metrics.items()}


def signals_of(reward):
    return [flag.signal for flag in reward.monitor.flags]


# What goes off, and what does not


def praising(rng, step):
    """From the third step on, half of the answers end by grading themselves."""
    return [a + PRAISE * (step > 1 and i % 2) for i, a in enumerate(spread(rng))]


def growing(rng, step):
    """Answers grow, and the longer of a group claims to be worth more."""
    return [f"{1 + i} {'word ' * (i + 1) * (1 + step)}" for i in range(GROUP)]


def shrinking(rng, step):
    return [f"{1 + i} {'word ' * (GROUP - i) * (8 - step)}" for i in range(GROUP)]


def saturating(rng, step):
    return ["10 at most"] * GROUP if step > 1 else spread(rng)


def improving(rng, step):
    return spread(rng, low=1 + step // 2, high=6 + step // 2)


@pytest.mark.parametrize(
    ("answers", "want"),
    [
        pytest.param(praising, ["self_praise"], id="answers-that-grade-themselves"),
        pytest.param(growing, ["length"], id="answers-that-grow"),
        pytest.param(shrinking, ["length"], id="answers-that-shrink"),
        pytest.param(saturating, ["at_max"], id="all-at-the-end-of-the-scale"),
        pytest.param(improving, [], id="a-policy-that-learns"),
    ],
)
def test_a_signal_is_told_with_advice_and_once(answers, want, caplog):
    reward = IRPMReward(ScriptedJudge(charmed), name="told", monitor=Monitor(window=WINDOW))
    with caplog.at_level(logging.WARNING, "grmrewards"):
        metrics = steps(reward, answers, 8)
    assert signals_of(reward) == want
    assert [line.startswith(reward.__name__) for line in caplog.messages] == [True] * len(want)
    assert all(word in metrics for word in ("self_praise", "response_length", "at_max"))
    assert metrics["flags"] == len(want)


def test_praise_that_does_not_pay_is_nobodys_gain():
    """A task whose answers end with a grade, such as film reviews, must not cry wolf."""
    everywhere = IRPMReward(ScriptedJudge(worth), monitor=Monitor(window=WINDOW))
    steps(everywhere, lambda rng, step: [answer + " 9/10" for answer in spread(rng)], 6)
    to_its_loss = IRPMReward(
        ScriptedJudge(lambda m: "<score>0</score>" if "10/10" in m[0].content else worth(m)),
        monitor=Monitor(window=WINDOW),
    )
    steps(to_its_loss, praising, 6)
    assert signals_of(everywhere) == signals_of(to_its_loss) == []


def test_votes_that_begin_to_differ_are_told():
    """After the policy has found what the judge is unsure of."""

    def reply(messages):
        unsure = "odd" in messages[0].content
        return [f"<score>{score}</score>" for score in ((0, 10) if unsure else (5, 6))]

    reward = IRPMReward(ScriptedJudge(reply), votes=2, monitor=Monitor(window=WINDOW))
    answers = [f"word {i}" for i in range(GROUP)]
    steps(reward, lambda rng, step: [f"{'odd ' * (step > 2)}{a}" for a in answers], 6)
    assert signals_of(reward) == ["vote_variance"]


def test_principles_that_tell_nothing_apart_any_more_are_stale():
    principles = "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."

    def reply(messages):
        text = messages[0].content
        if "[The Begin of Response]" not in text:
            return principles
        return r"Score: \boxed{7}" if "zzz" in text else rf"Score: \boxed{{{5 + ('yyy' in text)}}}"

    reward = IPGRMReward(ScriptedJudge(reply), monitor=Monitor(window=WINDOW, at_max=None))
    for step in range(6):
        assert signals_of(reward) == []
        answers = [f"{'zzz' * (step > 1)} {'yyy' * (i % 2)} {i}" for i in range(GROUP)]
        reward(prompts=["The same?"] * GROUP, completions=answers)
    assert signals_of(reward) == ["stale_principles"]


# The second judge


def rule(prompts, completions, **_):
    """What the answers are worth without their praise: praise makes them worse."""
    return [int(c.split()[0]) / 10 - 0.4 * ("10/10" in c) for c in completions]


def preferring(word):
    return ScriptedJudge(lambda m: f"<score>{9 if word in m[0].content.rpartition('[Response]')[2] else 3}</score>")


def test_a_score_that_another_judge_does_not_see_rise_is_told():
    own = {"self_praise": None, "length": None, "at_max": None}
    reward = IRPMReward(ScriptedJudge(charmed), monitor=Monitor(window=WINDOW, second=rule, sample=1.0, **own))
    metrics = steps(reward, praising, 8)
    assert "second_gap" in signals_of(reward)
    assert metrics["second_score"] < metrics["score_of_sample"]


def test_judges_that_order_answers_differently_are_told():
    second = IRPMReward(preferring("rain"), name="second")
    monitor = Monitor(window=WINDOW, second=second, sample=1.0)
    reward = IRPMReward(preferring("sun"), monitor=monitor)
    steps(reward, lambda rng, step: [("sun", "rain")[i % 2] for i in range(GROUP)], 2)
    assert signals_of(reward) == ["second_agreement"]
    assert signals_of(second) == [], "its own monitor has no part in it"


@pytest.mark.parametrize("shaped", [False, True], ids=["a-reward", "one-with-auxiliaries"])
def test_the_second_judge_sees_whole_groups_of_a_sample_with_their_columns(shaped, tmp_path):
    seen = []

    class Second(IRPMReward):
        async def score(self, group):
            seen.append((group.responses, group.columns["label"]))
            return await super().score(group)

    second = Second(ScriptedJudge(worth), reference_column="label", group_size=2, log_path=tmp_path / "second.jsonl")
    if shaped:
        second = with_auxiliary(second, lambda completions, **_: [0.0] * len(completions))
    reward = IRPMReward(ScriptedJudge(worth), group_size=GROUP, monitor=Monitor(second=second, sample=0.5))
    metrics = steps(reward, lambda rng, step: spread(rng), 10, label="the answer")
    assert 5 < len(seen) < 35, "about half of forty groups"
    assert all(len(responses) == GROUP and labels == ("the answer",) * GROUP for responses, labels in seen)
    assert metrics["second_agreement"] == 1.0
    assert sum(entry["type"] == "completion" for entry in record.read(tmp_path / "second.jsonl")) == GROUP * len(seen)


def test_the_sample_is_the_same_in_every_run():
    def drawn():
        asked = []

        def second(prompts, completions, **_):
            asked.append(list(completions))
            return [0.5] * len(completions)

        steps(IRPMReward(ScriptedJudge(worth), monitor=Monitor(second=second)), lambda rng, step: spread(rng), 8)
        return asked

    assert drawn() == drawn() != []


@pytest.mark.parametrize("error", [JudgeError("no"), TransportError("down")], ids=["unreadable", "down"])
def test_a_second_judge_that_fails_costs_its_opinion_alone(error):
    def fail(messages):
        raise error

    second = IRPMReward(ScriptedJudge(fail), name="second")
    reward = IRPMReward(ScriptedJudge(worth), monitor=Monitor(window=WINDOW, second=second, sample=1.0))
    metrics = steps(reward, lambda rng, step: spread(rng), 3)
    assert metrics["unscored"] == 0.0
    assert "second_score" not in metrics
    assert signals_of(reward) == []


def test_a_rule_as_second_judge_may_have_no_value_for_some():
    """None and NaN are no opinion, as of any reward function."""
    found = [None, float("nan"), 0.2, 0.9]
    reward = IRPMReward(ScriptedJudge(worth), name="ruled", monitor=Monitor(second=lambda **_: found, sample=1.0))
    metrics = {}
    reward(prompts=["q"] * 4, completions=["1 a", "2 b", "3 c", "4 d"], log_metric=metrics.__setitem__)
    assert metrics["ruled/second_agreement"] == 1
    assert metrics["ruled/second_score"] == pytest.approx(0.55)


# Where it stands


def test_stop_ends_the_run_after_the_call_was_recorded(tmp_path):
    reward = IRPMReward(
        ScriptedJudge(charmed), monitor=Monitor(window=WINDOW, stop=True), log_path=tmp_path / "run.jsonl"
    )
    with pytest.raises(RewardHacked, match="end by grading or praising themselves") as ended:
        steps(reward, praising, 8)
    calls = [entry for entry in record.read(tmp_path / "run.jsonl") if entry["type"] == "call"]
    (flag,) = calls[-1]["flags"]
    assert flag["signal"] == "self_praise"
    assert flag["message"] in str(ended.value)
    assert calls[-1]["step"] == len(calls) == reward.monitor.flags[0].step


def test_a_line_for_each_call_tells_its_figures(tmp_path):
    reward = IRPMReward(ScriptedJudge(worth), log_path=tmp_path / "run.jsonl")
    metrics = steps(reward, lambda rng, step: spread(rng), 3)
    *_, last = calls = [entry for entry in record.read(tmp_path / "run.jsonl") if entry["type"] == "call"]
    assert len(calls) == 3
    assert (last["name"], last["step"], last["completions"], last["groups"]) == (reward.__name__, 3, WINDOW, 4)
    assert last["figures"] == pytest.approx(metrics)
    assert last["flags"] == []


def test_each_reward_watches_for_itself_and_a_pickle_begins_afresh():
    monitor = Monitor(window=WINDOW)
    hacked = IRPMReward(ScriptedJudge(charmed), monitor=monitor)
    sound = IRPMReward(ScriptedJudge(worth), monitor=monitor)
    steps(hacked, praising, 6)
    steps(sound, improving, 6)
    assert (signals_of(hacked), signals_of(sound), monitor.flags) == (["self_praise"], [], [])
    again = pickle.loads(pickle.dumps(hacked.monitor))
    assert (again.flags, again.window) == ([], WINDOW)


def test_measuring_is_not_watched():
    """An audit asks about answers that are hostile on purpose."""
    reward = IRPMReward(ScriptedJudge(charmed), monitor=Monitor(window=GROUP, stop=True))
    asked = bulk.measured(reward)
    asked(prompts=["q"] * 64, completions=["1" + PRAISE] * 64, **{bulk.KEY: [i // GROUP for i in range(64)]})
    assert signals_of(reward) == []


@pytest.mark.parametrize("family", [GRAMReward, ListwiseReward, IRPMReward])
def test_none_watches_where_none_is_wanted(family):
    def reply(messages):
        text = messages[0].content
        return (
            {"A": 1.0, "B": 0.0}
            if "#Preferred:" in text
            else r"\boxed{10, 10}"
            if "boxed" in text
            else "<score>10</score>"
        )

    reward = family(ScriptedJudge(reply), monitor=False)
    metrics = {}
    reward(prompts=["q", "q"], completions=["a", "b"], log_metric=metrics.__setitem__)
    assert reward.monitor is None
    assert "flags" not in metrics
    assert f"{reward.__name__}/at_max" in metrics, "figures are told all the same"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        pytest.param({"window": 0}, "window", id="window"),
        pytest.param({"at_max": 1.5}, "at_max", id="a-share-above-1"),
        pytest.param({"length": 0.5}, "length", id="a-factor-below-1"),
        pytest.param({"sample": -0.1}, "sample", id="sample"),
        pytest.param({"second": IRPMReward}, "second", id="a-class"),
        pytest.param({"stop": "yes"}, "stop", id="stop"),
    ],
)
def test_wrong_arguments_are_named(arguments, names):
    with pytest.raises(ConfigError, match=names):
        Monitor(**arguments)


def test_a_monitor_that_is_none_is_named():
    with pytest.raises(ConfigError, match="monitor"):
        IRPMReward(ScriptedJudge(worth), monitor="loud")


@pytest.mark.parametrize("name", ALARMS)
def test_each_signal_can_be_turned_off(name):
    assert getattr(Monitor(**{name: None}), name) is None


# The figures


def test_length_speaks_within_groups_alone():
    """That hard questions get long answers and low scores says nothing of what the judge likes."""
    scores, lengths = [0.9, 0.8, 0.2, 0.1], [10, 12, 100, 102]
    assert signals.correlation(scores, lengths) < -0.9
    assert signals.length_correlation(scores, lengths, [[0, 1], [2, 3]]) == pytest.approx(-1.0)
    assert signals.length_correlation([0.8, 0.9, 0.1, 0.2], lengths, [[0, 1], [2, 3]]) == pytest.approx(1.0)
    assert signals.length_correlation([0.5], [3], [[0]]) is None


score = st.none() | st.floats(0, 1)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(score, min_size=1, max_size=6), max_size=6), st.data())
def test_figures_of_any_call_are_finite_and_about_its_rows(groups, data):
    scores = [s for group in groups for s in group]
    starts = [sum(map(len, groups[:k])) for k in range(len(groups))]
    places = [list(range(start, start + len(group))) for start, group in zip(starts, groups, strict=True)]
    texts = data.draw(st.lists(st.text(max_size=5) | st.just("10/10"), min_size=len(scores), max_size=len(scores)))
    second = data.draw(st.dictionaries(st.sampled_from(range(len(scores))), score)) if scores else {}
    ages = {i: data.draw(st.integers(0, 3)) for i in range(len(scores))}
    found = signals.of_call(scores, texts, places) | signals.second_opinion(scores, second, places)
    found |= signals.staleness(scores, ages, places)
    for evidence in found.values():
        assert evidence.value == evidence.value
        assert 0 < evidence.rows <= len(scores)
    assert json.dumps(found)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), min_size=1, max_size=30))
def test_the_window_holds_the_last_calls_that_fill_it_and_the_start_stays(calls):
    def mean(calls):
        return sum(value * rows for value, rows in calls) / sum(rows for _, rows in calls)

    def last_full(calls):
        return next((calls[-n:] for n in range(1, len(calls) + 1) if sum(rows for _, rows in calls[-n:]) >= 32), None)

    seen = Seen(32)
    for value, rows in calls:
        seen.add({"x": Evidence(value, rows)})
    full = [found for n in range(1, len(calls) + 1) if (found := last_full(calls[:n]))]
    if not full:
        assert math.isnan(seen.now("x"))
        assert math.isnan(seen.start("x"))
        return
    assert seen.start("x") == pytest.approx(mean(full[0]))
    assert seen.now("x") == pytest.approx(mean(full[-1]))


def test_principles_that_could_not_be_had_are_no_negative_share():
    """Three are asked for and one comes: one group was judged, and it needed new ones; then it finds them kept."""

    def reply(messages):
        text = messages[0].content
        if "[The Begin of Response]" in text:
            return r"Score: \boxed{7}"
        return "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right." if "easy" in text else ""

    reward, metrics = IPGRMReward(ScriptedJudge(reply), name="kept", max_failures=1.0), {}
    for want in (0.0, 1.0):
        reward(prompts=["easy?", "hard?", "harder?"], completions=["a", "b", "c"], log_metric=metrics.__setitem__)
        assert metrics["kept/cached_principles"] == want
