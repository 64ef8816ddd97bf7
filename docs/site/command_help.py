"""`.. command-help:: eval` shows what `grmrewards eval --help` prints, as it is when the site is built."""

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from grmrewards.cli import group


class CommandHelp(SphinxDirective):
    """The help of a command of `grmrewards`; without one, that of the program."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The help, laid out as in a terminal of 100 columns."""
        name = self.arguments[0] if self.arguments else None
        above = click.Context(group, info_name="grmrewards")
        command = group.get_command(above, name) if name else group
        if command is None:
            raise self.error(f"grmrewards has no command {name!r}")
        context = click.Context(
            command, above if name else None, info_name=name or "grmrewards", max_content_width=100, terminal_width=100
        )
        text = command.get_help(context)
        return [nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
