"""Grouped comparison, by generated pair scores and by the probabilities of labels: what each pair costs and says."""

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import ConfigError, GRAMReward, Group, JudgeOutage, Message, Reply, ScriptedJudge, TransportError
from grmrewards.families.pairwise import PairwiseReward
from grmrewards.runner import run
from grmrewards.types import CALL

steady = settings(deadline=None, derandomize=True, max_examples=40)
orders = st.integers(2, 9).flatmap(lambda n: st.permutations(range(1, n + 1)))
SHOWN = re.compile(r"\[The (?:Begin of Response \d+|Start of Assistant .'s Answer)\]\n(.*?)\n\[The End of", re.DOTALL)


def shown(messages):
    """The two responses that a judge is shown, in their order."""
    return SHOWN.findall(messages[0].content)


def scripted(verdict):
    """A judge for both kinds: `verdict(a, b)` gives the scores, or logits, of two responses; what it is asked, as pairs."""
    asked = []

    def reply(messages):
        a, b = shown(messages)
        asked.append((a, b))
        first, second = verdict(a, b)
        if "#Preferred:" in messages[0].content:
            return {"A": first, "B": second}
        return rf"Scores: \boxed{{{first}, {second}}}"

    return ScriptedJudge(reply), asked


def quality(text):
    return int(text.split()[-1])


def by_quality(a, b):
    return quality(a), quality(b)


def winner_takes(a, b):
    """Says which of two is better, and nothing of by how much."""
    return (9, 2) if quality(a) > quality(b) else (2, 9)


def anchor_in(asked):
    """The one that is in all pairs."""
    return next(text for text in asked[0] if all(text in pair for pair in asked))


def answers(qualities):
    return [f"answer {q}" for q in qualities]


def measured(reward, completions, **columns):
    """The rewards and the metrics of one call on one group, with its counts."""
    metrics = {}
    prompts = ["q"] * len(completions)
    rewards = reward(prompts=prompts, completions=completions, log_metric=metrics.__setitem__, **columns)
    return rewards, {name.partition("/")[2]: value for name, value in metrics.items()}


def counts_of(family, verdict, completions, **arguments):
    """What a call of the reward counted, as its judge sees it."""
    calls = []

    def noted(a, b):
        calls.append(CALL.get())
        return verdict(a, b)

    family(scripted(noted)[0], **arguments)(prompts=["q"] * len(completions), completions=completions)
    return calls[0].counts


FAMILIES = {"pairwise": PairwiseReward, "gram": GRAMReward}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


# What a group costs

SIZES = (2, 3, 5, 8)
COSTS = {  # by the arguments: calls for groups of 2, 3, 5 and 8
    "all pairs": ({}, (2, 6, 20, 56)),
    "all pairs in one order": ({"both_orders": False}, (1, 3, 10, 28)),
    "one opponent": ({"opponents": 1}, (2, 6, 10, 8)),
    "two opponents": ({"opponents": 2}, (2, 6, 10, 16)),
    "three opponents": ({"opponents": 3}, (2, 6, 20, 24)),
    "more opponents than there are": ({"opponents": 9}, (2, 6, 20, 56)),
    "anchor": ({"opponents": "anchor"}, (2, 4, 8, 14)),
    "anchor in one order": ({"opponents": "anchor", "both_orders": False}, (1, 2, 4, 7)),
}
CASES = [
    pytest.param(arguments, size, calls, id=f"{name} of {size}".replace(" ", "-"))
    for name, (arguments, counts) in COSTS.items()
    for size, calls in zip(SIZES, counts, strict=True)
]


@families
@pytest.mark.parametrize(("arguments", "size", "calls"), CASES)
def test_calls_a_group(family, arguments, size, calls):
    judge, asked = scripted(by_quality)
    _, metrics = measured(family(judge, **arguments), answers(range(1, size + 1)))
    assert len(asked) == len(set(asked)) == calls == metrics["calls"]


@families
def test_in_one_order_the_place_of_a_row_does_not_decide_who_is_first(family):
    judge, asked = scripted(by_quality)
    family(judge, both_orders=False)(prompts=["q"] * 8, completions=answers(range(1, 9)))
    again, asked_again = scripted(by_quality)
    family(again, both_orders=False)(prompts=["q"] * 8, completions=answers(range(8, 0, -1)))
    assert sorted(asked) == sorted(asked_again)
    assert len({a < b for a, b in asked}) == 2, "sometimes the one comes first, sometimes the other"


