"""TRL's trainers on several processes: each reward is the one that the row gets when its true group is judged whole."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest

trl = pytest.importorskip("trl", reason="needs the extra `trl`")

sys.path.insert(0, str(Path(__file__).parent))

import launched  # noqa: E402
from launched import rule, train_on_ranks  # noqa: E402

from grmrewards import TransformersJudge  # noqa: E402

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]

CASES = [
    *[(2, job) for job in train_on_ranks.JOBS if job != "local-judge"],
    *[(4, job) for job in ("grpo-halves", "grpo-uneven")],
]


def exists(job):
    """Whether this TRL has the trainer of `job`, for reward functions."""
    module, name, _, options = train_on_ranks.JOBS[job]
    try:
        trainer = getattr(importlib.import_module(module), f"{name}Trainer")
    except (ImportError, AttributeError):
        return False
    known = inspect.signature(trainer.__init__).parameters
    return "reward_funcs" in known and {*options} & {"tools", "environment_factory"} <= {*known}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A function that gives what each rank of a world wrote, all jobs of one world in one start."""
    known = {}

    def results(world):
        if world not in known:
            jobs = [job for w, job in [*CASES, (2, "local-judge")] if w == world and exists(job)]
            known[world] = launched.launch(world, tmp_path_factory.mktemp(f"{world}-ranks"), jobs)
        return known[world]

    return results


@pytest.mark.parametrize(("world", "job"), CASES, ids=[f"{world}-ranks-{job}" for world, job in CASES])
def test_rewards_are_those_of_whole_groups(ran, world, job):
    if not exists(job):
        pytest.skip(f"TRL {trl.__version__} has no {train_on_ranks.JOBS[job][1]}Trainer with what this job passes")
    launched.assert_rewards_of_whole_groups(ran(world), job)


def test_a_judge_on_each_rank_gives_the_rewards_of_one_process(ran):
    calls = list(launched.together([result["local-judge"]["ipgrm"] for result in ran(2)]))
    assert any(launched.is_split("local-judge", call, 2) for call in calls)
    for call in calls:
        alone = rule.RecordingIPGRM(TransformersJudge.embedded(), group_size=train_on_ranks.G)
        assert alone(prompts=call["prompts"], completions=call["completions"]) == call["rewards"]
        assert any(reward is not None for reward in call["rewards"])
