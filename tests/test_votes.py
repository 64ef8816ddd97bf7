"""Votes: how many are asked for, which of them count and for how much, in the families that vote."""

import asyncio
import math
import random
import re
import statistics
from collections import Counter, defaultdict

import pytest

from grmrewards import ConfigError, IPGRMReward, IRPMReward, JudgeOutage, ListwiseReward, Reply, TransportError
from grmrewards.ballots import Ballot, best, likelihood, rated
from grmrewards.types import Message, TokenLogprob

PRINCIPLES = "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."
FAMILIES = {"irpm": IRPMReward, "ipgrm": IPGRMReward, "listwise": ListwiseReward}


def shown(messages):
    """The responses in a prompt, in the order shown."""
    text = messages[0].content
    found = re.findall(r"\[The Begin of Response(?: \d+)?\]\n(.*?)\n\[The End of", text, re.DOTALL)
    return found or re.findall(r"\n\[Response\]\n(.*)$", text, re.DOTALL)


class Noisy:
    """A judge whose votes scatter around the number in a response, decided by the seed alone; it counts what is asked.

    "6 +-2" is scored 6 with a standard deviation of 2.
    """

    local, model = True, "noisy"

    def __init__(self, lose=lambda text, seed: False, spread=1.0):
        self.asked, self.temperatures, self.seeds = Counter(), set(), defaultdict(list)
        self.lose, self.spread = lose, spread

    async def generate(self, messages, *, n=1, temperature=None, seed=None, top_logprobs=None):
        await asyncio.sleep(0)
        responses = shown(messages)
        if not responses:
            return [Reply(PRINCIPLES)] * n
        self.temperatures.add(temperature)
        for text in responses:
            self.asked[text] += n
        self.seeds[messages[0].content] += [(seed or 0) + i for i in range(n)]
        return [self.reply(responses, (seed or 0) + i, temperature, top_logprobs) for i in range(n)]

    def reply(self, responses, seed, temperature, top_logprobs):
        scores = [self.score(text, seed, temperature) for text in responses]
        text = self.text(scores)
        if any(self.lose(response, seed) for response in responses):
            return Reply("no verdict")
        tokens = [TokenLogprob(t, -random.Random(f"{seed} {t}").random()) for t in re.findall(r"\d+|\D", text)]
        return Reply(text, logprobs=tuple(tokens) if top_logprobs else ())

    def score(self, text, seed, temperature):
        mean, spread = (float(x) for x in re.findall(r"[\d.]+", text)[:2])
        noise = random.Random(f"{text} {seed}").gauss(0, spread * self.spread) if temperature else 0
        return min(10, max(1, round(mean + noise)))

    def text(self, scores):
        if len(scores) == 1:
            return f"<critique>Well.</critique><score>{scores[0]}</score> \\boxed{{{scores[0]}}}"
        return f"Well. \\boxed{{{', '.join(map(str, scores))}}}"

    async def choice_logprobs(self, messages, choices):
        raise NotImplementedError


def call(reward, responses, prompt="?"):
    """The scores of one group, and the metrics under their bare names."""
    metrics = {}

    def keep(name, value):
        metrics[name.rpartition("/")[2]] = value

    return reward(prompts=[prompt] * len(responses), completions=list(responses), log_metric=keep), metrics


def family(name, judge, **arguments):
    return FAMILIES[name](judge, **{"scale": "raw", "on_failure": "none", **arguments})


# How many


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("votes", "temperature", "want"), [(1, None, None), (4, None, None), (4, 0.25, 0.25)])
def test_the_temperature_follows_the_number_of_votes(name, votes, temperature, want):
    judge = Noisy()
    call(family(name, judge, votes=votes, temperature=temperature), ["6 +-1", "4 +-1"])
    usual = 0.5 if name == "listwise" else 0.0 if votes == 1 else 1.0
    assert judge.temperatures == {usual if want is None else want}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_vote_has_a_seed_of_its_own_also_those_that_come_later(name):
    judge = Noisy()
    call(family(name, judge, votes=(2, 16), undecided=0.0, vote_budget=16), ["6 +-2", "6.1 +-2", "6.2 +-2"])
    assert all(len(set(seeds)) == len(seeds) for seeds in judge.seeds.values())
    assert max(map(len, judge.seeds.values())) > (1 if name == "listwise" else 2)


