"""Best of n by comparisons: every method finds the best, at the cost it states, and none hides what it does not know."""

import asyncio
import itertools
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import (
    ConfigError,
    FatalJudgeError,
    GRAMReward,
    IRPMReward,
    JudgeOutage,
    ListwiseReward,
    ScriptedJudge,
    TransportError,
)
from grmrewards.families.pairwise import PairwiseReward
from grmrewards.runner import run
from grmrewards.selection import METHODS, Selection, best_of_n, divide_and_conquer, knockout, linear_scan

steady = settings(deadline=None, derandomize=True, max_examples=50)
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
names = pytest.mark.parametrize("method", METHODS)
FAMILIES = {"gram": GRAMReward, "pairwise": PairwiseReward}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
SHOWN = re.compile(
    r"\[The (?:Begin of Response \d+|Start of Assistant .'s Answer)\]\n.*?(\d+)\n\[The End of", re.DOTALL
)


def by(qualities):
    """A comparison by quality, and what it was asked."""
    asked = []

    async def compare(i, j):
        asked.append((i, j))
        gap = qualities[i] - qualities[j]
        return 0.5 if gap == 0 else 0.9 if gap > 0 else 0.1

    return compare, asked


def judge_by_number(shift=0.0):
    """A judge of both kinds that likes the higher number, or the one in the first place by `shift`; and its pairs."""
    asked = []

    def reply(messages):
        first, second = map(int, SHOWN.findall(messages[0].content))
        asked.append((first, second))
        if "#Preferred:" in messages[0].content:
            return {"A": first + shift, "B": float(second)}
        return rf"\boxed{{{first + shift}, {second}}}"

    return ScriptedJudge(reply), asked


def answers(numbers):
    return [f"answer {number}" for number in numbers]


# The methods


@methods
@steady
@given(qualities=st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_the_best_is_found_and_of_equals_the_earliest(method, qualities):
    compare, asked = by(qualities)
    found = run(method(compare, len(qualities)))
    assert found.best == qualities.index(max(qualities))
    assert (found.comparisons, found.unknown) == (len(asked), 0)
    assert len({frozenset(pair) for pair in asked}) == len(asked), "no pair is compared twice"


@steady
@given(st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_divide_and_conquer_ranks_all_and_keeps_equals_in_their_order(qualities):
    compare, _ = by(qualities)
    found = run(divide_and_conquer(compare, len(qualities)))
    assert list(found.ranking) == sorted(range(len(qualities)), key=lambda i: -qualities[i])


@pytest.mark.parametrize("method", [linear_scan, knockout])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 33])
def test_to_name_the_best_takes_one_comparison_fewer_than_there_are(method, n):
    found = run(method(by(range(n))[0], n))
    assert (found.comparisons, found.ranking) == (n - 1, None)


def most(n):
    """What a merge sort of n takes at most."""
    levels = math.ceil(math.log2(n))
    return n * levels - 2**levels + 1


def hardest(ranks):
    """An order in which each merge of the sort takes all its comparisons."""
    if len(ranks) < 2:
        return list(ranks)
    even, odd = ranks[::2], ranks[1::2]
    return hardest(odd) + hardest(even) if len(ranks) % 2 else hardest(even) + hardest(odd)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_a_ranking_takes_at_most_what_is_stated_and_may_take_all_of_it(n):
    assert run(divide_and_conquer(by(hardest(range(n)))[0], n)).comparisons == most(n)


@steady
@given(st.permutations(range(13)))
def test_a_ranking_never_takes_more(qualities):
    assert run(divide_and_conquer(by(qualities)[0], 13)).comparisons <= most(13)


