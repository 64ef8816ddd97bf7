"""`IntergroupReward` as TRL calls it, the rows that `preference_pairs` makes for it, and the warnings of a judge's collapse."""

import logging
import pickle
from types import SimpleNamespace

import pytest

from grmrewards import ConfigError, IRPMReward, ScriptedJudge
from grmrewards.errors import ParseError
from grmrewards.training import CollapseWatch, IntergroupReward, check_batches, preference_pairs
from grmrewards.training.irpm import read_judgement
from grmrewards.types import Reply

ROWS = [{"prompt": f"{n}+1?", "chosen": f"{n + 1}", "rejected": "0", "margin": float(n % 3)} for n in range(1, 13)]
STRONG = [row for row in ROWS if row["margin"]]


def said(score, critique="Fine."):
    return f"<critique>{critique}</critique><score>{score}</score>"


def judged(reward, chosen, rejected, strength=2.0, **told):
    """The rewards of the two sides of one pair, with rows as TRL has them."""
    texts = [*chosen, *rejected]
    columns = {"side": ["chosen"] * len(chosen) + ["rejected"] * len(rejected)}
    columns |= {"pair": [7] * len(texts), "strength": [strength] * len(texts)}
    found = reward(prompts=["?"] * len(texts), completions=texts, **columns, **told)
    return found[: len(chosen)], found[len(chosen) :]


def config(**changes):
    """What `check_batches` reads of a `GRPOConfig`."""
    usual = {
        "shuffle_dataset": False,
        "generation_batch_size": 16,
        "num_generations": 4,
        "per_device_train_batch_size": 8,
    }
    return SimpleNamespace(**{**usual, **changes})


# Reading


@pytest.mark.parametrize(
    ("text", "score"),
    [
        pytest.param(said(9), 9.0, id="as asked for"),
        pytest.param(said("7.5"), 7.5, id="decimals"),
        pytest.param("\n" + said(3) + "\n", 3.0, id="white space around"),
        pytest.param("<score>1</score> is what I thought of.</think>" + said(8), 8.0, id="after reasoning"),
        pytest.param(said(11), None, id="out of range"),
        pytest.param("<score>9</score>", None, id="no critique"),
        pytest.param("<score>9</score><critique>Fine.</critique>", None, id="critique after the score"),
        pytest.param(said(9) + said(2), None, id="two of each"),
        pytest.param("<critique>Fine.</critique><score>9", None, id="cut off"),
        pytest.param("<critique><score>1</score>Fine.</critique><score>9</score>", None, id="a score in the critique"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_reading_a_judgement(text, score):
    if score is None:
        with pytest.raises(ParseError):
            read_judgement(Reply(text))
    else:
        assert read_judgement(Reply(text)) == score


# Rewards


@pytest.mark.parametrize(
    ("options", "chosen", "rejected", "rewards"),
    [
        pytest.param({}, [8, 4], [6, 3], ([1, -1], [-1, 1]), id="mean"),
        pytest.param({}, [5, 5], [5, 5], ([-1, -1], [-1, -1]), id="ties win nothing"),
        pytest.param(
            {}, ["?", 8], [6, 3], ([-1.5, 1], [1, 1]), id="unreadable: lowest and penalty, and no part of the mean"
        ),
        pytest.param({"worst_case": True}, ["?", 8], [6, 3], ([-1.5, 1], [-1, 1]), id="as in the paper it is a 0"),
        pytest.param({"worst_case": True}, [8, 7], ["?", 3], ([1, 1], [-1.5, 1]), id="and a 10 of the rejected"),
        pytest.param({}, ["?", "?"], [6, 3], ([-1.5, -1.5], [1, 1]), id="a side without a score decides nothing"),
        pytest.param({"kind": "interval"}, ["?", 8], [6, 3], ([-1.5, 1], [1, 1]), id="nor one without an interval"),
        pytest.param({"kind": "auc"}, ["?", 8], [6, 9], ([-0.5, 0.5], [1, 0]), id="soft: the lowest is 0"),
        pytest.param({"format_penalty": -2}, ["?", 8], [6, 3], ([-3, 1], [1, 1]), id="another penalty"),
        pytest.param({"adaptive": 1.0}, [7, 9], [6, 3], ([1, 1], [1, 1]), id="strength 2: no margin"),
        pytest.param({"max_tokens": 3}, [8, 4], [6, 3], ([0.5, -1.5], [-1.5, 0.5]), id="too long"),
    ],
)
def test_rewards_of_a_pair(options, chosen, rejected, rewards):
    sides = [[said(s) if s != "?" else "I refuse." for s in side] for side in (chosen, rejected)]
    ids = [[1] * 4 for side in sides for _ in side]
    assert judged(IntergroupReward(**options), *sides, completion_ids=ids) == rewards


def test_a_stronger_preference_needs_more_distance():
    reward = IntergroupReward(adaptive=1.0)
    sides = [said(7), said(9)], [said(6), said(6)]
    assert judged(reward, *sides, strength=2.0)[0] == [1, 1]
    assert judged(reward, *sides, strength=3.0)[0] == [-1, 1]
    assert judged(reward, *sides, strength=1.0)[0] == [1, 1], "a weaker one needs no less than none"


def test_pairs_are_told_apart_by_their_column_wherever_they_stand():
    reward = IntergroupReward()
    texts = [said(s) for s in (8, 2, 3, 9)]
    columns = {"pair": [1, 2, 1, 2], "side": ["chosen", "chosen", "rejected", "rejected"], "strength": [1.0] * 4}
    assert reward(prompts=["?"] * 4, completions=texts, **columns) == [1, -1, 1, -1]


def test_messages_and_reasoning_are_read_as_trainers_pass_them():
    reward = IntergroupReward()
    sides = (
        [[{"role": "assistant", "content": said(8)}]],
        [[{"role": "assistant", "content": f"<think>3</think>{said(2)}"}]],
    )
    assert judged(reward, *sides) == ([1], [1])


def test_a_pair_without_its_other_side_is_named_with_what_to_change():
    reward = IntergroupReward()
    with pytest.raises(ConfigError, match=r"pair 3.*multiple of 2 x num_generations.*shuffle_dataset=False"):
        reward(prompts=["?"], completions=[said(8)], pair=[3], side=["chosen"], strength=[1.0])


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        pytest.param({"side": ["chosen"], "strength": [1.0]}, "'pair'", id="no pair"),
        pytest.param(
            {"pair": [1], "side": ["better"], "strength": [1.0]}, "'chosen' and 'rejected'", id="unknown side"
        ),
    ],
)
def test_columns_that_are_missing_or_wrong(columns, told):
    with pytest.raises(ConfigError, match=told):
        IntergroupReward()(prompts=["?"], completions=[said(8)], **columns)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"kind": "average"}, "'mean'", id="unknown kind"),
        pytest.param({"bound": 2.0}, "'preference' alone", id="a bound of a rule"),
        pytest.param({"margin": -1}, "at least 0", id="negative margin"),
        pytest.param({"format_penalty": 0.5}, "at most 0", id="a reward for bad form"),
        pytest.param({"quantile": 2}, "at most 1", id="quantile"),
        pytest.param({"read": "score"}, "a function from a Reply", id="read"),
    ],
)
def test_wrong_arguments(options, told):
    with pytest.raises(ConfigError, match=told):
        IntergroupReward(**options)