@families
def test_equal_texts_meet_an_opponent_once(family):
    judge, asked = scripted(by_quality)
    rewards = family(judge)(prompts=["q"] * 9, completions=answers([3, 7, 5] * 3))
    assert len(asked) == 3 * 2
    assert rewards[:3] == rewards[3:6] == rewards[6:]
    assert rewards[0] < rewards[2] < rewards[1]


@families
@pytest.mark.parametrize("opponents", [None, 1, "anchor"], ids=str)
@pytest.mark.parametrize("size", [1, 4])
def test_a_group_with_one_text_is_in_the_middle_without_a_judge(family, opponents, size):
    judge, asked = scripted(by_quality)
    assert family(judge, opponents=opponents)(prompts=["q"] * size, completions=["a"] * size) == [0.5] * size
    assert not asked


def test_votes_of_an_order_share_a_call_and_are_averaged():
    replies = [r"\boxed{9, 1}", r"\boxed{8, 3}", "no idea"]
    given = []

    class Records(ScriptedJudge):
        async def generate(self, messages, *, n=1, temperature=None, **sampling):
            given.append((n, temperature))
            return await super().generate(messages, n=n)

    def reply(messages):
        return replies if shown(messages) == ["answer 1", "answer 2"] else r"\boxed{4, 4}"

    rewards = PairwiseReward(Records(reply), votes=3, scale="raw")(prompts=["q"] * 2, completions=answers([1, 2]))
    assert rewards == pytest.approx([((9 + 8 + 9) / 3 + 4) / 2, ((1 + 3 + 1) / 3 + 4) / 2])
    assert given.count((3, 1.0)) == 2, "one request an order; the third is for the vote that could not be read"


@pytest.mark.parametrize(
    ("arguments", "want"), [({}, 0.0), ({"votes": 2}, 1.0), ({"temperature": 0.3}, 0.3)], ids=["one", "two", "given"]
)
def test_temperature(arguments, want):
    assert PairwiseReward(scripted(by_quality)[0], **arguments).temperature == want


# What the scores say


def test_a_score_is_the_mean_over_opponents_and_orders():
    """S_i = 1/(2(k-1)) sum_j [s(y_i | y_i, y_j) + s(y_i | y_j, y_i)], with a judge whose six answers are all different."""
    table = {("a", "b"): (9, 2), ("b", "a"): (4, 7), ("a", "c"): (6, 5), ("c", "a"): (3, 8), ("b", "c"): (1, 10)}
    table["c", "b"] = (10, 3)
    judge, _ = scripted(lambda a, b: table[a, b])
    rewards = PairwiseReward(judge, scale="raw")(prompts=["q"] * 3, completions=["a", "b", "c"])
    assert rewards == pytest.approx([(9 + 7 + 6 + 8) / 4, (2 + 4 + 1 + 3) / 4, (5 + 3 + 10 + 10) / 4])


@families
@pytest.mark.parametrize("verdict", [by_quality, winner_takes])
@steady
@given(qualities=orders)
def test_scores_are_in_the_order_of_a_transitive_judge(family, verdict, qualities):
    judge, _ = scripted(verdict)
    rewards = family(judge)(prompts=["q"] * len(qualities), completions=answers(qualities))
    assert sorted(rewards, key=lambda r: qualities[rewards.index(r)]) == sorted(rewards)
    assert len(set(rewards)) == len(rewards)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@steady
@given(qualities=orders)
def test_with_an_anchor_too_where_scores_do_not_depend_on_the_opponent(family, qualities):
    judge, _ = scripted(by_quality)
    rewards = family(judge, opponents="anchor")(prompts=["q"] * len(qualities), completions=answers(qualities))
    assert sorted(rewards, key=lambda r: qualities[rewards.index(r)]) == sorted(rewards)


