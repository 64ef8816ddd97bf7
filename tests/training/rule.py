"""A judge whose every answer follows from a rule, and the rewards that a trainer must therefore be given.

The worth of a response is a hash of question and response: judged under another's question, or beside answers that are
not of its group, it gets another reward. Also imported by processes that trainers start, so nothing here is a closure.
"""

import hashlib
import itertools
import re

from grmrewards import GRAMReward, IPGRMReward, IRPMReward, JudgeError, ListwiseReward, ScriptedJudge
from grmrewards.texts import answer

UNJUDGED = "unjudged"  # a question on which the judge fails

ASKED = re.compile(
    r"(?:\[User Question\]|\[Context\]|#### User Query ####|#### Conversation Context ####)\n(.*?)\n\n", re.DOTALL
)
SHOWN = re.compile(
    r"(?:\[The Start of Assistant [AB]'s Answer\]|\[The Begin of Response(?: [0-9]+)?\])\n(.*?)\n\[The End", re.DOTALL
)


def worth(question, response):
    """0 to 1, to three decimals."""
    return int.from_bytes(hashlib.sha256(f"{question}\n{response}".encode()).digest()[:4], "big") % 1000 / 1000


def reply(messages):
    """What the judge answers to the default prompt of any family."""
    prompt = messages[0].content
    question, shown = ASKED.search(prompt)[1], SHOWN.findall(prompt)
    if question == UNJUDGED:
        raise JudgeError("the judge fails on this question")
    if "Assistant A's Answer" in prompt:
        return "A" if worth(question, shown[0]) > worth(question, shown[1]) else "B"
    if "<critique>" in prompt:
        points = 10 * worth(question, prompt.partition("[Response]\n")[2])
        return f"<critique>By rule.</critique><score>{points:.4f}</score>"
    if "#### Responses to be Scored" in prompt:
        return "Scores: \\boxed{" + ", ".join(f"{1 + 9 * share:.4f}" for share in _shares(question, shown)) + "}"
    principle = f"[{worth(question, '')}]"
    if "#### Response to be Scored" not in prompt:
        return f"Evaluation Principles:\n1. {principle} (Weight: 100%): of this question."
    assert principle in prompt, "judged by the principles of another question"
    return f"Score: \\boxed{{{1 + 9 * worth(question, shown[0]):.4f}}}"


def _shares(question, shown):
    return [_wins(question, text, [other for other in shown if other != text], 1.0) for text in shown]


def _wins(question, text, others, sure):
    """The mean probability of beating `others`, where the better of two wins with probability `sure`."""
    own = worth(question, text)
    theirs = [worth(question, other) for other in others]
    against = [0.5 if own == other else sure if own > other else 1 - sure for other in theirs]
    return sum(against) / len(against) if against else 0.5


def expected(family, questions, completions):
    """The rewards of one group: its completions, each with the question that it answers."""
    texts = [answer(completion) for completion in completions]
    answered = [i for i, text in enumerate(texts) if text]
    rewards = [0.0] * len(texts)
    for i in answered:
        others = [texts[j] for j in answered if j != i]
        if family == "listwise":  # equal texts are shown once
            rewards[i] = _wins(questions[0], texts[i], sorted(set(others) - {texts[i]}), 1.0)
        elif family == "gram":
            rewards[i] = _wins(questions[0], texts[i], others, 0.99)
        else:
            rewards[i] = worth(questions[i], texts[i])
    return rewards


class Recording:
    """Keeps, of every call, what the trainer passed and what it was given for it."""

    def __call__(self, /, **given):
        rewards = super().__call__(**given)
        self.__dict__.setdefault("calls", []).append((given, rewards))
        return rewards


class RecordingIPGRM(Recording, IPGRMReward):
    pass


class RecordingListwise(Recording, ListwiseReward):
    pass


class RecordingIRPM(Recording, IRPMReward):
    pass


class RecordingGRAM(Recording, GRAMReward):
    pass


FAMILIES = {
    "ipgrm": RecordingIPGRM,
    "listwise": RecordingListwise,
    "irpm": RecordingIRPM,
    "gram": RecordingGRAM,
}


def reward(family, **arguments):
    return FAMILIES[family](ScriptedJudge(reply), **arguments)


def question(prompt):
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


class Garden:
    """An environment that shows every rollout something else."""

    visits = itertools.count()

    def reset(self, **row) -> str:
        self.seen = next(self.visits)
        return f" You see {self.seen} birds."


class GardenWithAGate(Garden):
    """Its policy has a tool: to look once more."""

    def look(self) -> str:
        """Counts the birds again."""
        return f"{self.seen} birds"
