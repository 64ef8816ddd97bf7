"""Auxiliary rewards beside a judge's: what they may decide, and that they never turn over what was to be kept."""

import asyncio
import faulthandler
import importlib
import itertools
import json
import math
import pickle
import random
import re
import statistics
import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grmrewards import ConfigError, IRPMReward, JudgeError, JudgeOutage, ScriptedJudge, with_auxiliary
from grmrewards.admissible import Rule, admissible_weight, levels, ratchet, shape
from grmrewards.auxiliaries import Format, Length, Repetition

RULES = {
    "order": Rule("order"),
    "argmax": Rule("argmax"),
    "sign": Rule("sign"),
    "order-zero": Rule("order", on_tie="zero"),
    "argmax-zero": Rule("argmax", on_tie="zero"),
    "sign-zero": Rule("sign", on_tie="zero"),
    "order-ratchet": Rule("order", "ratchet"),
    "argmax-ratchet": Rule("argmax", "ratchet"),
    "order-ratchet-zero": Rule("order", "ratchet", "zero"),
}
MODES = [(rule.preserve, rule.method) for name, rule in RULES.items() if rule.on_tie == "aux"]
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
modes = pytest.mark.parametrize(("preserve", "method"), MODES, ids=["-".join(mode) for mode in MODES])
steady = settings(deadline=None, derandomize=True)


def judge(messages):
    """Reads the score (0 to 10) that a response says it is worth; fails on one that is lost."""
    found = re.findall(r"judged (\S+)", messages[0].content)[-1]
    if found == "None":
        raise JudgeError("lost")
    return f"<score>{found}</score>"


def said(completions, **_):
    """An auxiliary reward that is read off the text."""
    texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
    return [None if (a := re.search(r"aux (\S+)", text)[1]) == "None" else float(a) for text in texts]


def texts(judged, aux):
    return [f"{i} judged {r} aux {a}" for i, (r, a) in enumerate(zip(judged, aux, strict=True))]


def made(*, scale="raw", on_failure="group_mean", **options):
    options.setdefault("weight", 1.0)
    reward = IRPMReward(ScriptedJudge(judge), scale=scale, on_failure=on_failure, max_failures=1.0)
    return with_auxiliary(reward, said, **options)


def called(reward, judged, aux, **kwargs):
    """The rewards of one group."""
    return reward(prompts=["question"] * len(judged), completions=texts(judged, aux), **kwargs)


def turned_over(judged, shaped, preserve, near=1e-6):
    """The pairs, or the rows for "sign", that are not as the judge has them; None stands for a row without a score."""
    rows = [(r, t) for r, t in zip(judged, shaped, strict=True) if r is not None]
    if not rows:
        return []
    if preserve == "sign":
        middles = [statistics.fmean(column) for column in zip(*rows, strict=True)]
        sides = [(r - middles[0], t - middles[1]) for r, t in rows]
        return [side for side in sides if abs(side[0]) > near and side[0] * side[1] <= 0]
    if preserve == "argmax":
        best, top = (max(column) for column in zip(*rows, strict=True))
        return [(r, t) for r, t in rows if t == top and r != best]
    return [(a, b) for a, b in itertools.permutations(rows, 2) if a[0] > b[0] and a[1] <= b[1]]


def random_group(rng):
    """Half steps or coarser with N(0, 3) beside them (methods 8.2), or votes, shares, long texts, ties and gaps."""
    size, grid = rng.randint(2, 8), rng.choice([0.5, 1, 3, 1 / 8, 0.01])
    low, high = rng.choice([(1, 10), (0, 1), (-5, 5)])
    judged = [low + grid * rng.randint(0, int((high - low) / grid)) for _ in range(size)]
    spread, gaps = rng.choice([3, 0.01, 2000]), rng.choice([0, 0, 0.3])
    kinds = [lambda: rng.gauss(0, spread), lambda: float(rng.randint(-1, 1)), lambda: -float(rng.randint(0, 3000))]
    draw = rng.choice(kinds)
    aux = [None if rng.random() < gaps else draw() for _ in range(size)]
    return [None if rng.random() < gaps else r for r in judged], aux


