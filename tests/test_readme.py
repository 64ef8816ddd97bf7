"""The README's code runs as it stands there."""

import ast
import re
from pathlib import Path

import pytest

import grmrewards
from grmrewards import ScriptedJudge

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TRAINS, *SELF_CONTAINED = BLOCKS


@pytest.mark.parametrize("block", SELF_CONTAINED, ids=lambda block: block.strip().splitlines()[-1][:40])
def test_block_runs(block):
    exec(compile(block, "README.md", "exec"), {})


def test_own_family_scores():
    names = {}
    exec(compile(next(block for block in BLOCKS if "class Brevity" in block), "README.md", "exec"), names)
    judge = ScriptedJudge(lambda messages: "<critique>ok</critique><score>7</score>")
    assert names["Brevity"](judge)(prompts=["q", "q"], completions=["a", ""]) == [0.7, 0.0]


def test_training_block_is_about_ten_lines_and_names_what_exists():
    tree = ast.parse(TRAINS)
    assert len(tree.body) <= 10
    ours = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "grmrewards"]
    assert {alias.name for node in ours for alias in node.names} <= set(grmrewards.__all__)
