"""The expected score: the mean over all that a judge might have written, asked of judges that give all of it or little."""

import asyncio
import functools
import math

import pytest

from grmrewards import ConfigError, FatalJudgeError, IRPMReward, ListwiseReward, Reply, expected, parsing
from grmrewards.distribution import spread, strings
from grmrewards.errors import ParseError
from grmrewards.types import CALL, Call, Message, TokenLogprob
from scored_model import OPENING, LocalScoringJudge, ScoreModel, ScoringJudge

WHOLE, DECIMALS = strings(0, 10, decimals=0), strings(0, 10, decimals=1)
MODELS = {
    "tenths": ScoreModel(DECIMALS, seed=3),
    "tenths-after-a-space": ScoreModel(DECIMALS, seed=4, lead=" "),
    "10-is-two-tokens": ScoreModel(WHOLE, seed=3),
    "10-is-a-token": ScoreModel(WHOLE, seed=6, merged=["10"]),
}
JUDGES = {"local": LocalScoringJudge, "endpoint": ScoringJudge}


def rate(judge, **options):
    """The score from 0 to 10 of one response, and the metrics."""
    metrics = {}
    reward = IRPMReward(judge, score="expected", max_failures=1.0, **options)
    (found,) = reward(prompts=["q"], completions=["a"], log_metric=metrics.__setitem__)
    return None if found is None else found * 10, {name.partition("/")[2]: value for name, value in metrics.items()}


def likeliest(model):
    return f"{max(model.probabilities().items(), key=lambda pair: pair[1])[0]:g}"


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("kind", JUDGES.values(), ids=JUDGES)
def test_the_score_is_the_mean_of_the_models_own_distribution(kind, model):
    truth = spread(model.probabilities())
    score, metrics = rate(kind(model, likeliest(model)))
    missed = 0.0 if kind is LocalScoringJudge else expected.SETTLED  # of the probability, and all scores are at most 10
    assert score == pytest.approx(truth.mean, abs=1e-6 + 10 * missed)
    assert 1 - missed - 1e-6 <= metrics["score_mass"] <= 1


def test_only_beginnings_that_matter_are_asked_on():
    model = MODELS["10-is-two-tokens"]
    judge = ScoringJudge(model, "7")
    asyncio.run(_spreads(judge, WHOLE))
    assert judge.asked == [OPENING + "1"]
    merged = ScoringJudge(MODELS["10-is-a-token"], "7")
    asyncio.run(_spreads(merged, WHOLE))
    assert merged.asked == []


async def _spreads(judge, texts):
    messages = [Message("user", "q")]
    (reply,) = await judge.generate(messages)
    family = IRPMReward(judge)
    span = parsing.tagged_span(reply, "score")
    return await expected.spreads(family, messages, reply, [span], texts, judge=judge, about=[0])


def test_a_server_that_ignores_a_begun_answer_tells_only_what_was_sampled():
    model = ScoreModel(DECIMALS, seed=4)  # more than half of its scores begin with a 5
    judge = ScoringJudge(model, likeliest(model), begun="ignored")
    seen = {value: p for value, p in model.probabilities().items() if f"{value:.1f}"[:1] == likeliest(model)[:1]}
    (found,) = asyncio.run(_spreads(judge, DECIMALS))
    assert judge.asked
    assert found == pytest.approx(spread(seen), abs=0.02)
    assert 0.5 < found.mass < 0.6


def test_too_little_of_the_probability_is_no_score():
    model = MODELS["tenths"]
    least = f"{min(model.probabilities().items(), key=lambda pair: pair[1])[0]:.1f}"
    score, metrics = rate(ScoringJudge(model, least, begun="ignored"))
    assert (score, metrics["unscored"]) == (None, 1.0)


def test_a_server_that_refuses_a_begun_answer_is_an_error_that_names_the_feature():
    with pytest.raises(FatalJudgeError, match=r"score='expected'.*begun.*vLLM.*cannot be last"):
        rate(ScoringJudge(MODELS["tenths"], likeliest(MODELS["tenths"]), begun="refused"))


def test_so_is_a_configuration_that_it_refuses():
    class Strict(ScoringJudge):
        async def generate(self, messages, **sampling):
            if messages[-1].role == "assistant":
                raise ConfigError("no begun answers")
            return await super().generate(messages, **sampling)

    with pytest.raises(ConfigError, match=r"score='expected'.*no begun answers"):
        rate(Strict(MODELS["tenths"], likeliest(MODELS["tenths"])))


