"""The fenced blocks of a Markdown page."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
FENCE = re.compile(r"^( *)(`{3,})[ \t]*(\S*)[^\n]*\n(.*?)^ *\2[ \t]*$", re.MULTILINE | re.DOTALL)
LANGUAGES = {
    "python": "python",
    "bash": "shell",
    "sh": "shell",
    "console": "console",  # commands behind a "$ ", and below each what it prints
    "json": "json",  # one value, or one a line
    "text": "text",  # what was printed by what stands above it
    "yaml": "yaml",
}


@dataclass(frozen=True)
class Block:
    """A block, the line of its fence, and the code with the indentation of the fence taken off."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def kind(self):
        """How it is looked at; None where nobody knows."""
        return LANGUAGES.get(self.language)

    def __str__(self):
        return f"{self.page.name}:{self.line}"


def blocks_of(page):
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[3], textwrap.dedent(found[4]))
        for found in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
