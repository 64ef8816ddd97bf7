"""What TRL's trainers are held to, on the ones that Unsloth makes of them: GRPO and RLOO, with Unsloth imported first."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PATCHED = Path(__file__).with_name("pytest_patched.py")
TRAINING = Path(__file__).parents[1] / "training"

pytestmark = [
    pytest.mark.trl,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="needs Unsloth, which forbids TRL 1.16"),
]

CASES = {  # file, which of its tests, and at least how many those are
    "advantages": ("test_advantages.py", "", 250),
    "trainers": ("test_trainers.py", "not command_line and not async", 30),  # those start processes without Unsloth
    "runs": ("test_runs.py", "resumed or several", 2),  # an adapter is put on by Unsloth's own loader, for GPUs
}


@pytest.mark.parametrize(("file", "which", "count"), CASES.values(), ids=CASES)
def test_it_holds_with_unsloths_trainers(file, which, count):
    arguments = ["-q", "--tb=short", "--maxfail=3", "-W", "default", "-k", which, str(TRAINING / file)]
    done = subprocess.run([sys.executable, PATCHED, *arguments], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = re.search(r"^(\d+) passed[^\n]* in ", done.stdout, re.MULTILINE)
    assert passed, done.stdout[-300:]
    assert int(passed[1]) >= count
