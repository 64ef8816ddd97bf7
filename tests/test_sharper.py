"""The benchmark of scores counts pairs, ties and ranks as its page says, on the same votes for every method."""

import hashlib
import random
import statistics
import sys
from itertools import permutations
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "embedded_judge"))

import sharper_cases
import sharper_methods
import training_data
from sharper_measure import Pool
from sharper_stats import accuracy, averaged, interval, ordered, random_counts, ranks, spearman

from grmrewards import Message, Reply
from grmrewards.judges.embedded import JUDGE
from grmrewards.judges.embedded.domain import judge_score, parse_question, rule_score, split_of

pytestmark = pytest.mark.slow  # they look after a benchmark, not after the package

# What counts


@pytest.mark.parametrize(
    ("scores", "right", "ties", "near"),
    [
        pytest.param([1, 2, 3], 3, 0, 0, id="in order"),
        pytest.param([3, 2, 1], 0, 0, 0, id="turned over"),
        pytest.param([5, 5, 5], 1.5, 3, 3, id="all the same"),
        pytest.param([1, 2, 2], 2.5, 1, 1, id="one tie counts one half"),
        pytest.param([1, 2, 2.01], 3, 0, 1, id="nearly tied but right"),
        pytest.param([1, None, 3], 3, 0, 0, id="unscored counts as the mean of the others"),
        pytest.param([None, None, None], 1.5, 3, 3, id="nothing scored says nothing"),
    ],
)
def test_a_pair_in_order_counts_one_and_a_tie_one_half(scores, right, ties, near):
    order = ordered(scores, [0.0, 0.5, 1.0])
    assert (order.pairs, order.right, order.ties, order.near) == (3, right, ties, near)


def test_pairs_of_the_same_truth_do_not_count():
    assert ordered([1, 9, 3], [0.5, 0.5, 1.0]).pairs == 2


@pytest.mark.parametrize("scores", list(permutations([1, 2, 3, 4])), ids=str)
def test_the_rank_correlation_is_that_of_the_formula_without_ties(scores):
    squares = sum((score - place) ** 2 for place, score in enumerate(scores, 1))
    assert spearman(scores, [1, 2, 3, 4]) == pytest.approx(1 - 6 * squares / (4 * 15))


def test_equal_values_share_their_ranks_and_constants_correlate_with_nothing():
    assert ranks([2, 1, 2, 5]) == [2.5, 1, 2.5, 4]
    assert spearman([5, 5, 5], [1, 2, 3]) == 0
    assert spearman([1, 2, 3], [5, 5, 5]) is None


def test_the_mean_of_several_outcomes_is_that_of_their_sums():
    mean = averaged([ordered([1, 2], [0, 1]), ordered([2, 1], [0, 1])])
    assert (mean.pairs, mean.right, mean.rank) == (1, 0.5, 0)


def test_an_interval_holds_the_mean_and_pairs_methods_by_group():
    rng = random.Random(1)
    truth = [i / 8 for i in range(8)]
    noisy = [ordered([t + rng.gauss(0, 0.4) for t in truth], truth) for _ in range(40)]
    low, high = interval([noisy])
    assert low < accuracy(noisy) < high
    assert interval([noisy], [noisy]) == (0, 0)  # the same method, in the same groups


def test_random_votes_spend_their_budget_within_the_bounds():
    counts = random_counts(random.Random(0), 16, least=2, most=16, total=64)
    assert sum(counts) == 64
    assert min(counts) >= 2
    assert max(counts) <= 16
    assert len(set(counts)) > 1
    assert random_counts(random.Random(0), 3, least=2, most=4, total=12) == [4, 4, 4]


# What is judged


def test_cases_are_held_out_and_their_truth_is_the_rule():
    for case in sharper_cases.cases(6):
        question = parse_question(case.question)
        assert split_of(question) == "heldout_questions"
        assert len(set(case.answers)) == 8
        assert case.truth == pytest.approx([rule_score(question, answer) for answer in case.answers])
        assert len(set(case.truth)) > 1
    assert sharper_cases.cases(6)[:3] == sharper_cases.cases(3)


# Judges in doubt


def test_without_noise_the_recipe_of_the_shipped_judge_draws_what_it_drew():
    rng = random.Random(0)
    drawn = [training_data.make_example(rng, training_data.KINDS[i % 5]) for i in range(200)]
    texts = "".join(example.prompt + example.target for example in drawn)
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "e57c020d726a6db5"


def test_score_noise_leaves_the_critique_and_moves_the_score():
    exact = [training_data.make_example(random.Random(i), "irpm") for i in range(300)]
    noisy = [training_data.make_example(random.Random(i), "irpm", score_noise=1.5) for i in range(300)]
    moved = []
    for a, b in zip(exact, noisy, strict=True):
        assert a.prompt == b.prompt
        assert a.target.partition("</critique>")[0] == b.target.partition("</critique>")[0]
        score = int(b.target.partition("<score>")[2].partition("<")[0])
        truth = judge_score(a.question, a.responses[0])
        assert 1 <= score <= 10
        if 4 <= truth <= 7:  # where the bounds hardly matter
            moved.append(score - truth)
    assert statistics.stdev(moved) == pytest.approx(1.5, rel=0.2)
    assert abs(statistics.fmean(moved)) < 0.4


def test_in_a_list_the_box_repeats_the_noisy_scores():
    target = training_data.make_example(random.Random(3), "listwise", group=4, score_noise=1.5).target
    lines = [line.rpartition(" ")[2] for line in target.splitlines()[:-1]]
    assert target.endswith(f"Scores: \\boxed{{ {', '.join(lines)}}}")


# A judge that remembers


def test_a_pool_says_the_same_again_and_counts_it_again(tmp_path):
    pool = Pool(JUDGE, tmp_path / "embedded0-irpm")
    pool.inner = Inner()
    call = {"prompts": ["1+1?"] * 2, "completions": ["2", "two"]}
    many = sharper_methods.IRPMReward(pool, votes=3, **sharper_methods.RAW)
    few = sharper_methods.IRPMReward(pool, votes=2, **sharper_methods.RAW)
    first, asked = many(**call), pool.take()
    assert (asked.answers, asked.written, pool.inner.asked) == (6, 60, 6)
    pool.save()
    many.judge = few.judge = again = Pool(JUDGE, tmp_path / "embedded0-irpm")
    again.inner = Inner()
    assert many(**call) == first
    assert again.take() == asked
    few(**call)
    assert again.take().answers == 4
    assert again.inner.asked == 0


class Inner:
    """Every seed another score."""

    control_tokens = ()
    asked = 0

    async def generate(self, messages, *, seed=0, **sampling):
        self.asked += 1
        text = f"<critique>Hm.</critique><score>{seed % 10}</score>"
        return [Reply(text, prompt_tokens=100, completion_tokens=10)]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        return None


def test_messages_that_differ_are_different_questions(tmp_path):
    pool = Pool(JUDGE, tmp_path / "x")
    assert pool._digest([Message("user", "a")]) != pool._digest([Message("user", "b")])
    assert pool._digest([Message("user", "a")]) != pool._digest([Message("user", "a"), Message("assistant", "")])
