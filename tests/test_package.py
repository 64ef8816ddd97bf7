"""The wheel, as a user gets it: small, complete, and quick to import."""

import json
import statistics
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_is_at_most_3_mb(wheel):
    assert wheel.stat().st_size <= 3_000_000


def test_wheel_holds_prompts_types_and_the_embedded_models(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"py.typed", "prompts/ipgrm.txt", "judges/embedded/judge/model.safetensors"}
    assert {f"grmrewards/{name}" for name in wanted} <= names
    assert not any("test" in name for name in names)


def test_bare_wheel_imports_and_scores_with_its_core_dependencies_alone(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True)
    code = (
        "from grmrewards import IRPMReward, ScriptedJudge\n"
        "judge = ScriptedJudge(lambda messages: '<critique>ok</critique><score>7</score>')\n"
        "print(IRPMReward(judge, log_path='run.jsonl')(prompts=['q'], completions=['a']))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout) == [0.7]
    subprocess.run([python, "-m", "grmrewards", "report", "run.jsonl"], check=True, cwd=tmp_path)
    assert 'id="browse"' in (tmp_path / "report.html").read_text(), "its style and scripts are in the wheel"
    demo = subprocess.run([python, "-m", "grmrewards", "demo"], capture_output=True, text=True)
    assert demo.returncode == 1
    assert "pip install 'grmrewards[trl,report]'" in demo.stderr


def test_import_costs_at_most_60_ms_more_than_a_bare_interpreter():
    """A median of paired runs: the difference, not the clock, is what is claimed."""
    code = "import time; t = time.perf_counter(); import grmrewards; print(time.perf_counter() - t)"
    run = [sys.executable, "-c", code]
    seconds = [float(subprocess.run(run, capture_output=True, text=True, check=True).stdout) for _ in range(7)]
    assert statistics.median(seconds) <= 0.060
