"""The contract of `Reward.__call__`: what a trainer gets whatever the judge does, and what it cost."""

import asyncio
import collections
import gc
import json
import logging
import math
import os
import pickle
import random
import re
import signal
import sys
import threading
import warnings

import pytest

from grmrewards import (
    ConfigError,
    ContextOverflow,
    FatalJudgeError,
    GRAMReward,
    IPGRMReward,
    IRPMReward,
    JudgeError,
    JudgeOutage,
    ListwiseReward,
    PairwiseReward,
    Reply,
    Reward,
    ScriptedJudge,
    TransportError,
    judging,
    record,
)
from grmrewards.runner import run

PRINCIPLES = "Evaluation Principles:\n1. [Right] (Weight: 75%): it is right.\n2. [Tone] (Weight: 25%): it is kind."


def shown(messages):
    """The responses that a judge is shown, in their order."""
    text = messages[0].content
    marked = re.findall(
        r"\[The (?:Begin of Response(?: \d+)?|Start of Assistant .'s Answer)\]\n(.*?)\n\[The End of", text, re.DOTALL
    )
    return marked or re.findall(r"\n\[Response\]\n(.*)$", text, re.DOTALL)


def quality(text):
    """The judge of these tests likes a response as much as its last number says."""
    return float((re.findall(r"[0-9]+(?:\.[0-9]+)?", text) or ["5"])[-1])


def by_quality(messages):
    """A judge for all families that reads the quality of each response off its text."""
    responses = shown(messages)
    if not responses:
        return PRINCIPLES
    if "#Preferred:" in messages[0].content:
        a, b = map(quality, responses)
        return {"A": a, "B": b}
    if "<score>" in messages[0].content:
        return f"<critique>{responses[0]}</critique><score>{quality(responses[0])}</score>"
    return "\\boxed{" + ", ".join(str(quality(response)) for response in responses) + "}"


def listening(reply=by_quality):
    """A scripted judge, and the list of what it is asked."""
    asked = []

    def note_and_reply(messages):
        asked.append(messages[0].content)
        return reply(messages)

    return ScriptedJudge(note_and_reply), asked


class Given(Reward):
    """A family whose scores are given by response: a number, None, or an error that is raised."""

    def __init__(self, scores, **shared):
        self.given = scores
        super().__init__(ScriptedJudge(by_quality), template="{question}", **shared)

    async def score(self, group):
        found = [self.given[response] for response in group.responses]
        for score in found:
            if isinstance(score, Exception):
                raise score
        return found


FAMILIES = {
    "ipgrm": IPGRMReward,
    "listwise": ListwiseReward,
    "irpm": IRPMReward,
    "gram": GRAMReward,
    "pairwise": PairwiseReward,
}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def measured(reward, prompts, completions, **columns):
    """The rewards and the metrics of one call."""
    metrics = {}
    rewards = reward(prompts=prompts, completions=completions, log_metric=metrics.__setitem__, **columns)
    return rewards, {name.removeprefix(f"{reward.__name__}/"): value for name, value in metrics.items()}


def tasks_left():
    """How many tasks the library's loop still has."""

    async def others():
        return len(asyncio.all_tasks()) - 1

    return run(others())


# One finite number a completion


@families
@pytest.mark.parametrize(
    "completions",
    [
        pytest.param([], id="B2-42-empty-batch"),
        pytest.param(["quality 7"], id="one"),
        pytest.param(["quality 7", "quality 3", "quality 7", "quality 9"], id="with-a-double"),
        pytest.param([None, "", "<think>for ever", [], "quality 4"], id="B2-24-hardly-an-answer"),
        pytest.param([":", ".", "Solution", "かいせつ"], id="B2-37-master-keys"),
        pytest.param([[{"role": "assistant", "content": "quality 3"}], "quality 9"], id="B2-28-mixed-forms"),
    ],
)
def test_one_finite_reward_a_completion(family, completions):
    rewards = family(ScriptedJudge(by_quality))(prompts=["q"] * len(completions), completions=completions)
    assert len(rewards) == len(completions)
    assert all(isinstance(reward, float) and 0 <= reward <= 1 for reward in rewards)


@families
def test_better_answers_get_more_and_groups_do_not_mix(family):
    completions = ["quality 2", "quality 8", "quality 5", "quality 6", "quality 3"]
    rewards = family(ScriptedJudge(by_quality))(prompts=["p", "p", "p", "q", "q"], completions=completions)
    assert rewards[0] < rewards[2] < rewards[1]
    assert rewards[4] < rewards[3]


@families
def test_each_group_is_judged_by_its_own_question(family):
    judge, asked = listening()
    family(judge)(
        prompts=["question one"] * 2 + ["question two"] * 2, completions=[f"quality {i}" for i in range(1, 5)]
    )
    assert not any("question two" in text for text in asked if "quality 1" in text or "quality 2" in text)
    assert not any("question one" in text for text in asked if "quality 3" in text or "quality 4" in text)


def test_trainers_may_call_by_position_and_with_what_they_like():
    reward = IRPMReward(ScriptedJudge(by_quality))
    more = {"trainer_state": object(), "environments": [None], "label": ["x"], "odd": 5}
    assert reward(["q"], ["quality 7"], [[1, 2]], **more) == [0.7]
    assert reward(prompts=["q"], completions=["quality 7"], log_extra=None, log_metric=None, **more) == [0.7]


def test_a_dataset_column_may_have_any_name():
    assert IRPMReward(ScriptedJudge(by_quality))(prompts=["q"], completions=["quality 7"], self=["x"], judge=["y"]) == [
        0.7
    ]


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5, 0.5], []], ids=len)
def test_a_family_with_another_count_of_scores_is_a_mistake(scores):
    class Short(Given):
        async def score(self, group):
            return scores

    with pytest.raises(ConfigError, match=f"{len(scores)} scores for 2"):
        Short({})(prompts=["q"] * 2, completions=["a", "b"])


# Failures: neutral when rare