@pytest.mark.parametrize(("method", "rounds"), [("linear_scan", 7), ("knockout", 3), ("divide_and_conquer", 1 + 3 + 7)])
def test_games_of_one_round_are_played_at_once(method, rounds):
    """Each game ends when no other can begin any more; so rounds are counted by how often all stand still."""
    waiting, stops = [], 0
    order = hardest(range(8))

    async def compare(i, j):
        gate = asyncio.Event()
        waiting.append(gate)
        await gate.wait()
        return 0.9 if order[i] > order[j] else 0.1

    async def play():
        nonlocal stops
        task = asyncio.create_task(METHODS[method](compare, 8))
        while not task.done():
            before = -1
            while before != len(waiting):
                before = len(waiting)
                for _ in range(20):
                    await asyncio.sleep(0)
            stops += bool(waiting)
            while waiting:
                waiting.pop().set()
        return await task

    assert run(play()).best == order.index(7)
    assert stops == rounds


@methods
def test_where_nothing_is_known_the_earlier_stays(method):
    async def compare(i, j):
        return None

    found = run(method(compare, 5))
    assert found.best == 0
    assert found.unknown == found.comparisons >= 4
    assert found.ranking in (None, (0, 1, 2, 3, 4))


def test_a_scan_keeps_the_incumbent_unless_the_new_one_is_more_likely_better():
    ps = {1: 0.5, 2: 0.4999, 3: None, 4: 0.5001}

    async def compare(i, j):
        return ps[j]

    assert run(linear_scan(compare, 5)) == Selection(best=2, ranking=None, comparisons=4, unknown=1)


@pytest.mark.parametrize("method", [linear_scan, knockout])
def test_a_judge_that_goes_in_circles_names_another_for_another_order(method):
    winners = set()
    for order in itertools.permutations(range(3)):

        async def compare(i, j, order=order):
            return 0.9 if (order[j] - order[i]) % 3 == 1 else 0.1

        winners.add(order[run(method(compare, 3)).best])
    assert winners == {0, 1, 2}


@methods
def test_an_error_of_the_comparison_is_raised(method):
    async def compare(i, j):
        raise FatalJudgeError("key refused")

    with pytest.raises(FatalJudgeError, match="key refused"):
        run(method(compare, 4))


@methods
@pytest.mark.parametrize("n", [0, -1, 2.0, True], ids=repr)
def test_there_must_be_somebody(method, n):
    with pytest.raises(ConfigError, match="n="):
        run(method(by(range(9))[0], n))


# With a reward


@families
@names
@steady
@given(numbers=st.lists(st.integers(1, 10), min_size=1, max_size=8))
def test_the_reward_says_which_is_the_best(family, method, numbers):
    found = best_of_n(family(judge_by_number()[0]), "q", answers(numbers), method=method)
    assert found.best == numbers.index(max(numbers))
    if method == "divide_and_conquer":
        assert list(found.ranking) == sorted(range(len(numbers)), key=lambda i: -numbers[i])


DOCUMENT = Path(__file__).parents[1] / "docs" / "comparisons.md"
SIZES = (2, 3, 5, 8)


def rewarded(family, **arguments):
    """How many calls the reward of a group takes."""

    def calls(size):
        judge, asked = judge_by_number()
        columns = {"baseline": ["answer 9"] * size}
        family(judge, **arguments)(prompts=["q"] * size, completions=answers(range(1, size + 1)), **columns)
        return len(asked)

    return calls


def selected(method, family=GRAMReward):
    """How many calls the selection of the best takes, where it takes the most."""

    def calls(size):
        judge, asked = judge_by_number()
        best_of_n(family(judge), "q", answers(1 + i for i in hardest(range(size))), method=method)
        return len(asked)

    return calls


def in_both(**arguments):
    """What both families take."""

    def calls(size):
        (count,) = {rewarded(family, **arguments)(size) for family in FAMILIES.values()}
        return count

    return calls