def test_a_judge_without_log_probabilities_gives_no_expected_score():
    class Mute(ScoringJudge):
        async def generate(self, messages, **sampling):
            return [Reply("<score>7</score>")]

    score, metrics = rate(Mute(MODELS["tenths"], "7"))
    assert (score, metrics["unscored"]) == (None, 1.0)
    with pytest.raises(ParseError, match="score='sampled'"):
        asyncio.run(_spreads(Mute(MODELS["tenths"], "7"), DECIMALS))


@pytest.mark.parametrize("kind", JUDGES.values(), ids=JUDGES)
def test_what_is_begun_is_what_the_judge_wrote_with_its_reasoning(kind):
    class Thinking(kind):
        async def generate(self, messages, **sampling):
            (reply,) = await super().generate(messages, **sampling)
            return [Reply(reply.text, "Hm.", logprobs=reply.logprobs)]

    judge = Thinking(MODELS["tenths"], likeliest(MODELS["tenths"]))
    asyncio.run(_spreads(judge, DECIMALS))
    assert judge.asked
    assert all(text.startswith(f"<think>\nHm.\n</think>\n\n{OPENING}") for text in judge.asked)


@pytest.mark.parametrize("kind", JUDGES.values(), ids=JUDGES)
def test_a_control_token_that_a_judge_quotes_is_none_when_its_answer_is_begun_again(kind):
    """A response can have a token quoted, letter by letter; tokenised once more, it would end the judge's turn."""

    class Quoting(kind):
        control_tokens = ("<|end_of_judge|>",)

        async def generate(self, messages, **sampling):
            (reply,) = await super().generate(messages, **sampling)
            if messages[-1].role == "assistant":
                return [reply]
            quote = "It says <|im_end|><|end_of_judge|>. "
            tokens = (TokenLogprob(quote, 0.0), *reply.logprobs)
            return [Reply(quote + reply.text, "Hm <|im_end|>.", logprobs=tokens)]

    judge = Quoting(MODELS["tenths"], likeliest(MODELS["tenths"]))
    (spread,) = asyncio.run(_spreads(judge, DECIMALS))
    assert spread.mass == pytest.approx(1.0, abs=0.05)
    assert judge.asked
    assert all(token not in text for text in judge.asked for token in ("<|im_end|>", "<|end_of_judge|>"))
    assert all("It says" in text for text in judge.asked)


def test_each_score_of_a_list_has_a_distribution_given_those_before_it():
    class Listing:
        model, exact_choices = "list", True

        async def generate(self, messages, **sampling):
            return [Reply(r"Scores: \boxed{8, 3}")]

        async def choice_logprobs(self, messages, choices):
            first = messages[-1].content == r"Scores: \boxed{"
            assert first or messages[-1].content == r"Scores: \boxed{8, "
            likely = {"9": 0.5, "7": 0.25} if first else {"2": 1.0}
            return [(math.log(likely.get(choice, 1e-12)),) for choice in choices]

    rate_list = functools.partial(
        ListwiseReward(Listing(), score="expected", shuffle=False, votes=1), prompts=["q"] * 2
    )
    first, second = rate_list(completions=["a", "b"])
    assert first > second
    family = ListwiseReward(Listing())
    reply = Reply(r"Scores: \boxed{8, 3}")
    spans = parsing.boxed_spans(reply, 2)
    ask = expected.spreads(family, [Message("user", "q")], reply, spans, WHOLE, judge=family.judge, about=[0, 1])
    means = [(found.mean, found.mass) for found in asyncio.run(ask)]
    assert means == [pytest.approx((25 / 3, 0.75)), pytest.approx((2.0, 1.0))]


def test_a_choice_that_could_not_be_had_is_no_score_and_is_counted_once():
    class Empty(LocalScoringJudge):
        async def choice_logprobs(self, messages, choices):
            return []

    CALL.set(call := Call())
    assert asyncio.run(_spreads(Empty(MODELS["tenths"], "7"), DECIMALS)) is None
    assert sum(call.failures.values()) == 1
    assert "no usable log-probabilities" in next(iter(call.failures))
