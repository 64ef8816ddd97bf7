"""Rows in the published forms of the benchmarks, with questions of the embedded judge's domain (see `domain`).

With them every protocol runs from file to table without a download, and which answer is right is known by the rule: a right
one has full marks, a wrong one at least 0.2 less. Questions are held out from the judge's training. What a judge gets here
says whether a set-up works and nothing about judges: do not lay it beside published figures.
"""

from __future__ import annotations

import random
import statistics
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from grmrewards.errors import ConfigError
from grmrewards.judges.embedded.domain import (
    CATEGORIES,
    CATEGORY_OF,
    Question,
    Split,
    make_question,
    rule_score,
)

GAP = 0.2  # of the rule's score, between right and wrong
SPLITS: tuple[Split, ...] = ("heldout_questions", "heldout_words")
SUBSETS = (  # of RewardBench
    *("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med", "mt-bench-hard"),
    *("llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst", "llmbar-adver-GPTOut", "llmbar-adver-manual"),
    *("refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond", "donotanswer"),
    *("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
)
SKILLS = ("Factuality", "Precise IF", "Math", "Safety", "Focus")  # of RewardBench 2, beside Ties
DOMAINS = ("chat", "code", "math", "safety-refuse", "safety-response")
SOURCES = ("mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench", "mmlu-pro-physics")
GOALS = ("Helpfulness/Chat/Discussion", "Harmlessness/S2", "Helpfulness/Open QA/Factual", "Harmlessness/multi")
SETS = ("MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus")  # of PPE, beside human preference
K, CONFLICTS = 8, 5  # answers of a prompt of these (published: 32), and sampled pairs of a right and a wrong one
# Concise, detailed, Markdown: the three that both the rule and the embedded judge read. It was trained on answers of one
# line, so that the styles differ in marks and spaces (Markdown shows two as one), not in line breaks or bullets.
STYLES: tuple[Callable[[Sequence[str]], str], ...] = (
    ", ".join,
    lambda words: ". ".join(words) + ".",
    lambda words: ",  ".join(words) + ".",
)


def rows(benchmark: str, n: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """`n` rows of a benchmark, by default enough for each of its subsets; the same for the same `seed`.

    A longer list begins with the shorter one. Raises `ConfigError` for an unknown benchmark and for `n` below 1.

    >>> row = rows("preferences", n=1)[0]
    >>> row["prompt"]
    'Name 5 vegetables.'
    >>> sorted(row)
    ['chosen', 'prompt', 'rejected']
    """
    if benchmark not in _KINDS:
        raise ConfigError(f"benchmark={benchmark!r}; allowed are {', '.join(map(repr, _KINDS))}.")
    make, usual = _KINDS[benchmark]
    count = usual if n is None else n
    if count < 1:
        raise ConfigError(f"n={n}; allowed is 1 or more.")
    return [make(_Draw(random.Random(f"{benchmark} {seed} {i}"), i), i) for i in range(count)]


class _Draw:
    """A question and answers to it, no two the same: all that one row draws."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self.rng = rng
        self.question: Question = make_question(rng, SPLITS[number % 2])
        self._drawn: set[str] = set()

    @property
    def prompt(self) -> str:
        return self.question.text

    def words(self, right: bool) -> list[str]:
        """The items of an answer with full marks, or of one with faults."""
        while True:
            words = _right_words(self.rng, self.question)
            if not right:
                words = _with_faults(self.rng, self.question, words)
            answer = ", ".join(words)
            fits = right or rule_score(self.question, answer) <= 1 - GAP + 1e-9
            if fits and answer not in self._drawn:
                self._drawn.add(answer)
                return words

    def answer(self, right: bool) -> str:
        """One answer, now and then with a full stop."""
        return ", ".join(self.words(right)) + self.rng.choice(("", "."))

    def answers(self, right: bool, count: int) -> list[str]:
        return [self.answer(right) for _ in range(count)]

    def said(self, right: bool) -> dict[str, str]:
        """An answer with the name of who gave it."""
        return {"llm_name": self.model(), "answer": self.answer(right)}

    def model(self) -> str:
        return f"model-{self.rng.randrange(1, 9)}"


def _right_words(rng: random.Random, question: Question) -> list[str]:
    """As many fitting items as are asked for, the required one among them."""
    pool = [w for w in CATEGORIES[question.category] if w not in (question.required, question.forbidden)]
    required = [question.required] if question.required else []
    words = [*rng.sample(pool, question.asked - len(required)), *required]
    rng.shuffle(words)
    return words


def _with_faults(rng: random.Random, question: Question, words: Sequence[str]) -> list[str]:
    """The items with one to all of them replaced: by what is of another kind, named twice or forbidden."""
    other = [word for word, category in CATEGORY_OF.items() if category != question.category]
    faulty = list(words)
    for place in rng.sample(range(len(words)), rng.randint(1, len(words))):
        choices = [rng.choice(other), rng.choice(other), rng.choice(words), question.forbidden]
        faulty[place] = rng.choice([word for word in choices if word])
    return faulty


def _preference(draw: _Draw, i: int) -> dict[str, Any]:
    return {"prompt": draw.prompt, "chosen": draw.answer(True), "rejected": draw.answer(False)}


def _rewardbench(draw: _Draw, i: int) -> dict[str, Any]:
    models = {"chosen_model": draw.model(), "rejected_model": draw.model()}
    return {**_preference(draw, i), **models, "subset": SUBSETS[i % len(SUBSETS)], "id": i}


def _rewardbench2(draw: _Draw, i: int) -> dict[str, Any]:
    """One of four, and of every seven rows the two of a question of Ties."""
    turn, place = divmod(i, len(SKILLS) + 2)
    subset = SKILLS[place] if place < len(SKILLS) else "Ties"
    kind = ("ref", "tied")[place - len(SKILLS)] if subset == "Ties" else ""
    right, wrong = (3, 4) if kind == "tied" else (1, 3)
    return {
        "id": f"{kind}:{turn}" if kind else str(i),
        "prompt": draw.prompt,
        "chosen": draw.answers(True, right),
        "rejected": draw.answers(False, wrong),
        "num_correct": right,
        "num_incorrect": wrong,
        "total_completions": right + wrong,
        "models": [draw.model() for _ in range(right + wrong)],
        "subset": subset,
    }


def _rm_bench(draw: _Draw, i: int) -> dict[str, Any]:
    right, wrong = draw.words(True), draw.words(False)
    styled = {name: [style(words) for style in STYLES] for name, words in (("chosen", right), ("rejected", wrong))}
    return {"id": i, "prompt": draw.prompt, **styled, "domain": DOMAINS[i % len(DOMAINS)]}


def _judgebench(draw: _Draw, i: int) -> dict[str, Any]:
    source, first_is_right = SOURCES[i % len(SOURCES)], draw.rng.random() < 0.5
    return {
        "pair_id": str(uuid.UUID(int=draw.rng.getrandbits(128))),
        "original_id": i if source.startswith("mmlu-pro") else None,
        "source": source,
        "question": draw.prompt,
        "response_model": draw.model(),
        "response_A": draw.answer(first_is_right),
        "response_B": draw.answer(not first_is_right),
        "label": "A>B" if first_is_right else "B>A",
    }


def _rmb(draw: _Draw, i: int) -> dict[str, Any]:
    """Pairs and sets in turn, each of both goals."""
    turn, goal = divmod(i, len(GOALS))
    conversation = [{"role": "user", "content": draw.prompt, "language": "English"}]
    asked = {
        "conversation_input": conversation,
        "category_path": f"{('Pairwise_set', 'BoN_set')[turn % 2]}/{GOALS[goal]}",
    }
    if turn % 2 == 0:
        return {"pair_uid": str(i), **asked, "chosen": draw.said(True), "reject": draw.said(False)}
    losers = [draw.said(False) for _ in range(draw.rng.randint(2, 4))]
    return {"bon_uid": str(i), **asked, "bon_best": draw.said(True), "loser_list": losers}


def _ppe(draw: _Draw, i: int) -> dict[str, Any]:
    """Of every six rows one of human preference and one of each set; `file` is where it would stand."""
    turn, place = divmod(i, len(SETS) + 1)
    if place:
        return _best_of_k(draw, i, SETS[place - 1])
    winner = ("model_a", "model_b", "model_a", "tie")[turn % 4]
    return {
        "file": "PPE-Human-Preference-V1",
        "question_id": str(i),
        "model_a": draw.model(),
        "model_b": draw.model(),
        "winner": winner,
        "prompt": draw.prompt,
        "response_1": draw.answer(winner != "model_b"),
        "response_2": draw.answer(winner != "model_a"),
        "language": "English",
        "is_code": False,
        "hard_prompt": False,
    }


def _best_of_k(draw: _Draw, i: int, name: str) -> dict[str, Any]:
    right = draw.rng.randint(2, K - 2)
    scores = [place < right for place in range(K)]
    draw.rng.shuffle(scores)
    conflicts = [[a, b] for a in range(K) for b in range(K) if scores[a] != scores[b]]
    return {
        "file": f"PPE-{name}-Best-of-K",
        "question_id": str(i),
        "prompt": draw.prompt,
        **{f"response_{place + 1}": draw.answer(is_right) for place, is_right in enumerate(scores)},
        "scores": scores,
        "mean_score": statistics.fmean(scores),
        "sampled_conflict_pairs": draw.rng.sample(conflicts, CONFLICTS),
        "model_name": draw.model(),
    }


_KINDS: dict[str, tuple[Callable[[_Draw, int], dict[str, Any]], int]] = {  # with how many rows usually
    "rewardbench": (_rewardbench, 2 * len(SUBSETS)),
    "rewardbench2": (_rewardbench2, 42),
    "rm-bench": (_rm_bench, 20),
    "judgebench": (_judgebench, 40),
    "rmb": (_rmb, 40),
    "ppe": (_ppe, 24),
    "preferences": (_preference, 40),
}