HARD = ["5 +-2.5", "5.1 +-2.5", "5.2 +-2.5", "5.3 +-2.5"]


def test_adaptive_votes_go_where_the_order_is_open():
    judge = Noisy()
    call(family("irpm", judge, votes=(2, 16), vote_budget=6), ["9.9 +-0", *HARD, "1 +-0"])
    assert min(judge.asked[text] for text in HARD) > max(judge.asked["9.9 +-0"], judge.asked["1 +-0"])


@pytest.mark.parametrize("budget", [2, 3, 4.5, 16])
def test_the_budget_of_a_call_is_never_passed_and_no_response_gets_more_than_the_most(budget):
    judge = Noisy()
    prompts = [str(k) for k in range(6) for _ in range(4)]
    responses = [f"{5 + j / 10} +-2 of {k}" for k in range(6) for j in range(4)]
    family("irpm", judge, votes=(2, 16), vote_budget=budget, undecided=0.0)(prompts=prompts, completions=responses)
    assert sum(judge.asked.values()) <= budget * 24
    assert min(judge.asked.values()) >= 2
    assert max(judge.asked.values()) <= 16


def test_the_budget_goes_from_groups_that_are_settled_to_those_that_are_not():
    judge = Noisy()
    easy = ["9 +-0", "7 +-0", "5 +-0", "3 +-0"]
    family("irpm", judge, votes=(2, 16))(prompts=["easy"] * 4 + ["hard"] * 4, completions=easy + HARD)
    assert [judge.asked[text] for text in easy] == [2] * 4
    assert sum(judge.asked[text] for text in HARD) == 24, "all that eight responses with 4 votes each have left"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_call_asks_the_same_whatever_order_answers_come_in(name):
    """Rounds, not races: answers that come in another order change no vote."""

    class Shaken(Noisy):
        async def generate(self, messages, **sampling):
            for _ in range(shaker.randrange(40 if shown(messages) else 400)):
                await asyncio.sleep(0)
            return await super().generate(messages, **sampling)

    prompts = [str(k) for k in range(5) for _ in range(3)]
    easy, hard = [3, 6, 9], [5, 5.2, 5.4]  # what the easy groups leave goes to the hard ones
    responses = [f"{(hard if k % 2 else easy)[j]} +-{2 * (k % 2)} of {k}" for k in range(5) for j in range(3)]
    seen = []
    for seed in range(4):
        shaker, judge = random.Random(seed), Shaken()
        scores = family(name, judge, votes=(2, 8))(prompts=prompts, completions=responses)
        seen.append((scores, judge.asked))
    assert all(one == seen[0] for one in seen)


def test_one_group_that_fails_does_not_keep_the_others_waiting():
    class Broken(Noisy):
        async def generate(self, messages, **sampling):
            if "broken" in messages[0].content:
                raise TransportError("the line is dead")
            return await super().generate(messages, **sampling)

    judge = Broken()
    responses = ["broken 5 +-1", "broken 6 +-1", "5 +-2", "5.5 +-2", "5.1 +-2", "5.2 +-2"]
    scores = family("irpm", judge, votes=(2, 8))(prompts=["a", "a", "b", "b", "c", "c"], completions=responses)
    assert scores[:2] == [None, None]
    assert None not in scores[2:]
    assert sum(judge.asked.values()) > 8


def test_adaptive_listwise_asks_for_more_ballots_of_the_group_that_is_open():
    judge = Noisy()
    easy = ["9 +-0", "7 +-0", "5 +-0", "3 +-0"]
    family("listwise", judge, votes=(2, 16))(prompts=["easy"] * 4 + ["hard"] * 4, completions=easy + HARD)
    assert judge.asked["9 +-0"] == 2
    assert judge.asked[HARD[0]] == 6


@pytest.mark.parametrize("name", FAMILIES)
def test_lost_votes_change_nothing_but_the_number_that_count(name):
    """A third of the answers is no verdict; the score is the mean of the others, the sum the mean times the number."""
    losing = {"lose": lambda text, seed: seed % 3 == 0}
    calm = {"spread": 0.0}
    means, _ = call(family(name, Noisy(**losing, **calm), votes=6), ["6 +-1", "3 +-1"])
    sums, _ = call(family(name, Noisy(**losing, **calm), votes=6, aggregate="sum"), ["6 +-1", "3 +-1"])
    assert means == [6, 3]
    assert sums == [36, 18]


