"""`grmrewards eval`: what a judge gets in a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from grmrewards.cli import NOT_PASSED, options

F = TypeVar("F", bound=Callable[..., Any])
BENCHMARKS = ("rewardbench", "rewardbench2", "rm-bench", "judgebench", "rmb", "ppe", "preferences")
COUNTS = click.Choice(["wrong", "half", "dropped"])


def counting_options(command: F) -> F:
    """How equal scores and lost judgements count."""
    ties = click.option("--ties", type=COUNTS, help="what equal scores count as (default: the official rule)")
    errors = click.option("--errors", type=COUNTS, help="the same of judgements that were lost")
    resamples = click.option(
        "--resamples", type=click.IntRange(1), default=1000, show_default=True, help="of intervals"
    )
    return ties(errors(resamples(command)))


@click.command(short_help="what a judge gets in a benchmark, or on preferences of your own")
@click.argument("benchmark", type=click.Choice(BENCHMARKS))
@options.judge_options
@options.family_options
@click.option("--data", metavar="PATH", help="file or folder in the published form, or 'look-alike' (default: the hub)")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="folder of the run; goes on from it")
@click.option("--limit", type=click.IntRange(1), help="so many items at most, drawn at random")
@counting_options
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), help="exit with 3 if the overall figure (PPE: correctness) is below"
)
@click.option("--published", is_flag=True, help="print the figures of papers, too (the file result.md has them)")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(benchmark: str, published: bool, as_json: bool, fail_under: float | None, **given: Any) -> int:
    """Measure a judge in a BENCHMARK, by its official rules.

    The judge is asked as a reward of the given family asks it. With --output the run is kept in a folder: the same command
    goes on where it was stopped, and `grmrewards recount` counts it again by other rules.
    """
    from grmrewards.evaluation import evaluate

    reward = options.reward_of(given, options.judge_of(given))
    call = {name: given[name] for name in ("output", "limit", "ties", "errors", "resamples")}
    found = evaluate(reward, benchmark, given["data"], seed=given["seed"] or 0, **call)
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else found.markdown(published=published))
    if not as_json:
        click.echo(_cost(found.usage, given))
    return NOT_PASSED if fail_under is not None and found.headline < fail_under else 0


def _cost(usage: Any, given: dict[str, Any]) -> str:
    """What this run took; nothing where all was in the record."""
    said = f"{usage.get('calls', 0):.0f} calls and {usage.get('tokens', 0):.0f} tokens"
    return (
        f"{said}. The run is in {given['output']}." if given["output"] else f"{said}. Nothing was kept: pass --output."
    )
