"""The command line: `grmrewards demo`, `judge`, `doctor`, `audit`, `eval`, `recount`, `rank`,
`prefetch`, `report`.

A command is a module of this package with a click command of the name `command`, imported when it is asked for; what is
heavy it imports when it runs. So help and completion load neither torch nor openai.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from grmrewards import __version__
from grmrewards.errors import GRMError

NOT_PASSED = 3  # the exit code of a command whose judge did not pass
STOPPED = 130  # by Ctrl-C: what shells say of a program that SIGINT ended
COMMANDS = ("demo", "judge", "doctor", "audit", "eval", "recount", "rank", "prefetch", "report")  # as help lists them


class _Lazy(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"grmrewards.cli.{cmd_name}").command
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def group() -> None:
    """Generative reward models as rewards for TRL, from the shell.

    The key of an endpoint is read from OPENAI_API_KEY, and from nowhere else.

    \b
    Exit codes:
      0    done
      1    an error, whose message is printed
      2    wrong usage
      3    the judge did not pass
      130  stopped by Ctrl-C
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 an error (its message is printed), 3 the judge did not pass, 130
    stopped by Ctrl-C. Raises `SystemExit`: with 2 for wrong usage, with 1 where nobody reads the output any more.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    grmrewards, version ...
    0
    """
    try:
        code = group.main(args=arguments, prog_name="grmrewards", standalone_mode=False)
    except click.Abort:
        click.echo("grmrewards: stopped", err=True)
        return STOPPED
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error
    except (GRMError, OSError) as error:  # the latter: a file, or a model that is not where it was said to be
        click.echo(f"grmrewards: {error}", err=True)
        return 1
    return code or 0
