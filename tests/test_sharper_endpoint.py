"""Sharper scores from a judge behind a real server on loopback: what the server must give, and what it costs."""

import math

import pytest

from grmrewards import IRPMReward, JudgeOutage, OpenAIJudge
from grmrewards.ballots import likelihood
from servers import Server, choice, completes

# After "<score>": a digit, of which 7 may go on to ".5"; the mean is 0.2 * 2 + 0.3 * 7 + 0.3 * 7.5 + 0.2 * 9
FIRST, AFTER = {"2": 0.2, "7": 0.6, "9": 0.2}, {".5": 0.5, "</": 0.5}
MEAN = 0.2 * 2 + 0.3 * 7 + 0.3 * 7.5 + 0.2 * 9


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


def position(token, probabilities):
    top = [{"token": t, "logprob": math.log(p)} for t, p in probabilities.items()]
    return {"token": token, "logprob": math.log(probabilities[token]), "top_logprobs": top}


def written(with_logprobs):
    """The whole answer, in which 9 was sampled: what 7 would have gone on to is not among its tokens."""
    tokens = [
        ("<critique>", {"<critique>": 1.0}),
        ("Fair.", {"Fair.": 0.25}),
        ("</critique><score>", {"</critique><score>": 1.0}),
    ]
    tokens += [("9", FIRST), ("</", {"</": 1.0}), ("score>", {"score>": 1.0})]
    content = [position(*token) for token in tokens] if with_logprobs else None
    return choice("".join(token for token, _ in tokens), logprobs=content and {"content": content})


def script(*, continues, logprobs=True):
    def answer(body):
        begun = body["messages"][-1]
        if begun["role"] != "assistant":
            return completes(*[written(logprobs and body.get("logprobs"))] * body.get("n", 1))
        if not continues:  # the begun answer is taken for a finished turn
            return completes(choice("<critique>", logprobs={"content": [position("<critique>", {"<critique>": 1.0})]}))
        after = AFTER if begun["content"].endswith("7") else {"</": 1.0}
        token = next(iter(after))
        return completes(choice(token, logprobs={"content": [position(token, after)]}))

    return answer


def reward_at(server, **arguments):
    judge = OpenAIJudge("judge", base_url=server.url, check_server=False)
    return IRPMReward(judge, scale="raw", on_failure="none", **arguments)


def judged(reward):
    metrics = {}

    def keep(name, value):
        metrics[name.rpartition("/")[2]] = value

    return reward(prompts=["q"], completions=["a"], log_metric=keep), metrics


def test_a_server_that_goes_on_gives_the_whole_distribution(server):
    server.script = script(continues=True)
    scores, metrics = judged(reward_at(server, score="expected"))
    assert scores == [pytest.approx(MEAN)]
    assert metrics["score_mass"] == pytest.approx(1.0)
    begun = [body["messages"][-1]["content"] for body in server.bodies if body["messages"][-1]["role"] == "assistant"]
    assert "<critique>Fair.</critique><score>7" in begun
    assert all(body["max_tokens"] == 1 for body in server.bodies if body["messages"][-1]["role"] == "assistant")


def test_a_server_that_begins_anew_leaves_it_unseen_and_says_so(server):
    server.script = script(continues=False)
    with pytest.raises(JudgeOutage, match="probability of a score was seen"):
        judged(reward_at(server, score="expected", max_failures=0.0))


def test_whole_numbers_need_no_second_request(server, monkeypatch):
    monkeypatch.setattr(IRPMReward, "decimals", 0)
    server.script = script(continues=False)
    scores, metrics = judged(reward_at(server, score="expected"))
    assert scores == [pytest.approx(0.2 * 2 + 0.6 * 7 + 0.2 * 9)]
    assert metrics["score_mass"] == pytest.approx(1.0)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("options", [{"score": "expected"}, {"vote_weights": likelihood}, {"vote_filter": likelihood}])
def test_a_server_without_log_probabilities_is_named_as_the_reason(server, options):
    server.script = script(continues=True, logprobs=False)
    with pytest.raises(JudgeOutage, match="log-probabilities"):
        judged(reward_at(server, votes=2, max_failures=0.0, **options))


def test_likelihood_reads_the_log_probabilities_of_the_server(server):
    seen = []

    def rate(ballots):
        seen.extend(likelihood(ballots))
        return [1.0] * len(ballots)

    rate.needs_logprobs = True
    server.script = script(continues=True)
    judged(reward_at(server, votes=2, vote_weights=rate))
    assert seen == [pytest.approx(math.exp(math.log(0.25) / 3) * 0.2)] * 2
    assert all(body["logprobs"] for body in server.bodies)
