"""The layers: who may import whom, what importing the package costs, and that no file outgrows a reader."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import grmrewards
from grmrewards import training

ROOT = Path(grmrewards.__file__).parent
FILES = {".".join(("grmrewards", *path.relative_to(ROOT).with_suffix("").parts)): path for path in ROOT.rglob("*.py")}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}
GROUND = {"errors", "types"}
PURE = {"texts", "rollouts", "ranks", "prompts", "parsing", "scoring", "principles", "record", "arguments"}
PURE |= {"neutral", "folding", "tries"}  # how texts are made harmless
PURE |= {"entries", "keys", "naming"}
PURE |= {"admissible", "auxiliaries", "praise"}  # rewards beside the judge's, and the cap
PURE |= {"verdict", "json_verdict", "distribution", "alternatives", "ballots", "undecided"}  # from answers to scores
PURE |= {"pairing", "pictures"}
ONLY = {  # what these may import; what stands between them and `reward` is bound by the tests below
    "errors": set(),
    "types": {"errors"},
    **dict.fromkeys(PURE, GROUND | PURE),
    "judges": {"errors", "types", "prompts", "arguments", "judges"},
}
KNOW_FAMILIES = {"grmrewards", "cli", "demo", "doctor", "evaluation", "families"}  # what stands above all layers


def imports(path):
    """The modules of this package that a file imports, wherever in it, except for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]:
        block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grmrewards":
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else node.module for name in inside)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "grmrewards")


GRAPH = {name: sorted(set(imports(path)) - {name}) for name, path in FILES.items()}


def layer(name):
    """The first name under the package: "errors", "judges", "families", ..."""
    return [*name.split("."), ""][1] or "grmrewards"


def beneath(name):
    """All that `name` imports, directly or not."""
    found, rest = set(), [name]
    while rest:
        new = set(GRAPH.get(rest.pop(), ())) - found
        found |= new
        rest += new
    return found


@pytest.mark.parametrize("name", sorted(name for name in GRAPH if layer(name) in ONLY))
def test_imports_run_one_way(name):
    used = {layer(other) for other in GRAPH[name]}
    assert used <= ONLY[layer(name)], f"{name} imports {sorted(used - ONLY[layer(name)])}"


def test_reward_and_what_it_stands_on_know_no_family_and_no_judge():
    assert not {layer(other) for other in beneath("grmrewards.reward")} & {"families", "judges", "reward"}


def test_families_know_no_judge_and_nothing_above_them():
    families = [name for name in GRAPH if layer(name) == "families"]
    assert not {layer(other) for name in families for other in beneath(name)} & {"judges", "cli", "demo", "evaluation"}


@pytest.mark.parametrize("name", sorted(name for name in GRAPH if layer(name) not in KNOW_FAMILIES))
def test_nothing_else_knows_a_family(name):
    assert "families" not in {layer(other) for other in GRAPH[name]}


def test_no_import_cycle():
    done, path = set(), []

    def visit(name):
        assert name not in path, " imports ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in GRAPH.get(name, ()):
                visit(other)
            done.add(path.pop())

    for name in GRAPH:
        visit(name)


def test_importing_the_package_loads_no_heavy_library():
    heavy = ["torch", "transformers", "openai", "trl", "datasets", "aiohttp", "numpy", "vllm", "peft"]
    probe = f"import sys, grmrewards; grmrewards.IRPMReward; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_sorted_and_listed():
    assert grmrewards.__all__ == sorted(grmrewards.__all__)
    assert len(set(grmrewards.__all__)) == len(grmrewards.__all__)
    assert set(grmrewards.__all__) <= set(dir(grmrewards))


def test_the_rewards_of_training_load_no_heavy_library():
    heavy = ["torch", "transformers", "trl", "datasets", "numpy", "scipy"]
    names = "IntergroupReward, SPCTReward, VerdictReward, preference_pairs, read_preferences"
    probe = f"import sys; from grmrewards.training import {names}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", training.__all__)
def test_public_name_of_training_is_there_and_documented(name):
    try:
        thing = getattr(training, name)
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("grmrewards", ""):
            pytest.skip(f"needs {error.name}, which is an extra")
        raise
    assert thing.__doc__
    assert name in training.__all__ == sorted(training.__all__)


@pytest.mark.parametrize("name", grmrewards.__all__)
def test_public_name_is_there_and_documented(name):
    try:
        thing = getattr(grmrewards, name)
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("grmrewards", ""):
            pytest.skip(f"needs {error.name}, which is an extra")
        raise
    assert name == "__version__" or thing.__doc__


def test_an_unknown_name_is_told_what_there_is():
    with pytest.raises(AttributeError, match="IPGRMReward"):
        grmrewards.IPGRM  # noqa: B018


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_is_longer_than_250_lines(name):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 250


def test_errors_are_what_their_tree_says():
    errors = importlib.import_module("grmrewards.errors")
    classes = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    assert all(issubclass(error, errors.GRMError) and error.__name__ in errors.__doc__ for error in classes)
    assert issubclass(errors.ConfigError, ValueError)
    assert not issubclass(errors.FatalJudgeError, errors.JudgeError), "it is not one judgement that is lost"
