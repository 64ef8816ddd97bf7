"""A failed judgement changes no preference, measured where it counts: in the advantages that TRL's own code computes.

Each response says what it is worth to the judge and how good its form is, which a second, plain reward reads; a response
that is "lost" makes the judge fail. "Centred out" is the judge's column as it should count: each score less the mean of
the scored ones, and exactly 0 for the failed row, so that whatever the trainer makes of it holds nothing of the judge.
"""

import math
import re
import statistics

import pytest
from trainers import GROUP_SIZE, advantages, takes

from grmrewards import GRAMReward, IPGRMReward, IRPMReward, JudgeError, ListwiseReward, ScriptedJudge

pytestmark = [
    pytest.mark.trl,
    # TRL 1.16 asks transformers 5.23 for gradient checkpointing by the old name.
    pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
]

SMALL = 1e-5
LOST = None  # the worth of a response that the judge fails on
ONE_LOST = [(0.2, 0.4), (LOST, 0.9), (0.9, 0.1), (0.6, 0.8)]  # (worth to the judge, form) of each response
TWO_LOST = [(LOST, 0.3), (0.3, 0.7), (LOST, 0.6), (0.5, 0.5)]
NONE_LOST = [(0.7, 0.2), (0.1, 0.6), (0.5, 0.9), (0.4, 0.3)]
ALL_LOST = [(LOST, form) for _, form in NONE_LOST]

# Each family with what its reward of a response moves by when the worth moves by 1, where three of four are scored.
ROWS_FAIL_ALONE = {
    "ipgrm": (IPGRMReward, {}, 1.0),
    "irpm": (IRPMReward, {}, 1.0),
    "irpm of several votes": (IRPMReward, {"votes": 3, "aggregate": "median"}, 1.0),
    "gram against a baseline": (GRAMReward, {"baseline_column": "baseline"}, 0.5),
    "gram in the group": (GRAMReward, {}, 0.75),  # a row fails alone where all its pairs do, as with too long a text
}
# A ballot judges all responses of a group or none: a row of a listwise reward cannot fail alone.
GROUPS_FAIL = {**ROWS_FAIL_ALONE, "listwise": (ListwiseReward, {"votes": 2}, 1.0)}

# What a trainer may do with rewards. `normalize_then_sum` does not look at `scale_rewards`.
SETTINGS = {name: {"scale_rewards": name} for name in ("group", "batch", "none")}
if takes("multi_objective_aggregation"):  # not in TRL 0.22
    SETTINGS["normalize_then_sum"] = {"multi_objective_aggregation": "normalize_then_sum"}

WEIGHTS = {"no weights": [1.0, 1.0], "weights": [0.3, 2.0]}  # of the judge and of the form

LOSSES = ["raises", "unreadable"]
setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
weighted = pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)


def judge(loss="raises"):
    """A judge that reads the worth in each response, and fails in the way of `loss` on one that has none."""

    def reply(messages):
        prompt = messages[0].content
        shown = [None if w == "lost" else float(w) for w in re.findall(r"worth (lost|0\.\d+)", prompt)]
        pair, listed = "[The Start of Assistant A's Answer]" in prompt, "[The Begin of Response 1]" in prompt
        if LOST in shown and loss == "raises":
            raise JudgeError("the judge is away")
        if LOST in shown:
            return {"A": -math.inf, "B": -math.inf} if pair else "I would rather not say."
        if pair:
            p = 0.5 + (shown[0] - shown[1]) / 2
            return {"A": math.log(p), "B": math.log(1 - p)}
        if listed:
            return "Scores: \\boxed{" + ", ".join(f"{1 + 9 * worth:.2f}" for worth in shown) + "}"
        if "[The Begin of Response]" in prompt:
            return f"Score: \\boxed{{{1 + 9 * shown[0]:.2f}}}"
        if "<critique>" in prompt:
            return f"<critique>Fine.</critique><score>{10 * shown[0]:.2f}</score>"
        return "Evaluation Principles:\n1. [Worth] (Weight: 100%): the more, the better."

    return ScriptedJudge(reply)


