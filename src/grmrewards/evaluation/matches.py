"""Matches between models and checkpoints: the same prompts, answered by each, and a judge that says which is better."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards import bulk, json_lines, keys, texts
from grmrewards.bulk import Asked
from grmrewards.errors import ConfigError
from grmrewards.evaluation.ranking import Match

MANY = 0.1  # of the pairs without a judgement: worth a warning
Pair = tuple[str, str]


def contest(
    reward: Callable[..., Any],
    prompts: Sequence[Any],
    answers: Mapping[str, Sequence[Any]],
    *,
    opponent: str | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    record: str | Path | None = None,
    seed: int = 0,
) -> list[Match]:
    """The matches of all models with each other, or with `opponent` alone, on every prompt.

    `answers[name][i]` is a model's answer to `prompts[i]`. A judge of single answers scores each once, and the higher score
    wins; one that compares sees two at a time, in an order by their texts and `seed`, and `GRAMReward`'s probability is what
    a match is worth. Equal answers are a tie, and where two are compared an answer beats none, both without a judge. A pair
    without a judgement is no match. With `record`, a file, finished judgements are not paid for again. Raises `ConfigError`
    for lists that do not line up, and warns where more than a tenth is lost.

    >>> def brevity(prompts, completions):
    ...     return [-len(completion) for completion in completions]
    >>> contest(brevity, ["1+1?"], {"base": ["It is 2."], "tuned": ["2"]})
    [Match(first='base', second='tuned', won=0.0, prompt='0')]
    """
    _check(prompts, answers, opponent)
    pairs = [(a, b) for a, b in itertools.combinations(answers, 2) if opponent in (None, a, b)]
    alone = bulk.alone(reward)
    rows = [{name: own[i] for name, own in answers.items()} for i in range(len(prompts))]
    plain = {(i, pair): _plain(reward, row, pair, alone) for i, row in enumerate(rows) for pair in pairs}
    open_ones = [game for game, won in plain.items() if won is None]
    if alone:
        sides = [(i, tuple(answers)) for i in dict.fromkeys(i for i, _ in open_ones)]
    else:
        sides = [(i, _order(pair, prompts[i], rows[i], seed)) for i, pair in open_ones]
    asked = [
        Asked(prompts[i], [rows[i][name] for name in side], {name: own[i] for name, own in (columns or {}).items()})
        for i, side in sides
    ]
    found = bulk.scores(bulk.measured(reward, record=record, raw=True), asked, name="contest")
    scores = {side: dict(zip(side[1], given, strict=True)) for side, given in zip(sides, found, strict=True)}
    sure = getattr(reward, "family", "") == "gram" and not alone
    judged = {(i, p): _won(own, p, sure) for (i, side), own in scores.items() for p in pairs if {*p} <= {*side}}
    return _known({game: judged.get(game) if won is None else won for game, won in plain.items()})


def _known(points: Mapping[tuple[int, Pair], float | None]) -> list[Match]:
    """The matches that could be had, with a warning where many could not."""
    known = [Match(*pair, won, str(i)) for (i, pair), won in points.items() if won is not None]
    if len(known) < (1 - MANY) * len(points):
        warnings.warn(f"{len(points) - len(known)} of {len(points)} pairs could not be judged.", stacklevel=3)
    return known


def _plain(reward: Callable[..., Any], row: Mapping[str, Any], pair: Pair, alone: bool) -> float | None:
    """Who won where no judge is needed: equal answers tie, and where two are compared, an answer beats none. Else None.

    A function of one's own may look at more than the answer, such as the reasoning before it: only equal completions tie.
    """
    first, second = (row[name] for name in pair)
    ours = bulk.judging(reward)
    if ours is not reward or ours is None:
        return 0.5 if first == second else None
    a, b = texts.answer(first, ours.answer_tag), texts.answer(second, ours.answer_tag)
    if a == b:
        return 0.5
    return None if alone or (a and b) else float(bool(a))


def _order(pair: Pair, prompt: Any, row: Mapping[str, Any], seed: int) -> Pair:
    """The pair in the order in which a judge sees it: by the texts and the seed, whoever else plays."""
    low, high = sorted(pair, key=lambda name: json.dumps(row[name], default=repr))
    content = json.dumps([prompt, row[low], row[high]], default=repr)
    return (high, low) if keys.content_seed(seed, content) % 2 else (low, high)


def _won(scores: Mapping[str, float | None], pair: Pair, sure: bool) -> float | None:
    """The points of the first by two scores, or with `sure` its score itself, a probability. None for what is no number."""
    first, second = (scores[name] for name in pair)
    if first is None or second is None or math.isnan(first) or math.isnan(second):
        return None
    return first if sure else (first > second) + (first == second) / 2


def _check(prompts: Sequence[Any], answers: Mapping[str, Sequence[Any]], opponent: str | None) -> None:
    sizes = {name: len(own) for name, own in answers.items()}
    if len(answers) < 2 or not prompts or set(sizes.values()) != {len(prompts)}:
        raise ConfigError(
            f"{len(prompts)} prompts and answers {sizes}; each of two or more models answers every prompt."
        )
    if opponent is not None and opponent not in answers:
        raise ConfigError(f"opponent={opponent!r}; allowed is one of {', '.join(answers)}, or None.")


def read_answers(files: Mapping[str, str | Path]) -> tuple[list[Any], dict[str, list[Any]]]:
    """The prompts and each model's answers, from JSON lines with "prompt" and "completion", in any order.

    Raises `ConfigError` for other lines, a prompt that stands twice, and files that differ in their prompts.
    """
    found = {name: _answers(Path(path)) for name, path in files.items()}
    first, *others = found
    for name in others:
        if other := set(found[name]) ^ set(found[first]):
            key = min(other)
            without = files[first if key in found[name] else name]
            raise ConfigError(
                f"{files[first]} and {files[name]} differ in their prompts: {without} has no answer to {key[:80]}."
            )
    prompts = [prompt for prompt, _ in found[first].values()]
    return prompts, {name: [found[name][key][1] for key in found[first]] for name in found}


def _answers(path: Path) -> dict[str, tuple[Any, Any]]:
    rows: dict[str, tuple[Any, Any]] = {}
    for place, row in json_lines.of_file(path, needs=("prompt", "completion")):
        key = json.dumps(row["prompt"], sort_keys=True)
        if key in rows:
            raise ConfigError(f"{place}: this prompt stood before; each once.")
        rows[key] = (row["prompt"], row["completion"])
    return rows
