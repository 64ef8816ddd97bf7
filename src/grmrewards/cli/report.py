"""`grmrewards report`: one page that shows a run, an evaluation or an audit."""

from __future__ import annotations

from pathlib import Path

import click

from grmrewards.cli import options


@click.command(short_help="one HTML page of a training run, an evaluation or an audit, from what is on disk")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="report.html",
    show_default=True,
    help="file for the page",
)
@click.option("--title", help="of the page (default: what it is, and its name)")
@options.price_options
@click.option("--open", "opened", is_flag=True, help="show it in the browser of this machine")
def command(
    path: Path, output: Path, title: str | None, price_in: float | None, price_out: float | None, opened: bool
) -> None:
    """Make one HTML page of what PATH holds: curves, flags, best and worst, and every judgement with its critique.

    PATH is the record of a reward (log_path=), the folder of an evaluation, or the page of `grmrewards audit --write
    page.json`. The page is one file that works offline.
    """
    from grmrewards import report

    made = report.write(path, output, title=title, price_in=price_in, price_out=price_out)
    size = made.stat().st_size
    click.echo(f"written: {made} ({f'{size / 1e6:.1f} MB' if size >= 1e6 else f'{size / 1e3:.0f} kB'})")
    if opened:
        click.launch(made.resolve().as_uri())
