"""Hints: extra targets inside a sequence, layer by layer, which teach a small model to judge while it reads.

Nothing to run. From the answers alone two things are hardly learnt in a few minutes on one core: to copy an answer word
by word (aligned by position alone the critique is off by one now and then), and to count (a verdict "A" is a single
token for two whole answers). So training also asks, after a given layer,

    1  each word of an answer, each label of a critique, and the word that a question names: which word stood before?
       The next layer then finds the word to go on with, or the word that must not be there, by what stands before it.
       And also: in which answer does it stand? (A word can occur in several, and in a reference answer.)
    2  each word of an answer: is it good, again, wrong or forbidden, or the required one that is then "there"?
    3  the end of each answer: what is its score? The last layer has but to write it down, or to compare two.

Nothing is ever sampled there. The hints shape what the model has at hand, and training alone uses them.
"""

from __future__ import annotations

import itertools

from tokenizer import TARGET_CHUNKS
from training_data import LARGEST_GROUP, Example, template
from transformers import PreTrainedTokenizerFast

from grmrewards.judges.embedded.domain import CATEGORY_OF, Question, judge_score, label_items
from grmrewards.prompts import RESPONSE_HEAD, RESPONSE_TAIL

Hint = tuple[int, int]  # position, and the token to predict there

_ANSWERS = ("response", "answer_a", "answer_b")
_LABELS = ("good", "again", "wrong", "forbidden")
_HEADS = ("Analysis:", "<critique>", "Response 1:", *(f"\nResponse {i}:" for i in range(2, LARGEST_GROUP + 1)))
_CUES = ("not", "them", *(chunk for chunk in TARGET_CHUNKS if chunk.endswith("the item")))


class Hints:
    """Finds the answers in a tokenised prompt and says what each of their tokens should predict."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        def one(text: str) -> int:
            return int(tokenizer(text, add_special_tokens=False)["input_ids"][0])

        self._one = one
        self._words = {one(word): word for word in CATEGORY_OF}
        self._targets = {text: one(text) for text in (*_LABELS, "there", *map(str, range(1, 11)))}
        self._labels = {one(label) for label in _LABELS}
        self._cues = {one(cue) for cue in _CUES}
        self._heads = {one(head) for head in _HEADS}
        self._separators = {i for text, i in tokenizer.get_vocab().items() if not text.strip("\u0120,.")}
        self._end = int(tokenizer.eos_token_id)
        self._borders = {kind: self._find_borders(kind) for kind in ("ipgrm", "irpm", "gram", "listwise")}

    def _find_borders(self, kind: str) -> tuple[set[int], set[int]]:
        """The tokens that open and those that close an answer in a prompt of this kind."""
        if kind == "listwise":
            numbers = range(1, LARGEST_GROUP + 1)
            heads, tails = ({self._one(form.format(i=i)) for i in numbers} for form in (RESPONSE_HEAD, RESPONSE_TAIL))
            return heads, tails
        pieces = template(kind).pieces
        at = [i for i, piece in enumerate(pieces) if piece.name in _ANSWERS]
        closers = {self._one(pieces[i + 1].text) for i in at if i + 1 < len(pieces)}
        return {self._one(pieces[i - 1].text) for i in at}, closers or {self._end}

    def find(self, example: Example, prompt: list[int], target: list[int]) -> dict[int, list[Hint]]:
        """The hints for one sequence by layer."""
        openers, closers = self._borders.get(example.kind, (set(), set()))
        before = [(i, prompt[i - 1]) for i in range(1, len(prompt)) if prompt[i - 1] in self._cues]
        labels, scores = [], []
        begun: list[int] = []
        start = -1
        for position, token in enumerate(prompt):
            if start >= 0 and token in closers:
                answer = example.responses[len(begun) - 1]
                words = self._words_before(prompt, start, position)
                before += words + [(i, begun[-1]) for i, _ in words]
                labels += self._item_labels(prompt, start, position, _labels_of(example.question, answer))
                scores.append((position, self._targets[str(judge_score(example.question, answer))]))
                start = -1
            if token in openers:
                begun.append(token)
                start = position
        return {1: before + self._in_critiques(begun, target, len(prompt)), 2: labels, 3: scores}

    def _words_before(self, ids: list[int], start: int, end: int) -> list[Hint]:
        """Each word of the answer between `start` and `end`, and its end, with the word before or the beginning."""
        at = [i for i in range(start, end + 1) if ids[i] not in self._separators]
        return [(here, ids[last]) for last, here in itertools.pairwise(at)]

    def _item_labels(self, ids: list[int], start: int, end: int, labelled: list[tuple[str, str]]) -> list[Hint]:
        """Each word of the answer that is one token with its label."""
        rest = iter(labelled)
        words = [(i, self._words[ids[i]]) for i in range(start + 1, end) if ids[i] in self._words]
        found = [(i, next((label for item, label in rest if item == word), None)) for i, word in words]
        return [(i, self._targets[label]) for i, label in found if label]

    def _in_critiques(self, openers: list[int], target: list[int], start: int) -> list[Hint]:
        """In a critique each label points back to its word, and the beginning to the beginning of the answer."""
        hints: list[Hint] = []
        rest = iter(openers)
        opener = -1
        for i, token in enumerate(target):
            if token in self._heads:
                opener = next(rest)
                hints.append((start + i, opener))
            elif token in self._labels:
                hints += [(start + i, target[i - 1]), (start + i, opener)]
        return hints


def _labels_of(question: Question, answer: str) -> list[tuple[str, str]]:
    """The labels of an answer, where the required word is "there"."""
    labelled = label_items(question, answer)
    return [(w, "there" if w == question.required and label == "good" else label) for w, label in labelled]
