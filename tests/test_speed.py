"""The speed benchmarks compare with the right limits, in turns, and never show a way that judges otherwise."""

import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import speed_plots
import speed_tokens
from speed_clock import Exact, Factor, Run, Table, paired, ratios
from speed_listwise import VOTES, WRITTEN, counted
from speed_model import FULL, WORDS, Sizes, Texts, ids, tokenizer, words

THREE = Sizes(prefix=10, responses=(1, 2, 4), baseline=3, separator=1, tail=1)


@pytest.fixture(scope="module")
def one_a_word():
    return tokenizer()


@pytest.mark.parametrize(
    ("floor", "sizes", "tokens"),
    [
        # 6 prompts of 10 + 1 + 1, and each response in 4 of them: 72 + 4 * 7
        (speed_tokens.pairs_one_by_one, THREE, 100),
        # the prefix, then 2 + 3 + 5, then 2 * (2 + 3 + 5)
        (speed_tokens.pairs_as_a_tree, THREE, 40),
        # the prefix, the baseline's 3 + 1, then 2 + 3 + 5
        (speed_tokens.against_baseline, THREE, 24),
        (speed_tokens.judged, THREE, 20),
        (speed_tokens.pairs_one_by_one, FULL, 40_712),
        (speed_tokens.pairs_as_a_tree, FULL, 10_792),
        (speed_tokens.against_baseline, FULL, 1_861),
        (speed_tokens.judged, FULL, 1_696),
    ],
    ids=lambda given: getattr(given, "__name__", {FULL: "full", THREE: "three"}.get(given)),
)
def test_the_fewest_tokens_are_those_counted_by_hand(floor, sizes, tokens):
    assert floor(sizes) == tokens


def test_criteria_in_every_judgement_are_written_eight_times_as_often():
    assert speed_tokens.written(2, 8, criteria=256, critique=256) == {"baseline": 8192, "cold": 4608, "warm": 4096}


def test_texts_have_the_lengths_that_the_limits_are_computed_from(one_a_word):
    texts = Texts(THREE, seed=0)
    lengths = [len(ids(one_a_word, text)) for text in texts.pairs()]
    assert sum(lengths) == speed_tokens.pairs_one_by_one(THREE)
    assert [len(ids(one_a_word, text)) for text in texts.judged()] == list(THREE.prompts)
    assert [len(ids(one_a_word, text)) for text in texts.against_baseline()] == [16, 17, 19]


def test_what_is_sampled_can_be_read_back_from_a_text(one_a_word):
    everything = list(range(WORDS))
    assert ids(one_a_word, one_a_word.decode(everything, skip_special_tokens=True)) == everything
    assert [len(ids(one_a_word, label)) for label in ("A", "B")] == [1, 1]
    assert len(set(words(random.Random(0), 50).split())) > 40


def test_ways_run_in_turns():
    order = []
    runs, gave = paired({name: lambda name=name: lambda: order.append(name) or name for name in "ab"}, rounds=3)
    assert order == list("ababab")
    assert gave == {"a": "a", "b": "b"}
    assert [len(found) for found in runs.values()] == [3, 3]


def test_ratios_are_taken_within_a_round():
    slow, fast = [Run(10.0, 1.0), Run(40.0, 1.0)], [Run(5.0, 9.0), Run(10.0, 9.0)]
    assert ratios(slow, fast) == [2.0, 4.0]


@pytest.mark.parametrize(
    "exact", [Exact(1e-3), Exact(1e-6, 7, 8), Exact(None, 0, 8)], ids=["another number", "another text", "no text"]
)
def test_a_way_that_judges_otherwise_has_no_line(exact):
    table = Table("gram")
    table.add("one at a time", [Run(2.0, 2.0)], exact="the measure")
    table.add("fast and wrong", [Run(1.0, 1.0)], exact=exact)
    shown = table.markdown()
    assert "| fast and wrong |" not in shown
    assert "Not the same judgement" in shown
    assert table.wrong


def test_a_way_that_judges_alike_is_shown_with_how_exactly():
    table = Table("gram")
    table.add("one at a time", [Run(2.0, 2.0)], exact="the measure")
    table.add("fast and right", [Run(1.0, 1.0)], tokens="7", exact=Exact(3e-6, 8, 8))
    assert "| fast and right | 1.00 | 1.00 | 7 | 2.00 | 3e-06, 8/8 texts |" in table.markdown()
    assert not table.wrong


@pytest.mark.parametrize(
    ("at_most", "found", "kept"),
    [(False, [1.0, 3.2, 9.0], True), (False, [3.1], False), (True, [0.6], True), (True, [0.61], False)],
    ids=["median above", "below", "at most", "above"],
)
def test_a_factor_is_kept_by_its_median(at_most, found, kept):
    assert Factor("a", "a", found, None, at_most=at_most).keeps(0.6 if at_most else 3.2) is kept


def test_a_server_that_knows_n_reads_a_prompt_once_for_all_ballots():
    one, eight = (counted(THREE, groups=2, votes=votes, shuffle=False) for votes in (1, VOTES))
    assert eight["read"] == one["read"]
    assert (eight["requests"], eight["ballots"]) == (2, 16)
    assert eight["written"] == 16 * WRITTEN


@pytest.mark.parametrize(
    ("family", "axis", "at", "calls", "written"),
    [
        ("ipgrm", "responses", 4, 5, 5 * 60),
        ("ipgrm", "votes", 4, 9, 60 + 8 * 4 * 60),
        ("irpm", "prompts", 3, 24, 24 * 60),
        ("listwise", "votes", 4, 4, 4 * 60),
        ("gram", "responses", 4, 12, 12),
        ("gram", "votes", 32, 56, 56),
    ],
)
def test_calls_and_written_tokens_of_a_step_are_those_of_the_papers(family, axis, at, calls, written):
    point = speed_plots.step(family, axis, at)
    assert (point.calls, point.written) == (calls, written)