@pytest.mark.parametrize(
    ("on_failure", "want"),
    [("group_mean", [0.2, 0.4, 0.6]), ("none", [0.2, None, 0.6]), (0.0, [0.2, 0.0, 0.6]), (-1, [0.2, -1.0, 0.6])],
)
def test_what_an_unscored_completion_gets(on_failure, want):
    reward = Given({"a": 0.2, "b": None, "c": 0.6}, on_failure=on_failure)
    assert reward(prompts=["q"] * 3, completions=["a", "b", "c"]) == pytest.approx(want)


def test_on_failure_raise_says_why():
    reward = IRPMReward(ScriptedJudge(lambda messages: "no idea"), on_failure="raise")
    with pytest.raises(JudgeOutage, match="no <score> in the answer"):
        reward(prompts=["q"], completions=["a"])


def test_a_wholly_unscored_group_is_none_and_the_others_keep_theirs():
    reward = Given({"a": 0.2, "b": None})
    assert reward(prompts=["p", "p", "q", "q"], completions=["a", "a", "b", "b"]) == [0.2, 0.2, None, None]


@pytest.mark.parametrize("error", [JudgeError("gone"), TransportError("gone"), ContextOverflow("gone")], ids=repr)
def test_an_error_of_the_judge_costs_its_group_alone(error, caplog):
    reward = Given({"a": 0.2, "b": error})
    with caplog.at_level(logging.WARNING, "grmrewards"):
        assert reward(prompts=["p", "p", "q"], completions=["a", "b", "a"]) == [None, None, 0.2]
    assert "gone x2" in caplog.text


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_none_at_all(score, caplog):
    reward = Given({"a": 0.2, "b": score, "c": 0.6})
    with caplog.at_level(logging.WARNING, "grmrewards"):
        assert reward(prompts=["q"] * 3, completions=["a", "b", "c"]) == pytest.approx([0.2, 0.4, 0.6])
    assert "not finite" in caplog.text


@pytest.mark.parametrize(
    "logprobs",
    [
        pytest.param({"A": -math.inf, "B": -math.inf}, id="B2-23-both-minus-infinity"),
        pytest.param({"A": math.nan, "B": -1.0}, id="B2-23-nan"),
        pytest.param({"A": math.nan, "B": math.nan}, id="B2-23-all-nan"),
    ],
)
def test_b2_23_unusable_logprobs_leave_a_pair_unscored(logprobs):
    def reply(messages):
        return logprobs if "broken" in messages[0].content else by_quality(messages)

    reward = GRAMReward(ScriptedJudge(reply), baseline_column="baseline")
    rewards = reward(prompts=["q"] * 3, completions=["quality 5", "broken 9", "quality 6"], baseline=["quality 5"] * 3)
    assert rewards[1] == pytest.approx((rewards[0] + rewards[2]) / 2)


def test_b2_23_one_label_without_any_mass_is_a_verdict():
    reward = GRAMReward(ScriptedJudge(lambda m: {"A": 0.0, "B": -math.inf}), both_orders=False)
    assert sorted(reward(prompts=["q"] * 2, completions=["a", "b"])) == [0.0, 1.0]


def test_b2_23_labels_of_several_tokens_are_refused_at_construction():
    class SplitsLabels(ScriptedJudge):
        def check_choices(self, choices):
            raise ConfigError(f"{choices} are several tokens each")

    with pytest.raises(ConfigError, match="several tokens"):
        GRAMReward(SplitsLabels(by_quality))


# Failures: loud when common


def calls_of_eight(reward, *lost):
    """One call for each number: of its 8 completions, each a group of its own, so many are unscored."""
    for share in lost:
        reward(prompts=[f"q{i}" for i in range(8)], completions=["lost"] * share + ["had"] * (8 - share))


def giving(**shared):
    return Given({"lost": None, "had": 0.5}, **shared)


def test_half_of_the_last_64_may_be_lost_and_no_more():
    calls_of_eight(reward := giving(), 8, 8, 8, 8)
    with pytest.raises(JudgeOutage, match=r"33 of the last 64 .* max_failures=0\.5"):
        calls_of_eight(reward, 1)


def test_what_was_lost_long_ago_is_forgotten():
    calls_of_eight(giving(), 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8)


def test_a_larger_call_is_its_own_window():
    reward = giving()
    prompts = [f"q{i}" for i in range(100)]
    reward(prompts=prompts, completions=["lost"] * 50 + ["had"] * 50)
    with pytest.raises(JudgeOutage, match="51 of 100"):
        reward(prompts=prompts, completions=["lost"] * 51 + ["had"] * 49)


@pytest.mark.parametrize(("max_failures", "survives"), [(0.0, 0), (1 / 64, 1), (1.0, 8)])
def test_max_failures(max_failures, survives):
    calls_of_eight(reward := giving(max_failures=max_failures), survives)
    if survives < 8:
        with pytest.raises(JudgeOutage):
            calls_of_eight(reward, survives + 1)


def test_an_outage_counts_its_reasons():
    reward = IRPMReward(ScriptedJudge(lambda m: "I refuse"), max_failures=0.0)
    with pytest.raises(JudgeOutage, match=r"3 of 3 .*no <score> in the answer, which ends x3"):
        reward(prompts=["q"] * 3, completions=["a", "b", "c"])


def dead(messages):
    raise TransportError("connection refused")


@families
def test_an_outage_is_raised_at_once_when_no_request_is_answered(family):
    with pytest.raises(JudgeOutage, match=r"connection refused.* is the judge running\?"):
        family(ScriptedJudge(dead))(prompts=["q"] * 2, completions=["a", "b"])


@pytest.mark.parametrize("error", [ConnectionResetError("peer"), TimeoutError("the judge's own")], ids=repr)
def test_errors_of_the_socket_are_transport_errors(error):
    def reply(messages):
        raise error

    with pytest.raises(JudgeOutage, match=type(error).__name__):
        IRPMReward(ScriptedJudge(reply))(prompts=["q"], completions=["a"])


