"""`spct_rows`: preferences and labelled responses as prompts for a listwise judge, with what is right (arXiv 2504.02495).

    preferences            any form of `preferences`: the two answers, the chosen one is best
    rated groups           prompt, responses, scores: all of them at once; without a single best one the row is left out
    labelled groups        prompt, responses, best (its place, from 0)
    single responses       prompt, response (or completion), label (0 or 1, or whether it is right)

Rows of several forms may stand in one dataset. The responses are shuffled, and the label goes with its response.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from grmrewards import arguments, keys, texts
from grmrewards.errors import ConfigError
from grmrewards.prompts import Template
from grmrewards.training import preferences, tokens
from grmrewards.types import Message

log = logging.getLogger("grmrewards")
Row = Mapping[str, Any]

HINTS = (  # of a single response, and of several
    "\nHint: its right score is known to be {right}. Show by an analysis of your own why, without mention of this hint.",
    "\nHint: the best response is known to be Response {right}. Show by an analysis of your own why, without mention of this "
    "hint.",
)


class Case(NamedTuple):
    """What a judge is asked, and what it should find: the `right` place among several responses, or the label of one."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]  # in the order shown
    right: int
    shown: str = ""  # the whole text of the prompt for the judge

    def hinted(self) -> str:
        """The prompt with the result at its end (SPCT's hinted sampling)."""
        several = len(self.responses) > 1
        return self.shown + HINTS[several].format(right=self.right + several)


def spct_rows(
    dataset: Iterable[Row],
    *,
    tokenizer: Any = None,
    template: str | Path | None = None,
    single_template: str | Path | None = None,
    hint: bool = False,
    max_prompt_tokens: int | None = None,
    seed: int = 0,
) -> Any:
    """A `datasets.Dataset` of judge prompts for `SPCTReward`: columns prompt, responses, best and correct.

    Args:
        dataset: Rows in one of the forms above.
        tokenizer: The judge's. With it a prompt is to the letter what `ListwiseReward(TransformersJudge(...))` shows the
            judge, with this tokenizer's own control tokens made harmless in the responses.
        template: The prompt for several responses; by default that of `ListwiseReward`.
        single_template: The prompt for a single response.
        hint: Say at the end of each prompt what is right. For sampling answers to learn from, never for what is trained on.
        max_prompt_tokens: Longer prompts are left out; needs the tokenizer.
        seed: Of the orders, which follow from it and from the responses alone.

    Equal and empty responses are not shown, as in `ListwiseReward`. Raises `ConfigError` for rows of another form, with their
    number, and where none is left.

    >>> rows = spct_rows([{"prompt": "1+1?", "chosen": "2", "rejected": "3"}])  # doctest: +SKIP
    >>> rows[0]["responses"], rows[0]["best"]  # doctest: +SKIP
    (2, 1)
    """
    arguments.installed("spct_rows", "datasets", extra="trl")
    from datasets import Dataset, Features, Value

    arguments.one_of("hint", hint, (True, False))
    longest, signs = tokens.limit(tokenizer, max_prompt_tokens), tokens.control_tokens(tokenizer)
    found = cases(dataset, control_tokens=signs, template=template, single_template=single_template, seed=seed)
    rows = [_row(case, case.hinted() if hint else case.shown) for case in found]
    rows = [row for row in rows if tokens.fits(tokenizer, row["prompt"][0]["content"], longest)]
    if not rows:
        raise ConfigError(f"max_prompt_tokens={longest}; none of {len(found)} prompts is so short.")
    text, number = Value("string"), Value("int64")
    turns = [{"role": text, "content": text}]
    features = {"prompt": turns, "responses": number, "best": number, "correct": number}
    return Dataset.from_list(rows, features=Features(features))


def _row(case: Case, shown: str) -> dict[str, Any]:
    """A row for TRL, which takes a column named label for a form of data of its own."""
    single = len(case.responses) == 1
    known = {"best": None if single else case.right, "correct": case.right if single else None}
    return {"prompt": turns(shown), "responses": len(case.responses), **known}


def turns(text: str, role: str = "user") -> list[dict[str, str]]:
    """One turn in the conversational form of TRL."""
    return [{"role": role, "content": text}]


