"""A policy learns what the judge likes, through TRL's unmodified trainer, wherever the process was started."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("tiny_grpo.py")
FAMILIES = ["ipgrm", "listwise", "irpm", "gram"]

pytestmark = [pytest.mark.trl, pytest.mark.timeout(600)]


def from_process(how):
    done = subprocess.run([sys.executable, RUN, how], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def from_notebook(_):
    import nbformat
    from nbclient import NotebookClient

    code = f"import sys, json\nsys.path.insert(0, {str(RUN.parent)!r})\nimport tiny_grpo\nprint(json.dumps(tiny_grpo.main()))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=500, kernel_name="python3").execute()
    printed = "".join(o["text"] for o in notebook.cells[0].outputs if o.get("name") == "stdout")
    return json.loads(printed.strip().splitlines()[-1])


@pytest.fixture(
    scope="module", params=[("script", from_process), ("thread", from_process), ("notebook", from_notebook)]
)
def results(request):
    how, run = request.param
    return run(how)


@pytest.mark.parametrize("family", FAMILIES)
def test_policy_learns_what_the_judge_likes(results, family):
    assert results[family]["last"] > results[family]["first"] + 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_every_completion_was_judged_and_the_reward_is_in_the_trainers_log(results, family):
    import trl

    assert results[family]["completions"] >= 24 * 16
    assert any(key.startswith("rewards/") for key in results[family]["logged"])
    if tuple(map(int, trl.__version__.split(".")[:2])) >= (1, 0):  # log_metric exists since 1.0
        assert any(key.endswith("/unscored") for key in results[family]["logged"])