def test_a_sum_is_scaled_by_its_own_range():
    scores, _ = call(family("irpm", Noisy(spread=0.0), votes=4, aggregate="sum", scale="unit"), ["6 +-1", "3 +-1"])
    assert scores == pytest.approx([0.6, 0.3])


@pytest.mark.parametrize(("aggregate", "combine"), [("median", statistics.median), ("mean", statistics.fmean)])
def test_votes_are_combined_as_asked(aggregate, combine):
    judge = Noisy()
    reward = family("irpm", judge, votes=8, aggregate=aggregate)
    scores, _ = call(reward, ["6 +-2"])
    (seeds,) = judge.seeds.values()
    assert scores == [combine([judge.score("6 +-2", seed, 1.0) for seed in seeds])]


# Which of them


def by_score(ballots):
    return [ballot.scores[0] for ballot in ballots]


@pytest.mark.parametrize(("k_meta", "want"), [(None, 4), (1, 1), (8, 8)], ids=["half", "one", "all"])
def test_a_filter_keeps_the_best_rated(k_meta, want):
    judge = Noisy()
    scores, _ = call(family("irpm", judge, votes=8, vote_filter=by_score, k_meta=k_meta), ["6 +-2"])
    (seeds,) = judge.seeds.values()
    best_first = sorted((judge.score("6 +-2", seed, 1.0) for seed in seeds), reverse=True)
    assert scores == [pytest.approx(statistics.fmean(best_first[:want]))]


def test_votes_count_by_their_weights():
    judge = Noisy()
    scores, _ = call(family("irpm", judge, votes=8, vote_weights=by_score), ["6 +-2"])
    (seeds,) = judge.seeds.values()
    votes = [judge.score("6 +-2", seed, 1.0) for seed in seeds]
    assert scores == [pytest.approx(sum(v * v for v in votes) / sum(votes))]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_rate_sees_question_responses_critique_and_scores(name):
    seen = []

    def rate(ballots):
        seen.extend(ballots)
        return [1.0] * len(ballots)

    call(family(name, Noisy(), votes=2, vote_filter=rate), ["6 +-1", "4 +-1"], prompt="How?")
    for ballot in seen:
        assert ballot.prompt[0].content == "How?"
        assert shown(ballot.messages) == list(ballot.responses)
        assert [float(ballot.reply.text[a:b]) for a, b in ballot.spans] == list(ballot.scores)
    assert len(seen) == (2 if name == "listwise" else 4)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (lambda ballots: [1.0], "rated 4 votes"),
        (lambda ballots: [math.nan] * len(ballots), "finite"),
        (lambda ballots: [-1.0] * len(ballots), "weights"),
    ],
    ids=["too few", "not a number", "negative"],
)
def test_a_rate_that_says_nothing_usable_is_an_error(rate, message):
    with pytest.raises(ConfigError, match=message):
        call(family("irpm", Noisy(), votes=4, vote_weights=rate), ["6 +-1"])


def test_likelihood_is_the_product_of_two_geometric_means():
    tokens = [("So", -0.2), (" it", -0.4), (" is", -0.6), (" ", 0.0), ("7", -0.5), ("}", -3.0)]
    reply = Reply("So it is 7}", logprobs=tuple(TokenLogprob(t, lp) for t, lp in tokens))
    ballot = Ballot((Message("user", "?"),), ("a",), (), reply, (7.0,), spans=((9, 10),))
    assert likelihood([ballot]) == [pytest.approx(math.exp(-0.3) * math.exp(-0.5))]


@pytest.mark.parametrize("name", FAMILIES)
def test_likelihood_weighs_and_filters(name):
    plain, _ = call(family(name, Noisy(), votes=8), ["6 +-2", "5 +-2"])
    weighed, _ = call(family(name, Noisy(), votes=8, vote_weights=likelihood), ["6 +-2", "5 +-2"])
    filtered, _ = call(family(name, Noisy(), votes=8, vote_filter=likelihood), ["6 +-2", "5 +-2"])
    assert plain != weighed != filtered
    assert all(1 <= score <= 10 for score in weighed + filtered)