@families
@pytest.mark.parametrize("opponents", [None, 2, "anchor"], ids=str)
@pytest.mark.parametrize("bias", [(9, 3), (2, 8)], ids=["first", "second"])
def test_a_liking_for_a_place_gives_all_the_same_and_shows_as_flips(family, opponents, bias):
    judge, _ = scripted(lambda a, b: bias)
    rewards, metrics = measured(family(judge, opponents=opponents), answers(range(1, 8)))
    assert len(set(rewards)) == 1
    assert metrics["flip_rate"] == 1.0


@steady
@given(logits=st.lists(st.floats(-30, 0), min_size=4, max_size=4))
def test_gram_what_one_wins_the_other_loses(logits):
    judge, _ = scripted(lambda a, b: logits[:2] if a < b else logits[2:])
    rewards = GRAMReward(judge)(prompts=["q"] * 2, completions=["a", "b"])
    assert sum(rewards) == pytest.approx(1)
    assert rewards[::-1] == pytest.approx(GRAMReward(judge)(prompts=["q"] * 2, completions=["b", "a"]))


@families
@pytest.mark.parametrize("both_orders", [True, False], ids=["both", "one"])
def test_two_responses_are_compared_alike_from_either_side(family, both_orders):
    judge, asked = scripted(lambda a, b: (8, 3) if "3" in a else (7, 5))  # it also likes the first place
    reward = family(judge, both_orders=both_orders)
    group = Group((Message("user", "q"),), tuple(answers(range(6))))
    for i, j in itertools.combinations(range(6), 2):
        assert run(reward.better(group, i, j)) + run(reward.better(group, j, i)) == pytest.approx(1)
    assert len(set(asked)) == len(asked) / 2, "from either side it is the same question"


def test_gram_the_anchor_gets_one_half_and_the_others_their_probability_to_beat_it():
    qualities = [1, 2, 3, 4, 5]
    judge, asked = scripted(by_quality)
    rewards = GRAMReward(judge, opponents="anchor")(prompts=["q"] * 5, completions=answers(qualities))
    middle = quality(anchor_in(asked))
    assert rewards == pytest.approx([1 / (1 + math.exp(middle - q)) for q in qualities])
    assert rewards[qualities.index(middle)] == 0.5


def test_pairwise_the_anchor_gets_the_mean_of_its_own_scores():
    def verdict(a, b):
        return quality(a), max(1, quality(b) - quality(a))

    judge, asked = scripted(verdict)
    completions = answers([1, 3, 6, 9])
    rewards = PairwiseReward(judge, opponents="anchor", scale="raw")(prompts=["q"] * 4, completions=completions)
    middle = anchor_in(asked)
    own = [dict(zip(pair, verdict(*pair), strict=True))[middle] for pair in asked]
    assert rewards[completions.index(middle)] == pytest.approx(sum(own) / len(own))


@families
def test_the_seed_chooses_another_anchor(family):
    anchors = set()
    for seed in range(20):
        judge, asked = scripted(by_quality)
        family(judge, opponents="anchor", seed=seed)(prompts=["q"] * 4, completions=answers(range(1, 5)))
        anchors.add(anchor_in(asked))
    assert len(anchors) == 4


# Circles


def rock_paper_scissors(a, b):
    """Each of three kinds beats the next; between equal kinds the later text wins a little."""
    return [(6, 5) if a > b else (5, 6), (9, 2), (2, 9)][(quality(b) - quality(a)) % 3]


@families
@pytest.mark.parametrize(
    ("verdict", "want"), [(rock_paper_scissors, (8, 20)), (by_quality, (0, 20))], ids=["circular", "transitive"]
)
def test_verdicts_that_go_in_circles_are_counted(family, verdict, want):
    counts = counts_of(family, verdict, answers(range(1, 7)))
    assert (counts["cyclic_triples"], counts["triples"]) == want


@families
def test_the_share_of_circles_is_told(family):
    _, metrics = measured(family(scripted(rock_paper_scissors)[0]), answers(range(1, 7)))
    assert metrics["intransitive"] == pytest.approx(8 / 20)


@families
def test_circles_are_counted_among_different_texts(family):
    counts = counts_of(family, rock_paper_scissors, answers([1, 2, 3, 1, 2]))
    assert (counts["cyclic_triples"], counts["triples"]) == (1, 1)


@families
@pytest.mark.parametrize("opponents", [2, "anchor"])
def test_circles_are_not_guessed_where_only_some_pairs_met(family, opponents):
    counts = counts_of(family, rock_paper_scissors, answers(range(1, 7)), opponents=opponents)
    assert counts["triples"] == 0


