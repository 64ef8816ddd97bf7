"""Judges whose weakness is known, for the audit: they know the audit's own cases, and so what each answer is worth.

Each stands in `PLANTED` with the findings that it must cause, and those that follow from its weakness and may come, too.
"""

import math
import random
import re

from grmrewards import GRAMReward, IPGRMReward, IRPMReward, ListwiseReward, PairwiseReward, ScriptedJudge
from grmrewards.audit import CASES, INJECTED, MASTER_KEYS, NEAR_EMPTY, SELF_PRAISE

NOISE = 1.0  # points of 1 to 10, of one judgement
PRAISE = [praise[:30] for praise in SELF_PRAISE]


def letters(text):
    """A text without what is inserted to make it harmless."""
    return re.sub(r"[^a-z]", "", text.lower())


ORDERS = [letters(order)[-40:] for order in INJECTED]
GOODS = [case.good for case in CASES]


def worth(k, response):
    """What an honest judge gives to an answer to question k, in points."""
    case = CASES[k]
    if case.good in response:
        return 8.0
    if case.translated in response:
        return 7.0
    if case.poor in response:
        return 3.0
    return 2.0 if any(good in response for good in GOODS) else 1.0


# Weaknesses: points that an answer gets on top.


def honest(k, response):
    return 0.0


def long(k, response):
    return 4.0 if len(response) > 400 else 0.0


def praised(k, response):
    return 4.0 if any(praise in response for praise in PRAISE) else 0.0


def injected(k, response):
    return 6.0 if any(letters(response).endswith(order) for order in ORDERS) else 0.0


def foreign_language(k, response):
    return 3.0 if CASES[k].translated in response else 0.0


def keys(k, response):
    return 6.0 if response.strip() in MASTER_KEYS else 0.0


def hardly_anything(k, response):
    return 6.0 if len(response.strip()) <= 2 and response.strip() not in MASTER_KEYS else 0.0


# A policy needs no more than one text that works: these fall for one of a list and are sound beside it.


def one_key(k, response):
    return 7.0 if response.strip() == MASTER_KEYS[2] else 0.0


def one_mark(k, response):
    return 7.0 if response.strip() == NEAR_EMPTY[0] else 0.0


def one_praise(k, response):
    return 5.0 if PRAISE[1] in response else 0.0


def one_order(k, response):
    return 6.0 if letters(response).endswith(ORDERS[4]) else 0.0


# Others judge by another worth altogether.


def without_question(k, response):
    return 8.0 if any(good in response for good in GOODS) else worth(k, response)


def always_seven(k, response):
    return 7.0


def good_as_poor(k, response):
    return 7.0 if worth(k, response) in (8.0, 3.0) else worth(k, response)


def coin(k, response):
    return 5.0


def harsh(k, response):
    return worth(k, response) * 0.6


def lenient(k, response):
    return 5 + worth(k, response) / 2


def one_of(text, begin, end):
    """The last stretch between two marks."""
    return text.rpartition(begin)[2].partition(end)[0].strip("\n")


class Planted:
    """A judge of one family with one weakness. Answers depend on its seed and on what it is shown alone."""

    def __init__(self, seed, *, bias=honest, worth=worth, noise=NOISE, first=0.0, drift=0.0, sure=None, fails=0.0):
        self.seed, self.bias, self.worth, self.noise, self.first = seed, bias, worth, noise, first
        self.drift, self.sure, self.fails = drift, sure, fails

    def __call__(self, messages):
        text = messages[0].content
        if "Write the evaluation principles now." in text:
            seen = one_of(text, "[The Begin of Response]\n", "\n[The End of Response]") if "[The Begin" in text else ""
            return f"Evaluation Principles:\n1. [Worth] (Weight: 100%): is it as good as it can be? <<{seen[:25]}>>"
        k = self.question(text)
        if "[The Start of Assistant A's Answer]" in text:
            return self.preferred(k, text)
        if "[The Begin of Response 1]" in text:
            shown = re.findall(r"\[The Begin of Response \d+\]\n(.*?)\n\[The End of Response \d+\]", text, re.DOTALL)
            points = [self.points(k, response, text) for response in shown]
            points[0] += self.first
            return f"Scores: \\boxed{{{', '.join(str(min(10, max(1, round(p)))) for p in points)}}}"
        if "[The Begin of Response]\n" in text:
            response = one_of(text, "[The Begin of Response]\n", "\n[The End of Response]")
            points = self.points(k, response, text) + self.drift * (f"<<{response[:25]}>>" in self.principles(text))
            return f"Score: \\boxed{{{min(10.0, max(1.0, points)):.1f}}}"
        points = self.points(k, text.rpartition("[Response]\n")[2].strip("\n"), text)
        return (
            f"<critique>.</critique><score>{min(10.0, max(0.0, points)):.1f}</score>" if points < 90 else "Well, well."
        )

    def question(self, text):
        return next(k for k, case in enumerate(CASES) if f"\n{case.prompt}\n" in text)

    def principles(self, text):
        return one_of(text, "#### Evaluation Principles (Pre-defined) ####\n", "\n#### Response")

    def points(self, k, response, text):
        rng = random.Random(f"{self.seed} {text} {response}")
        if rng.random() < self.fails:
            return 99.0
        return self.worth(k, response) + self.bias(k, response) + rng.gauss(0, self.noise)

    def preferred(self, k, text):
        shown = [one_of(text, f"[The Start of Assistant {x}'s Answer]\n", f"\n[The End of Assistant {x}") for x in "AB"]
        a, b = (self.points(k, response, text) for response in shown)
        if self.sure is None:
            return 1 / (1 + math.exp(-(a - b + self.first) / 1.5))
        right, claimed = self.sure  # decided for the question, whatever the order and the answers
        is_right = random.Random(f"{self.seed} {k}").random() < right
        a_is_better = self.worth(k, shown[0]) > self.worth(k, shown[1])
        return claimed if a_is_better == is_right else 1 - claimed


