"""A judge's training in all batch layouts: no pair is torn, and each reward is the one of its whole pair."""

import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra `trl`")

sys.path.insert(0, str(Path(__file__).parent))

import judge_on_ranks
import launched

from grmrewards import ParseError, Reply
from grmrewards.training.intergroup import Rule, intergroup_rewards

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]

CASES = [(world, layout) for world, layouts in judge_on_ranks.LAYOUTS.items() for layout in layouts]
SPLIT = {
    "a-side-each",
    "three-sides-each",
    "half-a-side-each",
    "uneven",
    "accumulated-uneven",
}  # pairs on several ranks


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A function that gives what each rank of a world wrote, all layouts of one world in one start."""
    known = {}

    def results(world):
        if world not in known:
            folder = tmp_path_factory.mktemp(f"{world}-ranks")
            known[world] = launched.launch(world, folder, [*judge_on_ranks.LAYOUTS[world]], judge_on_ranks.__file__)
        return known[world]

    return results


def score(text):
    try:
        return judge_on_ranks.vowels(Reply(text))
    except ParseError:
        return None


def by_hand(chosen, rejected):
    """What the rule gives one pair, an unreadable judgement left out of what the others are held against."""
    usable = [[s for s in side if s is not None] for side in (chosen, rejected)]
    ruled = intergroup_rewards(*usable, Rule("auc")) if all(usable) else [[1.0] * len(side) for side in usable]
    left = [iter(side) for side in ruled]
    sides = zip((chosen, rejected), left, strict=True)
    return [[-0.5 if s is None else next(values) for s in side] for side, values in sides]


@pytest.mark.parametrize(("world", "layout"), CASES, ids=[f"{world}-ranks-{layout}" for world, layout in CASES])
def test_pairs_stay_together(ran, world, layout):
    per_rank = [result[layout] for result in ran(world)]
    calls = list(launched.together(per_rank))
    assert len(calls) > 1
    for call in calls:
        rows = Counter(zip(call["pair"], call["side"], strict=True))
        assert {side for _, side in rows} == {"chosen", "rejected"}
        assert all(rows[pair, "chosen"] == rows[pair, "rejected"] == judge_on_ranks.G for pair, _ in rows)
        for pair in {*call["pair"]}:
            at = [
                [i for i, row in enumerate(zip(call["pair"], call["side"], strict=True)) if row == (pair, side)]
                for side in ("chosen", "rejected")
            ]
            right = by_hand(*([score(call["texts"][i]) for i in side] for side in at))
            assert [[call["rewards"][i] for i in side] for side in at] == [pytest.approx(side) for side in right]


@pytest.mark.parametrize(("world", "layout"), [case for case in CASES if case[1] in SPLIT and case[0] > 1])
def test_layouts_that_put_a_pair_on_several_processes_are_among_them(ran, world, layout):
    shares = [{*call["pair"]} for call in next(zip(*[result[layout] for result in ran(world)], strict=True))]
    assert any(one & other for i, one in enumerate(shares) for other in shares[:i])