def test_one_request_of_many_lost_on_the_way_is_neutral():
    reward = IRPMReward(ScriptedJudge(lambda m: dead(m) if "lost" in m[0].content else by_quality(m)))
    rewards = reward(prompts=["q"] * 3, completions=["quality 2", "lost", "quality 4"])
    assert rewards == pytest.approx([0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    "error", [FatalJudgeError("key refused"), ConfigError("no such model"), ZeroDivisionError("bug")]
)
@families
def test_what_no_retry_mends_reaches_the_trainer(family, error):
    def reply(messages):
        raise error

    with pytest.raises(type(error), match=str(error)):
        family(ScriptedJudge(reply))(prompts=["p", "p", "q"], completions=["a", "b", "c"])
    assert tasks_left() == 0


# A window that is too small


def of_size(limit, reply=by_quality):
    """A judge whose window takes `limit` letters x."""

    def within(messages):
        if messages[0].content.count("x" * 10) * 10 > limit:
            raise ContextOverflow("too long")
        return reply(messages)

    return ScriptedJudge(within)


def test_b2_36_a_response_that_is_too_long_is_left_unscored():
    rewards = IRPMReward(of_size(50))(prompts=["q"] * 3, completions=["quality 2", "x" * 100, "quality 4"])
    assert rewards == pytest.approx([0.2, 0.3, 0.4])


@families
def test_b2_36_a_group_that_is_too_long_is_none_if_an_empty_answer_would_fit(family):
    prompts, completions = ["p", "p", "q", "q"], ["x" * 100, "x" * 110, "quality 2", "quality 4"]
    rewards = family(of_size(50))(prompts=prompts, completions=completions)
    assert rewards[:2] == [None, None]
    assert rewards[2] < rewards[3]


@families
def test_b2_36_a_prompt_that_leaves_no_room_is_a_mistake(family):
    reward = family(of_size(50), **({"principles_judge": ScriptedJudge(by_quality)} if family is IPGRMReward else {}))
    with pytest.raises(ConfigError, match="even with an empty response"):
        reward(prompts=["x" * 100] * 2, completions=["quality 2", "quality 4"])


def test_b2_36_finding_out_leaves_no_critique_behind():
    columns = {}
    IRPMReward(of_size(50))(prompts=["q"] * 2, completions=["x" * 100, "x" * 110], log_extra=columns.__setitem__)
    assert list(columns.values()) == [[None, None]]


def test_b2_36_max_response_chars_cuts_before_the_judge_is_asked():
    judge, asked = listening()
    IRPMReward(judge, max_response_chars=20)(prompts=["q"], completions=["a" * 50 + "x" * 100 + "quality 7"])
    assert "[truncated 139 chars]" in asked[0]
    assert asked[0].endswith("xquality 7")


# Time


async def never(messages):
    await asyncio.Event().wait()


def test_b2_46_the_deadline_ends_what_is_late_and_keeps_what_is_there():
    async def reply(messages):
        return await never(messages) if "late" in messages[0].content else by_quality(messages)

    reward = IRPMReward(ScriptedJudge(reply), deadline=0.05)
    rewards, metrics = measured(reward, ["q"] * 3, ["quality 2", "late", "quality 4"])
    assert rewards == pytest.approx([0.2, 0.3, 0.4])
    assert metrics["unscored"] == pytest.approx(1 / 3)
    assert tasks_left() == 0


@families
def test_b2_46_a_judge_that_never_answers_is_an_outage_with_its_reason(family):
    with pytest.raises(JudgeOutage, match="the deadline of the call passed"):
        family(ScriptedJudge(never), deadline=0.05)(prompts=["p", "p", "q"], completions=["a", "b", "c"])
    assert tasks_left() == 0


def test_b2_46_a_judge_that_holds_its_thread_is_left_behind(monkeypatch, caplog):
    monkeypatch.setattr(judging, "PATIENCE", 0.05)
    back = threading.Event()
    stuck = IRPMReward(ScriptedJudge(lambda _: "<score>8</score>" if back.wait() else ""), deadline=0.05)
    assert stuck(prompts=["q"] * 2, completions=["a", "b"]) == [None, None]
    assert "did not come back, and held its thread past the deadline x2" in caplog.text
    back.set()
    assert stuck(prompts=["q"] * 2, completions=["a", "b"]) == [0.8, 0.8]


def test_b2_46_a_family_that_never_returns_is_ended_too(monkeypatch, caplog):
    monkeypatch.setattr(judging, "GRACE", 0.01)

    class Endless(Given):
        async def score(self, group):
            return await never(group) if "late" in group.responses else [0.5] * len(group.responses)

    with caplog.at_level(logging.WARNING, "grmrewards"):
        assert Endless({}, deadline=0.02)(prompts=["p", "q"], completions=["a", "late"]) == [0.5, None]
    assert "deadline" in caplog.text
    assert tasks_left() == 0


# No answer


@pytest.mark.parametrize(
    "empty", [None, "", "  ", [], "<think>no end", [{"role": "assistant", "content": None}]], ids=repr
)
@families
def test_b2_24_no_answer_is_the_minimum_without_a_call(family, empty):
    judge, asked = listening()
    rewards = family(judge)(prompts=["p", "p"], completions=[empty, empty])
    assert rewards == [0.0, 0.0]
    assert asked == []


@pytest.mark.parametrize(
    ("scale", "minima"),
    [
        ("unit", (0, 0, 0, 0, 0)),
        ("raw", (1, 1, 0, 0, 1)),
        ("two_slope", (-0.8, -0.8, -1, -1, -0.8)),
        ((-5.0, 5.0), (-5, -5, -5, -5, -5)),
    ],
    ids=str,
)
def test_b2_24_the_minimum_is_that_of_the_scale(scale, minima):
    got = [
        family(ScriptedJudge(by_quality), scale=scale)(prompts=["p"], completions=[""])[0]
        for family in FAMILIES.values()
    ]
    assert got == pytest.approx(minima)


def test_b2_24_an_answer_without_the_tag_is_no_answer():
    judge, asked = listening()
    reward = IRPMReward(judge, answer_tag="answer")
    assert reward(prompts=["p"] * 2, completions=["quality 9", "<answer>quality 7</answer> 9"]) == [0.0, 0.7]
    assert len(asked) == 1


def test_b2_24_no_answer_is_not_shown_to_its_siblings():
    judge, asked = listening()
    rewards = ListwiseReward(judge, votes=1)(prompts=["p"] * 3, completions=["quality 7", "", "quality 4"])
    assert rewards == pytest.approx([6 / 9, 0, 3 / 9])
    assert [len(re.findall(r"\[The Begin of Response \d+\]", text)) for text in asked] == [2]


# Names, pickles, places to call from


def test_living_rewards_never_share_a_name():
    rewards = [family(ScriptedJudge(by_quality)) for family in [*FAMILIES.values()] * 3]
    assert len({reward.__name__ for reward in rewards}) == len(rewards)


def test_a_name_is_free_again_when_its_reward_is_gone():
    first = IRPMReward(ScriptedJudge(by_quality), name="helpful")
    second = IRPMReward(ScriptedJudge(by_quality), name="helpful")
    assert (first.__name__, second.__name__) == ("helpful", "helpful_2")
    del first
    gc.collect()
    assert IRPMReward(ScriptedJudge(by_quality), name="helpful").__name__ == "helpful"


COMPLETIONS = ["quality 2", "quality 8", "", "quality 5"]


@families
def test_b2_48_a_pickle_keeps_name_and_rewards(family):
    reward = family(ScriptedJudge(by_quality), min_spread=0.01, scale=(-1.0, 1.0), seed=7)
    before = reward(prompts=["q"] * 4, completions=COMPLETIONS)
    copied = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(reward))))
    assert copied.__name__ == reward.__name__
    assert copied(prompts=["q"] * 4, completions=COMPLETIONS) == before


