"""`grmrewards doctor`: on judges whose doubt is known, it says where that lies."""

import ast
import json
import math
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import ConfigError, IRPMReward, Reply, cli, doctor
from grmrewards.doctor import Diagnosis, Price, Speed, Tokens, Where
from grmrewards.doctor.examination import shows_scores
from grmrewards.judges.capabilities import Capabilities
from grmrewards.judges.embedded import domain
from grmrewards.types import TokenLogprob


class Doubting:
    """A judge that draws its score from weights given its critique, and its critique from a list, by the seed."""

    local, model = True, "doubting"

    def __init__(self, critiques, logprobs=True):
        self.critiques, self.logprobs = critiques, logprobs

    async def generate(self, messages, *, n=1, temperature=None, seed=None, top_logprobs=None):
        return [self.reply(random.Random((seed or 0) + i), top_logprobs) for i in range(n)]

    def reply(self, rng, top_logprobs):
        critique = rng.choice(list(self.critiques))
        weights = self.critiques[critique]
        (score,) = rng.choices(list(weights), list(weights.values()))
        said = [*re.findall(r"\S+\s?", f"<critique>{critique}</critique>"), "<score>", str(score), "</score>"]
        top = {str(s): math.log(w) for s, w in weights.items()}
        tokens = [TokenLogprob(t, top.get(t, 0.0), top if t in top else {}) for t in said]
        return Reply("".join(said), logprobs=tuple(tokens) if top_logprobs and self.logprobs else ())

    async def choice_logprobs(self, messages, choices):
        raise NotImplementedError


IN_SCORE = Doubting({"Fair.": {4: 0.3, 6: 0.4, 8: 0.3}})
IN_CRITIQUE = Doubting({"Poor.": {4: 1.0}, "Good.": {8: 1.0}})
IN_BOTH = Doubting({"Poor.": {3: 0.5, 7: 0.5}, "Good.": {5: 0.5, 9: 0.5}})
SURE = Doubting({"Fair.": {5: 1.0}})
SLIGHT = Doubting({"Fair.": {5: 0.999, 6: 0.001}})
MUTE = Doubting({"Fair.": {40: 1.0}})
MUMBLING = Doubting({"Fair.": {40: 0.7, 5: 0.3}}, logprobs=False)
SILENT = Doubting({"Fair.": {4: 0.5, 6: 0.5}}, logprobs=False)


@pytest.fixture(autouse=True)
def whole_numbers(monkeypatch):
    monkeypatch.setattr(IRPMReward, "decimals", 0)  # the scripted server cannot go on with a begun answer


@pytest.mark.parametrize(
    ("judge", "share", "advice"),
    [
        (IN_SCORE, 1.0, "doubt lies in the score"),
        (IN_CRITIQUE, 0.0, "doubt lies in the critique"),
        (IN_BOTH, 0.8, "doubt lies in"),
        (SURE, None, "do not differ, or hardly"),
        (SLIGHT, 1.0, "do not differ, or hardly"),
        (SILENT, None, "gives no log-probabilities"),
        (MUTE, None, "Most of its answers could not be read"),
        (MUMBLING, None, "Most of its answers could not be read"),
    ],
    ids=[
        "in the score",
        "in the critique",
        "in both",
        "no doubt",
        "hardly any",
        "no log-probabilities",
        "nothing to read",
        "little to read",
    ],
)
def test_it_says_where_the_doubt_lies(judge, share, advice):
    found = doctor.diagnose(judge, votes=16)
    assert found.within_critique == (share if share is None else pytest.approx(share, abs=0.08))
    assert advice in found.report()
    assert found.judgements == 16 * 16


def test_one_expected_score_is_worth_as_many_votes_as_the_variances_say():
    found = doctor.diagnose(IN_BOTH, votes=32)
    assert found.worth == pytest.approx(1 / (1 - found.within_critique))
    assert found.entropy == pytest.approx(math.log(2))


def test_cases_come_from_a_file(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps({"prompt": "1+1?", "completions": ["2", "3"]}) + "\n")
    assert doctor.cases_of(path) == [("1+1?", ["2", "3"])]


def test_preferences_are_cases_too(tmp_path):
    path = tmp_path / "preferences.jsonl"
    rows = [{"prompt": f"{i}+1?", "chosen": f"{i + 1}", "rejected": "no"} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert doctor.cases_of(path) == [(f"{i}+1?", [f"{i + 1}", "no"]) for i in range(8)]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"prompt": "q"}', '{"prompt": "q", "completions": []}', '{"prompt": "q", "completions": [1]}']
)
def test_a_line_that_is_no_case_is_named(tmp_path, line):
    path = tmp_path / "cases.jsonl"
    path.write_text(line)
    with pytest.raises(ConfigError, match="line 1"):
        doctor.cases_of(path)