def violations(rule, groups, seed):
    """Random groups in which something is turned over, as floats and as the 32 bits of trainers."""
    rng, found = random.Random(seed), []
    for _ in range(groups):
        judged, aux = random_group(rng)
        scored = [(r, a or 0.0) for r, a in zip(judged, aux, strict=True) if r is not None]
        shaped, kept = shape([r for r, _ in scored], [a for _, a in scored], rule) if scored else ([], 1.0)
        values = [r for r, _ in scored]
        seen = [turned_over(values, column, rule.preserve) for column in (shaped, array("f", shaped))]
        if any(seen) or not 0 <= kept <= 1:
            found.append((judged, aux, shaped))
    return found


# What may not be turned over


@rules
def test_random_groups_are_not_turned_over(rule):
    assert violations(rule, groups=1000, seed=1) == []


@pytest.mark.slow
@rules
def test_twenty_thousand_random_groups_are_not_turned_over(rule):
    assert violations(rule, groups=20_000, seed=2) == []


@pytest.mark.parametrize("preserve", ["order", "argmax", "sign"])
def test_plain_addition_turns_many_of_these_groups_over(preserve):
    """Else the tests above would show nothing."""
    rng, found = random.Random(1), 0
    for _ in range(1000):
        judged, aux = random_group(rng)
        summed = [None if r is None else r + (a or 0.0) for r, a in zip(judged, aux, strict=True)]
        found += bool(turned_over(judged, summed, preserve))
    assert found > 250


any_score = st.floats(-10, 10) | st.integers(-3, 3).map(float) | st.sampled_from([0.1 + 0.2, 0.3])
any_aux = st.floats(-1e9, 1e9) | st.integers(-2, 2).map(float) | st.sampled_from([0.0, 1e-300, 1e30, -1e30])


@rules
@steady
@given(st.lists(st.tuples(any_score, any_aux), min_size=1, max_size=8))
@example([(0.1, 1.0), (0.2, 5.0), (0.3, 1.0)])
@example([(0.1 + 0.2, -1.0), (0.3, 1.0)])
def test_no_group_is_turned_over(rule, rows):
    judged, aux = [r for r, _ in rows], [a for _, a in rows]
    shaped, _ = shape(judged, aux, rule)
    assert all(math.isfinite(t) for t in shaped)
    assert turned_over(levels(judged, rule.resolution), shaped, rule.preserve, near=1e-5) == []


@steady
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(-50, 50)), min_size=2, max_size=8),
    st.sampled_from(["order", "argmax", "sign"]),
)
def test_the_admissible_weight_is_the_largest(rows, preserve):
    judged, aux = [float(r) for r, _ in rows], [float(a) for _, a in rows]
    limit = admissible_weight(judged, aux, preserve)
    for share, right in [(0.99, True), (1.01, False)]:
        weight = share * min(limit, 1e6)
        shaped = [r + weight * a for r, a in zip(judged, aux, strict=True)]
        assert (not turned_over(judged, shaped, preserve, near=1e-9)) == (right or limit == math.inf)


@steady
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-50, 50)), min_size=1, max_size=8))
def test_the_ratchet_only_lowers_and_leaves_the_best_as_wished(rows):
    judged, wished = [float(r) for r, _ in rows], [float(r + a) for r, a in rows]
    shaped = ratchet(judged, [float(a) for _, a in rows])
    assert all(t <= w for t, w in zip(shaped, wished, strict=True))
    assert all(t == w for t, w, r in zip(shaped, wished, judged, strict=True) if r == max(judged))


@pytest.mark.parametrize("rule", [Rule("order"), Rule("order", "ratchet")], ids=["weight", "ratchet"])
def test_an_auxiliary_that_agrees_counts_in_full(rule):
    assert shape([1.0, 2.0, 3.0], [0.0, 5.0, 6.0], rule) == ([1.0, 7.0, 9.0], 1.0)


@modes
def test_an_auxiliary_that_disagrees_counts_as_far_as_it_can(preserve, method):
    judged, aux = [4.0, 8.0, 6.0], [100.0, 0.0, 0.0]
    shaped = called(made(preserve=preserve, method=method), judged, aux)
    assert turned_over(judged, shaped, preserve) == []
    assert shaped[0] > 4.5


