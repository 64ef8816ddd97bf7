"""`grmrewards prefetch`: the principles of a dataset, written before a training needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from grmrewards.cli import options

NOT_ALL = 1
ABOUT = ("prompt_column", "criteria", "criteria_column", "principles_template")  # what decides a principle


@click.command(short_help="have IP-GRM's principles written for a dataset, before training")
@options.judge_options
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--cache-dir", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder that keeps them"
)
@click.option("--prompt-column", metavar="NAME", help="the column with the question (default: prompt)")
@click.option("--criteria", metavar="TEXT", help="what else shall count, as the training will say it")
@click.option("--criteria-column", metavar="NAME", help="a column with what else shall count for one prompt")
@click.option(
    "--principles-template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="the prompt for the principles, as the training will have it",
)
@click.option(
    "--export", type=click.Path(dir_okay=False, path_type=Path), help="write them as JSON lines, too, to be read"
)
def command(data: Path, cache_dir: Path, export: Path | None, **given: Any) -> int:
    """Have principles written for each prompt of DATA (JSON lines, one object a line), and keep them in a folder.

    A training with IPGRMReward(judge, cache_dir=FOLDER) then waits for none. What is in the folder is not asked for again,
    so a command that was stopped goes on where it was. The judge must be the one that the training names, or one that it
    is given as principles_judge: principles are kept by who wrote them.
    """
    from grmrewards import ahead, json_lines
    from grmrewards.families.ipgrm import IPGRMReward

    rows = [row for _, row in json_lines.of_file(data, needs=[given["prompt_column"] or "prompt"])]
    reward = IPGRMReward(options.judge_of(given), cache_dir=cache_dir, **{name: given[name] for name in ABOUT})
    prompts, written = ahead.count(reward, rows), reward.prefetch(rows)
    click.echo(f"{written} of {prompts} prompts have principles in {cache_dir}")
    if export:
        reward.cache.export(export)
        click.echo(f"written: {export}")
    return 0 if written == prompts else NOT_ALL