def made(family, loss="raises", **shared):
    cls, own, _ = GROUPS_FAIL[family]
    return cls(judge(loss), group_size=GROUP_SIZE, **own, **shared)


def form(completions, **_):
    """A reward beside the judge's, read off the text."""
    return [float(re.search(r"form (0\.\d+)", str(completion))[1]) for completion in completions]


def good_form(completions, **_):
    """A reward that is the same for all, as a format reward is once the policy has learnt it."""
    return [1.0] * len(completions)


def fixed(column):
    """A reward function that returns `column`."""

    def column_reward(completions, **_):
        return list(column)

    return column_reward


def centred_out(rows, slope=1.0):
    """The judge's column less its mean in each group, 0 where it failed."""
    column = []
    for group in groups(rows):
        scored = [worth for worth, _ in group if worth is not LOST]
        mean = statistics.fmean(scored) if scored else 0.0
        column += [0.0 if worth is LOST else slope * (worth - mean) for worth, _ in group]
    return column


def trained(rewards, rows, **config):
    """The trainer's advantages for responses of these worths and forms."""
    texts = [f"{i} form {form} worth {'lost' if worth is LOST else worth}" for i, (worth, form) in enumerate(rows)]
    return advantages(rewards, texts, {"baseline": "worth 0.5"}, **config)


def groups(rows):
    return [rows[i : i + GROUP_SIZE] for i in range(0, len(rows), GROUP_SIZE)]


def order(values, rows):
    """The scored rows of one group, the least of `values` first."""
    return sorted((i for i, (worth, _) in enumerate(rows) if worth is not LOST), key=lambda i: values[i])


def to_one_length(values):
    """`values` over their root of squares: advantages that differ by one factor for the whole batch become equal."""
    return [value / math.hypot(*values) for value in values]


def z_scores(column):
    return [(value - statistics.fmean(column)) / statistics.stdev(column) for value in column]


# One failed row


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", ROWS_FAIL_ALONE)
@setting
def test_alone_the_failed_row_gets_no_advantage_and_the_others_keep_their_order(settings, family, loss):
    found = trained([made(family, loss)], ONE_LOST, **settings)
    assert abs(found[1]) < SMALL
    assert order(found, ONE_LOST) == [0, 3, 2]
    assert found[0] < -0.1 < 0.1 < found[2]


@pytest.mark.parametrize("family", ROWS_FAIL_ALONE)
@weighted
@setting
def test_beside_another_reward_the_judge_adds_nothing_to_the_failed_row(settings, weights, family):
    slope = ROWS_FAIL_ALONE[family][2]
    found = trained([made(family), form], ONE_LOST, reward_weights=weights, **settings)
    without = trained([fixed(centred_out(ONE_LOST, slope)), form], ONE_LOST, reward_weights=weights, **settings)
    assert found == pytest.approx(without, abs=SMALL)


@pytest.mark.parametrize("family", ROWS_FAIL_ALONE)
@weighted
@setting
def test_beside_a_reward_that_is_the_same_for_all_the_failed_row_gets_no_advantage(settings, weights, family):
    # The judge alone tells the rows apart here, so an advantage of the failed row could come from nothing else.
    found = trained([made(family), good_form], ONE_LOST, reward_weights=weights, **settings)
    assert abs(found[1]) < SMALL
    assert order(found, ONE_LOST) == [0, 3, 2]


@weighted
@setting
def test_beside_another_reward_the_order_of_the_others_is_that_of_the_weighted_sums(settings, weights):
    found = trained([made("irpm"), form], ONE_LOST, reward_weights=weights, **settings)
    columns = [centred_out(ONE_LOST), [form for _, form in ONE_LOST]]
    if "multi_objective_aggregation" in settings:
        columns = [z_scores(column) for column in columns]
    sums = [sum(w * value for w, value in zip(weights, row, strict=True)) for row in zip(*columns, strict=True)]
    assert order(found, ONE_LOST) == order(sums, ONE_LOST)


