"""Links out of docs/ lead to pages of the site that show the file: a test, an example, the README.

The project has no fixed address on the network, and a site on a disk shall lead where the page says.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SHOWN = {".py", ".md", ".txt", ".toml", ".json", ".sh", ".ipynb", ".jsonl", ""}


class OutOfDocs(SphinxTransform):
    """Replaces what MyST makes of a link to a file outside docs/."""

    default_priority = 5

    def apply(self, **_: Any) -> None:
        """A link to the file's page; a folder is named without a link."""
        links = [*self.document.findall(addnodes.download_reference), *self.document.findall(addnodes.pending_xref)]
        for link in links:
            path = self._outside(link)
            if path is None:
                continue
            words = list(link.children)
            if path.is_dir():
                link.replace_self(words)
                continue
            page = _page(path)
            self.app.env.repository_files.setdefault(self.env.docname, set()).add(str(path.relative_to(ROOT)))
            uri = self.app.builder.get_relative_uri(self.env.docname, page)
            link.replace_self(nodes.reference("", "", *words, refuri=uri, internal=True))

    def _outside(self, link: nodes.Element) -> Path | None:
        """The file or folder that a link leads to, if it is there and not in docs/."""
        target = str(link.get("reftarget", "")).partition("#")[0]
        if link.get("refdomain") == "doc":  # what ends in .md is taken for a page of the site
            path = Path(os.path.normpath(DOCS / f"{target}.md"))
        else:
            path = Path(os.path.normpath((DOCS / self.env.docname).parent / target))
        out = path.is_relative_to(ROOT) and not path.is_relative_to(DOCS)
        return path if target and out and path.exists() else None


def _page(path: Path) -> str:
    return f"repository/{path.relative_to(ROOT).as_posix()}"


def begin(app: Sphinx) -> None:
    """The files that pages link to, by page: kept between builds."""
    if not hasattr(app.env, "repository_files"):
        app.env.repository_files = {}


def purge(app: Sphinx, env: Any, name: str) -> None:
    """A page that is read again names its files again."""
    getattr(env, "repository_files", {}).pop(name, None)


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page for each file that is linked."""
    formatter = HtmlFormatter(linenos="inline")
    for name in sorted(set().union(*app.env.repository_files.values())):
        path = ROOT / name
        if path.suffix in SHOWN:
            code = highlight(
                path.read_text(encoding="utf-8"), get_lexer_for_filename(path.name + "." * (not path.suffix)), formatter
            )
            yield (
                _page(path),
                {"title": name, "body": f"<h1>{name}</h1>\n<div class='highlight'>{code}</div>"},
                "page.html",
            )


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_transform(OutOfDocs)
    app.connect("builder-inited", begin)
    app.connect("env-purge-doc", purge)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": False}
