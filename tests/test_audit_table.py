"""The audit finds every planted weakness and raises no false alarm, at its forty cases and over five seeds."""

import pytest

from grmrewards.audit import CASES, audit
from planted import PLANTED

# The main leg has one of five.
SEEDS = [pytest.param(seed, marks=pytest.mark.slow if seed else ()) for seed in range(5)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PLANTED)
def test_no_miss_and_no_false_alarm(name, seed):
    make, weakness, must, may = PLANTED[name]
    found = audit(make(seed, **weakness), CASES)
    weak = {finding.probe for finding in found.weak}
    assert must <= weak, f"missed {must - weak}"
    assert weak <= must | may, f"false alarm {weak - must - may}"
