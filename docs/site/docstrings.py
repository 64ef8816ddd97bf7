"""Docstrings are written as Markdown is: `code` in single backticks, examples indented without a mark."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.roles import XRefRole

NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*\Z")
UNDERSCORE = re.compile(
    r"\w_(?=[^\w`]|\Z)(?=(?:[^`]*`[^`]*`)*[^`]*\Z)"
)  # outside of backticks, where it would be a link
SECTIONS = re.compile(r"(Args|Arguments|Returns|Yields|Raises|Attributes|Example|Examples|Note):\s*\Z")


class CodeRole(XRefRole):
    """What stands in backticks is code, and leads to the reference where it is a name that stands there."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """A reference for a name; for all else, code."""
        if not NAME.match(self.text):
            return [nodes.literal(self.rawtext, self.text)], []
        self.refdomain, self.reftype = "py", "obj"
        self.classes = ["xref", "py", "py-obj"]
        return self.create_xref_node()


def marked(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Mark the indented parts of a docstring, below its text and outside its sections, as code or as it is laid out."""
    done: list[str] = []
    section, shown = False, False
    for line in lines:
        if line and not line[0].isspace():
            section, shown = bool(SECTIONS.match(line)), False
        elif line.startswith("    ") and not section and not shown and (not done or not done[-1].strip()):
            done += ["::", ""]
            shown = True
        done.append(
            line
            if shown or line.lstrip().startswith((">>>", "..."))
            else UNDERSCORE.sub(lambda found: found[0][:-1] + "\\_", line)
        )
    lines[:] = done


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_role("code-or-name", CodeRole())
    app.config.default_role = "code-or-name"
    app.connect("autodoc-process-docstring", marked, priority=100)  # before napoleon
    return {"parallel_read_safe": True}
