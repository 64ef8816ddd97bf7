"""The options that commands share, and the judge and the reward that they describe.

@click.command()
@options.judge_options
@options.family_options
def command(**given):
    judge = options.judge_of(given)
    reward = options.reward_of(given, judge, scale="raw")
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from grmrewards.reward import Reward
from grmrewards.types import Judge

F = TypeVar("F", bound=Callable[..., Any])
FAMILIES = {
    "ipgrm": "IPGRMReward",
    "listwise": "ListwiseReward",
    "irpm": "IRPMReward",
    "gram": "GRAMReward",
    "pairwise": "PairwiseReward",
}
TAKEN_BY = {  # what not all families take; the others refuse it
    "votes": ("ipgrm", "listwise", "irpm", "pairwise"),
    "score": ("ipgrm", "listwise", "irpm"),
    "temperature": ("ipgrm", "listwise", "irpm", "pairwise"),
}
JUDGE = ("base_url", "local", "max_tokens", "max_concurrency")
FAMILY = ("votes", "score", "template", "seed")


class Votes(click.ParamType):  # type: ignore[type-arg]  # older clicks have no generic one
    """A number of votes, or the least and the most of adaptive ones: "8" or "2,16"."""

    name = "N or LEAST,MOST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
        if not isinstance(value, str):
            given: int | tuple[int, int] = value
            return given
        parts = value.split(",")
        if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r}; allowed are a number of votes, or the least and the most of them, as in 2,16.")
        numbers = [int(part) for part in parts]
        return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def judge_options(command: F) -> F:
    """The options that say which judge. `judge_of` makes it from what was given."""
    return _with(
        command,
        click.option("--model", required=True, metavar="NAME", help="the judge; with --local a folder, or 'embedded'"),
        click.option("--base-url", metavar="URL", help="of its server; default: OPENAI_BASE_URL, else OpenAI"),
        click.option("--local", is_flag=True, help="run it on this machine, by transformers"),
        click.option("--max-tokens", type=click.IntRange(1), help="the longest answer (default: 2048)"),
        click.option("--temperature", type=click.FloatRange(0, 2), help="of its answers (default: the family's)"),
        click.option("--max-concurrency", type=click.IntRange(1), help="requests at once (default: 64)"),
    )


def price_options(command: F) -> F:
    """What a judge costs."""
    return _with(
        command,
        click.option("--price-in", type=click.FloatRange(0), help="money for a million tokens that it reads"),
        click.option("--price-out", type=click.FloatRange(0), help="money for a million tokens that it writes"),
    )


def family_options(command: F) -> F:
    """The options that say how it judges. `reward_of` makes the reward from what was given."""
    families = click.Choice(list(FAMILIES))
    file = click.Path(exists=True, dir_okay=False, path_type=Path)  # a text would pass for one of our own templates
    return _with(
        command,
        click.option("--family", type=families, default="irpm", show_default=True, help="how it judges"),
        click.option("--votes", type=Votes(), help="judgements a response (listwise: a group), as 8 or 2,16"),
        click.option("--score", type=click.Choice(["sampled", "expected"]), help="the number written, or its mean"),
        click.option("--template", type=file, help="the prompt that the judge was trained with"),
        click.option("--seed", type=click.IntRange(0), help="of orders and sampling (default: 0)"),
    )


def _with(command: F, *options: Callable[[F], F]) -> F:
    """`command` with `options`, which its help lists in this order."""
    return functools.reduce(lambda made, option: option(made), reversed(options), command)


def judge_of(given: Mapping[str, Any], **more: Any) -> Judge:
    """The judge that the values of `judge_options` describe; `more` are arguments that only an endpoint takes."""
    if (given.get("price_in") is None) != (given.get("price_out") is None):
        raise click.UsageError("--price-in and --price-out belong together; give both, or none.")
    own = {name: given[name] for name in JUDGE}
    if given["local"]:
        return build_judge(given["model"], **own)  # the temperature is the reward's to pass on
    return build_judge(given["model"], temperature=given["temperature"], **own, **more)


def build_judge(model: str, *, base_url: str | None = None, local: bool = False, **settings: Any) -> Judge:
    """A judge behind an endpoint, or with `local` on this machine. Of `settings` those count that are not None.

    Raises `click.UsageError` for what the one or the other does not take, and `ConfigError` as they do.
    """
    settings = {name: value for name, value in settings.items() if value is not None}
    if local:
        return _local(model, {**settings, **({"base_url": base_url} if base_url else {})})
    from grmrewards.judges.openai import OpenAIJudge

    return OpenAIJudge(model, base_url=base_url, **settings)


def _local(model: str, settings: Mapping[str, Any]) -> Judge:
    if refused := [_option(name) for name in settings if name != "max_tokens"]:
        raise click.UsageError(f"{refused[0]} is for endpoints; a judge on this machine (--local) does not take it.")
    from grmrewards.judges.transformers import TransformersJudge

    if model != "embedded":
        length = {"max_new_tokens": settings["max_tokens"]} if settings else {}
        return TransformersJudge(model, **length)
    judge = TransformersJudge.embedded()
    judge.max_new_tokens = settings.get("max_tokens", judge.max_new_tokens)
    return judge


def reward_of(given: Mapping[str, Any], judge: Judge, **more: Any) -> Reward:
    """The reward that the values of `family_options` describe, around `judge`; `more` are arguments of the reward."""
    settings = {name: given[name] for name in FAMILY}
    if given["local"]:
        settings["temperature"] = given["temperature"]
    return build_reward(given["family"], judge, **settings, **more)


def build_reward(family: str, judge: Judge, **settings: Any) -> Reward:
    """The reward of a family, with those `settings` that are not None.

    Raises `click.UsageError` for one that the family does not take, and `ConfigError` as its class does.

    >>> from grmrewards import ScriptedJudge
    >>> build_reward("irpm", ScriptedJudge(str), votes=8, score=None).votes
    8
    """
    import grmrewards

    settings = {name: value for name, value in settings.items() if value is not None}
    for name in settings:
        if family not in (takes := TAKEN_BY.get(name, tuple(FAMILIES))):
            raise click.UsageError(f"{_option(name)} is nothing that --family {family} takes; {_listed(takes)} do.")
    reward: Reward = getattr(grmrewards, FAMILIES[family])(judge, **settings)
    return reward


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