def test_b2_48_a_pickle_starts_with_a_clean_window():
    calls_of_eight(reward := giving(), 8, 8, 8, 8)
    reward.failures = pickle.loads(pickle.dumps(reward.failures))
    calls_of_eight(reward, 8, 8, 8, 8)
    with pytest.raises(JudgeOutage, match=r"max_failures=0\.5"):
        calls_of_eight(reward, 1)


@families
def test_b2_48_called_while_a_loop_is_running(family):
    reward = family(ScriptedJudge(by_quality))
    outside = reward(prompts=["q"] * 4, completions=COMPLETIONS)

    async def notebook_cell():
        return reward(prompts=["q"] * 4, completions=COMPLETIONS)

    assert asyncio.run(notebook_cell()) == outside


def test_b2_48_called_from_several_threads_at_once():
    reward = IRPMReward(ScriptedJudge(by_quality))
    found = {}

    def work(i):
        found[i] = [reward(prompts=["q"], completions=[f"quality {i}"])[0] for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: pytest.approx([i / 10] * 5) for i in range(8)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_b2_48_called_in_a_forked_child():
    reward = IPGRMReward(ScriptedJudge(by_quality))
    want = reward(prompts=["q"] * 4, completions=COMPLETIONS)  # the parent's loop is running
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads, which is the case at hand
        child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # a child that hangs must not outlive the test
        try:
            os.write(writing, json.dumps(reward(prompts=["q"] * 4, completions=COMPLETIONS)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        got = pipe.read()
    os.waitpid(child, 0)
    assert json.loads(got) == want


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread on this system")
def test_b2_48_ctrl_c_cancels_what_is_under_way(request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with none
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    ended = []

    async def reply(messages):
        while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "wait":
            await asyncio.sleep(0)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            await never(messages)
        finally:
            ended.append(messages)

    with pytest.raises(KeyboardInterrupt):
        IRPMReward(ScriptedJudge(reply))(prompts=["q"], completions=["a"])
    assert len(ended) == 1
    assert tasks_left() == 0


def test_a_reward_inside_a_reward_says_so_instead_of_waiting_for_itself():
    inner = IRPMReward(ScriptedJudge(by_quality))

    class Outer(Given):
        async def score(self, group):
            return inner(prompts=["q"], completions=list(group.responses))

    with pytest.raises(ConfigError, match="inside another reward"):
        Outer({})(prompts=["q"], completions=["a"])
    assert inner(prompts=["q"], completions=["quality 7"]) == [0.7]


def test_a_judge_that_is_a_context_is_entered_once_a_call_and_always_left():
    class Opens(ScriptedJudge):
        seen = ()

        async def __aenter__(self):
            self.seen += ("in",)

        async def __aexit__(self, *_):
            self.seen += ("out",)

    judge = Opens(lambda m: dead(m) if "lost" in m[0].content else by_quality(m))
    reward = IPGRMReward(judge)
    reward(prompts=["p", "p", "q"], completions=["quality 1", "quality 2", "quality 3"])
    assert judge.seen == ("in", "out")
    with pytest.raises(JudgeOutage):
        reward(prompts=["lost"], completions=["a"])
    assert judge.seen == ("in", "out") * 2


@families
def test_the_global_random_state_is_left_alone(family):
    state = random.getstate()
    family(ScriptedJudge(by_quality), **({"opponents": 1} if family is GRAMReward else {}))(
        prompts=["q"] * 4, completions=["quality 1", "quality 2", "quality 3", "quality 4"]
    )
    assert random.getstate() == state


@families
def test_the_same_seed_asks_the_same_in_any_process_state(family):
    asked = []
    for noise in (1, 2):
        random.seed(noise)
        judge, texts = listening()
        family(judge, seed=3)(prompts=["q"] * 4, completions=[f"quality {i}" for i in range(1, 5)])
        asked.append(sorted(texts))
    assert asked[0] == asked[1]


# What a judge is asked for


class Minimal:
    """A judge as a user would write it: no keywords, one answer."""

    def __init__(self, reply):
        self.reply = reply

    async def generate(self, messages):
        return [Reply(self.reply(messages))]

    async def choice_logprobs(self, messages, choices):
        return [(float(self.reply(messages)[choice]),) for choice in choices]


@families
def test_a_judge_may_take_messages_alone(family):
    votes = {} if family is GRAMReward else {"votes": 1}
    rewards = family(Minimal(by_quality), **votes)(prompts=["q"] * 2, completions=["quality 2", "quality 8"])
    assert rewards[0] < rewards[1]


class Recording(ScriptedJudge):
    """Remembers the keywords that it was given."""

    def __init__(self, reply=by_quality):
        super().__init__(reply)
        self.given = []

    async def generate(self, messages, **sampling):
        self.given.append(sampling)
        return await super().generate(messages, **sampling)


@pytest.mark.parametrize(
    ("family", "arguments", "want"),
    [
        pytest.param(IRPMReward, {}, [{"temperature": 0.0}], id="irpm-one-vote-is-greedy"),
        pytest.param(IRPMReward, {"votes": 4}, [{"n": 4, "temperature": 1.0}], id="irpm-votes-are-sampled"),
        pytest.param(
            IPGRMReward, {"votes": 2}, [{"temperature": 0.0}, {"n": 2, "temperature": 1.0}], id="ipgrm-principles-first"
        ),
        pytest.param(ListwiseReward, {"votes": 1}, [{"temperature": 0.5}], id="listwise"),
    ],
)
def test_only_sampling_that_differs_from_the_default_is_passed(family, arguments, want):
    judge = Recording()
    family(judge, **arguments)(prompts=["q"], completions=["quality 5"])
    assert [{name: value for name, value in given.items() if name != "seed"} for given in judge.given] == want
    assert all(("seed" in given) == (given["temperature"] > 0) for given in judge.given), "greedy needs no seed"


def test_asking_again_is_hotter_and_under_another_seed():
    judge = Recording(lambda messages: "no idea")
    IRPMReward(judge)(prompts=["q"], completions=["a"])
    assert [given["temperature"] for given in judge.given] == [0.0, 0.7, 0.7]
    assert len({given.get("seed") for given in judge.given}) == 3


def test_votes_that_were_lost_alone_are_asked_for_again():
    def reply(messages):
        return ["<score>6</score>", "no idea", "<score>8</score>", "no idea"]

    judge = Recording(reply)
    assert IRPMReward(judge, votes=4, scale="raw")(prompts=["q"], completions=["a"]) == pytest.approx(
        [(6 + 8 + 6 + 6) / 4]
    )
    assert [given.get("n", 1) for given in judge.given] == [4, 2, 1]


# What a call costs

GROUP = [f"quality {i}" for i in range(1, 7)]  # six different answers
COSTS = {
    "ipgrm-cold": (IPGRMReward, {}, 6 + 1),
    "ipgrm-votes-share-a-request": (IPGRMReward, {"votes": 4}, 6 + 1),
    "irpm": (IRPMReward, {}, 6),
    "listwise-one-order-a-vote": (ListwiseReward, {"votes": 8}, 8),
    "listwise-two-orders": (ListwiseReward, {"votes": 8, "orders": 2}, 2),
    "listwise-in-the-given-order": (ListwiseReward, {"votes": 8, "shuffle": False}, 1),
    "gram-all-pairs": (GRAMReward, {}, 6 * 5),
    "gram-all-pairs-in-one-order": (GRAMReward, {"both_orders": False}, 6 * 5 // 2),
    "gram-baseline": (GRAMReward, {"baseline_column": "baseline"}, 2 * 6),
    "gram-baseline-in-one-order": (GRAMReward, {"baseline_column": "baseline", "both_orders": False}, 6),
    "gram-one-opponent": (GRAMReward, {"opponents": 1}, 6 * 1),
    "gram-two-opponents": (GRAMReward, {"opponents": 2}, 6 * 2),
    "gram-three-opponents": (GRAMReward, {"opponents": 3}, 6 * 3),
    "gram-more-opponents-than-there-are": (GRAMReward, {"opponents": 9}, 6 * 5),
}


@pytest.mark.parametrize(("family", "arguments", "calls"), COSTS.values(), ids=COSTS)
def test_calls_a_group(family, arguments, calls):
    judge, asked = listening()
    _, metrics = measured(family(judge, **arguments), ["q"] * 6, GROUP, baseline=["quality 3.5"] * 6)
    assert len(asked) == calls == metrics["calls"]


@pytest.mark.parametrize("case", [case for case in COSTS if "opponent" not in case])
def test_doubles_cost_nothing(case):
    family, arguments, calls = COSTS[case]
    judge, asked = listening()
    doubled = family(judge, **arguments)(prompts=["q"] * 12, completions=GROUP * 2, baseline=["quality 3.5"] * 12)
    assert doubled[:6] == pytest.approx(doubled[6:])
    assert len(asked) == calls


def test_ipgrm_with_known_principles_costs_one_call_an_answer():
    judge, asked = listening()
    reward = IPGRMReward(judge)
    reward(prompts=["q"] * 6, completions=GROUP)
    asked.clear()
    _, metrics = measured(reward, ["q"] * 6, GROUP)
    assert len(asked) == metrics["calls"] == 6


def test_tokens_are_counted_even_where_the_answer_cannot_be_read():
    reward = IRPMReward(ScriptedJudge(lambda m: Reply("no idea", prompt_tokens=100, completion_tokens=5)))
    _, metrics = measured(reward, ["q"], ["a"])
    assert metrics["tokens"] == 3 * 105


@pytest.mark.parametrize(
    ("size", "opponents", "each"), [(6, 1, 1), (6, 2, 2), (6, 3, 3), (6, 4, 4), (5, 1, 2), (5, 2, 2), (7, 3, 4)]
)
def test_on_the_ring_all_meet_equally_many(size, opponents, each):
    met = collections.Counter()

    def reply(messages):
        met.update(shown(messages))
        return {"A": 0.0, "B": 0.0}

    reward = GRAMReward(ScriptedJudge(reply), opponents=opponents, both_orders=False)
    reward(prompts=["q"] * size, completions=[f"answer {i}" for i in range(size)])
    assert set(met.values()) == {each}
    assert len(met) == size


# The families


def test_listwise_scores_find_their_way_back_from_any_order():
    judge, asked = listening()
    rewards = ListwiseReward(judge, votes=8, scale="raw")(prompts=["q"] * 6, completions=GROUP)
    assert rewards == pytest.approx([1, 2, 3, 4, 5, 6])
    assert len({tuple(re.findall("quality .", text)) for text in asked}) > 4, "the orders differ"


@pytest.mark.parametrize("family", [IPGRMReward, ListwiseReward, IRPMReward])
@pytest.mark.parametrize(("min_votes", "scored"), [(1, True), (2, True), (3, False), (4, False)])
def test_b2_21_fewer_usable_votes_than_were_wanted_are_no_score(family, min_votes, scored):
    asked = set()

    def two_of_four(messages):
        """Two usable votes at first, and none when the others are asked for again."""
        text = messages[0].content
        if family is IPGRMReward and "[The Begin of" not in text:
            return PRINCIPLES
        first = text not in asked
        asked.add(text)
        return [r"<score>8</score> \boxed{8}"] * 2 + ["no"] * 2 if first else "no"

    reward = family(ScriptedJudge(two_of_four), votes=4, min_votes=min_votes, max_failures=1.0)
    (score,) = reward(prompts=["q"], completions=["a"])
    assert (score is not None) == scored


@pytest.mark.parametrize("votes", [2, 4, 8])
def test_listwise_a_liking_for_a_place_cancels_over_an_order_and_its_reverse(votes):
    def likes_the_first(messages):
        return "\\boxed{10" + ", 1" * (len(shown(messages)) - 1) + "}"

    reward = ListwiseReward(ScriptedJudge(likes_the_first), votes=votes, orders=2)
    rewards = reward(prompts=["q"] * 2, completions=["a", "b"])
    assert rewards[0] == rewards[1]


def test_listwise_without_shuffling_keeps_the_order():
    judge, asked = listening()
    ListwiseReward(judge, shuffle=False)(prompts=["q"] * 6, completions=GROUP)
    assert re.findall("quality .", asked[0]) == GROUP


def test_gram_a_liking_for_a_place_cancels_and_shows_as_flips():
    reward = GRAMReward(ScriptedJudge(lambda m: "A"))
    rewards, metrics = measured(reward, ["q"] * 3, ["a", "b", "c"])
    assert rewards == [0.5] * 3
    assert metrics["flip_rate"] == 1.0
    assert measured(GRAMReward(ScriptedJudge(by_quality)), ["q"] * 2, GROUP[:2])[1]["flip_rate"] == 0.0


def test_gram_against_a_baseline_is_the_probability_of_beating_it():
    reward = GRAMReward(ScriptedJudge(by_quality), baseline_column="baseline")
    rewards = reward(prompts=["q"] * 3, completions=["quality 3", "quality 5", "quality 7"], baseline=["quality 5"] * 3)
    assert rewards == pytest.approx([1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2))])


def test_gram_half_known_pairs_still_rank():
    def reply(messages):
        return dead(messages) if {"quality 1", "quality 6"} == set(shown(messages)) else by_quality(messages)

    rewards = GRAMReward(ScriptedJudge(reply))(prompts=["q"] * 6, completions=GROUP)
    assert rewards == sorted(rewards)


@pytest.mark.parametrize(("aggregate", "want"), [("mean", 0.6), ("median", 0.5)])
def test_irpm_aggregate(aggregate, want):
    votes = ["<score>4</score>", "<score>5</score>", "<score>9</score>"]
    reward = IRPMReward(ScriptedJudge(lambda m: votes), votes=3, aggregate=aggregate)
    assert reward(prompts=["q"], completions=["a"]) == pytest.approx([want])


ANALYSIS = "- **[Right]**: yes. Score: 8/10.0\n- **[Tone]**: no. Score: 4/10.0\n"


@pytest.mark.parametrize(
    ("combine", "answer", "want"),
    [
        pytest.param("boxed", ANALYSIS + r"\boxed{5}", 5.0, id="boxed-takes-the-box"),
        pytest.param("weighted", ANALYSIS + r"\boxed{5}", 7.0, id="weighted-recomputes"),
        pytest.param("auto", ANALYSIS + r"\boxed{5}", 7.0, id="auto-recomputes-where-all-parts-are-there"),
        pytest.param("boxed", r"\boxed{5}", 5.0, id="boxed-needs-no-parts"),
        pytest.param("weighted", r"\boxed{5}", None, id="weighted-without-parts-is-unscored"),
        pytest.param("auto", r"\boxed{5}", 5.0, id="auto-falls-back-to-the-box"),
        pytest.param("auto", ANALYSIS.splitlines()[0] + r"\boxed{5}", 5.0, id="auto-with-a-part-missing"),
        pytest.param("auto", ANALYSIS, None, id="no-box-is-no-verdict"),
    ],
)
def test_ipgrm_combine(combine, answer, want):
    judge = ScriptedJudge(lambda messages: answer if shown(messages) else PRINCIPLES)
    reward = IPGRMReward(judge, combine=combine, scale="raw")
    assert reward(prompts=["q"], completions=["a"]) == [want if want is None else pytest.approx(want)]


@pytest.mark.parametrize("column", ["principles", "principals"])
def test_ipgrm_a_column_of_principles_has_priority(column):
    judge, asked = listening()
    IPGRMReward(judge)(prompts=["q"] * 2, completions=["quality 1", "quality 2"], **{column: ["Be kind."] * 2})
    assert len(asked) == 2
    assert all("Be kind." in text for text in asked)


def test_ipgrm_an_empty_column_of_principles_is_none():
    judge, asked = listening()
    IPGRMReward(judge)(prompts=["q"], completions=["quality 1"], principles=[None])
    assert len(asked) == 2


def test_ipgrm_principles_never_see_a_response():
    judge, asked = listening()
    IPGRMReward(judge)(prompts=["the question"] * 2, completions=["quality 1", "quality 2"])
    (text,) = [text for text in asked if "quality" not in text]
    assert "the question" in text


def test_ipgrm_principles_never_see_the_reference():
    judge, asked = listening()
    template = "{question}{?reference}{reference}{/reference}"
    reward = IPGRMReward(judge, reference_column="answer", principles_template=template)
    reward(prompts=["the question"], completions=["quality 1"], answer=["the truth"])
    assert "the question" in asked
    assert sum("the truth" in text for text in asked) == 1


def test_ipgrm_a_second_judge_writes_the_principles():
    writer, written = listening()
    judge, asked = listening()
    IPGRMReward(judge, principles_judge=writer)(prompts=["q"] * 2, completions=["quality 1", "quality 2"])
    assert (len(written), len(asked)) == (1, 2)


@families
def test_a_reference_is_shown_to_the_judge_of_responses(family):
    judge, asked = listening()
    reward = family(judge, reference_column="answer")
    reward(prompts=["q"] * 2, completions=["quality 1", "quality 2"], answer=["the truth"] * 2)
    assert all(("the truth" in text) == bool("quality" in text) for text in asked)


def test_the_system_message_is_shown_apart():
    judge, asked = listening()
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    IRPMReward(judge)(prompts=[prompt], completions=["quality 1"])
    assert "[System]\nBe brief.\n" in asked[0]


@families
def test_b2_31_the_judges_own_control_tokens_are_broken_in_every_prompt(family):
    judge, asked = listening()
    judge.control_tokens = ("~~END~~",)
    family(judge)(prompts=["a ~~END~~"] * 2, completions=["~~END~~ quality 1", "~~END~~ quality 2"])
    assert asked
    assert not any("~~END~~" in text for text in asked)


def test_b2_31_the_control_tokens_of_a_judge_for_the_principles_are_broken_too():
    judge, asked = listening()
    other, asked_for_principles = listening()
    other.control_tokens = ("~~END~~",)
    IPGRMReward(judge, principles_judge=other)(prompts=["a ~~END~~"], completions=["quality 7"])
    assert "~~END~~" not in "".join(asked + asked_for_principles)


def test_near_ties_are_flattened_in_reward_units():
    reward = Given({"a": 0.50, "b": 0.52, "c": 0.9}, min_spread=0.05)
    rewards = reward(prompts=["p", "p", "q", "q"], completions=["a", "b", "a", "c"])
    assert rewards == pytest.approx([0.51, 0.51, 0.5, 0.9])


@pytest.mark.parametrize(
    "model", ["IP-GRM/IP-GRM", "chenji24/IRPM-7B", "wangclnlp/GRAM-Qwen3-1.7B", "BBQGOD/DeepSeek-GRM-16B"]
)
def test_a_judge_with_a_template_of_its_own_is_warned_of(model):
    judge = ScriptedJudge(by_quality)
    judge.model = model
    with pytest.warns(UserWarning, match="template="):
        IRPMReward(judge)
    IRPMReward(judge, template="{question}{response}")


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "telegram-bot-7b", "gpt-4o", "scripted:test_irpm"])
def test_other_judges_are_not_warned_of(model):
    judge = ScriptedJudge(by_quality)
    judge.model = model
    IRPMReward(judge)


# What a call says


def test_metrics_of_a_call():
    replies = {"a": "<score>10</score>", "bb": "<score>10</score>", "ccc": "no idea", "dddd": "<score>2</score>"}
    reward = IRPMReward(ScriptedJudge(lambda messages: replies[shown(messages)[0]]))
    _, metrics = measured(reward, ["p", "p", "q", "q", "q"], ["a", "bb", "dddd", "ccc", ""])
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    assert metrics["unscored"] == pytest.approx(1 / 5)
    assert metrics["parse_failures"] == pytest.approx(3 / 6), "three readings of one answer failed"
    assert metrics["zero_spread_groups"] == pytest.approx(1 / 2)
    assert metrics["at_max"] == pytest.approx(2 / 4), "of those that are scored"
    assert metrics["calls"] == 3 + 3
    assert metrics["ties"] == pytest.approx(1 / 4), "the pair of the first group, none of the three of the second"
    assert -1 <= metrics["length_correlation"] <= 1


def test_metrics_and_columns_carry_the_name_of_the_reward():
    names = []
    for reward in (IRPMReward(ScriptedJudge(by_quality), name="x"), IRPMReward(ScriptedJudge(by_quality), name="x")):
        reward(
            prompts=["q"],
            completions=["quality 5"],
            log_metric=lambda key, value: names.append(key),
            log_extra=lambda key, values: names.append(key),
        )
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} == {"x", "x_2"}


