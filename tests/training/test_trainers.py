"""Every trainer of TRL that takes `reward_funcs` is given the right reward for each row: that of its own question and group.

The judge's answers follow from a rule (`rule.py`), so the right rewards are computed beside the library and compared.
"""

import ast
import dataclasses
import importlib
import inspect
import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

trl = pytest.importorskip("trl", reason="needs the extra `trl`")

import cpu_loss  # noqa: E402
import rule  # noqa: E402
import trainers  # noqa: E402

import tiny  # noqa: E402
from grmrewards import record  # noqa: E402

GROUP_SIZE = 4

pytestmark = [
    pytest.mark.trl,
    pytest.mark.timeout(300),
    # TRL asks transformers for gradient checkpointing by the old name, and warns of its own experimental trainers.
    pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'"),
]


@pytest.fixture(autouse=True)
def _loss_on_a_cpu(monkeypatch):
    cpu_loss.provide(monkeypatch.setattr)


def missing(trainer, *names):
    """Which of `names` are no arguments of `trainer`. One that takes any has them all: Unsloth wraps TRL's so."""
    parameters = inspect.signature(trainer.__init__).parameters
    return set() if "kwargs" in parameters else {*names} - {*parameters}


def part(module, name):
    """`name` of TRL's `module`, or a skip where this TRL has no such trainer for reward functions."""
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        pytest.skip(f"TRL {trl.__version__} has no {module}.{name}")
    if name.endswith("Trainer") and missing(found, "reward_funcs"):
        pytest.skip(f"TRL {trl.__version__} has no {name} with reward_funcs")
    return found


def settings(config, folder, **changes):
    """A config for a short run on a CPU, with what this trainer has of the usual options."""
    usual = {
        **trainers.SHORT,
        "output_dir": str(folder),
        "per_device_train_batch_size": 4 * GROUP_SIZE,
        "max_steps": 2,
        "shuffle_dataset": False,
    }
    known = {field.name for field in dataclasses.fields(config)}
    return config(**{**{name: value for name, value in usual.items() if name in known}, **changes})


def dataset(questions, form="messages"):
    """One row a question, with a column that names the row."""
    from datasets import Dataset

    prompts = questions if form == "strings" else [[{"role": "user", "content": q}] for q in questions]
    return Dataset.from_dict({"prompt": prompts, "row": [f"row {i}" for i in range(len(questions))]})


def run(trainer, rewards, args, questions, form="messages", policy=None, **more):
    """Train a policy made here with `rewards`; the trainer."""
    import torch

    torch.set_num_threads(1)
    model, tokenizer = policy or tiny.model_and_tokenizer()
    made = trainer(
        model=model,
        reward_funcs=list(rewards),  # TRL changes the list that it is given
        args=args,
        train_dataset=dataset(questions, form),
        processing_class=tokenizer,
        **more,
    )
    made.train()
    return made


def neighbours(rows, size=GROUP_SIZE):
    """Groups as runs of `size` rows."""
    return [range(at, at + size) for at in range(0, rows, size)]