# Failures


def lost(pair, verdict=by_quality, why="Scores: none"):
    """A judge that has nothing to say where `pair` is shown in this order."""

    def reply(messages):
        if shown(messages) == list(pair):
            if isinstance(why, Exception):
                raise why
            return why
        return scripted(verdict)[0].reply(messages)

    return ScriptedJudge(reply)


WAYS = {
    "unreadable": "Scores: none",
    "out-of-range": r"\boxed{9, 11}",
    "one-score-for-two": r"\boxed{9}",
    "three-scores-for-two": r"\boxed{9, 8, 7}",
    "cut-off": Reply(r"e.g. \boxed{9, 1}, so", finish_reason="length"),
    "no-answer": TransportError("gone"),
}


@pytest.mark.parametrize("why", WAYS.values(), ids=WAYS)
def test_pairwise_a_lost_order_leaves_the_game_out_for_both(why):
    """Were the other order kept, the liking of this judge for the first place would count for one of the two alone."""

    def likes_the_first(a, b):
        return min(10, quality(a) + 3), quality(b)

    judge = lost(("answer 2", "answer 5"), likes_the_first, why)
    rewards = PairwiseReward(judge, scale="raw")(prompts=["q"] * 3, completions=answers([2, 5, 6]))
    assert rewards == pytest.approx([2 + 1.5, 5 + 1.5, 6 + 1.5])


@pytest.mark.parametrize(
    ("family", "want"),
    [(PairwiseReward, [1 / 9, None, 4 / 9]), (GRAMReward, [1 / (1 + math.e**3), None, 1 / (1 + math.e**-3)])],
    ids=FAMILIES,
)
def test_a_response_that_lost_all_its_games_is_unscored(family, want):
    def reply(messages):
        if "answer 9" in shown(messages):
            raise TransportError("gone")
        return scripted(by_quality)[0].reply(messages)

    rewards = family(ScriptedJudge(reply), on_failure="none")(prompts=["q"] * 3, completions=answers([2, 9, 5]))
    assert rewards == pytest.approx(want)


@families
@pytest.mark.parametrize("opponents", [None, 1, "anchor"], ids=str)
def test_where_nothing_could_be_compared_nobody_has_a_score(family, opponents):
    def reply(messages):
        raise TransportError("gone")

    with pytest.raises(JudgeOutage, match="gone"):
        family(ScriptedJudge(reply), opponents=opponents)(prompts=["q"] * 4, completions=answers(range(1, 5)))


# Two judges


def test_gram_the_dear_judge_is_asked_about_undecided_pairs_alone():
    """The cheap judge says 1 < 2 and 2 < 3 with sigma(1) = 0.73, and 1 < 3 with sigma(2) = 0.88."""
    cheap, asked_cheap = scripted(by_quality)
    dear, asked_dear = scripted(lambda a, b: (3 * quality(a), 3 * quality(b)))
    reward = GRAMReward(dear, first_judge=cheap, undecided=0.2)
    rewards, metrics = measured(reward, answers([1, 2, 3]))
    sure, near = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-3))
    assert rewards == pytest.approx([(2 - sure - near) / 2, 0.5, (sure + near) / 2])
    assert (len(asked_cheap), len(asked_dear), metrics["calls"]) == (6, 4, 10)
    assert metrics["second_judge"] == pytest.approx(2 / 3)
    counts = counts_of(GRAMReward, by_quality, answers([1, 2, 3]), first_judge=cheap, undecided=0.2)
    assert (counts["first_pairs"], counts["second_pairs"]) == (3, 2)


@pytest.mark.parametrize(("undecided", "pairs"), [(0.0, 3), (0.15, 2), (0.5, 0)])
def test_gram_how_much_the_first_judge_may_be_in_doubt(undecided, pairs):
    dear, asked = scripted(by_quality)
    GRAMReward(dear, first_judge=scripted(by_quality)[0], undecided=undecided)(
        prompts=["q"] * 3, completions=answers([1, 2, 3])
    )
    assert len(asked) == 2 * pairs


