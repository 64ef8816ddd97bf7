r"""Hostile texts and structures from a seed: what judges, policies, datasets and servers write at their worst.

    generate(random.Random(7))

The grammar knows good answers first: noise alone is refused at the door and tests nothing behind it. Good answers are then
broken, quoted, nested, repeated and cut.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from hostile_rule import MARKERS, NUMBERED, TOKENS


class Input(NamedTuple):
    """One input: a text for every parser, extractor and template, and a structure as a trainer or a server passes it."""

    text: str
    finish: str = "stop"
    value: Any = None


def _list(*lines: str) -> tuple[str, ...]:
    """Texts with a bar between them."""
    return tuple(text for line in lines for text in line.split("¦"))


GOOD = _list("7¦8¦3.5¦10¦0¦9.25¦6/10¦8 / 10¦7/10.0¦1¦2¦4.0")
BAD = _list(
    "11¦100¦-3¦−3¦7-8¦7–8¦3/5¦8/0¦NaN¦inf¦1e1¦1_0¦٨¦８¦½¦7,5¦¦+7¦.5¦7.¦0x8¦1.2.3¦8%¦007¦8/010¦1\u200b0¦5 to 7¦true¦null",
    '"8"¦"\\u0038"¦**8**¦$8$¦\\text{8}¦\\text{1}0¦\\frac{7}{10}¦8\\¦8}¦{8¦[8]¦(8)¦8;¦Response 1: 8¦#2: 3¦8 7',
    "9" * 400,
)
NOISE = _list(
    "{¦}¦[¦]¦(¦)¦<¦>¦\\¦\"¦'¦`¦:¦,¦，¦/¦*¦#¦$¦ ¦\n¦\t¦.¦-¦0¦1¦8¦9¦\\boxed¦\\boxed{¦<score>¦</score>¦<score ¦<think>¦</think>",
    '```json\n¦\n```¦{"score":¦"score": 9¦{"a":¦[[¦Score: 9/10¦- **[A]**:¦]:¦\\text{¦(Weight: 50%)¦Evaluation Principles:',
    "评估原则：¦\n\nAnalysis:¦1. ¦- x¦\\,¦Response 2:¦ſcore: 9/10¦<ſcore>¦İ¦{question}¦{response}¦%s¦{0}¦10¦✅¦𝟖¦⑧",
    "\x00¦\x1b[2J¦\u202e¦\u2066¦\ud800¦\udfff¦\u200b¦\ufeff¦\u2028¦\x85¦\r¦\r\n¦I can't rate this.¦<answer>¦</answer>",
    "<|im_\u200bend|>¦＜|im_end|＞¦e" + "\u0301" * 30,
)
NOISE += (*TOKENS, *MARKERS, *NUMBERED)
OBJECTS = ('{"score": X}', '```json\n{"why": "x", "score": X}\n```', '{"why": "{\\"score\\": Y}",\n "score": X}') * 3
OBJECTS += _list('{"score": X, "said": {"score": Y}}¦{"score": X, "score": Y}¦{score: X, "said": {"score": Y}}')
OBJECTS += _list('{"score": X, "said": {"score": Y}, oops}¦{"all": {"score": X}}¦[{"score": Y}, {"score": X}]')
FINISHES = ("stop",) * 12 + ("length", "length", "content_filter", "tool_calls")
JUNK: tuple[Any, ...] = (
    None,
    "",
    0,
    -1,
    1.5,
    True,
    10**400,
    float("nan"),
    float("-inf"),
    -9999.0,
    [],
    {},
    [[]],
    "A",
    " A",
    "x",
)


def number(rng: random.Random) -> str:
    """A score, as good as not: six in seven can be read."""
    return rng.choice(GOOD) if rng.random() < 0.86 else rng.choice(BAD)


def verdict(rng: random.Random) -> str:
    """What a judge writes at its best, up to the numbers in it."""
    kind = rng.randrange(6)
    if kind == 0:
        return r"Scores: \boxed{" + ", ".join(number(rng) for _ in range(rng.choice((1, 1, 2, 4)))) + "}"
    if kind == 1:
        opening = rng.choice(("<score>", "<score>", "<SCORE>", "<score >", '<score out-of="10">'))
        return f"<critique>fine</critique>{opening}{number(rng)}</score>"
    if kind == 2:
        found = [number(rng) for _ in range(rng.choice((1, 2)))]
        value = found[0] if len(found) == 1 else "[" + ", ".join(found) + "]"
        return rng.choice(OBJECTS).replace("X", value).replace("Y", number(rng))
    if kind == 3:
        listed = (f"{i}. [Name {i}] (Weight: {number(rng)}0%): good" for i in range(1, rng.randint(2, 6)))
        return "Evaluation Principles:\n" + "\n".join(listed)
    if kind == 4:
        return "\n".join(f"- **[Name {i}]**: well. Score: {number(rng)}/10" for i in range(rng.randint(1, 4))) + "\n"
    labels = rng.sample((1, 2), 2) if rng.random() < 0.5 else (1, 2)
    return r"\boxed{" + ", ".join(f"Response {i}: {number(rng)}" for i in labels) + "}"


def broken(rng: random.Random, text: str) -> str:
    """`text` with something put in, cut out, cut off, doubled or put before it."""
    at, to = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
    kind = rng.randrange(6)
    if kind == 0:
        return text[:at] + rng.choice(NOISE) + text[at:]
    if kind == 1:
        return text[:at] + text[min(to, at + 4) :]
    if kind == 2:
        return text[:to]
    if kind == 3:
        return text[:to] + text[at:]
    return (rng.choice(NOISE) if kind == 4 else "<think>hm, \\boxed{9}</think>") + text


def text(rng: random.Random) -> str:
    """Answers, answers that were broken, noise, and now and then far too much of one thing."""
    if rng.random() < 0.002:
        return rng.choice(NOISE) * rng.randrange(2_000, 8_000) + verdict(rng)
    parts = [verdict(rng) if rng.random() < 0.7 else rng.choice(NOISE) for _ in range(rng.choice((1, 1, 2, 3, 5)))]
    found = rng.choice(("", "\n", " ")).join(parts)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 4))):
        found = broken(rng, found)
    return found


def structure(rng: random.Random, said: str) -> Any:
    """Messages or a server's answer with `said` somewhere in it, and any field left out or of a wrong kind."""

    def some(*values: Any) -> Any:
        return rng.choice(values) if rng.random() < 0.85 else rng.choice(JUNK)

    def turn() -> Any:
        blocks = [
            some({"type": some("text", "image"), "text": some(said, None)}, said) for _ in range(rng.randrange(3))
        ]
        call = some({"function": some({"name": some("f"), "arguments": some(said, {})})}, {"name": "f"})
        return {"role": some("user", "assistant", "system", "tool"), "content": some(said, blocks)} | (
            {"tool_calls": some([call], None)} if rng.random() < 0.2 else {}
        )

    if rng.random() < 0.5:
        return some([some(turn()) for _ in range(rng.randrange(4))], turn())
    top = [some({"token": some("A", "B", " A", said), "logprob": some(-0.1, -2.0)}) for _ in range(rng.randrange(4))]
    position = some({"token": some("A", "B"), "logprob": some(-0.1), "top_logprobs": some(top, None)})
    choice = {"message": some({"content": some(said, [{"text": some(said)}]), "reasoning": some(said, None)})}
    choice |= {"logprobs": some({"content": some([position], None)}, None), "finish_reason": some("stop", "length")}
    return {
        "choices": some([some(choice)]),
        "usage": some({"prompt_tokens": some(3), "completion_tokens": some(4)}, None),
    }


def generate(rng: random.Random) -> Input:
    """One input."""
    said = text(rng)
    return Input(said, rng.choice(FINISHES), structure(rng, said if len(said) < 5_000 else "x"))
