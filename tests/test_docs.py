"""What the documents say can be looked up: every link leads somewhere, every test that is named is there."""

import ast
import importlib
import inspect
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


# Code


def blocks(page):
    """The Python on a page, parsed."""
    return [ast.parse(code) for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]


def ours(tree):
    """What a block imports from this package, by the name that it has there."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    taken = [node for node in names if (node.module or "").split(".")[0] == "grmrewards"]
    return {alias.name: getattr(importlib.import_module(n.module), alias.name) for n in taken for alias in n.names}


@pytest.mark.slow
@pages
def test_code_names_what_exists_and_passes_arguments_that_are_taken(page):
    pytest.importorskip("trl", reason="some names need the extra `trl`")
    for tree in blocks(page):
        known = ours(tree)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        for call in (call for call in calls if call.func.id in known):
            parameters = inspect.signature(known[call.func.id]).parameters
            free = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
            unknown = {keyword.arg for keyword in call.keywords if keyword.arg} - {*parameters}
            assert free or not unknown, f"{call.func.id}({', '.join(sorted(unknown))}=)"
