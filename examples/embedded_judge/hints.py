"""Hints: extra targets inside a sequence, which teach a small model to judge while it reads.

Nothing to run. Two things are hard to learn from the targets alone in a few minutes on one core, and each has hints:

- counting: a verdict "A" is a single token for two whole answers. So each word of an answer also predicts its label
  ("good", "again", ...), and the end of each answer its score, in every kind of prompt.
- copying word by word: left alone, the model aligns the critique with the answer by position, off by one now and then.
  So after its first layer each word of an answer, and each label of a critique, predicts the word before it; the next
  layer then finds the word to go on with by what stands before it.

Nothing is ever sampled at these places: the hints shape what the model knows, and training alone uses them.
"""

from __future__ import annotations

from collections.abc import Iterator

from training_data import LARGEST_GROUP, Example, template
from transformers import PreTrainedTokenizerFast

from grmrewards.judges.embedded.domain import CATEGORY_OF, judge_score, label_items
from grmrewards.prompts import RESPONSE_HEAD, RESPONSE_TAIL

Hint = tuple[int, int]  # position, and the token to predict there

_ANSWERS = ("response", "answer_a", "answer_b")
_LABELS = ("good", "again", "wrong", "forbidden")
_HEADS = ("Analysis:", "<critique>", "Response 1:", *(f"\nResponse {i}:" for i in range(2, LARGEST_GROUP + 1)))


class Hints:
    """Finds the answers in a tokenised prompt and says what each of their tokens should predict."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        def one(text: str) -> int:
            return int(tokenizer(text, add_special_tokens=False)["input_ids"][0])

        self._one = one
        self._words = {one(word): word for word in CATEGORY_OF}
        self._targets = {text: one(text) for text in (*_LABELS, *map(str, range(1, 11)))}
        self._labels = {one(label) for label in _LABELS}
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

    def find(self, example: Example, prompt: list[int], target: list[int]) -> tuple[list[Hint], list[Hint]]:
        """Hints for the last layer (labels and scores) and for the first one (the word before)."""
        openers, closers = self._borders.get(example.kind, (set(), set()))
        late: list[Hint] = []
        early: list[Hint] = []
        begun: list[int] = []
        answer: str | None = None
        before = -1
        labels: Iterator[tuple[str, str]] = iter(())
        for position, token in enumerate(prompt):
            if answer is not None and token not in self._separators:
                early.append((position, before))
                before = token
            if answer is not None and token in closers:
                late.append((position, self._targets[str(judge_score(example.question, answer))]))
                answer = None
            elif answer is not None and (word := self._words.get(token)):
                label = next((label for item, label in labels if item == word), None)
                late += [(position, self._targets[label])] if label else []
            if token in openers:
                answer = example.responses[len(begun)]
                begun.append(token)
                before = token
                labels = iter(label_items(example.question, answer))
        return late, early + self._in_critiques(begun, target, len(prompt))

    def _in_critiques(self, openers: list[int], target: list[int], start: int) -> list[Hint]:
        """In a critique each label points back to its word, and the beginning to the beginning of the answer."""
        hints = [(start + i, target[i - 1]) for i, token in enumerate(target) if token in self._labels and i]
        heads = [start + i for i, token in enumerate(target) if token in self._heads]
        return hints + list(zip(heads, openers, strict=False))
