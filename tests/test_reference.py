"""Every public name is described where it is written, and stands in the reference that is made of these descriptions."""

import ast
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from grmrewards.cli import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
REFERENCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "reference").glob("*.rst")))
DIRECTIVE = r"^\.\. (?:auto\w+|py:\w+):: {name}\n"
TEXT = r"(?: +:.*\n)*\n +\S"  # of a constant, which has no docstring
KINDS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
LOADED = re.compile(
    r"""<(?:script|img|link|source)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"|@import\s+url\(['"]?http"""
)
AREAS = ["grmrewards", *(f"grmrewards.{area}" for area in ["training", "evaluation", "audit", "doctor", "report"])]


def file_of(module):
    """The file of a module or a package, or None."""
    stem = SOURCE.joinpath(*module.split("."))
    return next((path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.exists()), None)


def tree_of(module):
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def names_of(module):
    """What `__all__` lists, or what a module without it defines."""
    body = tree_of(module).body
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return [node.name for node in body if isinstance(node, KINDS) and not node.name.startswith("_")]


def written(module, name):
    """The class or function, found without importing what it needs; None for a constant."""
    for node in ast.walk(tree := tree_of(module)):
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            return written(node.module, name)
    return next((node for node in tree.body if isinstance(node, KINDS) and node.name == name), None)


def imported_by_pages():
    """What blocks of the README and the docs import from modules that are no area of their own: public by that."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grmrewards."):
                    yield from ((node.module, alias.name) for alias in node.names)


PUBLIC = [(area, name) for area in AREAS if file_of(area) for name in names_of(area)]
PUBLIC += sorted({(module, name) for module, name in imported_by_pages() if module not in AREAS})
public = pytest.mark.parametrize(("area", "name"), PUBLIC, ids=lambda value: value)


@public
def test_a_public_name_stands_in_the_reference_and_is_described(area, name):
    directive = DIRECTIVE.format(name=re.escape(f"{area}.{name}"))
    assert re.search(directive, REFERENCE, re.MULTILINE), f"docs/reference/*.rst lack {area}.{name}"
    node = written(area, name)
    if node is None:
        assert re.search(directive + TEXT, REFERENCE, re.MULTILINE), f"nothing is said of the constant {area}.{name}"
    else:
        assert ast.get_docstring(node), f"{area}.{name} has no docstring"


def test_every_command_stands_in_the_reference():
    assert sorted(re.findall(r"^\.\. command-help:: (\w+)$", REFERENCE, re.MULTILINE)) == sorted(COMMANDS)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", folder / "doctrees"]
    done = subprocess.run([*command, ROOT / "docs", folder / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.docs
@pytest.mark.timeout(300)
def test_the_site_is_built_without_a_warning_and_knows_every_public_name(site):
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    known = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    assert [f"{area}.{name}" for area, name in PUBLIC if f"{area}.{name}" not in known] == []


@pytest.mark.docs
@pytest.mark.timeout(300)
def test_nothing_of_the_site_is_loaded_from_the_network(site):
    """Fonts, scripts, styles and pictures come with it; a link to a paper is a link."""
    pages = [path for kind in ("*.html", "*.css") for path in site.rglob(kind)]
    assert [
        (path.name, found[0]) for path in pages if (found := LOADED.findall(path.read_text(encoding="utf-8")))
    ] == []