TABLE = {
    "all pairs": in_both(),
    "`both_orders=False`": in_both(both_orders=False),
    "`opponents=1`": in_both(opponents=1),
    "`opponents=2`": in_both(opponents=2),
    "`opponents=3`": in_both(opponents=3),
    '`opponents="anchor"`': in_both(opponents="anchor"),
    "`GRAMReward(baseline_column=...)`": rewarded(GRAMReward, baseline_column="baseline"),
    "`best_of_n`, knockout or linear scan": selected("knockout"),
    "`best_of_n`, divide and conquer, at most": selected("divide_and_conquer"),
}


def test_the_table_of_costs_is_what_is_asked():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in DOCUMENT.read_text().splitlines()]
    stated = {row[0]: row[2:] for row in rows if len(row) == 2 + len(SIZES) and row[0] in TABLE}
    assert stated == {what: [str(calls(size)) for size in SIZES] for what, calls in TABLE.items()}


@families
@pytest.mark.parametrize(("arguments", "orders"), [({}, 2), ({"both_orders": False}, 1)], ids=["both", "one"])
@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_calls(family, arguments, orders, n):
    judge, asked = judge_by_number()
    found = best_of_n(family(judge, **arguments), "q", answers(range(1, n + 1)))
    assert (len(asked), found.comparisons) == (orders * (n - 1), n - 1)


@families
@names
def test_a_liking_for_a_place_leaves_the_first(family, method):
    judge, _ = judge_by_number(shift=3)
    assert best_of_n(family(judge), "q", ["one 5", "another 5", "third 5"], method=method).best == 0


@families
def test_equal_texts_need_no_judge(family):
    judge, asked = judge_by_number()
    found = best_of_n(family(judge), "q", answers([3, 7, 3, 7]), method="divide_and_conquer")
    assert found == Selection(best=1, ranking=(1, 3, 0, 2), comparisons=1, unknown=0)
    assert len(asked) == 2


def test_what_is_no_answer_comes_last_and_is_shown_to_no_judge():
    judge, asked = judge_by_number()
    responses = ["", "answer 3", "<think>for ever", [{"role": "assistant", "content": "answer 7"}], None]
    found = best_of_n(GRAMReward(judge), "q", responses, method="divide_and_conquer")
    assert found == Selection(best=3, ranking=(3, 1, 0, 2, 4), comparisons=1, unknown=0)
    assert len(asked) == 2
    assert best_of_n(GRAMReward(judge), "q", ["", None]) == Selection(0, None, 0, 0)


def test_only_what_stands_in_the_tag_is_compared():
    judge, asked = judge_by_number()
    best_of_n(GRAMReward(judge, answer_tag="a"), "q", ["<a>say 1</a> 99", "<a>say 2</a> 98"])
    assert sorted(asked) == [(1, 2), (2, 1)]


def test_the_judge_sees_the_question_and_the_columns_that_the_reward_reads():
    seen = []

    def reply(messages):
        seen.append(messages[0].content)
        return {"A": 0.0, "B": 0.0}

    reward = GRAMReward(ScriptedJudge(reply), reference_column="truth")
    best_of_n(reward, [{"role": "user", "content": "why so?"}], ["a", "b"], truth=["because", "because"])
    assert all("why so?" in text and "because" in text for text in seen)
    with pytest.raises(ConfigError, match="truth"):
        best_of_n(reward, "q", ["a", "b"])
    with pytest.raises(ConfigError, match="truth"):
        best_of_n(reward, "q", ["a", "b"], truth=["because"])


def test_a_baseline_is_left_out():
    judge, asked = judge_by_number()
    assert best_of_n(GRAMReward(judge, baseline_column="baseline"), "q", answers([2, 5])).best == 1
    assert sorted(asked) == [(2, 5), (5, 2)]


def test_the_judge_is_entered_once():
    class Opens(ScriptedJudge):
        seen = ()

        async def __aenter__(self):
            self.seen += ("in",)

        async def __aexit__(self, *_):
            self.seen += ("out",)

    judge = Opens(lambda messages: {"A": 0.0, "B": -1.0})
    best_of_n(GRAMReward(judge), "q", ["a", "b", "c"])
    assert judge.seen == ("in", "out")