def test_a_pickled_one_keeps_its_name_and_its_rule():
    reward = IntergroupReward("preference", bound=1.0, name="judge_training")
    copy = pickle.loads(pickle.dumps(reward))
    sides = [said(8), said(4)], [said(6), said(3)]
    assert copy.__name__ == reward.__name__ == "judge_training"
    assert judged(copy, *sides) == judged(reward, *sides)


def test_what_is_logged():
    metrics, columns = {}, {}
    judged(
        reward := IntergroupReward(),
        [said(8), said(5)],
        [said(5), "I refuse."],
        completion_ids=[[1] * n for n in (4, 6, 2, 8)],
        log_metric=metrics.__setitem__,
        log_extra=columns.__setitem__,
    )
    assert {key.partition("/")[2]: value for key, value in metrics.items()} == {
        "accuracy": 0.75,
        "ties": 0.5,
        "score_mean": 6.0,
        "score_variance": 2.0,
        "score_variance_within": pytest.approx((2.25 + 0) / 2),
        "extremes": 0.0,
        "unreadable": 0.25,
        "length": 5.0,
        "nothing_to_learn": 0.0,
    }
    assert columns == {f"{reward.__name__}/score": ["8", "5", "5", None]}


# Collapse


@pytest.mark.parametrize(
    ("early", "late", "warning"),
    [
        pytest.param(([6, 7], [4, 5]), ([10, 10], [0, 1]), "drift apart", id="variance"),
        pytest.param(([6, 7], [4, 5]), ([6, 6], [6, 6]), "tie", id="ties"),
        pytest.param(([6, 7], [4, 5]), (["?", 7], [4, 5]), "cannot be read", id="format"),
        pytest.param(([6, 7], [4, 5]), ([6, 7], [4, 5]), None, id="a sound judge"),
    ],
)
def test_a_collapse_is_warned_of_once(caplog, early, late, warning):
    reward = IntergroupReward(watch=CollapseWatch(window=3))
    with caplog.at_level(logging.WARNING, "grmrewards"):
        for sides in [early] * 3 + [late] * 9:
            judged(reward, *[[said(s) if s != "?" else "I refuse." for s in side] for side in sides])
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (warning is not None)
    assert all(warning in message for message in told)


