"""The site's table of contents is made of the lists of links in index.md, so that there is one of them."""

import re

from sphinx.application import Sphinx

SECTION = re.compile(r"^## (.+)\n((?:(?!## ).*\n?)*)", re.MULTILINE)
PAGE = re.compile(r"^- \[[^\]]+\]\(([\w/]+)\.(?:md|rst)\)", re.MULTILINE)


def with_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Add to the index a hidden toctree for each of its sections."""
    if name != "index":
        return
    for title, text in SECTION.findall(source[0]):
        if pages := PAGE.findall(text):
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", with_contents)
    return {"parallel_read_safe": True}