@pytest.mark.parametrize("scale", ["raw", "two_slope", (-3.0, 5.0)], ids=str)
@setting
def test_on_any_scale_the_failed_row_gets_no_advantage(settings, scale):
    found = trained([made("irpm", scale=scale), good_form], ONE_LOST, **settings)
    assert abs(found[1]) < SMALL
    assert order(found, ONE_LOST) == [0, 3, 2]


@weighted
def test_unscaled_the_failed_row_gets_exactly_what_the_other_reward_alone_gives_it(weights):
    found = trained([made("irpm"), form], ONE_LOST, reward_weights=weights, scale_rewards="none")
    alone = trained([form], ONE_LOST, reward_weights=weights[1:], scale_rewards="none")
    assert found[1] == pytest.approx(alone[1], abs=SMALL)


# A batch of several groups, one of them without any score


@pytest.mark.parametrize("family", ["irpm", "listwise"])
@weighted
@setting
def test_in_a_batch_the_judge_adds_nothing_to_any_failed_row(settings, weights, family):
    rows = [*NONE_LOST, *ALL_LOST, *([*ONE_LOST, *TWO_LOST] if family in ROWS_FAIL_ALONE else NONE_LOST)]
    config = {**settings, "reward_weights": weights}
    found = trained([made(family), form], rows, **config)
    without = trained([fixed(centred_out(rows)), form], rows, **config)
    if settings == SETTINGS["batch"]:
        # This scale divides by the spread of all rewards, in which TRL leaves the groups' levels: taking the judge's
        # levels out changes that one divisor and nothing else, so the two agree but for a factor common to all rows.
        found, without = to_one_length(found), to_one_length(without)
    assert found == pytest.approx(without, abs=SMALL)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", GROUPS_FAIL)
@setting
def test_a_wholly_failed_group_gets_no_advantage_and_the_other_group_is_trained_on(settings, family, loss):
    found = trained([made(family, loss)], [*ALL_LOST, *NONE_LOST], **settings)
    lost, scored = groups(found)
    assert max(map(abs, lost)) < SMALL
    assert order(scored, NONE_LOST) == [1, 3, 2, 0]


@weighted
@pytest.mark.parametrize("family", GROUPS_FAIL)
@pytest.mark.parametrize("settings", [s for name, s in SETTINGS.items() if name != "batch"], ids=str)
def test_a_wholly_failed_group_is_trained_by_the_other_reward_alone(settings, family, weights):
    found = trained([made(family), form], ALL_LOST, reward_weights=weights, **settings)
    alone = trained([form], ALL_LOST, reward_weights=weights[1:], **settings)
    assert found == pytest.approx(alone, abs=SMALL)


# Rounding, and what the rule is there for


@pytest.mark.parametrize("worths", [[0.7, LOST, 0.7, 0.7], [0.3, 0.3, LOST, LOST], [0.1, LOST, LOST, LOST]], ids=str)
@setting
def test_beside_equal_scores_the_failed_row_is_one_of_them(settings, worths):
    found = trained([made("irpm")], [(worth, 0.5) for worth in worths], **settings)
    assert max(map(abs, found)) < SMALL


@pytest.mark.parametrize("step", [0.01, 0.001])
def test_between_scores_that_nearly_tie_only_rounding_is_left_to_the_failed_row(step):
    # TRL computes in 32 bits and divides by the spread: no value of the failed row could bring it nearer to 0 than this.
    # So the limit of 1e-5 cannot be held where the scores of a group lie within about 0.02 of each other.
    worths = [0.7, LOST, 0.7 + step, 0.7]
    found = trained([made("irpm")], [(worth, 0.5) for worth in worths])
    scores = [0.7, 0.7 + step / 3, 0.7 + step, 0.7]
    assert abs(found[1]) <= 2**-23 / (statistics.stdev(scores) + 1e-4)
    assert order(found, [(worth, 0.5) for worth in worths])[-1] == 2


@pytest.mark.parametrize("on_failure", ["none", 0.0])
def test_any_other_value_for_the_failed_row_is_a_punishment(on_failure):
    found = trained([made("irpm", on_failure=on_failure), good_form], ONE_LOST)
    assert found[1] == min(found) < -1
