"""The advantages that Unsloth's own GRPOTrainer computes: every case that TRL's trainer is held to, on the patched one."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PATCHED = Path(__file__).with_name("pytest_patched.py")
CASES = Path(__file__).parents[1] / "training" / "test_advantages.py"

pytestmark = [
    pytest.mark.trl,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="needs Unsloth, which forbids TRL 1.16"),
]


def test_a_failed_judgement_changes_no_preference_in_unsloths_trainer():
    arguments = ["-q", "--tb=short", "--maxfail=3", "-W", "default", str(CASES)]
    done = subprocess.run([sys.executable, PATCHED, *arguments], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"^\d{2,} passed(, \d+ warnings?)? in ", done.stdout, re.MULTILINE), done.stdout[-300:]
