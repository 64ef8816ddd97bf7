"""`grmrewards rank`: which model or checkpoint is better, by this judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from grmrewards.cli import options


class Named(click.ParamType):  # type: ignore[type-arg]  # older clicks have no generic one
    """A name and a file: NAME=FILE, or a file alone, which is named by its stem."""

    name = "NAME=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        name, _, file = value.rpartition("=")
        path = Path(file)
        if not path.is_file():
            self.fail(f"{file!r} is no file; allowed is NAME=FILE, of JSON lines with prompt and completion.")
        return name or path.stem, path


@click.command(short_help="which model or checkpoint is better, by this judge, from their answers")
@click.argument("answers", type=Named(), nargs=-1, required=True)
@options.judge_options
@options.family_options
@click.option("--opponent", metavar="NAME", help="play against this one alone (default: all against all)")
@click.option("--anchor", metavar="NAME", help="give ratings as differences to this one")
@click.option("--elo", "by_elo", is_flag=True, help="Elo in random orders, instead of Bradley-Terry")
@click.option(
    "--record", type=click.Path(dir_okay=False, path_type=Path), help="file that keeps judgements; goes on from it"
)
@click.option("--json", "as_json", is_flag=True, help="print the ranking as JSON")
def command(
    answers: tuple[tuple[str, Path], ...],
    opponent: str | None,
    anchor: str | None,
    by_elo: bool,
    record: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Rank models by what a judge thinks of their ANSWERS to the same prompts, one file each: base=base.jsonl new.jsonl."""
    from grmrewards.evaluation import bradley_terry, contest, elo, read_answers

    files = dict(answers)
    if len(files) < len(answers):
        raise click.UsageError("two files have one name; give them names, as NAME=FILE.")
    reward = options.reward_of(given, options.judge_of(given))
    prompts, found = read_answers(files)
    matches = contest(reward, prompts, found, opponent=opponent, record=record, seed=given["seed"] or 0)
    ranking = (elo if by_elo else bradley_terry)(matches, anchor=anchor)
    click.echo(json.dumps(ranking.as_dict(), indent=1) if as_json else ranking.report())