def halves(rows):
    """Groups of two, row i of the first half with row i of the second."""
    return [(i, i + rows // 2) for i in range(rows // 2)]


def assert_right_rewards(reward, groups_of=neighbours):
    """Every reward of every call is the one that the rule gives that completion, its question and its true group."""
    assert reward.calls
    for given, rewards in reward.calls:
        groups = groups_of(len(rewards))
        assert sorted(i for group in groups for i in group) == list(range(len(rewards)))
        for group in groups:
            assert len({given["row"][i] for i in group}) == 1, "these are not the trainer's groups"
            questions = [rule.question(given["prompts"][i]) for i in group]
            right = rule.expected(reward.family, questions, [given["completions"][i] for i in group])
            assert [rewards[i] for i in group] == pytest.approx(right, abs=1e-4)


def mean_rewards(reward):
    return [sum(rewards) / len(rewards) for _, rewards in reward.calls]


def logged(trainer, *keys):
    """What the trainer's own log has under any of `keys`, in order."""
    return [value for row in trainer.state.log_history for key, value in row.items() if key in keys]


QUESTIONS = ["yes", "yes", "question", "the fox"]  # a question that follows itself makes two groups
DISTINCT = ["yes", "no", "question", "the fox", "the dog"]

GROUPED = [
    pytest.param("trl", "GRPO", {}, "messages", id="grpo"),
    pytest.param("trl", "GRPO", {}, "strings", id="grpo-strings"),
    pytest.param("trl", "RLOO", {"beta": 0.0}, "messages", id="rloo"),  # beta > 0 loads the reference by its path
    pytest.param("trl.experimental.gmpo", "GMPO", {}, "messages", id="gmpo"),
    pytest.param("trl.experimental.sdpo", "SDPO", {"teacher_model_kind": "live"}, "messages", id="sdpo"),
]


@pytest.mark.parametrize(("module", "name", "options", "form"), GROUPED)
def test_groups_in_a_row(tmp_path, module, name, options, form):
    trainer, config = part(module, f"{name}Trainer"), part(module, f"{name}Config")
    rewards = [rule.reward(family, group_size=GROUP_SIZE) for family in rule.FAMILIES]
    made = run(trainer, rewards, settings(config, tmp_path, **options), QUESTIONS, form)
    for reward in rewards:
        assert_right_rewards(reward)
        key = reward.__name__
        means = logged(made, f"rewards/{key}/mean", f"self_distillation/rewards/{key}")
        assert means == pytest.approx(mean_rewards(reward), abs=1e-4)


@pytest.mark.parametrize(("module", "name", "options", "form"), GROUPED)
def test_a_group_without_any_score_stops_no_training(tmp_path, module, name, options, form):
    trainer, config = part(module, f"{name}Trainer"), part(module, f"{name}Config")
    reward = rule.reward("irpm", group_size=GROUP_SIZE, max_failures=1.0)
    made = run(trainer, [reward], settings(config, tmp_path, **options), [rule.UNJUDGED, *QUESTIONS[:3]], form)
    for given, rewards in reward.calls:
        unjudged = [rule.question(prompt) == rule.UNJUDGED for prompt in given["prompts"]]
        assert [reward is None for reward in rewards] == unjudged
        assert sum(unjudged) == GROUP_SIZE
    losses = logged(made, "loss")
    assert losses
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize(
    ("arguments", "questions"),
    [
        pytest.param({}, DISTINCT, id="found"),
        pytest.param({"group_size": 2}, DISTINCT, id="group_size"),
        pytest.param({"group_key": "row"}, [*QUESTIONS, "yes"], id="group_key"),
    ],
)
def test_online_dpo_pairs_stand_half_a_batch_apart(tmp_path, arguments, questions):
    module = "trl.experimental.online_dpo"
    trainer, config = part(module, "OnlineDPOTrainer"), part(module, "OnlineDPOConfig")
    rewards = [rule.reward(family, **arguments) for family in rule.FAMILIES]
    args = settings(config, tmp_path, max_new_tokens=8, per_device_train_batch_size=4)  # five rows: then a pair alone
    made = run(trainer, rewards, args, questions)
    for reward in rewards:
        assert [len(given) for _, given in reward.calls] == [8, 2]
        assert_right_rewards(reward, halves)
    margins = []  # the trainer's chosen one is the judge's: by as much as the rewards of the pair differ
    for call in zip(*(reward.calls for reward in rewards), strict=True):
        totals = [sum(row) for row in zip(*(given for _, given in call), strict=True)]
        margins.append(statistics.fmean(abs(totals[i] - totals[j]) for i, j in halves(len(totals))))
    assert logged(made, "objective/scores_margin") == pytest.approx(margins, abs=1e-4)
    assert max(margins) > 0


def a2po(tmp_path, rewards, questions):
    module = "trl.experimental.a2po"
    trainer, config = part(module, "A2POTrainer"), part(module, "A2POConfig")
    args = settings(config, tmp_path, per_device_train_batch_size=2, num_value_samples=GROUP_SIZE)
    return run(trainer, rewards, args, questions)


def test_a2po_values_by_groups_then_trains_on_single_answers(tmp_path):
    rewards = [rule.reward(family, group_key="row") for family in rule.FAMILIES]
    made = a2po(tmp_path, rewards, QUESTIONS)
    for reward in rewards:
        assert [len(given) for _, given in reward.calls] == [8, 8, 2, 2]
        assert_right_rewards(reward, lambda rows: neighbours(rows, GROUP_SIZE if rows == 8 else 1))
        assert all(isinstance(text, str) for given, _ in reward.calls for text in given["completions"])
    sums = [sum(means) for means in zip(*(mean_rewards(reward)[2:] for reward in rewards), strict=True)]
    assert logged(made, "reward") == pytest.approx(sums, abs=1e-4)


def test_a2po_takes_a_number_for_what_is_unscored_and_cannot_take_none(tmp_path):
    questions = [rule.UNJUDGED, "yes"]
    with pytest.raises((TypeError, RuntimeError), match="NoneType"):
        a2po(tmp_path, [rule.reward("irpm", max_failures=1.0)], questions)
    reward = rule.reward("irpm", max_failures=1.0, on_failure=0.5)
    a2po(tmp_path, [reward], questions)
    for given, rewards in reward.calls:
        for prompt, completion, value in zip(given["prompts"], given["completions"], rewards, strict=True):
            asked = rule.question(prompt)
            right = 0.5 if asked == rule.UNJUDGED else rule.expected("irpm", [asked], [completion])[0]
            assert value == pytest.approx(right, abs=1e-4)


EVALUATIONS = [
    pytest.param(
        GROUP_SIZE, {}, GROUP_SIZE, {"group_size": GROUP_SIZE}, DISTINCT, [4, 4, 4, 4, 4], id="as-in-training"
    ),
    pytest.param(2, {}, 2, {"group_size": 2}, DISTINCT, [4, 4, 2], id="last-batch-short"),
    pytest.param(
        GROUP_SIZE, {"num_generations_eval": 2}, 2, {"group_size": 4}, DISTINCT, [4, 4, 2], id="half-the-group"
    ),
    pytest.param(GROUP_SIZE, {"num_generations_eval": 1}, 1, {"group_size": 4}, DISTINCT, [4, 1], id="alone"),
    pytest.param(
        GROUP_SIZE, {"num_generations_eval": 1}, 1, {"group_key": "row"}, [*QUESTIONS, "no"], [4, 1], id="alone-by-key"
    ),
]


@pytest.mark.parametrize(("size", "options", "eval_size", "arguments", "questions", "calls"), EVALUATIONS)
def test_evaluation(tmp_path, size, options, eval_size, arguments, questions, calls):
    trainer, config = part("trl", "GRPOTrainer"), part("trl", "GRPOConfig")
    if lacking := set(options) - {field.name for field in dataclasses.fields(config)}:
        pytest.skip(f"TRL {trl.__version__} has no {', '.join(lacking)} in GRPOConfig")
    rewards = [rule.reward(family, **arguments) for family in rule.FAMILIES]
    rows = 4 * GROUP_SIZE
    schedule = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 4}
    args = settings(config, tmp_path, **{**schedule, **options, "num_generations": size})
    made = run(
        trainer,
        rewards,
        args,
        QUESTIONS if size == GROUP_SIZE else DISTINCT + DISTINCT[:3],
        eval_dataset=dataset(questions),
    )
    for reward in rewards:
        assert [len(given) for _, given in reward.calls] == [rows, rows, *calls]
        assert_right_rewards(reward, lambda n: neighbours(n, size if n == rows else eval_size))
        means = mean_rewards(reward)[2:]
        assert logged(made, f"eval_rewards/{reward.__name__}/mean") == pytest.approx(
            [statistics.fmean(means)], abs=1e-4
        )


# Tools and environments


def add(a: int, b: int) -> int:
    """
    Adds two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


def policy_with_tools():
    """The policy made here, in the chat format of Qwen 3, which TRL can parse."""
    from trl.chat_template_utils import qwen3_chat_template

    model, tokenizer = tiny.model_and_tokenizer(window=4096)
    tokenizer.chat_template = qwen3_chat_template
    return model, tokenizer


def call_a_tool(model, tokenizer, call):
    """Make the policy call a tool once, and then say what it was told, each row in words of its own."""
    import torch

    def generate(input_ids, **_):
        said = []
        for i, prompt in enumerate(tokenizer.batch_decode(input_ids)):
            told = prompt.rpartition("<tool_response>\n")[2].partition("\n</tool_response>")[0]
            answered = "<tool_response>" in prompt
            said.append(f"{told}, says {i}<|im_end|>" if answered else f"<tool_call>\n{call}\n</tool_call><|im_end|>")
        ids = tokenizer(said, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
        return torch.cat([input_ids, ids], dim=1)

    model.generate = generate


def with_tools(folder, rewards, questions, call, options=None, **more):
    """A GRPO run of one step whose policy calls a tool."""
    trainer, config = part("trl", "GRPOTrainer"), part("trl", "GRPOConfig")
    if lacking := missing(trainer, *more):
        pytest.skip(f"TRL {trl.__version__} has no {', '.join(lacking)} in GRPOTrainer")
    model, tokenizer = policy_with_tools()
    call_a_tool(model, tokenizer, json.dumps(call))
    args = settings(config, folder, max_steps=1, max_completion_length=256, **(options or {}))
    return run(trainer, rewards, args, questions, policy=(model, tokenizer), **more)


def test_the_judge_reads_the_whole_transcript_of_tools(tmp_path):
    rewards = [rule.reward(family, group_size=GROUP_SIZE, log_path=tmp_path / family) for family in rule.FAMILIES]
    with_tools(tmp_path, rewards, QUESTIONS, {"name": "add", "arguments": {"a": 30, "b": 12}}, tools=[add])
    for reward in rewards:
        assert_right_rewards(reward)
        judged = [entry["response"] for entry in record.read(reward.log_path) if entry["type"] == "completion"]
        assert len(judged) == 4 * GROUP_SIZE
        for text in judged:
            assert re.fullmatch(r"\[tool call add\(.*30.*12.*\)\]\n\n\[tool\] 42\n\n42, says [0-9]+", text)


@pytest.mark.parametrize("arguments", [{"group_size": GROUP_SIZE}, {"group_key": "row"}], ids=lambda a: next(iter(a)))
@pytest.mark.parametrize("family", rule.FAMILIES)
def test_environments_whose_observations_differ_within_a_group(tmp_path, family, arguments, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    reward = rule.reward(family, **arguments)
    call = {"name": "look", "arguments": {}}
    with_tools(tmp_path, [reward], QUESTIONS, call, environment_factory=rule.GardenWithAGate)
    ((given, _),) = reward.calls
    assert len({rule.question(prompt) for prompt in given["prompts"]}) == 4 * GROUP_SIZE
    assert_right_rewards(reward)


@pytest.mark.parametrize("family", ["listwise", "gram"])
def test_environments_in_an_evaluation_with_groups_of_another_size(tmp_path, family, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    reward = rule.reward(family, group_key="row")
    schedule = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4, "num_generations_eval": 2}
    call = {"name": "look", "arguments": {}}
    more = {"environment_factory": rule.GardenWithAGate, "eval_dataset": dataset(DISTINCT)}
    with_tools(tmp_path, [reward], QUESTIONS, call, schedule, **more)
    assert [len(given) for _, given in reward.calls] == [16, 4, 4, 2]
    assert_right_rewards(reward, lambda rows: neighbours(rows, GROUP_SIZE if rows == 16 else 2))


# Other processes


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The policy and its tokenizer in a folder."""
    folder = tmp_path_factory.mktemp("policy")
    model, tokenizer = tiny.model_and_tokenizer()
    model.save_pretrained(folder)
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # or it is read with token_type_ids
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("families", "arguments", "more"),
    [
        pytest.param([*rule.FAMILIES], {"group_size": GROUP_SIZE}, {}, id="questions"),
        pytest.param(
            ["listwise", "gram"], {"group_key": "row"}, {"environment_factory": rule.Garden}, id="environments"
        ),
    ],
)
def test_async_grpo_scores_in_a_spawned_process(tmp_path, saved, monkeypatch, families, arguments, more):
    home = "trl.experimental.async_grpo"
    trainer, config = part(home, "AsyncGRPOTrainer"), part(home, "AsyncGRPOConfig")
    import vllm_stand_in

    _, tokenizer = policy_with_tools()
    # There is no vLLM here: a server on loopback stands for it, and the trainer is not asked to look for the package.
    monkeypatch.setattr(f"{home}.async_rollout_worker.is_vllm_available", lambda: True)
    monkeypatch.setattr(f"{home}.vllm_client.is_requests_available", lambda: True)
    # FlashAttention needs a GPU. What stands in for it changes the loss, not the rewards.
    loaded = importlib.import_module(f"{home}.async_grpo_trainer").create_model_from_path
    monkeypatch.setattr(
        f"{home}.async_grpo_trainer.create_model_from_path",
        lambda path, **options: loaded(path, **{**options, "attn_implementation": "sdpa"}),
    )
    # TRL asks CUDA for its device's speed, to report how much of it is used.
    monkeypatch.setattr(f"{home}.async_grpo_trainer.get_peak_flops_per_device", lambda *_: None, raising=False)
    rewards = [rule.reward(family, log_path=tmp_path / f"{family}.jsonl", **arguments) for family in families]
    with vllm_stand_in.server(tokenizer) as url:
        # What lies in the queue at the end must fit into its pipe, or the child waits for a reader that is gone.
        small = {"max_inflight_tasks": 8, "queue_maxsize": 8, "token_budget": 0, "per_device_train_batch_size": 8}
        args = settings(config, tmp_path, vllm_server_base_url=url, **small)
        made = trainer(
            model=str(saved),
            reward_funcs=list(rewards),
            args=args,
            train_dataset=dataset(QUESTIONS),
            processing_class=tokenizer,
            weight_transfer=vllm_stand_in.NoWeights(),
            **more,
        )
        made.rollout_queue = vllm_stand_in.Tap(made.rollout_queue)
        made.train()
    groups = {}
    for sample in made.rollout_queue.taken:
        groups.setdefault(sample.group_id, []).append(sample)
    assert len(groups) >= 4
    assert {len(samples) for samples in groups.values()} == {GROUP_SIZE}
    for number, samples in groups.items():
        questions = [rule.question(sample.prompt) for sample in samples]
        assert all(question.startswith(QUESTIONS[number % len(QUESTIONS)]) for question in questions)
        assert len(set(questions)) == (GROUP_SIZE if more else 1)
        for reward in rewards:
            right = rule.expected(reward.family, questions, [sample.completion for sample in samples])
            given = [sample.metrics[f"rewards/{reward.__name__}"] for sample in samples]
            assert given == pytest.approx(right, abs=1e-4)
    for reward in rewards:
        assert logged(made, f"rewards/{reward.__name__}")
        assert not hasattr(reward, "calls"), "scored in this process"
        judged = [entry for entry in record.read(reward.log_path) if entry["type"] == "completion"]
        assert len(judged) >= 4 * GROUP_SIZE


