"""`grmrewards doctor`: what a judge can do, where its doubt lies, its speed, its cost, the options to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grmrewards.cli import options

if TYPE_CHECKING:
    from grmrewards.doctor import Findings

NOTHING_READ = 1


@click.command(short_help="see what a judge can do, where its doubt lies, its speed and cost, and the options to use")
@options.judge_options
@options.price_options
@click.option(
    "--family",
    type=click.Choice(["ipgrm", "listwise", "irpm"]),
    default="irpm",
    show_default=True,
    help="how it judges",
)
@click.option("--votes", type=click.IntRange(2), default=8, show_default=True, help="judgements a response")
@click.option(
    "--template",
    type=click.Path(exists=True, dir_okay=False),
    help="the prompt that the judge was trained with",
)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False),
    help='JSON lines with "prompt" and "completions", or preferences; default: sixteen answers of our own',
)
@click.option("--prompts-per-step", type=click.IntRange(1), help="prompts of a step of training, for its cost")
@click.option("--generations", type=click.IntRange(1), help="responses to each of them (num_generations)")
@click.option("--json", "as_json", is_flag=True, help="everything as one JSON object")
def command(as_json: bool, **given: Any) -> int:
    """See what a judge can do, where its doubt lies, how fast it is, what it costs, and which options to use.

    An endpoint is asked a few tiny requests that show what it accepts and ignores. Then the judge gives each answer --votes
    scores, and two more alone. `--local --model embedded` looks at the judge of this package, on questions of its own.
    """
    if (given["prompts_per_step"] is None) != (given["generations"] is None):
        raise click.UsageError("--prompts-per-step and --generations belong together; give both, or none.")
    found = _examined(given)
    click.echo(json.dumps(found.as_json()) if as_json else found.report())
    return NOTHING_READ if found.doubt.unscored == 1 and found.doubt.doubt == "unread" else 0


def _examined(given: dict[str, Any]) -> Findings:
    from grmrewards import doctor

    probed = {} if given["local"] else {"check_server": False}  # it is looked at once, before it judges
    judge: Any = options.judge_of(given, **probed)
    where = doctor.Where(
        model=given["model"],
        base_url=getattr(judge, "base_url", None),
        local=given["local"],
        template=given["template"],
        temperature=given["temperature"],
    )
    price = None if given["price_in"] is None else doctor.Price(given["price_in"], given["price_out"])
    names = ("family", "votes", "max_tokens", "max_concurrency", "prompts_per_step", "generations")
    return doctor.examine(judge, _cases(given), where=where, price=price, **{name: given[name] for name in names})


def _cases(given: dict[str, Any]) -> Any:
    from grmrewards import doctor

    if given["data"]:
        return doctor.cases_of(Path(given["data"]))
    embedded = given["local"] and given["model"] == "embedded"
    return doctor.embedded_cases() if embedded else doctor.CASES
