"""A pairwise judge's prompts and its verdicts, [[A]] or [[B]] (ReasonGRM): what its training shows it, and what is read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from grmrewards import arguments, keys, texts
from grmrewards.errors import ConfigError
from grmrewards.prompts import Template
from grmrewards.training.preferences import Preference, read_preferences
from grmrewards.training.tokens import control_tokens
from grmrewards.types import Message, Reply
from grmrewards.verdict import CUT_OFF

TARGETS = ("[[A]]", "[[B]]")
MARKS = ("question", "answer_a", "answer_b")

log = logging.getLogger("grmrewards")

_VERDICT = re.compile(r"(?<!\[)\[\[[AB]\]\](?!\])")


# The prompts


class Shown(NamedTuple):
    """A preference as a judge is shown it, and the verdict that is right."""

    prompt: tuple[Message, ...]
    answer_a: str
    answer_b: str
    target: str


def shown(
    dataset: Iterable[Mapping[str, Any]], *, min_strength: float | None = None, both_orders: bool = False, seed: int = 0
) -> list[Shown]:
    """The preferences of a dataset, each once and in the order that its content and the seed decide.

    So the same pair stands in the same order whatever stands beside it. Pairs that are preferred both ways are left out.
    """
    preferences = read_preferences(dataset, min_strength=min_strength)
    if seeing := sum(bool(texts.images(one.prompt)) for one in preferences):
        raise ConfigError(f"{seeing} of {len(preferences)} prompts have images; allowed are prompts of text alone.")
    rows = dict.fromkeys(_in_order(one, seed) for one in preferences)  # without repeats
    judged: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        judged.setdefault(row[:3], set()).add(row.target)
    found = [row for row in rows if len(judged[row[:3]]) == 1]
    if len(found) < len(rows):
        log.warning("%d preferences contradict each other and are left out", len(rows) - len(found))
    if not found:
        raise ConfigError(f"no preference is left of {len(preferences)}; give pairs that are preferred one way.")
    return [row for one in found for row in ((one, _exchanged(one)) if both_orders else (one,))]


def _in_order(preference: Preference, seed: int) -> Shown:
    pair = sorted((preference.chosen, preference.rejected))
    first = pair.pop(keys.content_seed(seed, (preference.prompt, *pair)) % 2)
    return Shown(preference.prompt, first, pair[0], TARGETS[first != preference.chosen])


def _exchanged(one: Shown) -> Shown:
    return Shown(one.prompt, one.answer_b, one.answer_a, TARGETS[1 - TARGETS.index(one.target)])


def verdict_rows(
    dataset: Iterable[Mapping[str, Any]],
    *,
    tokenizer: Any = None,
    template: str | Path | None = None,
    both_orders: bool = False,
    min_strength: float | None = None,
    seed: int = 0,
) -> Any:
    """A `datasets.Dataset` of judge prompts with the columns prompt (one message) and target ("[[A]]" or "[[B]]").

    Args:
        dataset: Preferences in one of the forms of `preferences`.
        tokenizer: The judge's. With it a prompt is to the letter what `select_reasoning` shows a local judge of it.
        template: The prompt of the judge, with {question}, {answer_a} and {answer_b}; by default "reasongrm".
        both_orders: Show each pair in both orders, two rows, instead of in one at random.
        min_strength: Weaker preferences are dropped.
        seed: Of the orders, together with the content of a pair: it is the same in `select_reasoning`.

    Raises `ConfigError` for data in another form, images, and where no preference is left.

    >>> verdict_rows([{"prompt": "1+1?", "chosen": "2", "rejected": "3"}])["target"]  # doctest: +SKIP
    ['[[A]]']
    """
    arguments.installed("verdict_rows", "datasets", extra="trl")
    from datasets import Dataset

    filled = Template(template or "reasongrm", required=MARKS)
    signs = control_tokens(tokenizer)
    orders = arguments.one_of("both_orders", both_orders, (True, False))
    rows = shown(dataset, min_strength=min_strength, both_orders=orders, seed=seed)
    return Dataset.from_list([{"prompt": _turn(filled, signs, row), "target": row.target} for row in rows])


def _turn(template: Template, signs: Sequence[str], row: Shown) -> list[dict[str, str]]:
    values = {"question": texts.question(row.prompt), "system": texts.system(row.prompt)}
    values |= {"answer_a": row.answer_a, "answer_b": row.answer_b}
    return [{"role": "user", "content": template.fill(control_tokens=signs, **values)}]


# Reading


class Verdict(NamedTuple):
    """What a judgement comes to.

    `said`: "[[A]]", "[[B]]", or "" where there is none. `exact`: whether nothing else was said. `finished`: whether the
    reasoning came to its end, and the answer too. `end`: where in the text the verdict ends.
    """

    said: str = ""
    exact: bool = False
    finished: bool = True
    end: int = 0


def read_verdict(reply: Reply, *, think: bool = True) -> Verdict:
    """The last [[A]] or [[B]] after the last `</think>`: what the reasoning quotes is no verdict.

    `think=False` is for judges that reason without tags: exact is an answer that ends with its verdict.

    >>> read_verdict(Reply("<think>It says [[A]]. No.</think>\\n\\n[[B]]")).said
    '[[B]]'
    """
    _, closed, after = reply.text.rpartition("</think>")
    thought = bool(closed or (reply.reasoning and after.strip())) or not think
    if not thought or "<think>" in after or str(reply.finish_reason).lower() in CUT_OFF:
        return Verdict(finished=False)
    found = [*_VERDICT.finditer(after)]
    if not found:
        return Verdict()
    last, before = found[-1], after[: found[-1].start()]
    exact = not after[last.end() :].strip() and not (think and before.strip())
    return Verdict(last[0], exact, end=len(reply.text) - len(after) + last.end())