# Ties


@pytest.mark.parametrize(("on_tie", "order"), [("aux", [1.0, 3.0, 2.0]), ("zero", [2.0, 2.0, 2.0])])
def test_where_the_judge_ties_all(on_tie, order):
    shaped = called(made(on_tie=on_tie), [5, 5, 5], [-1.0, 1.0, 0.0])
    assert [t - 5 + 2 for t in shaped] == pytest.approx(order)


def test_zero_keeps_a_tie_among_others():
    a, b, c = called(made(on_tie="zero"), [5, 5, 8], [-1.0, 1.0, 1.0])
    assert a == b < c


def test_scores_that_round_to_one_are_a_tie_and_do_not_switch_the_auxiliary_off():
    shaped, kept = shape([0.1 + 0.2, 0.3, 0.9], [0.0, 0.1, 0.0], Rule("order"))
    assert kept == 1.0
    assert shaped[1] - shaped[0] == pytest.approx(0.1)


@pytest.mark.parametrize("preserve", ["order", "argmax", "sign"])
def test_no_weight_and_no_auxiliary_are_the_judge_alone(preserve):
    judged, aux = [3, 1, 7.25, None], [4.0, 1e9, -3.0, 2.0]
    alone = IRPMReward(ScriptedJudge(judge), scale="raw", max_failures=1.0)
    want = called(alone, judged, aux)
    assert called(made(preserve=preserve, weight=0.0), judged, aux) == want
    assert called(made(preserve=preserve), judged, [None, "nan", None, None]) == want


# What is missing


def test_a_row_that_the_judge_lost_gets_the_mean_whatever_its_auxiliary_says():
    shaped = called(made(), [2, None, 8], [1.0, 1000.0, 0.0])
    assert shaped == [3.0, 5.5, 8.0]


@pytest.mark.parametrize(("on_failure", "want"), [("none", [3.0, None, 8.0]), (0.0, [3.0, 1.0, 8.0])], ids=str)
def test_lost_rows_are_as_on_failure_says(on_failure, want):
    assert called(made(on_failure=on_failure), [2, None, 8], [1.0, 1.0, 0.0]) == want


def test_raise_is_raised():
    with pytest.raises(JudgeOutage):
        called(made(on_failure="raise"), [2, None], [1.0, 1.0])


def test_a_wholly_lost_group_stays_without_rewards_and_the_next_is_shaped():
    rewards = made()(prompts=["a"] * 2 + ["b"] * 2, completions=texts([None, None, 4, 6], [1.0, 2.0, 3.0, 0.0]))
    assert rewards[:2] == [None, None]
    assert 4 < rewards[2] < rewards[3] == 6


def test_the_reward_that_is_wrapped_keeps_its_own_way_with_failures():
    reward = made().reward
    made_of_it = with_auxiliary(reward, said)
    called(made_of_it, [2, None, 8], [1.0, 1.0, 0.0])
    assert reward.on_failure == "group_mean"
    assert called(reward, [2, None, 8], [0, 0, 0]) == [2.0, 5.0, 8.0]


def test_a_group_of_one_has_nothing_to_turn_over():
    assert called(made(), [5], [-2.0]) == [3.0]


def test_no_rows():
    assert called(made(), [], []) == []


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 2.0, 3.0], ["a", "b"], [math.inf, 0.0], [1e31, 0.0], 3.0, None], ids=str
)
def test_what_is_no_column_of_numbers_is_named(values):
    def odd(completions, **_):
        return values

    with pytest.raises(ConfigError, match="aux odd"):
        called(with_auxiliary(IRPMReward(ScriptedJudge(judge)), odd), [1, 2], [0, 0])


def test_what_an_auxiliary_raises_is_raised():
    def broken(completions, **_):
        raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        called(with_auxiliary(IRPMReward(ScriptedJudge(judge)), broken), [1, 2], [0, 0])


# Groups