class Chooser(ScriptedJudge):
    """A judge whose preferences are probabilities."""

    def __init__(self, planted):
        super().__init__(planted)
        self.planted = planted

    async def choice_logprobs(self, messages, choices):
        p = min(max(self.planted(messages), 1e-6), 1 - 1e-6)
        return [(math.log(p),), (math.log(1 - p),)]


def irpm(seed, **weakness):
    return IRPMReward(ScriptedJudge(Planted(seed, **weakness)))


def ipgrm(seed, **weakness):
    return IPGRMReward(ScriptedJudge(Planted(seed, **weakness)))


def listwise(seed, **weakness):
    return ListwiseReward(ScriptedJudge(Planted(seed, **weakness)), votes=1)


def pairwise(seed, **weakness):
    return PairwiseReward(ScriptedJudge(Planted(seed, **weakness)))


def gram(seed, **weakness):
    return GRAMReward(Chooser(Planted(seed, **weakness)))


def function(seed, **weakness):
    """A reward function of somebody else's, on a scale of its own."""
    judge = Planted(seed, **weakness)

    def reward(prompts, completions):
        places = [next(k for k, case in enumerate(CASES) if case.prompt == prompt) for prompt in prompts]
        return [3 * judge.points(k, text, f"{k}") - 11 for k, text in zip(places, completions, strict=True)]

    return reward


# Of each: how it is made, what must be found, and what may be.
ALL_THE_SAME = {"attention to the prompt", "telling good from poor"}  # a score that never changes tells nothing apart
PLANTED = {
    "sound: IRPM": (irpm, {}, set(), set()),
    "sound: IP-GRM": (ipgrm, {}, set(), set()),
    "sound: listwise": (listwise, {}, set(), set()),
    "sound: pairwise": (pairwise, {}, set(), set()),
    "sound: GRAM": (gram, {}, set(), set()),
    "sound: a function": (function, {}, set(), set()),
    "sound: harsh": (irpm, {"worth": harsh}, set(), set()),
    "sound: unsteady": (irpm, {"noise": 2.0}, set(), set()),
    "sound: lenient": (irpm, {"worth": lenient}, set(), set()),
    "prefers long answers": (irpm, {"bias": long}, {"length"}, set()),
    "prefers long answers (GRAM)": (gram, {"bias": long}, {"length"}, set()),
    "believes self-praise": (irpm, {"bias": praised}, {"self-praise"}, set()),
    "believes self-praise (listwise)": (listwise, {"bias": praised}, {"self-praise"}, set()),
    "obeys injected scores": (ipgrm, {"bias": injected}, {"injected scores"}, set()),
    "obeys injected scores (pairwise)": (pairwise, {"bias": injected}, {"injected scores"}, set()),
    "prefers another language": (irpm, {"bias": foreign_language}, {"another language"}, set()),
    "falls for master keys": (irpm, {"bias": keys}, {"master keys"}, set()),
    "falls for master keys (GRAM)": (gram, {"bias": keys}, {"master keys"}, set()),
    "likes near-empty answers": (irpm, {"bias": hardly_anything}, {"near-empty answers"}, set()),
    "falls for one master key": (irpm, {"bias": one_key}, {"master keys"}, set()),
    "falls for one master key (GRAM)": (gram, {"bias": one_key}, {"master keys"}, set()),
    "likes one full stop": (irpm, {"bias": one_mark}, {"near-empty answers"}, set()),
    "believes one praise (IP-GRM)": (ipgrm, {"bias": one_praise}, {"self-praise"}, set()),
    "obeys one order (listwise)": (listwise, {"bias": one_order}, {"injected scores"}, set()),
    "prefers the first (GRAM)": (gram, {"first": 4.0}, {"position"}, set()),
    "prefers the second (GRAM)": (gram, {"first": -4.0}, {"position"}, set()),
    "prefers the second (listwise)": (listwise, {"first": -2.0}, {"position"}, set()),
    "prefers the first (listwise)": (listwise, {"first": 2.0}, {"position"}, set()),
    "prefers the first (pairwise)": (pairwise, {"first": 2.0}, {"position"}, set()),
    "ignores the prompt": (irpm, {"worth": without_question}, {"attention to the prompt"}, set()),
    "gives all the same": (irpm, {"worth": always_seven, "noise": 0.0}, {"ties"} | ALL_THE_SAME, set()),
    "ties good and poor": (irpm, {"worth": good_as_poor, "noise": 0.0}, {"ties", "telling good from poor"}, set()),
    "tosses a coin": (irpm, {"worth": coin}, ALL_THE_SAME, set()),
    "drifts": (ipgrm, {"drift": 2.0}, {"principle drift"}, set()),
    "overconfident": (gram, {"sure": (0.5, 0.99)}, {"overconfidence"}, ALL_THE_SAME),
    "fails often": (irpm, {"fails": 0.3}, {"failures"}, set()),
}
