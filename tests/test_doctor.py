"""`grmrewards doctor`: on judges whose doubt is known, it says where that lies."""

import json
import math
import random
import re

import pytest

from grmrewards import ConfigError, Reply, cli, doctor
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
SILENT = Doubting({"Fair.": {4: 0.5, 6: 0.5}}, logprobs=False)


@pytest.fixture(autouse=True)
def whole_numbers(monkeypatch):
    monkeypatch.setattr(doctor.IRPMReward, "decimals", 0)  # the scripted server cannot go on with a begun answer


@pytest.mark.parametrize(
    ("judge", "share", "advice"),
    [
        (IN_SCORE, 1.0, "doubt lies in the score"),
        (IN_CRITIQUE, 0.0, "doubt lies in the critique"),
        (IN_BOTH, 0.8, "doubt lies in"),
        (SURE, None, "do not differ at all"),
        (SILENT, None, "gives no log-probabilities"),
    ],
    ids=["in the score", "in the critique", "in both", "no doubt", "no log-probabilities"],
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


@pytest.mark.slow
def test_the_command_diagnoses_the_embedded_judge(capsys, tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps({"prompt": "Name 3 animals.", "completions": ["cat, dog, fox", "cat, red", "cat"]}))
    assert cli.main(["doctor", "--model", "embedded", "--local", "--data", str(path), "--votes", "4"]) == 0
    assert "probability of scores seen" in capsys.readouterr().out
