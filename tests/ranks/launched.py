"""Starts training on several ranks, puts what the ranks wrote together again, and holds it against the rule."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "training")]

import rule  # noqa: E402 - found by the line above
import train_on_ranks  # noqa: E402


def launch(world, folder, jobs, script=train_on_ranks.__file__):
    """What each rank wrote of `jobs`, started together by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
    done = subprocess.run(
        [*command, str(script), str(folder), *jobs], capture_output=True, text=True, timeout=550, check=False
    )
    files = [folder / f"rank{rank}.json" for rank in range(world)]
    assert all(file.exists() for file in files), done.stderr[-4000:]
    return [json.loads(file.read_text()) for file in files]


def together(per_rank):
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


def assert_rewards_of_whole_groups(results, job):
    """Every reward of every rank is the one that the rule gives the row in its true group."""
    world = len(results)
    for family in rule.FAMILIES:
        calls = list(together([result[job][family] for result in results]))
        assert calls
        assert any(is_split(job, call, world) for call in calls) == (job in train_on_ranks.SPLIT)
        for call in calls:
            for group in true_groups(job, call, world):
                assert len({call["row"][i] for i in group}) == 1, "these are not the trainer's groups"
                questions = [rule.question(call["prompts"][i]) for i in group]
                right = rule.expected(family, questions, [call["completions"][i] for i in group])
                assert [call["rewards"][i] for i in group] == pytest.approx(right, abs=1e-4)