def test_what_the_record_holds_is_not_paid_for_again(tmp_path):
    first, second = {"log_path": tmp_path / "r.jsonl"}, {"log_path": tmp_path / "r.jsonl", "replay": True}
    judge, asked = judge_by_number()
    found = best_of_n(GRAMReward(judge, **first), "q", answers([2, 5, 3]))
    asked.clear()
    assert best_of_n(GRAMReward(judge, **second), "q", answers([2, 5, 3])) == found
    assert not asked


# Failures


def gone_with(number):
    """A judge by number that is gone where `number` is shown."""
    judge, _ = judge_by_number()

    def reply(messages):
        if str(number) in SHOWN.findall(messages[0].content):
            raise TransportError("gone")
        return judge.reply(messages)

    return ScriptedJudge(reply)


def test_a_comparison_that_could_not_be_had_is_told():
    found = best_of_n(GRAMReward(gone_with(9)), "q", answers([1, 9, 2, 3]), method="linear_scan")
    assert found == Selection(best=3, ranking=None, comparisons=3, unknown=1)


@names
def test_where_too_many_could_not_be_had_there_is_no_best(method):
    with pytest.raises(JudgeOutage, match=r"of \d comparisons could not be had: gone x"):
        best_of_n(GRAMReward(gone_with(9)), "q", answers([9, 1, 9]), method=method)
    with pytest.raises(JudgeOutage, match="max_failures=0"):
        best_of_n(GRAMReward(gone_with(9), max_failures=0), "q", answers([1, 9, 2, 3]), method=method)


def test_a_judge_that_refuses_ends_it():
    def refused(messages):
        raise FatalJudgeError("key refused")

    with pytest.raises(FatalJudgeError, match="key refused"):
        best_of_n(GRAMReward(ScriptedJudge(refused)), "q", ["a", "b"])


def test_the_deadline_is_kept():
    class Waits(ScriptedJudge):
        async def choice_logprobs(self, messages, choices):
            await asyncio.Event().wait()

    with pytest.raises(JudgeOutage, match="the deadline of the call passed"):
        best_of_n(GRAMReward(Waits(print), deadline=0.2), "q", ["a", "b", "c"], method="linear_scan")


@pytest.mark.parametrize("family", [IRPMReward, ListwiseReward])
def test_a_reward_that_compares_no_two_is_refused(family):
    with pytest.raises(ConfigError, match=f"{family.__name__} .* GRAMReward, PairwiseReward"):
        best_of_n(family(judge_by_number()[0]), "q", ["a", "b"])


@pytest.mark.parametrize(
    ("responses", "method", "match"),
    [([], "knockout", "responses"), ("ab", "knockout", "responses"), (["a"], "best", "method='best'")],
    ids=["none", "a-text", "method"],
)
def test_wrong_arguments(responses, method, match):
    with pytest.raises(ConfigError, match=match):
        best_of_n(GRAMReward(judge_by_number()[0]), "q", responses, method=method)


def test_a_family_of_ones_own_that_compares_two_will_do():
    class Longer(IRPMReward):
        async def better(self, group, i, j):
            return float(len(group.responses[i]) > len(group.responses[j]))

    assert best_of_n(Longer(judge_by_number()[0]), "q", ["a", "abc", "ab"]).best == 1


def test_the_images_of_a_question_are_shown_with_it():
    asked = []

    def reply(messages):
        asked.append(messages[0].content)
        return r"Scores: \boxed{6, 5}"

    reward = PairwiseReward(ScriptedJudge(reply), image_column="picture")
    best_of_n(reward, "What is it?", ["a cat", "a dog"], picture=[{"url": "https://a/cat.png"}] * 2)
    assert asked
    assert all([part.kind for part in content] == ["image", "text"] for content in asked)
    with pytest.raises(ConfigError, match="'picture'"):
        best_of_n(reward, "What is it?", ["a cat", "a dog"])