def test_likelihood_without_logprobs_is_lost_votes_with_the_reason():
    class Silent(Noisy):
        async def generate(self, messages, *, top_logprobs=None, **sampling):
            return await super().generate(messages, **sampling)

    with pytest.raises(JudgeOutage, match="log-prob"):
        call(family("irpm", Silent(), votes=2, vote_weights=likelihood, max_failures=0.0), ["6 +-1"])


@pytest.mark.parametrize("option", ["vote_filter", "vote_weights"])
def test_a_vote_that_cannot_be_rated_is_lost_alone(option):
    def rate(ballots):
        return [None if ballot.scores[0] > 6 else 1.0 for ballot in ballots]

    judge = Noisy()
    scores, metrics = call(family("irpm", judge, votes=8, **{option: rate}), ["6 +-2", "2 +-0"])
    seeds = next(seeds for prompt, seeds in judge.seeds.items() if "6 +-2" in prompt)
    votes = [judge.score("6 +-2", seed, 1.0) for seed in seeds]
    kept = [vote for vote in votes if vote <= 6]
    kept = kept[:4] if option == "vote_filter" else kept
    assert scores == [pytest.approx(statistics.fmean(kept)), 2]
    assert metrics["parse_failures"] == sum(vote > 6 for vote in votes) / 16


def test_of_equal_ratings_the_earlier_votes_are_kept():
    ballots = [Ballot((), ("a",), (), Reply(str(i)), (float(i),)) for i in range(4)]
    assert [b.reply.text for b in best(ballots, [1, 2, 1, 2], 3)] == ["0", "1", "3"]
    assert rated(lambda given: [b.scores[0] for b in given], ballots) == (ballots, [0, 1, 2, 3])


# Two judges


@pytest.mark.parametrize("name", FAMILIES)
def test_the_dear_judge_is_asked_only_where_the_cheap_one_is_undecided(name):
    cheap, dear, metrics = Noisy(), Noisy(spread=0.0), {}
    easy = ["9 +-0", "7 +-0", "5 +-0", "3 +-0"]
    reward = family(name, dear, votes=2, first_judge=cheap)
    reward(prompts=["easy"] * 4 + ["hard"] * 4, completions=easy + HARD, log_metric=metrics.__setitem__)
    assert set(dear.asked) == set(HARD)
    assert set(cheap.asked) == {*easy, *HARD}
    assert metrics[f"{reward.__name__}/second_judge"] == 0.5


def test_a_group_is_scored_by_one_judge_alone():
    """Two judges may use the scale differently: a response must not win by having been judged by the milder one."""
    cheap, dear = Noisy(), Noisy(spread=0.0)
    scores, _ = call(family("irpm", dear, votes=4, first_judge=cheap), ["5.1 +-3", "5.4 +-3", "9 +-0"])
    assert scores == [5, 5, 9]


def test_where_the_cheap_judge_fails_the_dear_one_judges():
    class Dead(Noisy):
        async def generate(self, messages, **sampling):
            raise TransportError("the line is dead")

    scores, _ = call(family("irpm", Noisy(spread=0.0), votes=2, first_judge=Dead()), ["6 +-1", "3 +-1"])
    assert scores == [6, 3]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"votes": (2, 1)}, "pair"),
        ({"votes": (1, 8)}, "at least 2"),
        ({"votes": (2, 8, 9)}, "pair"),
        ({"votes": (2, 8), "aggregate": "sum"}, "sum"),
        ({"votes": (2, 8), "min_votes": 3}, "min_votes"),
        ({"votes": 4, "vote_budget": 4}, "vote_budget"),
        ({"votes": (2, 8), "vote_budget": 9}, "vote_budget"),
        ({"votes": 4, "k_meta": 2}, "k_meta"),
        ({"votes": 4, "k_meta": 5, "vote_filter": by_score}, "k_meta"),
        ({"votes": 4, "vote_filter": "best"}, "vote_filter"),
        ({"votes": 4, "vote_weights": by_score, "aggregate": "median"}, "median"),
        ({"score": "mean"}, "score"),
        ({"aggregate": "mode"}, "aggregate"),
        ({"undecided": 0.6}, "undecided"),
        ({"first_judge": "cheap"}, "first_judge"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_arguments_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        IRPMReward(Noisy(), **arguments)