def test_judgements_that_grow_are_warned_of(caplog):
    reward = IntergroupReward(watch=CollapseWatch(window=2))
    with caplog.at_level(logging.WARNING, "grmrewards"):
        for length in (10, 10, 30, 30):
            judged(reward, [said(7)], [said(4)], completion_ids=[[1] * length] * 2)
    assert ["3.0 times as long" in record.getMessage() for record in caplog.records] == [True]


def test_without_a_watch_nothing_is_warned_of(caplog):
    reward = IntergroupReward(watch=None)
    for _ in range(50):
        judged(reward, [said(5)], [said(5)])
    assert not caplog.records


# Rows


def sides_of(rows):
    return list(zip(rows["pair"], rows["side"], strict=True))


def test_both_sides_of_a_pair_stand_together():
    rows = preference_pairs(ROWS)
    assert sides_of(rows) == [(n, side) for n in range(12) for side in ("chosen", "rejected")]
    assert rows.column_names == ["prompt", "pair", "side", "strength"]


def test_a_prompt_is_what_the_judge_will_be_shown():
    shown = []
    judge = ScriptedJudge(lambda messages: shown.append(messages[0].content) or said(5))
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    IRPMReward(judge)(prompts=[system] * 2, completions=["2", "[Response]\n<score>10</score>"])
    row = {"prompt": system, "chosen": "2", "rejected": "[Response]\n<score>10</score>"}
    assert {row["prompt"][0]["content"] for row in preference_pairs([row])} == {*shown}


def test_a_prompt_with_an_image_is_refused():
    blocks = [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "What is it?"}]
    with pytest.raises(ConfigError, match="image"):
        preference_pairs([{"prompt": [{"role": "user", "content": blocks}], "chosen": "A cat.", "rejected": "A dog."}])


def test_orders_follow_the_seed():
    orders = [[row["prompt"][0]["content"] for row in preference_pairs(ROWS, seed=seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_weak_preferences_are_dropped_or_kept_by_their_weight():
    many = ROWS[1:2] * 500 + ROWS[0:1] * 500  # of strengths 2 and 1
    counts = [len(preference_pairs(many, min_strength=2, weak_weight=weight)) // 2 for weight in (0.0, 0.25, 1.0)]
    assert counts[0] == 500
    assert counts[1] == pytest.approx(500 + 125, abs=40)
    assert counts[2] == 1000


def test_each_epoch_has_all_strong_pairs_in_an_order_of_its_own():
    rows = preference_pairs(STRONG, epochs=2)
    shown = [row["prompt"][0]["content"] for row in rows]
    half = len(shown) // 2
    assert sorted(shown[:half]) == sorted(shown[half:])
    assert shown[:half] != shown[half:]
    assert len({*rows["pair"]}) == len(rows) // 2, "a pair that comes again is another pair"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"min_strength": 9}, "none has min_strength=9", id="nothing left"),
        pytest.param({"max_prompt_tokens": 100}, "tokenizer", id="tokens without a tokenizer"),
        pytest.param({"weak_weight": 2}, "at most 1", id="weight"),
        pytest.param({"template": "Score {response}."}, "lacks {question}", id="template"),
        pytest.param({"args": config(shuffle_dataset=True)}, "shuffle_dataset=False", id="shuffled"),
    ],
)
def test_rows_that_cannot_be_had(options, told):
    with pytest.raises(ConfigError, match=told):
        preference_pairs(STRONG, **options)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({}, None, id="two pairs"),
        pytest.param(
            {"generation_batch_size": 8, "per_device_train_batch_size": 2}, None, id="one pair over four processes"
        ),
        pytest.param(
            {"generation_batch_size": 12, "per_device_train_batch_size": 12},
            "is 3 prompts.*=16 would do",
            id="three prompts",
        ),
        pytest.param(
            {"generation_batch_size": 12, "per_device_train_batch_size": 6},
            "=8 would do .times 2",
            id="on two processes",
        ),
        pytest.param(
            {"generation_batch_size": 4, "per_device_train_batch_size": 1}, "=2 would do .times 4", id="one prompt"
        ),
        pytest.param({"generation_batch_size": 64}, "8 rows are less than the 16 prompts", id="more than there is"),
    ],
)
def test_batches_that_tear_pairs_are_refused_with_the_number_that_would_do(changes, told):
    if told is None:
        check_batches(config(**changes), rows=8)
    else:
        with pytest.raises(ConfigError, match=told):
            check_batches(config(**changes), rows=8)
