"""`grmrewards audit`: what a judge can be fooled by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from grmrewards.cli import NOT_PASSED, options


@click.command(short_help="what a judge can be fooled by, on one page; exit code 3 if by anything")
@options.judge_options
@options.family_options
@click.option(
    "--data", type=click.Path(exists=True, dir_okay=False), help="JSONL: prompt, chosen, rejected, translated"
)
@click.option(
    "--record", type=click.Path(dir_okay=False, path_type=Path), help="file that keeps judgements; goes on from it"
)
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="file for the page: .md or .json")
@click.option("--strict", is_flag=True, help="exit with 3 also where something stayed unclear")
@click.option("--json", "as_json", is_flag=True, help="print the findings as JSON")
def command(
    data: str | None, record: Path | None, write: Path | None, strict: bool, as_json: bool, **given: Any
) -> int:
    """Try to fool a judge: empty phrases, injected scores, self-praise, padding, places, other languages and more.

    Without --data the cases are those of this package: general questions, with a good and a poor answer each.
    """
    from grmrewards.audit import CASES, audit, cases_of

    reward = options.reward_of(given, options.judge_of(given))
    found = audit(reward, cases_of(data) if data else CASES, record=record)
    if write:
        page = found.markdown() if write.suffix == ".md" else json.dumps(found.as_dict(), indent=1)
        write.write_text(page + "\n", encoding="utf-8")
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else found.report())
    unclear = strict and any(finding.verdict == "unclear" for finding in found.findings)
    return NOT_PASSED if found.weak or unclear else 0
