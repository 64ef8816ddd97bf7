"""The scripts that train a judge run, what they train judges at once, and docs/judge_training.md shows what was found."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra `trl`")

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import judge_training_report
from judge_training_runs import RULES, runs

from grmrewards import IRPMReward, TransformersJudge, cli

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "judge_training"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

FIGURES = ROOT / "docs" / "judge_training.json"


def run(script, *options):
    """What a script of the examples printed."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A judge that overlooks most faults, and what some twenty steps make of it: their folders, and what was printed."""
    folder = tmp_path_factory.mktemp("judges")
    run("weaken.py", "--weakness", "lenient", "--out", folder / "weak")
    printed = run("train_irpm.py", "--judge", folder / "weak", "--out", folder / "trained", "--steps", 25)
    return folder / "weak", folder / "trained", printed


def test_a_lenient_judge_learns_from_preferences_to_see_faults(trained):
    before, after = (float(share) for share in re.findall(r"([0-9.]+)% right", trained[2]))
    assert before <= 75
    assert after >= before + 8


def test_the_trained_judge_judges_at_once(trained):
    judge = TransformersJudge(str(trained[1]), device="cpu", max_new_tokens=64)
    given = IRPMReward(judge)(prompts=["Name 3 animals."] * 2, completions=["cat, dog, fox", "cat, cat, hammer"])
    assert given[0] > given[1]


def test_the_demo_trains_on_it(trained, capsys, tmp_path):
    options = ["--family", "irpm", "--judge", str(trained[1]), "--steps", "2", "--output", str(tmp_path)]
    assert cli.main(["demo", *options]) == 0
    assert "after  training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param(["--judge", "no/such/folder"], "holds no model", id="no folder"),
        pytest.param(["--judge", ".", "--endpoint"], "judge of this package alone", id="behind the demo's server"),
    ],
)
def test_a_judge_that_the_demo_cannot_use_is_refused(options, told, capsys, tmp_path):
    assert cli.main(["demo", "--family", "irpm", "--output", str(tmp_path), *options]) == 1
    assert told in capsys.readouterr().err


def test_the_rehearsal_of_a_large_judge_runs_in_small(tmp_path):
    printed = run(
        "train_irpm.py", "--random", "tiny", "--lora", "--bf16", "--steps", 2, "--pairs", 2, "--out", tmp_path
    )
    assert re.search(r"million parameters: [0-9.]+ s a step", printed)


# The figures


@pytest.fixture(scope="module")
def found():
    return json.loads(FIGURES.read_text(encoding="utf-8"))


def test_the_figures_meet_the_goal(found, capsys):
    assert judge_training_report.check(found) == 0, capsys.readouterr().out


def test_every_run_is_among_the_figures(found):
    known = {(run["table"], run["row"], run["seed"]) for run in found["runs"]}
    assert known == {(run.table, run.row, run.seed) for run in runs()}


@pytest.mark.parametrize("name", judge_training_report.TABLES)
def test_the_page_has_the_tables_of_the_figures(found, name):
    page = (ROOT / "docs" / "judge_training.md").read_text(encoding="utf-8")
    assert judge_training_report.table(name, found) in page


def test_the_plot_has_a_line_for_each_rule(found, tmp_path):
    judge_training_report.draw(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert {run["row"] for run in found["runs"] if run["table"] == "rules"} == {*RULES}
