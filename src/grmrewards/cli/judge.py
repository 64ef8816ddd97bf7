"""`grmrewards judge`: the scores of some responses, from the shell or from JSON lines."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grmrewards.cli import options

if TYPE_CHECKING:
    from grmrewards.bulk import Asked

NOTHING_SCORED = 1


@click.command(short_help="score responses to a prompt, from the shell or from JSON lines")
@options.judge_options
@options.family_options
@click.option("--reference", metavar="TEXT", help="the right answer, shown to the judge")
@click.option("--criteria", metavar="TEXT", help="what else shall count")
@click.option("--critique", is_flag=True, help="print all that the judge wrote, not its first words alone")
@click.option("--json", "as_json", is_flag=True, help="print one JSON line for each prompt")
@click.argument("words", nargs=-1, metavar="[PROMPT RESPONSE... | -]")
def command(
    words: tuple[str, ...],
    reference: str | None,
    criteria: str | None,
    critique: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Score the responses to a prompt.

    A word like @notes.txt stands for the text of that file (@@ for a text that begins with @). With - as the only word, or
    none and something piped in, JSON lines are read: {"prompt": ..., "completions": [...]}, or "completion" for one; a line
    may have a "reference" and "criteria" of its own. Texts that begin with - stand after --.
    """
    from grmrewards.cli import scored

    asked = _asked(words, reference=reference, criteria=criteria)
    make = functools.partial(options.reward_of, given, options.judge_of(given))
    width = shutil.get_terminal_size((100, 24)).columns
    any_scored = any_asked = False
    for one in scored.scored(make, asked):
        click.echo(scored.as_json(one) if as_json else scored.as_text(one, width=width, critique=critique))
        any_asked = True
        any_scored |= any(judged.score is not None for judged in one.judged)
    return NOTHING_SCORED if any_asked and not any_scored else 0


def _asked(words: tuple[str, ...], **columns: str | None) -> Iterator[Asked]:
    """The prompts that are to be judged: that of `words`, or those of standard input. `click.UsageError` for neither."""
    from grmrewards.bulk import Asked
    from grmrewards.cli import scored

    if words == ("-",) or (not words and not sys.stdin.isatty()):
        return scored.groups(sys.stdin, **columns)
    if len(words) < 2:
        raise click.UsageError("give a prompt and at least one response, or pipe JSON lines in.")
    prompt, *responses = map(_text, words)
    return iter([Asked(prompt, responses, {name: value for name, value in columns.items() if value is not None})])


def _text(word: str) -> str:
    """A word as it is, or the text of the file that it names."""
    if not word.startswith("@"):
        return word
    if word.startswith("@@"):
        return word[1:]
    try:
        return Path(word[1:]).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{word}: no file of text that can be read ({error}).") from error
