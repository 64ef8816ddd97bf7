"""No judgement is lost, zeroed or wrong while the server fails: the fault matrix of `benchmarks/faults.py`, at reduced size.

The server is a process of its own and counts what it did. Shares are higher than in the matrix, so that each fault is met,
and a prompt has at most two of them, so that each judgement can be had whatever the order of the requests.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from fault_rule import CALLED, needed, truth
from fault_server import SLOW, TRANSPORT, UNUSABLE, FaultServer
from faults import Outcome, compare, measure, write

from grmrewards import OpenAIJudge

pytestmark = pytest.mark.faults

SIZE = {"prompts": 4, "responses": 4}
AT_ONCE = {"latency": 0.0, "per_token": 0.0}
CASES = [
    (family, fault) for family in CALLED for fault in (*TRANSPORT, *UNUSABLE) if (family, fault) != ("gram", "count")
]


@pytest.fixture(scope="module")
def server():
    with FaultServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def had(outcome):
    """What a call must not have done, by name."""
    names = ("lost", "zeroed", "wrong", "votes_lost", "raised")
    return {name: found for name in names if (found := getattr(outcome, name))}


@pytest.mark.parametrize("family", CALLED)
def test_without_faults_the_rewards_are_those_of_the_rule(server, family):
    outcome = measure(server, family, settings=AT_ONCE, **SIZE)
    assert had(outcome) == {}
    asked = {kind: n for kind, n in outcome.stats["kinds"].items() if kind != "unknown"}
    assert sum(asked.values()) == needed(family, **SIZE)
    assert set(asked) == ({"principles", "ipgrm"} if family == "ipgrm" else {family})


@pytest.mark.parametrize(("family", "fault"), CASES, ids=[f"{family}-{fault}" for family, fault in CASES])
def test_a_fault_loses_no_judgement(server, family, fault):
    settings = {"faults": {fault: 0.5}, "at_most": 2, "seed": 3, **AT_ONCE}
    outcome = measure(server, family, settings=settings, deadline=20.0, **SIZE)
    met = outcome.stats["counts"].get(fault, 0)
    assert had(outcome) == {}
    assert met >= SIZE["prompts"]
    assert outcome.requests >= needed(family, **SIZE) + met


@pytest.mark.parametrize("family", CALLED)
def test_all_faults_at_once_lose_no_judgement(server, family):
    settings = {"faults": dict.fromkeys((*TRANSPORT, *UNUSABLE), 0.06), "at_most": 2, "seed": 3, **AT_ONCE}
    outcome = measure(server, family, settings=settings, deadline=20.0, **SIZE)
    assert had(outcome) == {}
    assert outcome.stats["counts"]["good"] < outcome.requests


@pytest.mark.parametrize("fault", SLOW)
def test_an_answer_that_never_comes_is_asked_for_again_long_before_the_deadline(server, fault):
    settings = {"faults": {fault: 0.1}, "at_most": 1, "seed": 3, "latency": 0.02, "per_token": 0.0}
    outcome = measure(server, "irpm", settings=settings, prompts=8, responses=8, deadline=50.0)
    assert had(outcome) == {}
    assert outcome.stats["counts"].get(fault, 0) > 0
    assert outcome.seconds < 10, "a drip takes 40 s, a hang for ever"


def test_when_everything_hangs_the_call_ends_by_its_deadline_and_says_why(server):
    outcome = measure(server, "irpm", settings={"faults": {"hang": 1.0}}, deadline=0.5, **SIZE)
    assert outcome.lost == 16
    assert outcome.raised.startswith("JudgeOutage: irpm")
    assert "timed out x16" in outcome.raised
    assert outcome.seconds < 1.5
    assert server.stats()["in_flight"] == 0, "nothing is left running"


@pytest.mark.parametrize("retry_after", [False, True], ids=["without Retry-After", "with Retry-After"])
def test_an_unknown_rate_limit_costs_few_requests_and_is_remembered(server, retry_after):
    judge = OpenAIJudge("judge", base_url=server.url, api_key="none", check_server=False)
    settings = {"rate": 100.0, "burst": 20.0, "retry_after": retry_after, "latency": 0.02}
    calls = [
        measure(server, "irpm", settings=settings, judge=judge, batch=batch, prompts=32, responses=8, deadline=50.0)
        for batch in (1, 2)
    ]
    assert [had(outcome) for outcome in calls] == [{}, {}]
    assert [outcome.requests / 256 <= most for outcome, most in zip(calls, (1.15, 1.05), strict=True)] == [True, True]


def test_the_measurement_sees_what_is_lost_zeroed_and_wrong():
    outcome = Outcome(4)
    compare(outcome, [None, 0.0, 0.5, 0.25], [0.5, 0.5, 0.25, 0.25])
    assert (outcome.lost, outcome.zeroed, outcome.wrong, outcome.good) == (1, 1, 1, False)
    assert truth("gram", ["Q"] * 2, ["a", "a"], 2) == [0.5, 0.5]


def test_a_table_is_written_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- matrix -->\nold\n<!-- end of matrix -->\nafter\n")
    write(page, "matrix", "| new |")
    assert page.read_text() == "before\n<!-- matrix -->\n\n| new |\n\n<!-- end of matrix -->\nafter\n"