def test_gram_a_first_judge_that_fails_costs_no_pair():
    def gone(messages):
        raise TransportError("gone")

    dear, _ = scripted(by_quality)
    completions = answers([1, 5, 3])
    alone = GRAMReward(dear)(prompts=["q"] * 3, completions=completions)
    assert GRAMReward(dear, first_judge=ScriptedJudge(gone))(prompts=["q"] * 3, completions=completions) == alone


def test_gram_a_pair_is_lost_where_the_judge_that_counts_has_lost_it():
    def gone(messages):
        raise TransportError("gone")

    first, _ = scripted(lambda a, b: (0, 0))
    reward = GRAMReward(ScriptedJudge(gone), first_judge=first)
    assert reward(prompts=["q"] * 2, completions=answers([1, 5])) == [None, None]


def test_gram_two_judges_against_a_baseline():
    cheap, _ = scripted(lambda a, b: (0, 0))
    dear, asked = scripted(by_quality)
    reward = GRAMReward(dear, first_judge=cheap, baseline_column="baseline")
    rewards = reward(prompts=["q"] * 2, completions=answers([4, 6]), baseline=answers([5, 5]))
    assert rewards == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    assert len(asked) == 4


def test_gram_both_judges_are_entered_and_asked_whether_they_can():
    class Opens(ScriptedJudge):
        entered, checked = 0, ()

        async def __aenter__(self):
            self.entered += 1

        async def __aexit__(self, *_):
            self.entered -= 1

        def check_choices(self, choices):
            self.checked = choices

    seen = []
    judges = [Opens(lambda m: seen.append([judge.entered for judge in judges]) or {"A": 0, "B": 0}) for _ in range(2)]
    GRAMReward(judges[0], first_judge=judges[1])(prompts=["q"] * 2, completions=["a", "b"])
    assert seen == [[1, 1]] * 4
    assert [judge.checked for judge in judges] == [("A", "B")] * 2


# Arguments

WRONG = {
    PairwiseReward: {
        "opponents": [0, -1, 1.5, True, "all"],
        "both_orders": [1, "no", None],
        "votes": [0, 1.5, None],
        "temperature": [-1, "0", math.nan],
        "template": [5, "no_such_template", "{question} alone"],
    },
    GRAMReward: {
        "opponents": ["all"],
        "first_judge": [5, "gpt-4o", ScriptedJudge],
        "undecided": [-0.1, 0.6, None, "0"],
    },
}


@pytest.mark.parametrize(
    ("family", "argument", "value"),
    [
        pytest.param(family, argument, value, id=f"{family.__name__}-{argument}={value!r}"[:60])
        for family, arguments in WRONG.items()
        for argument, values in arguments.items()
        for value in values
    ],
)
def test_a_wrong_argument_is_refused_with_its_name(family, argument, value):
    with pytest.raises(ConfigError, match=argument):
        family(scripted(by_quality)[0], **{argument: value})


def test_gram_one_judge_in_two_places_is_refused():
    judge, _ = scripted(by_quality)
    with pytest.raises(ConfigError, match="first_judge"):
        GRAMReward(judge, first_judge=judge)


def test_gram_an_anchor_and_a_baseline_exclude_each_other():
    with pytest.raises(ConfigError, match=r"opponents='anchor' .* baseline_column='b'"):
        GRAMReward(scripted(by_quality)[0], baseline_column="b", opponents="anchor")


def test_pairwise_shows_two_responses_in_the_listwise_prompt_and_takes_another():
    seen = []

    def reply(messages):
        seen.append(messages[0].content)
        return r"\boxed{5, 5}"

    PairwiseReward(ScriptedJudge(reply))(prompts=["q"] * 3, completions=answers([1, 2, 3]))
    assert all(text.count("[The Begin of Response") == 2 for text in seen)
    PairwiseReward(ScriptedJudge(reply), template="Mine: {question}\n{responses}")(
        prompts=["q"] * 2, completions=answers([1, 2])
    )
    assert seen[-1].startswith("Mine: q\n")


def test_pairwise_a_judge_with_a_template_of_its_own_is_warned_of():
    judge, _ = scripted(by_quality)
    judge.model = "BBQGOD/DeepSeek-GRM-16B"
    with pytest.warns(UserWarning, match="template="):
        PairwiseReward(judge)
    PairwiseReward(judge, template="{question}{responses}")
