"""What the README says of its own code. That its blocks run is the promise of test_blocks.py."""

import ast

import grmrewards
from blocks.pages import ROOT, blocks_of
from grmrewards import ScriptedJudge

PYTHON = [block.text for block in blocks_of(ROOT / "README.md") if block.kind == "python"]


def test_own_family_scores():
    names = {}
    exec(compile(next(block for block in PYTHON if "class Brevity" in block), "README.md", "exec"), names)
    judge = ScriptedJudge(lambda messages: "<critique>ok</critique><score>7</score>")
    assert names["Brevity"](judge)(prompts=["q", "q"], completions=["a", ""]) == [0.7, 0.0]


def test_training_block_is_about_ten_lines_and_names_what_exists():
    tree = ast.parse(PYTHON[0])
    assert len(tree.body) <= 10
    ours = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "grmrewards"]
    assert {alias.name for node in ours for alias in node.names} <= set(grmrewards.__all__)
