"""Data for training a pairwise judge with GRAM's two stages (arXiv 2506.14175), as `datasets.Dataset`s for TRL.

    gram_pretraining    question -> both answers; no label is used, so any two answers to a question will do
    gram_finetuning     question and both answers -> "A" or "B", for `TwoLogitTrainer`

The prompts of the second stage are to the letter those of `GRAMReward`. The layout of the first is the same without the
judge's task: what stood between the markers of the prompt is now written by the model.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards import arguments, texts
from grmrewards.errors import ConfigError
from grmrewards.prompts import Template
from grmrewards.training.preferences import Preference, read_preferences, text_only
from grmrewards.training.tokens import control_tokens, fits, limit

LABELS = ("A", "B")
NO_THINKING = {"enable_thinking": False}  # as `TransformersJudge` has it: the label is the first token of the answer

_ASKED = "{?system}[System Prompt]\n{system}\n\n{/system}[User Question]\n{question}\n\n"
_ANSWERED = (
    "[The Start of Assistant A's Answer]\n{answer_a}\n[The End of Assistant A's Answer]\n\n"
    "[The Start of Assistant B's Answer]\n{answer_b}\n[The End of Assistant B's Answer]"
)

Row = dict[str, Any]


def gram_pretraining(dataset: Iterable[Mapping[str, Any]], *, tokenizer: Any = None, seed: int = 0) -> Any:
    """A `datasets.Dataset` in TRL's prompt-completion format from which a model learns to write both answers.

    Args:
        dataset: Preferences in one of the forms of `preferences`, or pairs without a label: the columns prompt (or
            context) and response1 and response2, or prompt and `responses`, two of them. Pairs of equal answers are left
            out.
        tokenizer: The model's. With it, its own control tokens are made harmless in the answers, too.
        seed: Of the order of the two answers, which is random, so that it says nothing of which one is better.

    For TRL's `SFTTrainer` (the paper: one epoch at 1e-5). Raises `ConfigError` for data in another form, with the number
    of the row, and where no pair is left.

    >>> rows = gram_pretraining([{"prompt": "1+1?", "responses": ["2", "3"]}])  # doctest: +SKIP
    >>> rows[0]["prompt"]  # doctest: +SKIP
    [{'role': 'user', 'content': '[User Question]\\n1+1?\\n\\n'}]
    """
    arguments.installed("gram_pretraining", "datasets", extra="trl")
    asked, answered, signs = Template(_ASKED), Template(_ANSWERED), control_tokens(tokenizer)
    rng = random.Random(seed)
    rows: list[Row] = []
    for pair in read_preferences(_as_preferences(dataset)):
        answers = rng.sample([pair.chosen, pair.rejected], 2)
        question = _filled(asked, pair, signs)
        rows.append(_row(question, answered.fill(control_tokens=signs, **_named(answers))))
    return _dataset(rows, "every pair has two equal answers, or there is none")


def gram_finetuning(
    dataset: Iterable[Mapping[str, Any]],
    *,
    tokenizer: Any = None,
    template: str | Path | None = None,
    both_orders: bool = True,
    min_strength: float | None = None,
    max_prompt_tokens: int | None = None,
    seed: int = 0,
) -> Any:
    """A `datasets.Dataset` in TRL's prompt-completion format: the judge's prompt, then "A" or "B"; and the number `pair`.

    Args:
        dataset: Preferences in one of the forms of `preferences`.
        tokenizer: The judge's. With it a prompt is to the letter what `GRAMReward(TransformersJudge(...))` shows the judge,
            with this tokenizer's own control tokens made harmless in the answers.
        template: The prompt of the judge; by default that of `GRAMReward`.
        both_orders: Each pair twice, once in each order, so that no place is worth more. False: once, in a random order,
            with as many "A" as "B".
        min_strength: Weaker preferences are dropped.
        max_prompt_tokens: Pairs with a longer prompt are left out; needs the tokenizer.
        seed: Of the orders.

    To keep questions back, split by `pair` or before: rows of one pair are the same question. Raises `ConfigError` for
    data in another form, with the number of the row, for a template that lacks a mark, and where no pair is left.

    >>> rows = gram_finetuning([{"prompt": "1+1?", "chosen": "2", "rejected": "3"}])  # doctest: +SKIP
    >>> [row[0]["content"] for row in rows["completion"]]  # doctest: +SKIP
    ['A', 'B']
    """
    arguments.installed("gram_finetuning", "datasets", extra="trl")
    filled = Template(template or "gram", required=("question", "answer_a", "answer_b"))
    twice = arguments.one_of("both_orders", both_orders, (True, False))
    most, signs = limit(tokenizer, max_prompt_tokens), control_tokens(tokenizer)
    pairs = read_preferences(dataset, min_strength=min_strength)
    rows: list[Row] = []
    for number, (pair, labels) in enumerate(zip(pairs, _labels(len(pairs), twice, seed), strict=True)):
        prompts = [_filled(filled, pair, signs, **_named(_in_order(pair, label))) for label in labels]
        if all(fits(tokenizer, text, most) for text in prompts):
            rows += [{**_row(text, label), "pair": number} for text, label in zip(prompts, labels, strict=True)]
    return _dataset(
        rows,
        f"{len(pairs)} preferences have min_strength={min_strength} and two different answers, and none of their prompts "
        f"fits max_prompt_tokens={max_prompt_tokens}",
    )


def _labels(pairs: int, both_orders: bool, seed: int) -> list[tuple[str, ...]]:
    """The place or places of each pair's better answer."""
    if both_orders:
        return [LABELS] * pairs
    rng = random.Random(seed)
    first = rng.randrange(2)  # of an odd number, the one that is left over
    drawn = [(LABELS[(i + first) % 2],) for i in range(pairs)]
    rng.shuffle(drawn)
    return [*drawn]


def _in_order(pair: Preference, label: str) -> tuple[str, str]:
    """The two answers with the better one in the place `label`."""
    return (pair.chosen, pair.rejected) if label == LABELS[0] else (pair.rejected, pair.chosen)


def _named(answers: Sequence[str]) -> dict[str, str]:
    return {"answer_a": answers[0], "answer_b": answers[1]}


def _filled(template: Template, pair: Preference, signs: Sequence[str], **answers: str) -> str:
    """What the model is asked about a pair."""
    prompt = text_only(pair.prompt)
    question, system = texts.question(prompt), texts.system(prompt)
    return template.fill(control_tokens=signs, question=question, system=system, **answers)


def _as_preferences(dataset: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Each row as one that `read_preferences` knows: of two answers without a label the first takes the place of the better."""
    for number, row in enumerate(dataset):
        prompt = row.get("prompt", row.get("context"))
        two = [row["response1"], row["response2"]] if {"response1", "response2"} <= row.keys() else row.get("responses")
        if prompt is None or two is None or (len(two) != 2 and "scores" in row):
            yield row
        elif len(two) == 2:
            yield {"prompt": prompt, "chosen": two[0], "rejected": two[1]}
        else:
            raise ConfigError(
                f"row {number}: {len(two)} responses without scores; allowed are two, or any number with scores."
            )


def _row(prompt: str, completion: str) -> Row:
    """An example for TRL, whose chat template is told what `TransformersJudge` tells it."""
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
        "chat_template_kwargs": NO_THINKING,
    }


def _dataset(rows: list[Row], why_empty: str) -> Any:
    from datasets import Dataset

    if not rows:
        raise ConfigError(f"no example is left: {why_empty}.")
    return Dataset.from_list(rows)
