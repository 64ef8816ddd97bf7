"""Whole runs of TRL's trainer in the ways that users run it: resumed, on an adapter, with several rewards, evaluated.

The judge's answers follow from a rule (`rule.py`), so what each run must have been given is computed beside the library.
"""

import functools
import itertools
import statistics
import time
from collections import Counter

import pytest
import rule
import tiny_grpo
from trainers import GROUP_SIZE, takes, trainer

from grmrewards import IPGRMReward, ScriptedJudge, record

pytestmark = [
    pytest.mark.trl,
    # TRL 1.16 asks transformers 5.23 for gradient checkpointing by the old name.
    pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
]

QUESTIONS = ["yes", "no", "question", "the fox"]


def rows(questions):
    return [{"prompt": [{"role": "user", "content": question}]} for question in questions]


def texts(given):
    return [rule.answer(completion) for completion in given["completions"]]


def questions_of(calls):
    """The question of each row of each call."""
    return [[rule.question(prompt) for prompt in given["prompts"]] for given, _ in calls]


def assert_by_rule(reward, calls, size=GROUP_SIZE):
    """In each call, each run of `size` rows has one question and the rewards that the rule gives its responses."""
    for (given, rewards), questions in zip(calls, questions_of(calls), strict=True):
        for at in range(0, len(rewards), size):
            group = slice(at, at + size)
            assert len(set(questions[group])) == 1
            right = rule.expected(reward.family, questions[group], given["completions"][group])
            assert rewards[group] == pytest.approx(right, abs=1e-4)


def logged(run, key):
    """What the trainer's log has under `key`, in order."""
    return [row[key] for row in run.state.log_history if key in row]


# Resumed from a checkpoint


class Asked:
    """The rule's judge, which keeps the questions that it wrote principles for."""

    def __init__(self):
        self.wrote_for = []

    def __call__(self, messages):
        prompt = messages[0].content
        if "#### Response to be Scored" not in prompt:
            self.wrote_for.append(rule.ASKED.search(prompt)[1])
        return rule.reply(messages)


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    def started(log):
        """A new process, as far as the reward is concerned: nothing of it but the folder of its principles is kept."""
        asked = Asked()
        judge = ScriptedJudge(asked)
        own = {"group_size": GROUP_SIZE, "cache_dir": tmp_path / "principles", "log_path": tmp_path / log}
        reward = rule.FAMILIES["ipgrm"](judge, **own)
        run = trainer(
            [reward],
            rows(QUESTIONS[:2] * 4),  # one epoch: at its end TRL draws another order than a run that was resumed
            output_dir=str(tmp_path / "run"),
            per_device_train_batch_size=2 * GROUP_SIZE,  # both questions in each step
            learning_rate=5e-3,  # so that the policy of step 4 is another than that of step 2
            max_steps=4,
            save_strategy="steps",
            save_steps=2,
        )
        return run, reward, asked

    whole, before, asked_before = started("whole.jsonl")
    whole.train()
    resumed, after, asked_after = started("resumed.jsonl")
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))

    assert resumed.state.global_step == 4
    assert [entry["step"] for entry in _completions(tmp_path / "resumed.jsonl")] == [2] * 8 + [3] * 8
    assert_by_rule(after, after.calls)
    assert questions_of(after.calls) == questions_of(before.calls[2:])
    assert [texts(given) for given, _ in after.calls] == [texts(given) for given, _ in before.calls[2:]]
    assert [rewards for _, rewards in after.calls] == [rewards for _, rewards in before.calls[2:]]
    assert sorted(asked_before.wrote_for) == sorted(QUESTIONS[:2])  # once a question, in four steps
    assert asked_after.wrote_for == []


def _completions(path):
    return [entry for entry in record.read(path) if entry["type"] == "completion"]


# Principles ahead of the policy


def test_principles_are_asked_for_before_the_policy_answers():
    asked = Asked()
    judge = ScriptedJudge(asked)
    judge.local = False  # as one behind an endpoint
    reward = rule.FAMILIES["ipgrm"](judge, group_size=GROUP_SIZE)
    run = trainer([reward], rows(QUESTIONS), max_steps=4)
    run.train_dataset = reward.ahead(run.train_dataset)
    generate, known = run.model.generate, []

    def spied(*inputs, **options):
        wait_until(lambda: len(asked.wrote_for) > len(known))
        known.append(set(asked.wrote_for))
        return generate(*inputs, **options)

    run.model.generate = spied
    run.train()
    for (questions, *_), known_then in zip(questions_of(reward.calls), known, strict=True):
        assert questions in known_then
    assert_by_rule(reward, reward.calls)
    assert sorted(asked.wrote_for) == sorted(QUESTIONS), "and once each"


def wait_until(true, seconds=5.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.001)


# On a LoRA adapter


def adapter():
    from peft import LoraConfig

    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return LoraConfig(r=16, lora_alpha=64, target_modules=layers, task_type="CAUSAL_LM")