@pytest.mark.parametrize("arguments", [{"family": "gram"}, {"votes": 1}, {"cases": []}])
def test_arguments_are_checked(arguments):
    with pytest.raises(ConfigError):
        doctor.diagnose(SURE, **arguments)


def test_spread_is_the_standard_deviation_of_a_vote():
    assert doctor.diagnose(IN_SCORE, votes=32).spread == pytest.approx(math.sqrt(0.6 * 2**2), rel=0.05)


def test_a_judge_without_probabilities_is_looked_at_by_its_votes_alone():
    found = doctor.diagnose(IN_SCORE, votes=4, score="sampled")
    assert (found.mass, found.doubt, found.unscored) == (None, "unseen", 0.0)


# The options to use


def diagnosis(doubt, **more):
    """One whose doubt lies there."""
    within = {"score": 0.9, "critique": 0.1, "both": 0.5}.get(doubt)
    figures = {"parse_failures": 1.0 if doubt == "unread" else 0.0, "mass": None if doubt == "unseen" else 1.0}
    return Diagnosis(judgements=8, unscored=0.0, entropy=1.0, within_critique=within, **figures, **more)


FAST = Speed(alone=2.0, rate=10.0, prompts_at_once=16, judgement=Tokens(600, 100))


@pytest.mark.parametrize(
    ("doubt", "votes", "score"),
    [
        ("score", 1, "expected"),
        ("critique", (2, 16), "sampled"),
        ("both", (2, 16), "expected"),
        ("none", 1, "sampled"),
        ("unseen", 8, "sampled"),
        ("unread", 1, "sampled"),
    ],
)
def test_the_options_follow_from_the_doubt(doubt, votes, score):
    found = diagnosis(doubt)
    assert found.doubt == doubt
    options = doctor.advise(found, FAST, family="irpm", limit=2048)
    assert (options.votes, options.score, options.max_tokens, options.max_concurrency) == (votes, score, None, None)


@pytest.mark.parametrize(
    ("more", "at_once", "speed", "wanted"),
    [
        pytest.param({}, 64, FAST, (None, None), id="nothing to change"),
        pytest.param({"cut_off": 0.2}, 64, FAST, (4096, None), id="answers cut off"),
        pytest.param({}, 16, FAST, (None, 32), id="all that may be sent at once goes on at once"),
        pytest.param({}, 32, FAST, (None, None), id="too few were waiting to tell"),
        pytest.param({}, None, FAST, (None, None), id="no endpoint"),
    ],
)
def test_limits_are_raised_where_they_hold_the_judge_back(more, at_once, speed, wanted):
    options = doctor.advise(diagnosis("unseen", **more), speed, family="irpm", limit=2048, at_once=at_once)
    assert (options.max_tokens, options.max_concurrency) == wanted


GIVEN = Capabilities(where="m", logprobs="given", continues="continued")


@pytest.mark.parametrize(
    ("can", "ipgrm", "listwise"),
    [
        pytest.param(GIVEN, True, True, id="given"),
        pytest.param(replace(GIVEN, continues="ignored"), True, True, id="begun answers ignored"),
        pytest.param(replace(GIVEN, continues="refused"), False, True, id="begun answers refused"),
        pytest.param(replace(GIVEN, logprobs="absent"), False, False, id="absent"),
        pytest.param(replace(GIVEN, logprobs="refused"), False, False, id="refused"),
        pytest.param(doctor.LocalModel("m", None, None, None, None), True, True, id="local"),
    ],
)
def test_expected_scores_are_asked_for_where_they_can_be_had(can, ipgrm, listwise):
    assert (shows_scores(can, "ipgrm"), shows_scores(can, "listwise")) == (ipgrm, listwise)


def test_a_judge_that_does_not_sample_gets_one_vote():
    assert doctor.advise(diagnosis("unseen"), FAST, family="irpm", limit=2048, samples=False).votes == 1


WHERES = {
    "endpoint": Where("m", "http://localhost:8000/v1"),
    "by the environment": Where("m", temperature=0.6),
    "local": Where("m", local=True, template="my.txt"),
    "embedded": Where("embedded", local=True),
}


@pytest.mark.parametrize("where", WHERES.values(), ids=WHERES)
@pytest.mark.parametrize("family", ["irpm", "listwise", "ipgrm"])
def test_the_line_of_python_calls_what_there_is(where, family):
    ast.parse(line := doctor.python(where, doctor.Options(family, (2, 16), "expected", 4096, 32)))
    judge, reward = Recorder(), Recorder()
    names = {"OpenAIJudge": judge, "TransformersJudge": judge, type(reward).__name__: reward}
    names |= dict.fromkeys(["IRPMReward", "ListwiseReward", "IPGRMReward"], reward)
    eval(line, names)
    assert (reward.given["votes"], reward.given["score"]) == ((2, 16), "expected")
    assert judge.given == EXPECTED[where.model, where.local, where.base_url]


