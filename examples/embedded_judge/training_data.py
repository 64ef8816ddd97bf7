"""Training data for the embedded judge: prompts through the real templates, and the texts it shall answer with.

Nothing to run. `make_example` draws one prompt and its target for one of the five kinds, named as the default
templates are; `noisy_answer` draws the answers that are judged, of every quality from empty to perfect, because the
judge has to score what a policy writes while it learns. Each optional block of a template (system prompt, reference
answer, criteria) is filled in with probability 0.12, so that the judge keeps its sense with any of them there.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grmrewards.judges.embedded.domain import (
    CATEGORIES,
    CATEGORY_OF,
    Question,
    Split,
    judge_score,
    label_items,
    make_question,
)
from grmrewards.prompts import Template

KINDS = ("ipgrm_principles", "ipgrm", "irpm", "listwise", "gram")
BLOCKS = ("system", "reference", "criteria")
BLOCK_SHARE = 0.12
LARGEST_GROUP = 8
LONGEST = 10

SYSTEM = (
    "You are a helpful assistant.",
    "Answer with a list.",
    "You are a helpful assistant. Answer with a short list.",
    "Answer in one line.",
    "Be brief.",
    "Do what the user asks for.",
)
CRITERIA = (
    "Every item counts.",
    "The count must be right.",
    "No item may come twice.",
    "Be strict.",
    "Only the items matter.",
    "A wrong item is worth nothing.",
)
STRAY_WORDS = ("name", "one", "them", "but", "not", "and", "the", "items", "list", "animals", "fruits", "colors", "3")
SEPARATORS = (" ", "  ", ",  ", " , ", ", , ", " . ", ". ")


@dataclass(frozen=True)
class Example:
    """One prompt, what the judge shall answer, and what both were made from."""

    kind: str
    prompt: str
    target: str
    question: Question
    responses: tuple[str, ...] = ()


@functools.cache
def template(name: str) -> Template:
    """A default template, read once."""
    return Template(name)


def perfect_answer(rng: random.Random, question: Question) -> str:
    """An answer with full marks."""
    pool = [w for w in CATEGORIES[question.category] if w not in (question.required, question.forbidden)]
    words = rng.sample(pool, question.asked - bool(question.required)) + [question.required] * bool(question.required)
    rng.shuffle(words)
    return ", ".join(words) + rng.choice((".", ""))


def noisy_answer(rng: random.Random, question: Question, longest: int = LONGEST, tidy: bool = False) -> str:
    """An answer with any number of faults: wrong or repeated items, too few or too many, loose punctuation.

    `longest` bounds the items; `tidy` keeps to commas.
    """
    fitting = _fitting_words(rng, question)
    wrong_share, again_share = rng.choice((0, 0, 0, 0.15, 0.3, 0.6, 1)), rng.choice((0, 0, 0, 0.15, 0.3, 0.8))
    words: list[str] = []
    for i in range(min(longest, _count(rng, question))):
        if words and rng.random() < again_share:
            words.append(rng.choice(words))
        elif rng.random() < wrong_share:
            words.append(_wrong_word(rng))
        else:
            words.append(fitting[i % len(fitting)])
    return _join(rng, words, tidy)


def _count(rng: random.Random, question: Question) -> int:
    """How many items: mostly as asked, often up to 7, sometimes more or none."""
    draw = rng.random()
    if draw < 0.55:
        return question.asked
    return rng.randint(0, 7) if draw < 0.93 else rng.randint(0, LONGEST)


def _fitting_words(rng: random.Random, question: Question) -> list[str]:
    """The words of the category in random order; the named one near the front or not at all, each often enough."""
    words = [w for w in CATEGORIES[question.category] if w not in (question.required, question.forbidden)]
    rng.shuffle(words)
    named = question.required or question.forbidden
    if named and rng.random() < 0.65:
        words.insert(rng.randrange(question.asked), named)
    return words


def _wrong_word(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.95:
        return rng.choice(tuple(CATEGORY_OF))
    if draw < 0.99:
        return rng.choice(STRAY_WORDS)
    return rng.choice(tuple(CATEGORY_OF)) + rng.choice(tuple(CATEGORY_OF))  # two words run into one


def _join(rng: random.Random, words: Sequence[str], tidy: bool) -> str:
    """The items with one separator throughout, or now and then a different one."""
    usual = ", " if tidy or rng.random() < 0.93 else rng.choice(SEPARATORS)
    slip = 0 if tidy else rng.choice((0, 0, 0, 0, 0.2))
    parts = [word + (rng.choice(SEPARATORS) if rng.random() < slip else usual) for word in words[:-1]]
    return "".join([*parts, *words[-1:]]) + ("." if words and rng.random() < 0.5 else "")


def principles_text(question: Question) -> str:
    """The principles for a question, which follow from its text alone."""
    named = question.required or question.forbidden
    weights = (30, 40, 15, 15) if named else (35, 45, 20)
    lines = [
        f"[Count] (Weight: {weights[0]}%): exactly {question.asked} items.",
        f"[Kind] (Weight: {weights[1]}%): every item is one of the {question.category}.",
        f"[No Repeats] (Weight: {weights[2]}%): no item comes again.",
    ]
    if question.required:
        lines.append(f"[Required Item] (Weight: {weights[3]}%): the item {named} is there.")
    elif question.forbidden:
        lines.append(f"[Forbidden Item] (Weight: {weights[3]}%): the item {named} is not there.")
    return "Evaluation Principles:\n" + "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))


def critique(question: Question, response: str) -> str:
    """Word by word what each item is worth, the counts, and whether the required word is there."""
    labelled = label_items(question, response)
    good = sum(label == "good" for _, label in labelled)
    words = " ".join(f"{word} {label}" for word, label in labelled)
    text = f"{words or 'nothing'}. {good} good of {len(labelled)}, {question.asked} asked."
    if question.required:
        there = question.required in (word for word, _ in labelled)
        text += f" {question.required} {'there' if there else 'missing'}."
    return text


def doubtful_scores(rng: random.Random, question: Question, responses: Sequence[str], noise: float) -> list[int]:
    """The exact scores with normal noise of that standard deviation, made whole and kept within 1..10."""
    drawn = [judge_score(question, response) + rng.gauss(0, noise) for response in responses]
    return [min(10, max(1, round(score))) for score in drawn]


def target_text(kind: str, question: Question, responses: Sequence[str], scores: Sequence[int] = ()) -> str:
    """What the judge shall answer to a prompt of this kind: with the exact scores unless others are given."""
    scores = scores or [judge_score(question, response) for response in responses]
    if kind == "ipgrm_principles":
        return principles_text(question)
    if kind == "gram":
        return "A" if scores[0] > scores[1] else "B"
    critiques = [critique(question, response) for response in responses]
    if kind == "ipgrm":
        return f"Analysis: {critiques[0]}\nScore: \\boxed{{ {scores[0]}}}"
    if kind == "irpm":
        return f"<critique> {critiques[0]}</critique><score> {scores[0]}</score>"
    lines = [
        f"Response {i}: {text} {score}\n" for i, (text, score) in enumerate(zip(critiques, scores, strict=True), 1)
    ]
    return "".join(lines) + f"Scores: \\boxed{{ {', '.join(map(str, scores))}}}"


def prompt_text(
    kind: str,
    question: Question,
    responses: Sequence[str] = (),
    *,
    blocks: dict[str, str] | None = None,
    principles: str | None = None,
) -> str:
    """The prompt exactly as the library sends it. `principles` stands in for those that belong to the question."""
    values: dict[str, str | Sequence[str]] = {"question": question.text, **(blocks or {})}
    if kind == "ipgrm":
        values |= {"response": responses[0], "principles": principles or principles_text(question)}
    elif kind == "irpm":
        values["response"] = responses[0]
    elif kind == "listwise":
        values["responses"] = responses
    elif kind == "gram":
        values |= {"answer_a": responses[0], "answer_b": responses[1]}
    return template(kind).fill(**values)


def draw_blocks(rng: random.Random, question: Question, wanted: Callable[[str], bool]) -> dict[str, str]:
    """Values for those optional blocks that are `wanted`."""
    values = {
        "system": rng.choice(SYSTEM),
        "reference": perfect_answer(rng, question),
        "criteria": rng.choice(CRITERIA),
    }
    return {name: value for name, value in values.items() if wanted(name)}


def _draw_question(rng: random.Random, split: Split) -> Question:
    """In training three questions of four carry a required or a forbidden word, where most of the errors are made."""
    question = make_question(rng, split)
    plain = not (question.required or question.forbidden)
    return make_question(rng, split) if split == "train" and plain else question


def make_example(
    rng: random.Random,
    kind: str,
    split: Split = "train",
    *,
    group: int = 0,
    longest: int = LONGEST,
    tidy: bool = False,
    blocks: Sequence[str] | None = None,
    score_noise: float = 0,
) -> Example:
    """Draw a question, answers to it, and the prompt and target of one kind.

    `group` is the number of answers in a listwise prompt (0: 1 to 8 at random), `blocks` names the optional blocks to
    fill in (None: each at random). Pairs never tie. `score_noise`: the critique as ever, a score that is off by so much.
    """
    question = _draw_question(rng, split)
    count = {"ipgrm_principles": 0, "listwise": group or rng.randint(1, LARGEST_GROUP), "gram": 2}.get(kind, 1)
    responses = tuple(noisy_answer(rng, question, longest, tidy) for _ in range(count))
    while kind == "gram" and len({judge_score(question, response) for response in responses}) == 1:
        responses = tuple(noisy_answer(rng, question, longest, tidy) for _ in range(2))
    values = draw_blocks(rng, question, lambda name: rng.random() < BLOCK_SHARE if blocks is None else name in blocks)
    prompt = prompt_text(kind, question, responses, blocks=values)
    scores = doubtful_scores(rng, question, responses, score_noise) if score_noise else []
    if kind == "gram" and scores and scores[0] == scores[1]:
        scores[rng.randrange(2)] += 1  # a tie goes either way
    return Example(kind, prompt, target_text(kind, question, responses, scores), question, responses)
