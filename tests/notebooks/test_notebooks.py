"""Each notebook runs from its first cell to its last in a kernel of its own, on the small models of the package.

The whole leg is one process that runs two kernels at a time. Cells are looked up by their id: "install", "model", "dataset",
"rewards", "train", "look", "picture".
"""

import ast
import importlib.metadata
import json
import os
import re
import statistics
import subprocess
import sys
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from grmrewards import record

FOLDER = Path(__file__).parents[2] / "notebooks"
sys.path.insert(0, str(FOLDER))
from execute import execute, tidy  # noqa: E402 - found by the line above

NAMES = ["listwise", "ipgrm", "irpm", "gram", "unsloth_colab"]  # the longest first
MOST_LINES = 60
MOST_BYTES = 60_000  # of a picture
PLACES = re.compile(r"(?<![\w.])/(root|tmp|work|home|usr|opt|content)/")  # that belong to one machine
HEADED = ["Install", "Model", "Dataset", "Rewards", "Train", "Look at the results"]

if os.environ.get("IMPORT_FIRST") or importlib.metadata.version("trl").startswith("1.15."):
    NAMES = ["unsloth_colab"]  # without Unsloth this TRL trains on GPUs only

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]
each = pytest.mark.parametrize("name", NAMES)


def stored(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def cell(notebook, ident):
    (found,) = [cell for cell in notebook.cells if cell.id == ident]
    return found


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def completions(folder):
    return [entry for entry in record.read(folder / "record.jsonl") if entry["type"] == "completion"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What running each notebook gave: the notebook with its outputs, the folder that it ran in, or the error."""

    folders = {name: tmp_path_factory.mktemp(name) for name in NAMES}  # pytest makes them for one thread at a time

    def run(name):
        notebook, folder, error = stored(name), folders[name], None
        try:
            execute(notebook, folder)
        except Exception as failed:
            error = failed
        return SimpleNamespace(notebook=notebook, folder=folder, error=error)

    with ThreadPoolExecutor(2) as two:
        return dict(zip(NAMES, two.map(run, NAMES), strict=True))


@each
def test_it_runs_from_the_first_cell_to_the_last(runs, name):
    if runs[name].error:
        raise runs[name].error


@each
def test_the_reward_rises(runs, name):
    """By the record: the mean of the last quarter of the steps is above that of the first."""
    rewards = [entry["reward"] for entry in completions(runs[name].folder)]
    assert None not in rewards
    quarter = len(rewards) // 4
    first, last = statistics.fmean(rewards[:quarter]), statistics.fmean(rewards[-quarter:])
    assert last > first + 0.03


@each
def test_it_ends_with_a_picture(runs, name):
    for notebook in (runs[name].notebook, stored(name)):
        assert any("image/png" in output.get("data", {}) for output in code(notebook)[-1].outputs)


def test_the_principles_are_kept_on_disk(runs):
    if "ipgrm" not in NAMES:
        pytest.skip("not run here")
    assert list((runs["ipgrm"].folder / "principles").glob("*.json"))


def test_the_second_judgement_of_a_group_is_not_paid_for(runs):
    if "listwise" not in NAMES:
        pytest.skip("not run here")
    (printed,) = cell(runs["listwise"].notebook, "replay").outputs
    assert "same rewards: True" in printed.text
    assert "'listwise/calls': 0.0" in printed.text


def test_there_is_no_notebook_without_a_test_and_a_line_in_the_readme():
    names = {path.stem for path in FOLDER.glob("*.ipynb")}
    assert set(NAMES) <= names
    assert len(names) == 5
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert names == set(re.findall(r"\]\((\w+)\.ipynb\)", readme))


@each
def test_it_is_short_and_has_the_usual_sections(name):
    notebook = stored(name)
    lines = [line.strip() for cell in code(notebook) for line in cell.source.splitlines()]
    assert sum(bool(line) and not line.startswith("#") for line in lines) <= MOST_LINES
    assert "ScriptedJudge" not in "".join(lines)
    headings = re.findall(r"^## (.*)$", "\n".join(c.source for c in notebook.cells), re.MULTILINE)
    assert headings == HEADED


@each
def test_what_is_stored_reads_well(name):
    """Outputs of a whole run, in order, and nothing that belongs to one machine or one moment."""
    notebook = stored(name)
    assert [c.execution_count for c in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    shown = [output for c in code(notebook) for output in c.outputs]
    assert {output.output_type for output in shown} <= {"stream", "execute_result", "display_data"}
    for output in shown:
        data = output.get("data", {})
        text = "".join([output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")])
        assert not PLACES.search(text)
        assert not re.search(r"Traceback|Warning|<progress|it/s|\r|\x1b", text)
        assert len(data.get("image/png", "")) * 3 / 4 <= MOST_BYTES
    assert "<table" in cell(notebook, "look").outputs[0].data["text/html"]
    assert not any(c.metadata for c in notebook.cells)
    before = json.dumps(notebook)
    tidy(notebook)
    assert json.dumps(notebook) == before, "not stored by `make notebooks`"


@each
def test_a_hostile_answer_is_shown_and_not_run(name, tmp_path, monkeypatch):
    """The table of critiques, made from a record whose answers are HTML."""
    monkeypatch.chdir(tmp_path)
    text = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    texts = dict.fromkeys(("prompt", "response", "critique", "principles"), text)
    for step in range(24):
        record.append("record.jsonl", {"type": "completion", "step": step, "score": 1.0, "reward": 0.1, **texts})
    body = ast.parse(cell(stored(name), "look").source).body
    names = {"record": record, "pd": __import__("pandas")}
    exec(compile(ast.Module(body[:-1], []), "look", "exec"), names)
    table = eval(compile(ast.Expression(body[-1].value), "look", "eval"), names).data
    assert "&lt;script&gt;" in table
    assert not re.search("<script|<img", table)


# The install cell, run by a real pip on an index of our own: nothing is downloaded, and each package is a stand-in without
# code. Two versions of each are there; the newest of what is missing asks for the newest of what must stay.

OLD, NEW = "100.0", "200.0"  # above all our lower bounds
MISSING = ["trl", "peft", "matplotlib", "openai"]
ASKS = {"trl": "transformers>=200", "matplotlib": "torch>=200"}


def wheel(folder, name, version, requires=(), extras=()):
    """A wheel of nothing but its metadata."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {what}" for what in requires]
    about = ["Wheel-Version: 1.0", "Generator: test", "Root-Is-Purelib: true", "Tag: py3-none-any"]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        file.writestr(f"{info}/WHEEL", "\n".join(about) + "\n")
        file.writestr(f"{info}/RECORD", "".join(f"{info}/{part},,\n" for part in ("METADATA", "WHEEL", "RECORD")))


class Machine:
    """A fresh environment in which the old versions are installed, all but the missing ones."""

    def __init__(self, folder, **versions):
        index = folder / "index"
        index.mkdir()
        ours = importlib.metadata.metadata("grmrewards")
        wanted = [line for line in ours.get_all("Requires-Dist") if not re.search("extra == '(dev|docs|vllm)'", line)]
        wheel(index, "grmrewards", ours["Version"], ours.get_all("Requires-Dist"), ours.get_all("Provides-Extra"))
        self.others = sorted({re.match(r"[\w-]+", line)[0] for line in wanted})
        for name in self.others:
            wheel(index, name, OLD)
            wheel(index, name, NEW, [ASKS[name]] if name in ASKS else [])
        for name, version in versions.items():
            wheel(index, name, version)
        venv.create(folder / "env", with_pip=True)
        self.folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{folder / 'env' / 'bin'}:{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
        }
        self.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.env.pop("PIP_CONSTRAINT", None)
        there = {name: versions.get(name, OLD) for name in self.others if name not in MISSING}
        self.run("pip install -q --no-deps " + " ".join(f"{name}=={version}" for name, version in there.items()))
        self.before = self.versions()

    def run(self, command, **how):
        return subprocess.run(["sh", "-ec", command], cwd=self.folder, env=self.env, check=True, text=True, **how)

    def versions(self):
        listed = self.run("pip list --format=json", capture_output=True).stdout
        return {package["name"]: package["version"] for package in json.loads(listed)}


def install_commands(name):
    lines = [line.strip() for line in cell(stored(name), "install").source.splitlines()]
    return "\n".join(line[1:] for line in lines if line.startswith("!"))


def test_the_install_cells_are_of_two_kinds():
    assert len({cell(stored(name), "install").source for name in NAMES if name != "unsloth_colab"}) <= 1


@pytest.mark.parametrize("name", sorted({NAMES[0], "unsloth_colab"}))
def test_the_install_cell_moves_nothing_that_is_installed(name, tmp_path):
    machine = Machine(tmp_path)
    machine.run(install_commands(name))
    after = machine.versions()
    assert machine.before.items() <= after.items()
    assert {"grmrewards", "matplotlib", "openai"} <= after.keys() - machine.before.keys()
    assert after["openai"] == NEW  # where nothing stands against it, what is missing comes in its newest version
    assert after["matplotlib"] == OLD  # the newest would have moved torch


def test_without_the_constraints_it_would_have_moved_them(tmp_path):
    """The control: the two tests of the install cell can fail."""
    machine = Machine(tmp_path)
    machine.run(install_commands(NAMES[0]).replace("-c installed.txt", ""))
    assert machine.versions()["torch"] == NEW


def test_where_a_version_stands_in_the_way_pip_stops_and_leaves_it(tmp_path):
    machine = Machine(tmp_path, tqdm="4.0")  # older than this package can use
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        machine.run(install_commands(NAMES[0]), capture_output=True)
    assert "The user requested (constraint) tqdm==4.0" in stopped.value.stdout
    assert machine.versions() == machine.before


@each
def test_on_the_small_models_nothing_is_installed(runs, name):
    assert not (runs[name].folder / "installed.txt").exists()
    assert not cell(runs[name].notebook, "install").outputs