@families
def test_the_column_of_critiques_has_one_text_or_none_a_row(family):
    columns = {}
    reward = family(ScriptedJudge(by_quality))
    reward(prompts=["q"] * 3, completions=["quality 1", "", "quality 3"], log_extra=columns.__setitem__)
    ((name, texts),) = columns.items()
    assert name == f"{reward.__name__}/critique"
    assert [type(text) for text in texts] == [str, type(None), str]


def test_each_row_has_its_own_critique():
    columns = {}
    IRPMReward(ScriptedJudge(by_quality))(
        prompts=["p", "p", "q"], completions=["quality 1", "quality 2", "quality 3"], log_extra=columns.__setitem__
    )
    (texts,) = columns.values()
    assert [re.search("<critique>(.*)</critique>", text)[1] for text in texts] == [
        "quality 1",
        "quality 2",
        "quality 3",
    ]


def test_one_line_in_the_log_a_call(caplog):
    reward = IRPMReward(ScriptedJudge(by_quality))
    with caplog.at_level(logging.INFO, "grmrewards"):
        reward(prompts=["p", "q"], completions=["quality 1", "quality 2"])
    (line,) = [entry.getMessage() for entry in caplog.records]
    assert "2 completions in 2 groups, 0 unscored; 2 calls" in line


