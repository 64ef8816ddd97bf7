"""The domain of the embedded judge: "Name 3 animals, one of them fox."

Small enough to be learnt by half a million parameters, and with an exact rule, so that whatever a judge or a policy
does can be checked without another judge. Pure Python.

    >>> question = parse_question("Name 4 animals, one of them fox.")
    >>> label_items(question, "fox, cat, cat, red")
    [('fox', 'good'), ('cat', 'good'), ('cat', 'again'), ('red', 'wrong')]
    >>> rule_score(question, "fox, cat, cat, red"), judge_score(question, "fox, cat, cat, red")
    (0.5, 5)
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "heldout_questions", "heldout_words"]
Label = Literal["good", "again", "wrong", "forbidden"]

_WORDS = {
    "animals": "cat dog fox owl bear wolf lion goat duck frog mouse horse",
    "fruits": "apple pear plum fig lemon mango grape peach cherry melon kiwi banana",
    "colors": "red blue green black white pink brown gray purple yellow violet beige",
    "tools": "hammer saw drill pliers wrench chisel axe ladder shovel rake clamp screwdriver",
    "clothes": "shirt sock hat coat scarf glove boot belt jacket skirt dress shoe",
    "vegetables": "carrot onion potato leek cabbage spinach pepper radish celery turnip garlic bean",
    "sports": "tennis golf rugby hockey boxing rowing judo cricket soccer skiing surfing fencing",
    "drinks": "tea coffee milk juice water cocoa beer wine soda cider lemonade cola",
}
CATEGORIES = {category: tuple(words.split()) for category, words in _WORDS.items()}
CATEGORY_OF = {word: category for category, words in CATEGORIES.items() for word in words}
FEWEST, MOST = 2, 5
MISSING_PENALTY = 0.3

# Held out: of each category the last two words are never required or forbidden in training (they do occur in answers),
# and of all questions these per cent, chosen by the checksum of their text, never occur in training at all.
_HELDOUT_WORDS = frozenset(word for words in CATEGORIES.values() for word in words[-2:])
_HELDOUT_PERCENT = 15

_QUESTION = re.compile(r"Name ([0-9]+) ([a-z]+)(?:, one of them ([a-z]+)|, but not ([a-z]+))?\.")


@dataclass(frozen=True)
class Question:
    """`asked` things of a `category`, perhaps with one that must be among them or one that must not ("" for none)."""

    text: str
    asked: int
    category: str
    required: str = ""
    forbidden: str = ""


def make_question(rng: random.Random, split: Split = "train") -> Question:
    """A random question of one split. Half of them carry a required or a forbidden word ("heldout_words": all)."""
    while True:
        category, asked = rng.choice(list(CATEGORIES)), rng.randint(FEWEST, MOST)
        word = rng.choice(CATEGORIES[category])
        kind = rng.choice(("required", "forbidden") if split == "heldout_words" else ("required", "forbidden", "", ""))
        tail = {"required": f", one of them {word}", "forbidden": f", but not {word}", "": ""}[kind]
        question = Question(
            text=f"Name {asked} {category}{tail}.",
            asked=asked,
            category=category,
            required=word if kind == "required" else "",
            forbidden=word if kind == "forbidden" else "",
        )
        if split_of(question) == split:
            return question


def split_of(question: Question) -> Split:
    """The split that a question belongs to, by its text alone: fixed for good."""
    if {question.required, question.forbidden} & _HELDOUT_WORDS:
        return "heldout_words"
    if zlib.crc32(question.text.encode()) % 100 < _HELDOUT_PERCENT:
        return "heldout_questions"
    return "train"


def parse_question(text: str) -> Question | None:
    """Read a question back from its text; None if the text is no question of this domain."""
    match = _QUESTION.fullmatch(text.strip())
    if match is None or match[2] not in CATEGORIES:
        return None
    return Question(match[0], int(match[1]), match[2], match[3] or "", match[4] or "")


def label_items(question: Question, response: str) -> list[tuple[str, Label]]:
    """Each item of a response in order with what it is worth. Commas, full stops and white space separate items."""
    labelled: list[tuple[str, Label]] = []
    seen: set[str] = set()
    for word in re.split(r"[,\s.]+", response.strip(" \t\n\r,.").lower()):
        if word:
            labelled.append((word, _label(question, word, word in seen)))
            seen.add(word)
    return labelled


def _label(question: Question, word: str, seen: bool) -> Label:
    if seen:
        return "again"
    if CATEGORY_OF.get(word) != question.category:
        return "wrong"
    return "forbidden" if word == question.forbidden else "good"


def _counts(question: Question, response: str) -> tuple[int, int, bool]:
    """The good items, what they are divided by, and whether a required word is missing."""
    labelled = label_items(question, response)
    good = sum(label == "good" for _, label in labelled)
    missing = bool(question.required) and question.required not in (word for word, _ in labelled)
    return good, max(question.asked, len(labelled), 1), missing


def rule_score(question: Question, response: str) -> float:
    """The exact score in 0..1: the share of good items, less 0.3 if the required word is missing."""
    good, total, missing = _counts(question, response)
    return min(1.0, max(0.0, good / total - MISSING_PENALTY * missing))


def judge_score(question: Question, response: str) -> int:
    """The rule score on the judge's scale of whole numbers from 1 to 10, halves rounded up."""
    good, total, missing = _counts(question, response)
    tenths = (20 * good + total) // (2 * total)  # whole numbers: 10 * (0.55 - 0.3) is not 2.5 in floats
    return min(10, max(1, tenths - round(10 * MISSING_PENALTY) * missing))
