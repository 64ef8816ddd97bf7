"""`grmrewards demo`: a small policy learns from a small judge, both in this package."""

from __future__ import annotations

import click


@click.command(short_help="train a small policy on a small judge, both in this package, and show it")
@click.option(
    "--family",
    type=click.Choice(["ipgrm", "listwise", "irpm", "gram"]),
    default="ipgrm",
    show_default=True,
    help="which reward",
)
@click.option("--endpoint", is_flag=True, help="put the judge behind an OpenAI-compatible server")
@click.option("--judge", metavar="FOLDER", help="another judge of this domain (examples/judge_training)")
@click.option(
    "--report-to",
    type=click.Choice(["trackio", "wandb", "tensorboard"]),
    multiple=True,
    help="a tracker that gets metrics and critiques; may be given more than once",
)
@click.option("--steps", type=int, default=120, show_default=True, help="training steps; 120 take about two minutes")
@click.option("--seed", type=int, default=0, show_default=True, help="of the questions, the training and the judging")
@click.option("--output", default="demo-output", show_default=True, help="folder for curve, table and record")
def command(
    family: str, endpoint: bool, judge: str | None, report_to: tuple[str, ...], steps: int, seed: int, output: str
) -> None:
    """Train a small policy on a small judge, both in this package, and show what it learnt."""
    from grmrewards import demo

    outcome = demo.run(
        family, seed=seed, steps=steps, output=output, endpoint=endpoint, judge=judge, report_to=report_to
    )
    for path in outcome.files:
        click.echo(f"written: {path}")