@pytest.mark.parametrize(
    ("options", "prompts", "columns", "groups"),
    [
        pytest.param({}, "aabb", {}, [[0, 1], [2, 3]], id="runs-of-equal-prompts"),
        pytest.param({"group_size": 2}, "aaaa", {}, [[0, 1], [2, 3]], id="group-size"),
        pytest.param({"group_key": "id"}, "aaaa", {"id": [1, 2, 1, 2]}, [[0, 2], [1, 3]], id="group-key"),
        pytest.param({"prompt_column": "asked"}, "wxyz", {"asked": [*"aabb"]}, [[0, 1], [2, 3]], id="prompt-column"),
    ],
)
def test_groups_are_those_of_the_reward(options, prompts, columns, groups):
    """In each group one auxiliary reward is against the judge: groups cut otherwise would get another factor."""
    judged, aux = [4, 8, 1, 2], [10.0, 0.0, 1.0, 0.0]
    reward = with_auxiliary(IRPMReward(ScriptedJudge(judge), scale="raw", **options), said, weight=1.0)
    found = reward(prompts=[*prompts], completions=texts(judged, aux), **columns)
    want = [None] * 4
    for group in groups:
        for i, t in zip(group, shape([judged[i] for i in group], [aux[i] for i in group], Rule())[0], strict=True):
            want[i] = t
    assert found == want


SPLITS = {"whole": [4, 4, 4], "halves": [2, 2, 2], "uneven": [6, 2, 4], "one-without-rows": [0, 4, 4]}


def split(sizes):
    """Prompts, judge's scores and auxiliary rewards of groups of four; every second group has a lost row."""
    rng, rows = random.Random(7), sum(sizes)
    judged = [None if i % 8 == 5 else rng.randint(0, 10) for i in range(rows)]
    return [f"question {i // 4}" for i in range(rows)], judged, [round(rng.gauss(0, 5), 2) for _ in range(rows)]


@pytest.mark.ranks
@pytest.mark.timeout(240)
def test_groups_that_are_split_over_processes_get_the_rewards_of_one_process(tmp_path):
    calls = [[sys.executable, __file__, str(rank), str(tmp_path / "meet")] for rank in range(3)]
    started = [subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for call in calls]
    try:
        outputs = [process.communicate(timeout=200) for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(out for out, _ in outputs), [err[-2000:] for _, err in outputs]
    per_rank = [json.loads(out.splitlines()[-1]) for out, _ in outputs]
    for name, sizes in SPLITS.items():
        prompts, judged, aux = split(sizes)
        for preserve, method in MODES:
            alone = made(preserve=preserve, method=method)(prompts=prompts, completions=texts(judged, aux))
            found = [reward for rank in per_rank for reward in rank[f"{name} {preserve} {method}"]]
            assert found == alone
    assert [found["broken on one"] for found in per_rank] == [
        "RuntimeError: rank 1 raised ZeroDivisionError: of its own",
        "ZeroDivisionError: of its own",
        "RuntimeError: rank 1 raised ZeroDivisionError: of its own",
    ]


def on_one_rank(rank, meeting_point):
    """What one of three processes gets in each layout, and when an auxiliary fails on one of them."""
    import torch.distributed

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=3)
    found = {}
    for (name, sizes), (preserve, method) in itertools.product(SPLITS.items(), MODES):
        prompts, judged, aux = split(sizes)
        own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        reward = made(preserve=preserve, method=method)
        found[f"{name} {preserve} {method}"] = reward(prompts=prompts[own], completions=texts(judged, aux)[own])

    def broken(completions, **_):
        if rank == 1:
            raise ZeroDivisionError("of its own")
        return [0.0] * len(completions)

    try:
        called(with_auxiliary(IRPMReward(ScriptedJudge(judge)), broken), [1, 2], [0, 0])
    except Exception as error:
        found["broken on one"] = f"{type(error).__name__}: {error}"
    torch.distributed.barrier()
    faulthandler.dump_traceback_later(30, exit=True)  # it may wait for ever for a thread that waits for the interpreter
    torch.distributed.destroy_process_group()
    return found


# As a trainer sees it


def test_several_auxiliaries_are_added_by_their_weights():
    def ones(completions, **_):
        return [1.0] * len(completions)

    reward = with_auxiliary(IRPMReward(ScriptedJudge(judge), scale="raw"), [said, ones], weight=[2.0, 0.5])
    assert called(reward, [4, 8], [-1.0, 1.0]) == [2.5, 10.5]


