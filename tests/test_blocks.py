"""No block of code in the README or in docs/ is there unexecuted: what stands in for what is told in blocks/stand_ins.py."""

import ast
import importlib.util
import itertools
import json

import click
import pytest

from blocks import commands, shell, stand_ins
from blocks.pages import BLOCKS, PAGES, ROOT, Block, blocks_of
from grmrewards.cli import COMMANDS, group

each = pytest.mark.parametrize("block", BLOCKS, ids=str)
of_shell = pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind in ("shell", "console")], ids=str)
of_python = pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == "python"], ids=str)


# Without running


@each
def test_it_is_of_a_kind_that_is_run_or_checked(block):
    assert block.kind, f"nobody looks at {block.language!r}; languages that are run are python, bash, console"
    if block.kind == "json":
        values = [block.text] if block.text.lstrip().startswith("[") or "\n}" in block.text else block.text.splitlines()
        assert [json.loads(value) for value in values if value.strip()]


def test_no_page_has_a_fence_that_is_not_seen():
    """A fence that opens or ends in a form that the harness does not know would hide what is in it."""
    for page in PAGES:
        fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("```")]
        assert len(fences) == 2 * len(blocks_of(page)), page.name


@of_python
def test_python_compiles_and_names_what_exists(block):
    tree = compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grmrewards":
            assert importlib.util.find_spec(node.module), node.module
    left_out = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value is ...]
    assert not left_out, "something is left out"


@of_shell
def test_commands_are_known_and_so_are_the_options_of_ours(block):
    for name, *words in shell.commands_of(shell.script_of(block)):
        assert name in {*commands.STAND_INS, *commands.REAL}, f"nobody knows what {name} does"
        if name == "grmrewards":
            ours(words)


def ours(words):
    """A command of `grmrewards` and its options exist."""
    if words[0].startswith("-"):
        return
    assert words[0] in COMMANDS
    command = group.get_command(click.Context(group), words[0])
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
    assert given <= {*known, "--help"}


def test_nothing_is_stood_in_for_a_page_that_is_not_there():
    assert set(stand_ins.PRELUDE) <= {page.name for page in PAGES}


# Running


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    from blocks.running import World  # loads torch

    made = World(tmp_path_factory.mktemp("pages"))
    yield made
    made.close()


WRONG = {
    "python that raises": [("python", "raise SystemError('wrong')")],
    "a config that is refused": [("python", "from trl import GRPOConfig\nGRPOConfig(no_such_option=1)")],
    "an argument that a judge does not take": [
        ("python", "from grmrewards import VLLMJudge\nVLLMJudge('m', no_such=1)")
    ],
    "a command that fails": [("bash", "cat questions.jsonl\ncat no-such-file\necho done")],
    "an option that vLLM has not": [("bash", "vllm serve Qwen/Qwen3-8B --no-such-option")],
    "an extra that is not there": [("bash", 'pip install "grmrewards[no-such-extra]"')],
    "a target that is not there": [("bash", "make no-such-target")],
    "an option of a script": [("bash", "python benchmarks/sharper.py --no-such-option")],
    "an output that is another": [("python", "print('one')"), ("text", "another")],
    "a console's output": [("console", "$ echo one\nanother")],
}


@pytest.mark.docs
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_fails(world, wrong):
    """The control: a page that lies is found out."""
    page = world.page(ROOT / f"{wrong}.md")
    lines = itertools.count(1, 4)
    page.blocks = [Block(ROOT / f"{wrong}.md", next(lines), language, f"{text}\n") for language, text in WRONG[wrong]]
    with pytest.raises((AssertionError, SystemError, TypeError)):
        page.run(page.blocks[-1])


def runs_of(page):
    """A class of tests for a page, so that the processes of `--dist loadscope` each take whole pages."""
    blocks = [b for b in BLOCKS if b.page == page and b.kind in ("python", "shell", "console", "text")]

    @pytest.mark.docs
    @pytest.mark.timeout(180)
    @pytest.mark.filterwarnings("default")
    class Runs:
        @pytest.mark.parametrize("block", blocks, ids=str)
        def test_it_runs(self, world, block):
            world.page(block.page).run(block)

    return Runs


for _page in {block.page: None for block in BLOCKS}:
    globals()[f"Test_{_page.stem}"] = runs_of(_page)