def cases(
    dataset: Iterable[Row],
    *,
    control_tokens: Sequence[str] = (),
    template: str | Path | None = None,
    single_template: str | Path | None = None,
    seed: int = 0,
) -> list[Case]:
    """What a judge is asked about each row of a dataset, in order. The arguments and errors are those of `spct_rows`."""
    several = Template("listwise" if template is None else template, required=("question", "responses"))
    single = Template("spct_single" if single_template is None else single_template, required=("question", "response"))
    arguments.whole("seed", seed, least=0)
    found, number = [], -1
    for number, row in enumerate(dataset):
        try:
            found += [_shuffled(case, seed) for case in _cases(row)]
        except ConfigError as error:
            raise ConfigError(f"row {number} of the dataset: {error}") from error
    if not found:
        raise ConfigError(
            f"none of {number + 1} rows has several different responses of which one is best, or a label."
        )
    log.info("spct: %d prompts for the judge from %d rows", len(found), number + 1)
    return [_filled(case, single if len(case.responses) == 1 else several, control_tokens) for case in found]


def _filled(case: Case, template: Template, control_tokens: Sequence[str]) -> Case:
    shown: Any = {"response": case.responses[0]} if len(case.responses) == 1 else {"responses": case.responses}
    shown |= {"question": texts.question(case.prompt), "system": texts.system(case.prompt)}
    return case._replace(shown=template.fill(control_tokens=control_tokens, **shown))


def _shuffled(case: Case, seed: int) -> Case:
    """The responses in an order that follows from the content, whatever other rows there are."""
    if len(case.responses) == 1:
        return case
    rng = random.Random(keys.content_seed(seed, (case.prompt, case.responses)))
    order = rng.sample(range(len(case.responses)), len(case.responses))
    return case._replace(responses=tuple(case.responses[place] for place in order), right=order.index(case.right))


# From rows to cases


def _cases(row: Row) -> Iterator[Case]:
    """The cases of a row: none where nothing is best."""
    if {"chosen", "rejected"} <= row.keys() or "overall_preference" in row:
        for prompt, chosen, rejected, _ in preferences.preferences_of(row):
            yield from _of_group(prompt, [chosen, rejected], chosen)
    elif {"prompt", "responses"} <= row.keys() and row.keys() & {"scores", "best"}:
        answers = [preferences.last_answer(one) for one in row["responses"]]
        yield from _of_group(texts.messages(row["prompt"]), answers, _best(row, answers))
    elif {"prompt", "label"} <= row.keys() and row.keys() & {"response", "completion"}:
        yield from _single(row)
    else:
        raise ConfigError(
            f"columns {sorted(row)}; allowed are a preference (prompt, chosen and rejected, or those of HelpSteer3), "
            "prompt, responses and scores or best, or prompt, response and label."
        )


def _of_group(prompt: tuple[Message, ...], answers: Sequence[str], best: str | None) -> Iterator[Case]:
    different = list(dict.fromkeys(answer for answer in answers if answer))
    if best and len(different) > 1:
        yield Case(preferences.text_only(prompt), tuple(different), different.index(best))


def _single(row: Row) -> Iterator[Case]:
    answer = preferences.last_answer(row["response"] if "response" in row else row["completion"])
    if row["label"] not in (0, 1):
        raise ConfigError(f"label={row['label']!r}; allowed are 1 (right) and 0 (wrong).")
    if answer:
        yield Case(preferences.text_only(texts.messages(row["prompt"])), (answer,), int(row["label"]))


def _best(row: Row, answers: Sequence[str]) -> str | None:
    """The answer that is best, or None where several different ones are, or nobody knows."""
    if row.get("best") is not None:
        if arguments.whole("best", row["best"], least=0) >= len(answers):
            raise ConfigError(f"best={row['best']} of {len(answers)} responses; allowed are places from 0.")
        return answers[row["best"]]
    scores = [float(score) for score in row.get("scores") or ()]
    if scores and (len(scores) != len(answers) or not all(map(math.isfinite, scores))):
        raise ConfigError(f"scores={scores} of {len(answers)} responses; each response needs one finite score.")
    highest = {answer for answer, score in zip(answers, scores, strict=False) if score == max(scores)}
    return highest.pop() if len(highest) == 1 else None