def test_it_says_what_was_kept():
    metrics = {}
    reward = made(name="mine")
    called(reward, [4, 8], [8.0, 0.0], log_metric=metrics.__setitem__)
    own = {key: value for key, value in metrics.items() if key.startswith("mine/")}
    assert own == pytest.approx({"mine/judged": 6.0, "mine/kept": 0.45, "mine/said": 4.0})
    assert "irpm" in " ".join(metrics)


def test_an_auxiliary_is_passed_all_that_the_trainer_passes():
    passed = {}

    def curious(**given):
        passed.update(given)
        return [0.0] * len(given["completions"])

    reward = with_auxiliary(IRPMReward(ScriptedJudge(judge)), curious)
    called(reward, [1, 2], [0, 0], completion_ids=[[1], [2]], label=["x", "y"])
    assert {"prompts", "completions", "completion_ids", "label"} == set(passed)


def test_names_are_unique_and_stable_in_a_pickle():
    first, second = made(), made()
    assert first.__name__ != second.__name__
    copied = pickle.loads(pickle.dumps(second))
    assert copied.__name__ == second.__name__
    assert called(copied, [4, 8], [8.0, 0.0]) == called(second, [4, 8], [8.0, 0.0])


async def later(completions, **_):
    return [0.0] * len(completions)


