"""Unsloth's own GRPOTrainer on two processes: groups that it splits are judged whole."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ranks"))

SCRIPT = Path(__file__).with_name("patched_on_ranks.py")
JOBS = [
    "grpo-whole",
    "grpo-halves",
    "grpo-uneven",
    "grpo-evaluated",
    "grpo-tools-halves",
    "grpo-environments-halves",
    "rloo-halves",
]

if importlib.util.find_spec("unsloth") is None:  # looked for, not imported: it changes libraries for the whole process
    pytest.skip("needs Unsloth, which `make test-unsloth` installs", allow_module_level=True)

import launched  # noqa: E402

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return launched.launch(2, tmp_path_factory.mktemp("ranks"), JOBS, SCRIPT)


@pytest.mark.parametrize("job", JOBS)
def test_rewards_are_those_of_whole_groups(results, job):
    assert all(result[job]["trainer"].startswith("Unsloth") for result in results)
    launched.assert_rewards_of_whole_groups(results, job)
