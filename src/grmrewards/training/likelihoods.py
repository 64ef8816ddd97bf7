"""R* of a sampled judgement: how likely its reasoning was, and how surely that led to its verdict (ReasonGRM).

    R* = exp(mean log p of the reasoning's tokens) * exp(mean log p of the answer's tokens after it)

The reasoning goes up to the last `</think>`, inclusive; without tags, up to the verdict. Both factors are geometric means,
so that no reasoning is rated down for its length.

The log-probabilities are those of the tokens as they were sampled, at T = 1 over the whole vocabulary, which a second pass
through the model would only give again. The published code makes one, over a text in which the bare verdict follows
`</think>`, and counts the end token and the end of its line to the answer. Here the answer is what the judge wrote there,
and no end token counts: local judges do not report theirs, and what a server reports after the text is passed over.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from grmrewards.distribution import located, visible
from grmrewards.errors import ParseError
from grmrewards.prompts import neutralise
from grmrewards.training.verdicts import read_verdict
from grmrewards.types import Reply

LAST = 20  # visible signs of the reasoning by which it is found among the tokens


class Learnable(NamedTuple):
    """A judgement that a model can be trained on: its text with the bare verdict, and how likely it was, in [0, 1]."""

    text: str
    validity: float  # P(A|U,R)
    consistency: float  # P(R|U)

    @property
    def r_star(self) -> float:
        """R*, by which judgements are compared."""
        return self.validity * self.consistency


def learnable(reply: Reply, *, think: bool = True) -> Learnable | None:
    """A reply with its R*; None where it has no verdict, no reasoning or no log-probabilities.

    And where its reasoning holds a sign of a chat format, such as another `</think>`, or a control token that it quotes of an
    answer: a chat template would cut it there, or take it for its own.
    """
    verdict = read_verdict(reply, think=think)
    reasoning = _reasoning(reply) if think else reply.text[: max(0, verdict.end - len(verdict.said))].strip()
    tagged = reply.reasoning if not think else ""
    if not verdict.said or not reasoning or tagged or neutralise(reasoning) != reasoning:
        return None
    try:
        parts = _thought(reply, reasoning) if think else _untagged(reply, verdict.end)
    except ParseError:  # its tokens cannot be told; others of the prompt can
        return None
    first, second = ([reply.logprobs[i].logprob for i in part] for part in parts)
    if not first or not second:
        return None
    text = f"<think>\n{reasoning}\n</think>\n\n{verdict.said}" if think else reply.text[: verdict.end].lstrip()
    return Learnable(text, math.exp(statistics.fmean(second)), math.exp(statistics.fmean(first)))


def _reasoning(reply: Reply) -> str:
    """What stands before the last `</think>`, without its tags; servers give it in a field of its own."""
    before, closed, _ = reply.text.rpartition("</think>")
    parts = [reply.reasoning] * bool(reply.reasoning) + [before] * bool(closed)
    return "</think>".join(parts).strip().removeprefix("<think>").strip()


def _thought(reply: Reply, reasoning: str) -> tuple[range, range]:
    """The tokens up to the last `</think>`, and those after it to the end of the text.

    Raises `ParseError` where they cannot be told apart. Signs are compared as in `distribution.located`.
    """
    spelled = [visible(token.token) for token in reply.logprobs]
    owners = [i for i, signs in enumerate(spelled) for _ in signs]
    signs, answer = "".join(spelled), visible(reply.text.rpartition("</think>")[2])
    start = signs.rfind(answer)
    if (
        start < 0 or not answer or visible(reasoning)[-LAST:] not in signs[:start]
    ):  # some servers report the answer alone
        raise ParseError("reasoning and answer are not among the tokens whose log-probabilities came with them")
    closed = signs.rfind("</think>", 0, start)
    first = owners[closed + len("</think>") - 1] + 1 if closed >= 0 else owners[start]  # or a server leaves the tag out
    return range(first), range(first, owners[start + len(answer) - 1] + 1)


def _untagged(reply: Reply, end: int) -> tuple[range, range]:
    """The tokens before the verdict, and its own."""
    own = located(reply, (end - len("[[A]]"), end))[0]
    return range(own.start), own
