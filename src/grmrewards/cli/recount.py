"""`grmrewards recount`: a stored evaluation, counted again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from grmrewards.cli.eval import counting_options

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(short_help="count a stored evaluation again, or compare two, without asking a judge")
@click.argument("run", type=FOLDER)
@click.option("--against", type=FOLDER, help="another run of that benchmark: by how much RUN is better, item by item")
@counting_options
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(run: Path, against: Path | None, as_json: bool, **rules: Any) -> None:
    """Count the RUN that `grmrewards eval --output` has left, by other rules or beside another one. No judge is asked."""
    from grmrewards.evaluation import compare, rescore

    found: Any = compare(run, against, **rules) if against else rescore(run, **rules)
    page = found.markdown() if against else found.markdown(published=False)
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else page)