class Later:
    async def __call__(self, completions, **_):
        return [0.0] * len(completions)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"preserve": "ranks"}, "preserve='ranks'"),
        ({"method": "clip"}, "method='clip'"),
        ({"method": "ratchet", "preserve": "sign"}, "method='ratchet' with preserve='sign'"),
        ({"on_tie": "judge"}, "on_tie='judge'"),
        ({"weight": -1.0}, "weight=-1.0"),
        ({"weight": math.nan}, "weight=nan"),
        ({"weight": "much"}, "weight='much'"),
        ({"weight": [1.0, 2.0]}, "for 1 auxiliary"),
        ({"resolution": 0.0}, "resolution=0.0"),
        ({"name": " "}, "name=' '"),
        ({"aux": "length"}, "aux='length'"),
        ({"aux": []}, "aux=[]"),
        ({"aux": Length}, "aux=<class"),
        ({"aux": later}, "not async"),
        ({"aux": Later()}, "not async"),
        ({"reward": said}, "reward=<function"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arguments_are_named(options, named):
    given = {"reward": IRPMReward(ScriptedJudge(judge)), "aux": said, **options}
    with pytest.raises(ConfigError, match=re.escape(named)):
        with_auxiliary(given.pop("reward"), given.pop("aux"), **given)


def test_it_runs_where_an_event_loop_runs():
    async def notebook():
        return called(made(), [4, 8], [1.0, 0.0])

    assert asyncio.run(notebook()) == [5.0, 8.0]


# Ready auxiliaries

CHAT = [
    {"role": "assistant", "content": "abc"},
    {"role": "tool", "content": "not the policy's words"},
    {"role": "assistant", "content": [{"type": "text", "text": "de"}]},
]


@pytest.mark.parametrize(
    ("aux", "completion", "want"),
    [
        pytest.param(Length(4), "abcd", 0.0, id="at-the-limit"),
        pytest.param(Length(4), "abcde", -0.25, id="beyond"),
        pytest.param(Length(4, over=1), "a" * 99, -1.0, id="far-beyond"),
        pytest.param(Length(6), CHAT, 0.0, id="the-tool's-words-are-not-counted"),
        pytest.param(Length(5), CHAT, -0.2, id="all-own-words-are"),
        pytest.param(Length(3), None, 0.0, id="no-answer"),
        pytest.param(Format(r"^\d+$"), "42", 1.0, id="pattern"),
        pytest.param(Format(r"a.b"), "a\nb", 1.0, id="pattern-over-lines"),
        pytest.param(Format(r"^\d+$"), "forty-two", 0.0, id="no-pattern"),
        pytest.param(Format(tag="answer"), "so: <answer>2</answer>", 1.0, id="tag"),
        pytest.param(Format(tag="answer"), "</answer>2<answer>", 0.0, id="tag-the-wrong-way-round"),
        pytest.param(Format(tag="answer"), "<answer>1</answer><answer>2</answer>", 0.0, id="two-tags"),
        pytest.param(Repetition(2), "a b c", 0.0, id="nothing-repeats"),
        pytest.param(Repetition(2), "a b a b a", -0.5, id="half-repeats"),
        pytest.param(Repetition(4), "too short", 0.0, id="too-short-to-repeat"),
        pytest.param(Repetition(1, unit="characters"), "aaaa", -0.75, id="characters"),
    ],
)
def test_ready_auxiliaries(aux, completion, want):
    copied = pickle.loads(pickle.dumps(aux))
    assert copied(prompts=["?"], completions=[completion], label=["x"]) == [want]


def test_length_in_tokens_is_that_of_the_policy():
    length = Length(2, unit="tokens")
    assert length(prompts=["?"], completions=["long text"], completion_ids=[[1, 2, 3]]) == [-0.5]
    with pytest.raises(ConfigError, match="completion_ids"):
        length(prompts=["?"], completions=["text"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Length(0),
        lambda: Length(5, unit="bytes"),
        lambda: Format(),
        lambda: Format("a", tag="b"),
        lambda: Format("("),
        lambda: Format(tag="<answer>"),
        lambda: Repetition(0),
        lambda: Repetition(unit="lines"),
    ],
    ids=["limit", "unit", "neither", "both", "pattern", "tag", "n", "unit-of-n"],
)
def test_wrong_arguments_of_ready_auxiliaries_are_named(make):
    with pytest.raises(ConfigError, match=r"(limit|unit|pattern|tag|n)="):
        make()


# Through the trainer's own advantages


# TRL 1.16 asks transformers 5.23 for gradient checkpointing by the old name.
old_name = pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def trainers():
    """The real GRPOTrainer on responses that a test has chosen."""
    sys.path.insert(0, str(Path(__file__).parent / "training"))
    return importlib.import_module("trainers")


def in_trls_advantages(trainers, groups, seed, preserve, method, **config):
    """Each group's scores beside the advantages that the trainer's own code makes of its shaped rewards."""
    rng, size = random.Random(seed), trainers.GROUP_SIZE
    judged = [rng.choice([None, *range(0, 11), 2.5, 7.125]) for _ in range(groups * size)]
    aux = [rng.choice([None, round(rng.gauss(0, 3), 3), rng.randint(-1, 1)]) for _ in judged]
    found = trainers.advantages([made(preserve=preserve, method=method, scale="unit")], texts(judged, aux), **config)
    return [(judged[at : at + size], found[at : at + size]) for at in range(0, len(judged), size)]


@pytest.mark.trl
@old_name
@pytest.mark.parametrize("scaling", ["group", "batch", "none", "normalize_then_sum"])
@modes
def test_in_trls_advantages_nothing_is_turned_over(trainers, preserve, method, scaling):
    option = "multi_objective_aggregation" if scaling == "normalize_then_sum" else "scale_rewards"
    if not trainers.takes(option):
        pytest.skip(f"this TRL has no {option}")
    for judged, advantages in in_trls_advantages(trainers, 50, 3, preserve, method, **{option: scaling}):
        assert turned_over(judged, advantages, preserve) == []
        # Where the ratchet pushes a group together, its spread is little more than what 32 bits round.
        lost = [a for a, r in zip(advantages, judged, strict=True) if r is None]
        assert lost == pytest.approx([0.0] * len(lost), abs=1e-3 if method == "ratchet" else 1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
@old_name
@modes
def test_in_trls_advantages_of_twenty_thousand_groups_nothing_is_turned_over(trainers, preserve, method):
    pytest.importorskip("trl")
    for seed in range(20_000 // len(MODES) // 1000):
        for judged, advantages in in_trls_advantages(trainers, 1000, seed, preserve, method):
            assert turned_over(judged, advantages, preserve) == []


if __name__ == "__main__":
    sys.stdout.write(json.dumps(on_one_rank(int(sys.argv[1]), sys.argv[2])) + "\n")
