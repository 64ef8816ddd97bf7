"""What the documents say can be looked up: every link leads somewhere, every test that is named is there."""

import itertools
import re

import pytest

from blocks.pages import PAGES, ROOT

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#]+)(?:#[^)]*)?\)")
TEST = re.compile(r"`(test_\w+)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def links(page):
    """The words and the target of every link to a file."""
    return [(words, target) for words, target in LINK.findall(page.read_text()) if "://" not in target]


@pages
def test_links_lead_to_files(page):
    assert [target for _, target in links(page) if not (page.parent / target).exists()] == []


@pages
def test_tests_that_are_named_are_there(page):
    linked = [
        (name, (page.parent / target).read_text()) for words, target in links(page) for name in TEST.findall(words)
    ]
    assert [name for name, text in linked if f"def {name}(" not in text] == []
    everywhere = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in TEST.findall(page.read_text()) if f"def {name}(" not in everywhere] == []


@pages
def test_no_cell_of_the_matrix_is_empty(page):
    tables = itertools.groupby(page.read_text().splitlines(), lambda line: line.startswith("|"))
    for _, lines in (table for table in tables if table[0]):
        head, _, *rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
        assert all(len(row) == len(head) for row in rows)
        if "processes" in "".join(head):  # the matrix
            assert all(cell.strip() for row in rows for cell in row)