def test_on_an_adapter_the_policy_follows_the_judge_and_the_base_weights_stay(tmp_path):
    log = tmp_path / "record.jsonl"
    reward = IPGRMReward(ScriptedJudge(tiny_grpo.reply), group_size=8, log_path=log)
    run = trainer(
        [reward],
        rows(tiny_grpo.PROMPTS * 40),
        peft_config=adapter(),
        embedding_scale=4,  # it is the output layer too: what an adapter below it can change grows with it
        per_device_train_batch_size=16,
        num_generations=8,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        max_steps=24,
    )
    before = {name: weight.detach().clone() for name, weight in run.model.named_parameters()}
    run.train()

    changed = {name for name, weight in run.model.named_parameters() if not weight.equal(before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert len(logged(run, "grad_norm")) == 24
    assert min(logged(run, "grad_norm")) > 0
    entries = _completions(log)
    likes = [tiny_grpo.vowels(entry["response"]) for entry in entries]
    assert [entry["reward"] for entry in entries] == pytest.approx(likes, abs=1e-2)  # the judge writes two decimals
    fifth = len(likes) // 5
    assert statistics.fmean(likes[-fifth:]) > statistics.fmean(likes[:fifth]) + 0.1


# Several rewards


def length(completions, **_):
    return [len(rule.answer(completion)) / 10 for completion in completions]


def test_several_rewards_are_logged_apart_and_added_up_by_their_weights():
    pointwise = rule.reward("irpm", group_size=GROUP_SIZE)
    listwise = rule.reward("listwise", group_size=GROUP_SIZE, scale=(-3, 3), name="comparison")
    again = rule.reward("irpm", group_size=GROUP_SIZE, scale="raw", name=pointwise.__name__)
    rewards, weights = [pointwise, listwise, again, length], [1.0, 0.5, 0.05, 2.0]
    config = {"reward_weights": weights, "max_steps": 3, "per_device_train_batch_size": 2 * GROUP_SIZE}
    run = trainer(rewards, rows(QUESTIONS * 2), **config)
    run.train()

    names = [reward.__name__ for reward in rewards]
    assert len(set(names)) == 4  # although one was given the name of another
    assert_by_rule(pointwise, pointwise.calls)
    unit = [[(reward + 3) / 6 for reward in given] for _, given in listwise.calls]
    assert_by_rule(listwise, [(given, row) for (given, _), row in zip(listwise.calls, unit, strict=True)])
    for name, calls in zip(names, [r.calls for r in (pointwise, listwise, again)], strict=False):
        assert logged(run, f"rewards/{name}/mean") == pytest.approx([statistics.fmean(got) for _, got in calls])
        if hasattr(run, "_log_metric"):  # since TRL 1.0 a reward may add figures of its own
            assert logged(run, f"{name}/unscored") == [0.0] * 3
    means = zip(*(logged(run, f"rewards/{name}/mean") for name in names), strict=True)
    totals = [sum(w * mean for w, mean in zip(weights, row, strict=True)) for row in means]
    assert logged(run, "reward") == pytest.approx(totals, abs=1e-5)


# With evaluation

# How many responses a question gets in an evaluation: as many as in training where TRL has no option for it.
SIZES = [{"num_generations_eval": size} for size in (4, 2, 1)] if takes("num_generations_eval") else [{}]


HELD_OUT = ["the dog", "a dog", "jumps", "over", "lazy"]


def trained(family, **evaluation):
    """A reward and the run that it was trained in, with this evaluation or none."""
    reward = rule.reward(family, group_size=GROUP_SIZE)
    run = trainer([reward], rows(QUESTIONS), eval_rows=rows(HELD_OUT), max_steps=4, **evaluation)
    run.train()
    return reward, run


@functools.cache
def questions_without_evaluation():
    return questions_of(trained("irpm")[0].calls)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("family", rule.FAMILIES)
def test_evaluation_is_rewarded_by_its_own_groups_and_logged_by_its_own_name(family, sizes):
    size = sizes.get("num_generations_eval", GROUP_SIZE)
    batch = 2 * size  # two questions, so that the last batch of five is short
    reward, run = trained(family, eval_strategy="steps", eval_steps=2, per_device_eval_batch_size=batch, **sizes)
    training = [call for call in reward.calls if questions_of([call])[0][0] in QUESTIONS]
    evaluated = [call for call in reward.calls if call not in training]

    assert_by_rule(reward, training)
    assert questions_of(training) == questions_without_evaluation()
    assert_by_rule(reward, evaluated, size)
    for evaluation in (evaluated[:3], evaluated[3:]):
        assert Counter(itertools.chain(*questions_of(evaluation))) == dict.fromkeys(HELD_OUT, size)
    means = [statistics.fmean(rewards) for _, rewards in evaluated]
    by_evaluation = [statistics.fmean(means[:3]), statistics.fmean(means[3:])]  # TRL's is the mean over its batches
    assert logged(run, f"eval_rewards/{reward.__name__}/mean") == pytest.approx(by_evaluation, abs=1e-5)
    by_step = [statistics.fmean(rewards) for _, rewards in training]
    assert logged(run, f"rewards/{reward.__name__}/mean") == pytest.approx(by_step, abs=1e-5)