def test_command_line(tmp_path, saved):
    rows = [{"prompt": [{"role": "user", "content": q}], "row": f"row {i}"} for i, q in enumerate(QUESTIONS)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = f"group_size={GROUP_SIZE}, log_path=name"
    made = "".join(f"name = {name!r}\n{name} = rule.reward(name, name=name, {shared})\n" for name in rule.FAMILIES)
    (tmp_path / "my_rewards.py").write_text(f"import cpu_loss\nimport rule\ncpu_loss.provide()\n{made}")
    options = {
        "model_name_or_path": saved,
        "dataset_name": tmp_path / "data",
        "output_dir": tmp_path / "out",
        "per_device_train_batch_size": 4 * GROUP_SIZE,
        "num_generations": GROUP_SIZE,
        "max_completion_length": 8,
        "max_steps": 1,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "save_strategy": "steps",  # the trainer's log lies in its checkpoint
        "save_steps": 1,
    }
    line = [Path(sys.executable).with_name("trl"), "grpo"]
    line += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    line += ["--reward_funcs", *(f"my_rewards.{family}" for family in rule.FAMILIES)]
    paths = [tmp_path, Path(__file__).parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    history = json.loads((tmp_path / "out" / "checkpoint-1" / "trainer_state.json").read_text())["log_history"]
    for family in rule.FAMILIES:
        judged = [entry for entry in record.read(tmp_path / family) if entry["type"] == "completion"]
        assert len(judged) == 4 * GROUP_SIZE
        for group in neighbours(len(judged)):
            questions, texts, values = zip(
                *((e["prompt"], e["response"], e["reward"]) for e in (judged[i] for i in group)), strict=True
            )
            assert questions == (QUESTIONS[group[0] // GROUP_SIZE],) * GROUP_SIZE
            assert values == pytest.approx(rule.expected(family, questions, texts), abs=1e-4)
        assert history[0][f"rewards/{family}/mean"] == pytest.approx(
            statistics.fmean(e["reward"] for e in judged), abs=1e-4
        )


def test_every_trainer_that_takes_reward_funcs_is_tested_here():
    tested = {"GRPO", "RLOO", "GMPO", "SDPO", "OnlineDPO", "A2PO", "AsyncGRPO"}
    found = set()
    for path in Path(trl.__file__).parent.rglob("*_trainer.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                made = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
                if any(argument.arg == "reward_funcs" for part in made for argument in part.args.args):
                    found.add(node.name.removesuffix("Trainer"))
    assert {"GRPO", "RLOO"} <= found <= tested