# The record


def test_the_record_has_a_line_for_each_vote_and_each_completion(tmp_path):
    path = tmp_path / "runs" / "judge.jsonl"
    reward = IRPMReward(ScriptedJudge(lambda m: ["<score>8</score>", "no idea"]), votes=2, log_path=path)
    state = type("State", (), {"global_step": 3})
    reward(prompts=["q"] * 2, completions=["a", ""], trainer_state=state)
    entries = list(record.read(path))
    votes = [entry for entry in entries if entry["type"] == "vote"]
    rows = [entry for entry in entries if entry["type"] == "completion"]
    assert [(vote["rows"], vote["value"], vote["step"]) for vote in votes] == [
        ([0], [8.0], 3),
        ([0], None, 3),  # could not be read,
        ([0], [8.0], 3),  # and was asked for again
    ]
    assert [(vote["vote"], vote["round"]) for vote in votes] == [(0, 0), (1, 0), (2, 1)]
    assert len({vote["key"] for vote in votes}) == 1
    assert [(row["row"], row["response"], row["score"], row["reward"]) for row in rows] == [
        (0, "a", 8.0, 0.8),
        (1, "", 0.0, 0.0),
    ]
    assert all(row["prompt"] == "q" for row in rows)


def test_the_record_keeps_what_could_not_be_read(tmp_path):
    path = tmp_path / "judge.jsonl"
    IRPMReward(ScriptedJudge(lambda m: "no idea"), log_path=path)(prompts=["q"], completions=["a"])
    votes = [entry for entry in record.read(path) if entry["type"] == "vote"]
    assert {vote["text"] for vote in votes} == {"no idea"}
    assert all(vote["value"] is None and "no <score>" in vote["error"] for vote in votes)


