"""TRL's trainers on several processes: each reward is the one that the row gets when its true group is judged whole."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

trl = pytest.importorskip("trl", reason="needs the extra `trl`")

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "training")]

import rule  # noqa: E402
import train_on_ranks  # noqa: E402

from grmrewards import TransformersJudge  # noqa: E402

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]


def exists(job):
    """Whether this TRL has the trainer of `job`, for reward functions."""
    module, name, *_ = train_on_ranks.JOBS[job]
    try:
        trainer = getattr(importlib.import_module(module), f"{name}Trainer")
    except (ImportError, AttributeError):
        return False
    return "reward_funcs" in inspect.signature(trainer.__init__).parameters


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """What each rank of `world` wrote, all jobs of one world in one start of torchrun."""
    known = {}

    def results(world):
        if world not in known:
            folder = tmp_path_factory.mktemp(f"{world}-ranks")
            jobs = [job for _, job in CASES if exists(job)] if world == 2 else [job for w, job in CASES if w == world]
            known[world] = started(world, folder, list(dict.fromkeys(jobs)))
        return known[world]

    return results


def started(world, folder, jobs):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
    script = [str(Path(train_on_ranks.__file__)), str(folder), *jobs]
    done = subprocess.run([*command, *script], capture_output=True, text=True, timeout=550)
    files = [folder / f"rank{rank}.json" for rank in range(world)]
    assert all(file.exists() for file in files), done.stderr[-4000:]
    return [json.loads(file.read_text()) for file in files]


def put_together(per_rank):
    """The calls of all ranks as one: their rows one after the other, as the trainer's own code has them."""
    for slices in zip(*per_rank, strict=True):
        yield {name: [value for part in slices for value in part[name]] for name in slices[0]}


def true_groups(job, call, world):
    """The trainer's groups, by position in the rows of all ranks."""
    rows = len(call["row"])
    if job == "online_dpo":  # two blocks on each rank
        mine = rows // world
        return [(at + i, at + i + mine // 2) for at in range(0, rows, mine) for i in range(mine // 2)]
    size = 1 if job == "a2po" and len(set(call["row"])) == rows else train_on_ranks.G
    return [range(at, at + size) for at in range(0, rows, size)]


def is_split(job, call, world):
    """Whether a group's rows are on more than one rank."""
    mine = len(call["row"]) // world
    return any(group[0] // mine != group[-1] // mine for group in true_groups(job, call, world))


CASES = [
    *[(2, job) for job in train_on_ranks.JOBS],
    *[(4, job) for job in ("grpo-halves", "grpo-uneven")],
]


@pytest.mark.parametrize(("world", "job"), CASES, ids=[f"{world}-ranks-{job}" for world, job in CASES])
def test_rewards_are_those_of_whole_groups(launch, world, job):
    if not exists(job):
        pytest.skip(f"TRL {trl.__version__} has no {train_on_ranks.JOBS[job][1]}Trainer with reward_funcs")
    if job == "local-judge":
        judged_alike_alone(launch(world))
        return
    per_rank = [result[job] for result in launch(world)]
    for family in rule.FAMILIES:
        calls = list(put_together([found[family] for found in per_rank]))
        assert len(calls) >= 2
        assert any(is_split(job, call, world) for call in calls) == (job in train_on_ranks.SPLIT)
        for call in calls:
            for group in true_groups(job, call, world):
                assert len({call["row"][i] for i in group}) == 1, "these are not the trainer's groups"
                questions = [rule.question(call["prompts"][i]) for i in group]
                right = rule.expected(family, questions, [call["completions"][i] for i in group])
                assert [call["rewards"][i] for i in group] == pytest.approx(right, abs=1e-4)


def judged_alike_alone(results):
    """A model on each rank gives the rewards that one process gives for the rows of all."""
    for call in put_together([result["local-judge"]["ipgrm"] for result in results]):
        alone = rule.RecordingIPGRM(TransformersJudge.embedded(), group_size=train_on_ranks.G)
        rows = {name: call[name] for name in ("prompts", "completions")}
        assert alone(**rows) == call["rewards"]
        assert any(reward is not None for reward in call["rewards"])
