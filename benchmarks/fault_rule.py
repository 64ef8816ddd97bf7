"""A judge whose every answer follows from a rule, so that each reward that comes over a failing wire can be checked.

The worth of a response is a hash of its question and its text: a reward that was lost, filled, taken from another row or
read from a broken answer differs from `truth`. Pure functions; the server answers by them, the measurements compare.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

ASKED = re.compile(
    r"(?:\[User Question\]|\[Context\]|#### User Query ####|#### Conversation Context ####)\n(.*?)\n\n", re.DOTALL
)
SHOWN = re.compile(
    r"(?:\[The Start of Assistant [AB]'s Answer\]|\[The Begin of Response(?: [0-9]+)?\])\n(.*?)\n\[The End", re.DOTALL
)
STEEPNESS = 4.0  # of the preference between two responses, by the difference of their worths
CALLED = {"ipgrm": "IPGRMReward", "listwise": "ListwiseReward", "irpm": "IRPMReward", "gram": "GRAMReward"}


@dataclass(frozen=True)
class Verdict:
    """What the rule says to a prompt: a text, or for GRAM the probability that "A" is better."""

    kind: str  # "principles", a family, or "unknown" for a prompt that is none of the default templates
    text: str
    more: str = ""  # the same with one score too many, where there are scores
    p_a: float | None = None


def worth(question: str, response: str) -> float:
    """0 to 1, to three decimals."""
    return int.from_bytes(hashlib.sha256(f"{question}\n{response}".encode()).digest()[:4], "big") % 1000 / 1000


def verdict(prompt: str, seed: object = None) -> Verdict:
    """The right answer to the default prompt of any family. The seed changes its words, never its verdict."""
    asked = ASKED.search(prompt)
    if asked is None:
        return Verdict("unknown", "Yes.")
    question, shown = asked[1], SHOWN.findall(prompt)
    prose = f"By rule, in sample {seed}: what is asked decides, and neither length nor order does."
    if "Assistant A's Answer" in prompt:
        return Verdict("gram", "A", p_a=preference(worth(question, shown[0]), worth(question, shown[1])))
    if "<critique>" in prompt:
        points = f"{10 * worth(question, prompt.partition('[Response]' + chr(10))[2]):.4f}"
        wrap = f"<critique>{prose}</critique><score>{{}}</score>"
        return Verdict("irpm", wrap.format(points), wrap.format(f"{points}, {points}"))
    if "#### Responses to be Scored" in prompt:
        scores = ", ".join(f"{1 + 9 * share:.4f}" for share in shares([worth(question, text) for text in shown]))
        wrap = f"Specific Criteria: {prose}\nAnalysis: {prose}\nScores: \\boxed{{{{{{}}}}}}"
        return Verdict("listwise", wrap.format(scores), wrap.format(f"{scores}, 5"))
    principle = f"[{worth(question, '')}]"
    if "#### Response to be Scored" not in prompt:
        return Verdict(
            "principles", f"Evaluation Principles:\n1. {principle} (Weight: 100%): of this question. {prose}"
        )
    score = 1 + 9 * worth(question, shown[0]) if principle in prompt else 1.0  # 1: by another question's principles
    wrap = f"Analysis:\n- **{principle}**: {prose}\nConclusion: {prose}\nScore: \\boxed{{{{{{}}}}}}"
    return Verdict("ipgrm", wrap.format(f"{score:.4f}"), wrap.format(f"{score:.4f}, 5"))


def preference(first: float, second: float) -> float:
    """The probability that the response of the first worth is the better one."""
    return 1 / (1 + math.exp(-STEEPNESS * (first - second)))


def shares(worths: Sequence[float]) -> list[float]:
    """For each worth the share of the others that it beats; an equal one counts half."""
    others = max(len(worths) - 1, 1)
    beaten = [sum((mine > other) + (mine == other) / 2 for other in worths) - 0.5 for mine in worths]
    return [wins / others if len(worths) > 1 else 0.5 for wins in beaten]


def rows(prompts: int, responses: int, batch: int = 0) -> tuple[list[str], list[str]]:
    """Prompts and completions, all different, group after group. Another `batch` has other texts."""
    asked = [f"Question {batch}.{p}: which number is it?" for p in range(prompts) for _ in range(responses)]
    return asked, [f"I say {batch}.{p}.{r}." for p in range(prompts) for r in range(responses)]


def needed(family: str, prompts: int, responses: int) -> int:
    """The requests of one call of a family with its defaults where nothing fails."""
    each = {"ipgrm": 1 + responses, "listwise": 8, "irpm": responses, "gram": responses * (responses - 1)}
    return prompts * each[family]


def truth(family: str, prompts: Sequence[str], completions: Sequence[str], size: int) -> list[float]:
    """The rewards of a family whose judgements are all had, in groups of `size`."""
    worths = [worth(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
    if family in ("ipgrm", "irpm"):
        return worths
    groups = [worths[at : at + size] for at in range(0, len(worths), size)]
    combine = shares if family == "listwise" else _win_rates
    return [reward for group in groups for reward in combine(group)]


def _win_rates(worths: Sequence[float]) -> list[float]:
    total = [math.fsum(preference(mine, other) for other in worths) - 0.5 for mine in worths]
    return [wins / (len(worths) - 1) if len(worths) > 1 else 0.5 for wins in total]
