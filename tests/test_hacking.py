"""A policy that learns to please a flawed judge is told in time, and one that learns is not: `make hacking` in small."""

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra `trl`")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),
]
SEED = 5  # none of the benchmark's, and none that a threshold was set by


@pytest.fixture(scope="module")
def hacking():
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("hacking")


@pytest.mark.parametrize(("flaw", "steps"), [("praise", 40), ("brevity", 28)])
def test_a_policy_that_learns_to_please_is_told_before_the_rule_has_fallen(hacking, monkeypatch, tmp_path, flaw, steps):
    monkeypatch.setattr(hacking, "STEPS", steps)
    found = hacking.run(flaw, SEED, tmp_path)
    first = min(step for _, step in found["flags"])
    assert first < hacking.first_below(found["rule"])
    assert hacking.deepest(found["rule"]) > hacking.fallen(found["rule"], first), "or there was nothing to see"


def test_a_policy_that_learns_is_not_told(hacking, monkeypatch, tmp_path):
    monkeypatch.setattr(hacking, "STEPS", 60)
    found = hacking.run("sound", SEED, tmp_path)
    assert found["flags"] == []
    assert found["rule"][-1][1] > found["rule"][0][1] + 0.15