class Recorder:
    """Stands for a class, and keeps the arguments of its last call."""

    def __call__(self, *first, **given):
        self.given = given

    def embedded(self):
        self.given = {}


EXPECTED = {
    ("m", False, "http://localhost:8000/v1"): {
        "base_url": "http://localhost:8000/v1",
        "max_tokens": 4096,
        "max_concurrency": 32,
    },
    ("m", False, None): {"temperature": 0.6, "max_tokens": 4096, "max_concurrency": 32},
    ("m", True, None): {"max_new_tokens": 4096},
    ("embedded", True, None): {},
}


# What it costs


def test_the_bill_of_a_step_counts_prompts_principles_and_expected_scores():
    fast = Speed(2.0, 10.0, 16, Tokens(600, 100), expected=Tokens(50, 1), principles=Tokens(200, 300))
    found = doctor.bill(fast, 64, expected=True, prompts=4, price=Price(1.0, 2.0))
    assert found.tokens == Tokens(64 * 650 + 4 * 200, 64 * 101 + 4 * 300)
    assert found.money == pytest.approx((found.tokens.read + 2 * found.tokens.written) / 1e6)
    assert found.seconds == pytest.approx(6.4)


@pytest.mark.parametrize(
    ("family", "votes", "judgements"),
    [("irpm", 8, 4 * 8 * 8), ("ipgrm", 1, 4 * 8), ("irpm", (2, 16), 4 * 8 * 4), ("listwise", 8, 4 * 8)],
)
def test_a_step_has_as_many_judgements_as_its_family_asks_for(family, votes, judgements):
    options = doctor.Options(family, votes, "sampled")
    model = doctor.LocalModel("m", 2048, 10, "cpu", "float32")
    found = doctor.Findings(Where("m"), model, diagnosis("none"), FAST, options, None, 4, 8)
    assert found.step.judgements == judgements
    assert json.loads(json.dumps(found.as_json()))["step"]["judgements"] == judgements


def test_a_server_that_counts_no_tokens_has_no_bill_in_tokens():
    uncounted = Speed(2.0, 10.0, 16, None)
    found = doctor.bill(uncounted, 1000, expected=False, price=Price(1.0, 2.0))
    assert (found.tokens, found.money, found.seconds) == (None, None, 100.0)
    assert "unknown" in found.report("a thousand") + uncounted.report()


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 10**6))
@settings(deadline=None, derandomize=True)
def test_a_bill_grows_with_its_judgements(read, written, count):
    price = Price(0.5, 1.5)
    one = doctor.bill(Speed(1.0, 1.0, 1, Tokens(read, written)), 1, expected=False, price=price).money
    assert doctor.bill(Speed(1.0, 1.0, 1, Tokens(read, written)), count, expected=False, price=price).money == (
        pytest.approx(one * count)
    )


# The judge of this package


def test_the_questions_for_the_embedded_judge_are_in_its_domain_and_their_first_answers_the_best():
    cases = doctor.embedded_cases(20)
    assert len({prompt for prompt, _ in cases}) == 20
    for prompt, answers in cases:
        scores = [domain.rule_score(domain.parse_question(prompt), answer) for answer in answers]
        assert scores[0] == 1.0
        assert scores[-1] == 0.0
        assert all(0 < score < 1 for score in scores[1:-1])


def test_the_command_looks_at_the_embedded_judge(capsys):
    pytest.importorskip("torch", reason="needs the extra `local`")
    assert cli.main(["doctor", "--model", "embedded", "--local", "--votes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["can"] | {"parameters": 0} == {
        "model": "embedded",
        "context": 2048,
        "parameters": 0,
        "device": "cpu",
        "dtype": "float32",
        "logprobs": True,
    }
    assert found["can"]["parameters"] > 10**5
    assert (found["doubt"]["parse_failures"], found["doubt"]["unscored"]) == (0.0, 0.0)
    assert found["doubt"]["mass"] > 0.99
    assert found["python"].startswith("IRPMReward(TransformersJudge.embedded(), votes=")


def test_the_command_takes_answers_from_a_file(capsys, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `local`")
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps({"prompt": "Name 3 animals.", "completions": ["cat, dog, fox", "cat, red", "cat"]}))
    assert cli.main(["doctor", "--model", "embedded", "--local", "--data", str(path), "--votes", "4"]) == 0
    shown = capsys.readouterr().out
    assert "probability of scores seen" in shown
    assert re.search(r"^judgements +12$", shown, re.MULTILINE)
