"""`preference_pairs`: preference data as rows for `IntergroupReward`, the two sides of a pair next to each other.

TRL cuts a dataset into generation batches of `generation_batch_size / num_generations` rows, in its order where
`shuffle_dataset=False`. So a pair stays together where that number is even and nothing shuffles the rows; the pairs are
shuffled here instead. On which process a row is judged does not matter: `IntergroupReward` gathers.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards import arguments, texts
from grmrewards.errors import ConfigError
from grmrewards.prompts import Template
from grmrewards.training.intergroup import SIDES
from grmrewards.training.preferences import Preference, is_weak, read_preferences, text_only
from grmrewards.training.tokens import control_tokens, fits, limit

Pair = tuple[Preference, tuple[str, str]]  # and what the judge is asked about each of the two answers


def preference_pairs(
    dataset: Iterable[Mapping[str, Any]],
    *,
    args: Any = None,
    tokenizer: Any = None,
    template: str | Path | None = None,
    min_strength: float | None = None,
    weak_weight: float = 0.0,
    epochs: int = 1,
    max_prompt_tokens: int | None = None,
    seed: int = 0,
) -> Any:
    """A `datasets.Dataset` of judge prompts: columns prompt, pair, side ("chosen" or "rejected") and strength.

    Args:
        dataset: Preferences in one of the forms of `preferences`.
        args: The `GRPOConfig` that it is for, which is checked: every pair has to stay within one generation batch.
        tokenizer: The judge's. With it a prompt is to the letter what `IRPMReward(TransformersJudge(...))` shows the judge,
            with this tokenizer's own control tokens made harmless in the answers.
        template: The prompt of the judge; by default IRPM's.
        min_strength: Weaker preferences are dropped (IRPM: 2 with HelpSteer3, which drops about half).
        weak_weight: Or kept with this weight, 0 to 1: each of them stands in an epoch with this probability. A factor on
            the reward would have no effect, since TRL divides it out within the rollouts on one answer.
        epochs: How often all pairs are gone through, in another order each time and with other weak ones.
        max_prompt_tokens: Pairs with a longer prompt are left out; needs the tokenizer.
        seed: Of the orders, and of which weak preferences are kept.

    Raises `ConfigError` for data in another form, where no pair is left, and for an `args` under which pairs are torn, with
    the number that would do.

    >>> rows = preference_pairs([{"prompt": "1+1?", "chosen": "2", "rejected": "3"}])  # doctest: +SKIP
    >>> rows["side"]  # doctest: +SKIP
    ['chosen', 'rejected']
    """
    arguments.installed("preference_pairs", "datasets", extra="trl")
    from datasets import Dataset

    number = arguments.whole("epochs", epochs)
    weight = arguments.number("weak_weight", weak_weight, least=0.0, most=1.0)
    preferences = read_preferences(dataset)
    fitting = _with_prompts(preferences, template, tokenizer, max_prompt_tokens)
    rng = random.Random(seed)
    drawn = [pair for _ in range(number) for pair in _an_epoch(rng, fitting, min_strength, weight)]
    if not drawn:
        raise ConfigError(
            f"no pair is left of {len(preferences)} preferences: {len(fitting)} fit max_prompt_tokens={max_prompt_tokens}, "
            f"and of those none has min_strength={min_strength}."
        )
    rows = [
        {"prompt": [{"role": "user", "content": text}], "pair": number, "side": side, "strength": one.strength or 0.0}
        for number, (one, texts_of_both) in enumerate(drawn)
        for side, text in zip(SIDES, texts_of_both, strict=True)
    ]
    if args is not None:
        check_batches(args, rows=len(rows))
    return Dataset.from_list(rows)


def check_batches(args: Any, *, rows: int | None = None) -> None:
    """Raise `ConfigError` where TRL would tear pairs apart with the config `args`, with what to change.

    >>> check_batches(GRPOConfig(..., shuffle_dataset=False))  # doctest: +SKIP
    """
    if args.shuffle_dataset:
        raise ConfigError(
            "shuffle_dataset=True tears pairs apart; pass shuffle_dataset=False: the pairs are shuffled already."
        )
    prompts, rest = divmod(args.generation_batch_size, args.num_generations)
    if rest or prompts % 2:
        raise ConfigError(
            f"a generation batch of {args.generation_batch_size} completions with num_generations={args.num_generations} is "
            f"{args.generation_batch_size / args.num_generations:g} prompts, and pairs need an even number of them. "
            f"{_that_would_do(args)}"
        )
    if rows is not None and rows < prompts:
        raise ConfigError(
            f"{rows} rows are less than the {prompts} prompts of one generation batch, so TRL would train on none of them; "
            "give more pairs, or a smaller batch."
        )


def _that_would_do(args: Any) -> str:
    """The next larger batch on each process, all else as it is."""
    others = args.generation_batch_size // args.per_device_train_batch_size  # processes times steps_per_generation
    size = args.per_device_train_batch_size
    while size * others % (2 * args.num_generations):
        size += 1
    return f"per_device_train_batch_size={size} would do (times {others}, a multiple of 2 x {args.num_generations})."


def _with_prompts(
    preferences: Sequence[Preference], template: str | Path | None, tokenizer: Any, longest: int | None
) -> list[Pair]:
    """The preferences whose two prompts fit, each with them."""
    filled = Template(template or "irpm", required=("question", "response"))
    most, signs = limit(tokenizer, longest), control_tokens(tokenizer)
    shown = [(one, _prompts(one, filled, signs)) for one in preferences]
    return [(one, both) for one, both in shown if all(fits(tokenizer, text, most) for text in both)]


def _prompts(preference: Preference, template: Template, signs: Sequence[str]) -> tuple[str, str]:
    """What the judge is asked about the better and about the worse answer."""
    prompt = text_only(preference.prompt)
    question, system = texts.question(prompt), texts.system(prompt)
    chosen, rejected = (
        template.fill(control_tokens=signs, question=question, system=system, response=response)
        for response in (preference.chosen, preference.rejected)
    )
    return chosen, rejected


def _an_epoch(rng: random.Random, pairs: Sequence[Pair], min_strength: float | None, weight: float) -> list[Pair]:
    """Each strong pair and some of the weak ones, in random order."""
    drawn = [pair for pair in pairs if not is_weak(pair[0], min_strength) or rng.random() < weight]
    rng.shuffle(drawn)
    return drawn
