"""Matches between models and checkpoints: the same prompts, answered by each, and a judge that says which is better."""

from __future__ import annotations

import itertools
import json
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards import bulk, texts
from grmrewards.bulk import Asked
from grmrewards.errors import ConfigError
from grmrewards.evaluation.ranking import Match
from grmrewards.reward import Reward

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
    wins; one that compares sees two at a time, in a random order, and `GRAMReward`'s probability is what a match is worth. A
    pair without a judgement is no match, and equal answers are a tie. With `record`, a file, finished judgements are not
    paid for again. Raises `ConfigError` for lists that do not line up, and warns where more than a tenth is lost.

    >>> def brevity(prompts, completions):
    ...     return [-len(completion) for completion in completions]
    >>> contest(brevity, ["1+1?"], {"base": ["It is 2."], "tuned": ["2"]})
    [Match(first='base', second='tuned', won=0.0, prompt='0')]
    """
    _check(prompts, answers, opponent)
    pairs = [(a, b) for a, b in itertools.combinations(answers, 2) if opponent in (None, a, b)]
    ours = isinstance(reward, Reward)
    alone = bool(getattr(reward, "pointwise", not ours))
    rng = random.Random(seed)
    sides = [tuple(answers)] if alone else pairs
    played = [(i, side if alone else tuple(rng.sample(side, 2))) for i in range(len(prompts)) for side in sides]
    asked = [
        Asked(prompts[i], [answers[name][i] for name in side], {name: own[i] for name, own in (columns or {}).items()})
        for i, side in played
    ]
    scores: dict[int, list[dict[str, float | None]]] = {}
    found = bulk.scores(bulk.measured(reward, record=record), asked, name="contest")
    for (i, side), given in zip(played, found, strict=True):
        scores.setdefault(i, []).append(dict(zip(side, given, strict=True)))
    sure = getattr(reward, "family", "") == "gram" and not alone
    matches = [_match(pair, scores[i], i, prompts, answers, sure) for i in range(len(prompts)) for pair in pairs]
    known = [match for match in matches if match is not None]
    if len(known) < (1 - MANY) * len(matches):
        warnings.warn(f"{len(matches) - len(known)} of {len(matches)} pairs could not be judged.", stacklevel=2)
    return known


def _match(
    pair: Pair,
    scored: Sequence[Mapping[str, float | None]],
    i: int,
    prompts: Sequence[Any],
    answers: Mapping[str, Sequence[Any]],
    sure: bool,
) -> Match | None:
    """The match of two models on prompt i; with `sure` a score is the probability of being better."""
    first, second = pair
    if texts.answer(answers[first][i]) == texts.answer(answers[second][i]):
        return Match(first, second, 0.5, str(i))
    own = next(scores for scores in scored if first in scores and second in scores)
    a, b = own[first], own[second]
    if a is None or b is None:
        return None
    return Match(first, second, a if sure else (a > b) + (a == b) / 2, str(i))


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
            raise ConfigError(f"{files[first]} and {files[name]} differ in their prompts, as in {min(other)[:80]}.")
    prompts = [prompt for prompt, _ in found[first].values()]
    return prompts, {name: [found[name][key][1] for key in found[first]] for name in found}


def _answers(path: Path) -> dict[str, tuple[Any, Any]]:
    rows: dict[str, tuple[Any, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompt, completion = row["prompt"], row["completion"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f'{path}, line {number}: no JSON object with "prompt" and "completion".') from error
        key = json.dumps(prompt, sort_keys=True)
        if key in rows:
            raise ConfigError(f"{path}, line {number}: this prompt stood before; each once.")
        rows[key] = (prompt, completion)
    return rows