def test_a_torn_last_line_is_skipped_and_costs_no_other(tmp_path):
    path = tmp_path / "judge.jsonl"
    record.append(path, {"n": 1})
    with open(path, "ab") as file:
        file.write(b'{"v": 1, "n": 2, "te')  # killed here
    assert [entry["n"] for entry in record.read(path)] == [1]
    record.append(path, {"n": 3})
    record.append(path, {"n": 4})
    assert [entry["n"] for entry in record.read(path)] == [1, 3, 4]


def test_b2_35_every_line_is_json_for_every_reader(tmp_path):
    path = tmp_path / "judge.jsonl"
    record.append(
        path, {"text": "lone \ud800, \u2028, NUL \0, 你好", "value": (-math.inf, math.nan), "deep": {"x": [math.inf]}}
    )
    (line,) = path.read_bytes().splitlines()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(line, parse_constant=refuse)["value"] == ["-inf", "nan"]


def test_lines_of_foreign_making_are_skipped(tmp_path):
    path = tmp_path / "judge.jsonl"
    path.write_bytes(b'\n5\n"x"\n[1]\n\xff\xfe\nnull\n{"n": 1}\n')
    assert list(record.read(path)) == [{"n": 1}]


# Wrong arguments

SHARED = {
    "judge": [None, "gpt-4o", ScriptedJudge, Ellipsis],
    "name": ["", " ", 5],
    "group_size": [0, -1, 2.0, True, "8"],
    "group_key": ["", 5],
    "prompt_column": ["", 5],
    "reference_column": [" ", 5],
    "answer_tag": ["", 5, "<answer>"],
    "max_response_chars": [0, -5, 1.5, "100"],
    "scale": ["percent", (1, 0), (0, 1, 2), (0, math.inf), None, 5],
    "min_spread": [-0.1, math.nan, "0", True],
    "on_failure": ["zero", math.nan, math.inf, None, True],
    "max_failures": [-0.1, 1.1, math.nan, "half", None],
    "deadline": [0, -1, math.inf, math.nan, "60"],
    "log_path": [5, True, ""],
    "template": [5, "no_such_template", "no/such/file.txt", "{question} alone"],
    "seed": [-1, 1.5, None, "x"],
}
OWN = {
    IPGRMReward: {
        "votes": [0, -1, 1.5, True, None],
        "min_votes": [0, 2, 1.5, None],
        "combine": ["mean", None, True],
        "cache_dir": [5, True, ""],
        "principles_judge": ["gpt-4o", 0, Ellipsis],
        "principles_template": [5, "", "no_such_template", "no marks\n"],
    },
    ListwiseReward: {"votes": [0, 1.5, None], "min_votes": [0, 9], "shuffle": [1, "yes", None], "orders": [0, -2, 1.5]},
    IRPMReward: {"votes": [0, 1.5, None], "min_votes": [0, 2], "aggregate": ["max", None, 1]},
    GRAMReward: {"baseline_column": ["", 5], "opponents": [0, -1, 1.5, True], "both_orders": [1, "no", None]},
    PairwiseReward: {"votes": [0, 1.5, None], "opponents": [0, -1, True, "all"], "both_orders": [1, "no", None]},
}
WRONG = [
    pytest.param(family, argument, value, id=f"{family.__name__}-{argument}={value!r}"[:60])
    for family in FAMILIES.values()
    for argument, values in {**SHARED, **OWN[family]}.items()
    if family is IRPMReward or argument in OWN[family] or argument == "template"
    for value in values
    if not (argument == "template" and family is not IRPMReward and value != "{question} alone")
]


@pytest.mark.parametrize(("family", "argument", "value"), WRONG)
def test_a_wrong_argument_is_refused_at_construction_with_its_name_and_value(family, argument, value):
    with pytest.raises(ConfigError) as refused:
        family(**{"judge": ScriptedJudge(by_quality), argument: value})
    message = str(refused.value)
    assert argument in message or (argument == "principles_template" and "template" in message)
    assert (str(value) if isinstance(value, str) else repr(value))[:30].strip() in message


def test_arguments_that_exclude_each_other():
    with pytest.raises(ConfigError, match=r"opponents=2 .* baseline_column='b'"):
        GRAMReward(ScriptedJudge(by_quality), baseline_column="b", opponents=2)


def test_a_scripted_judge_needs_a_function():
    with pytest.raises(ConfigError, match="reply='8'"):
        ScriptedJudge("8")


def test_a_family_without_a_score_method_says_what_to_write():
    class Empty(Reward):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define"):
        Empty(ScriptedJudge(by_quality), template="{question}")(prompts=["q"], completions=["a"])
