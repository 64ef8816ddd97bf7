"""A language model of scores alone, made here: its next tokens are drawn from a seed and all that stands before them."""

import functools
import math
import random

from grmrewards import FatalJudgeError, Reply
from grmrewards.types import TokenLogprob

OPENING, CLOSING = "<critique>Fine.</critique><score>", "</score>"


class ScoreModel:
    """Writes one of `strings` digit by digit, and then `CLOSING`. `merged`: numbers that have a token of their own."""

    def __init__(self, strings, *, seed=0, merged=(), lead=""):
        self.strings, self.seed, self.merged, self.lead = list(strings), seed, merged, lead
        self.next = functools.cache(self._next)

    def _next(self, number):
        """The probability of each next token after a number was begun."""
        tokens = [CLOSING] if number in self.strings else []
        longer = [text for text in self.strings if text.startswith(number) and text != number]
        own = [text for text in longer if text in self.merged and not number]
        tokens += sorted({*own, *(text[len(number)] for text in longer if text not in self.merged)})
        draw = random.Random(f"{self.seed} {number}")
        weights = [draw.random() ** 3 + 1e-3 for _ in tokens]
        lead = "" if number else self.lead
        return {lead + token: weight / sum(weights) for token, weight in zip(tokens, weights, strict=True)}

    def tokens(self, text):
        """The tokens that write a score."""
        return (
            [self.lead + text] if text in self.merged else [(self.lead * (not i)) + sign for i, sign in enumerate(text)]
        )

    def logprobs(self, text):
        """Of each of those tokens."""
        found, number = [], ""
        for token in self.tokens(text):
            found.append(math.log(self.next(number).get(token, 1e-300)))
            number += token.removeprefix(self.lead)
        return tuple(found)

    def probabilities(self):
        """Of each value, by multiplying along each path."""
        found = {}
        for text in self.strings:
            p = math.exp(math.fsum(self.logprobs(text))) * self.next(text)[CLOSING]
            found[float(text)] = found.get(float(text), 0.0) + p
        return found

    def reply(self, score, *, shown=20, opening=OPENING):
        """The answer in which it sampled `score`, with so many alternatives a token."""
        steps, number = [TokenLogprob(opening, -0.1, {opening: -0.1})], ""
        for token in [*self.tokens(score), CLOSING]:
            likeliest = sorted(self.next(number).items(), key=lambda pair: -pair[1])[:shown]
            steps.append(
                TokenLogprob(token, math.log(self.next(number)[token]), {t: math.log(p) for t, p in likeliest})
            )
            number += token.removeprefix(self.lead)
        return Reply(f"{opening}{self.lead}{score}{CLOSING}", logprobs=tuple(steps))


class ScoringJudge:
    """A judge that is such a model, behind an endpoint of one kind or another.

    `begun`: what it makes of a begun answer, "continued", "ignored" or "refused".
    """

    model = "scores"

    def __init__(self, model, sampled, *, begun="continued", shown=20):
        self.of, self.sampled, self.begun, self.shown, self.asked = model, sampled, begun, shown, []

    async def generate(self, messages, **sampling):
        if messages[-1].role != "assistant":
            return [self.of.reply(self.sampled, shown=self.shown)]
        self.asked.append(messages[-1].content)
        if self.begun == "refused":
            raise FatalJudgeError("HTTP 400: an assistant message cannot be last")
        if self.begun == "ignored":
            return [Reply("<", logprobs=(TokenLogprob("<", -0.01, {"<": -0.01, "7": -6.0}),))]
        number = messages[-1].content.rpartition(OPENING)[2].removeprefix(self.of.lead)
        likeliest = sorted(self.of.next(number).items(), key=lambda pair: -pair[1])[: self.shown]
        token = likeliest[0][0]
        return [
            Reply(
                token,
                logprobs=(TokenLogprob(token, math.log(likeliest[0][1]), {t: math.log(p) for t, p in likeliest}),),
            )
        ]

    async def choice_logprobs(self, messages, choices):
        raise AssertionError("an endpoint knows labels alone")


class LocalScoringJudge(ScoringJudge):
    """One that gives the log-probability of any text."""

    exact_choices = True

    async def choice_logprobs(self, messages, choices):
        self.asked.append(messages[-1].content)
        return [self.of.logprobs(choice) for choice in choices]
