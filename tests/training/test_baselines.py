"""GRAM beside the policy's own greedy answers: the right policy, the right moment, and nothing of the training changed.

Run as a script it is one rank of several, which `test_ranks_share_the_answers_and_the_failures` starts.
"""

import faulthandler
import json
import os
import pickle
import sys
import tempfile
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent), str(Path(__file__).parents[1] / "ranks")]

import cpu_loss  # noqa: E402 - found by the line above, as this file is also run as a script
import rule  # noqa: E402
import trainers  # noqa: E402

import tiny  # noqa: E402
from grmrewards import ConfigError, GRAMReward, ScriptedJudge, texts  # noqa: E402
from grmrewards.baselines import GreedyBaselines  # noqa: E402
from grmrewards.greedy import greedy_answers  # noqa: E402

torch = pytest.importorskip("torch", reason="needs the extra `trl`")
datasets = pytest.importorskip("datasets", reason="needs the extra `trl`")

pytestmark = [
    pytest.mark.trl,
    # TRL 1.16 asks transformers 5.23 for gradient checkpointing by the old name.
    pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning"),
]

G = trainers.GROUP_SIZE
TOKENS = 8
QUESTIONS = ["yes", "no", "question", "the fox", "lazy", "over", "the dog", "a dog"]  # an epoch of four steps


def turns(question):
    return [{"role": "user", "content": question}]


def data(questions=QUESTIONS, form=turns):
    return datasets.Dataset.from_list([{"prompt": form(question)} for question in questions])


def policy():
    """A model whose answers depend on what was before the last token, as they do not with weights as small as at birth."""
    model, tokenizer = tiny.model_and_tokenizer()
    for name, weight in model.named_parameters():
        if "self_attn" in name:
            weight.data.mul_(20)
    return model, tokenizer


class Compared:
    """A GRAM reward with the baselines of each call, and what its judge was shown."""

    def __init__(self):
        self.calls, self.shown = [], []
        self.gram = GRAMReward(ScriptedJudge(self.reply), baseline_column="baseline", group_size=G)
        self.__name__ = "compared"

    def reply(self, messages):
        self.shown.append(rule.SHOWN.findall(messages[0].content))
        return rule.reply(messages)

    def __call__(self, prompts, completions, baseline, **columns):
        self.calls.append([rule.question(prompt) for prompt in prompts] and list(zip(prompts, baseline, strict=True)))
        rewards = self.gram(prompts, completions, baseline=baseline, **columns)
        assert None not in rewards
        return rewards


def run(*, form=turns, every=1, questions=QUESTIONS, eval_questions=None, peft_config=None, **changes):
    """A GRPO training with baselines: the reward, and the policy's weights as each step began."""
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    weights = []

    class Watch(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **_):
            weights.append({name: weight.detach().clone() for name, weight in model.state_dict().items()})

    cpu_loss.provide()
    torch.set_num_threads(1)
    model, tokenizer = policy()
    reward, baselines = Compared(), GreedyBaselines(data(questions, form), every=every)
    settings = {"output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": 2 * G, "learning_rate": 2e-2}
    settings |= {"max_completion_length": TOKENS, "max_steps": 4, "lr_scheduler_type": "constant"}
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[reward],
        args=GRPOConfig(**{**trainers.SHORT, **settings, **changes}),
        train_dataset=baselines.dataset,
        eval_dataset=eval_questions and baselines.with_answers(data(eval_questions, form)),
        processing_class=tokenizer,
        callbacks=[baselines, Watch()],
        peft_config=peft_config,
    )
    trainer.train()
    return reward, trainer, weights


def greedy(trainer, weights, prompt):
    """The likeliest answer under `weights`, token by token, without a batch, a cache or a library's idea of generating."""
    model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
    model.load_state_dict(weights)
    model.eval()
    text = (
        prompt
        if isinstance(prompt, str)
        else tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    )
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    while ids.shape[1] < start + TOKENS and (ids.shape[1] == start or ids[0, -1] != tokenizer.eos_token_id):
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, -1]
        ids = torch.cat([ids, logits.argmax().reshape(1, 1)], dim=1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


def lora():
    from peft import LoraConfig

    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return LoraConfig(r=16, lora_alpha=64, lora_dropout=0.3, target_modules=layers, task_type="CAUSAL_LM")


RUNS = {
    "messages": lambda: {},
    "texts": lambda: {"form": str},
    "gradient-checkpointing": lambda: {"gradient_checkpointing": True},
    "lora": lambda: {"peft_config": lora(), "learning_rate": 0.1},
    "reused-generations": lambda: {"num_iterations": 2, "max_steps": 6},
}


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_each_completion_meets_the_greedy_answer_of_the_policy_one_step_before(options):
    options = options()
    reward, trainer, weights = run(**options)
    apart = options.get("num_iterations", 1)  # steps from one generation to the next
    assert len(reward.calls) == len(weights) / apart
    given, changed = [], 0
    for call, rows in enumerate(reward.calls):
        then = weights[max(call * apart - 1, 0)]  # the trainer fetches a batch ahead
        assert len({repr(prompt) for prompt, _ in rows}) == 2
        for prompt, baseline in rows[::G]:
            assert baseline == greedy(trainer, then, prompt)
            changed += call > 0 and baseline != greedy(trainer, weights[0], prompt)
        given += [baseline for _, baseline in rows]
        assert all(rows[i][1] == rows[i - i % G][1] for i in range(len(rows)))
    assert changed, "the policy learnt, and its answers with it"
    met = {text for pair in reward.shown for text in pair}
    assert {texts.answer(baseline) for baseline in given} - {""} <= met


def test_an_answer_serves_for_as_many_steps_as_it_was_told_to():
    reward, trainer, weights = run(questions=["the fox"], every=3, max_steps=6, per_device_train_batch_size=G)
    found = [rows[0][1] for rows in reward.calls]
    first, second = (greedy(trainer, weights[step], turns("the fox")) for step in (0, 3))
    assert found == [first] * 3 + [second] * 3  # each step is an epoch, which begins with a batch of this very step
    assert first != second


def test_rows_that_are_fetched_again_for_a_part_of_their_batch_are_not_answered_again(monkeypatch):
    answered = []
    written = GreedyBaselines._generated
    monkeypatch.setattr(GreedyBaselines, "_generated", lambda self, p: answered.extend(p) or written(self, p))
    reward, _, _ = run(gradient_accumulation_steps=2, per_device_train_batch_size=G, max_steps=4, num_iterations=2)
    assert len(reward.calls) == 2
    assert len(answered) == 2 * (2 + 1)  # two prompts a generation, of which one more was fetched ahead


def test_an_evaluation_has_the_answers_of_its_own_prompts():
    changes = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 2 * G, "max_steps": 2}
    reward, trainer, _ = run(eval_questions=["jumps", "brown"], **changes)
    final = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    assert [prompt[0]["content"] for prompt, _ in reward.calls[-1][::G]] in (["jumps", "brown"], ["brown", "jumps"])
    for prompt, baseline in reward.calls[-1][::G]:
        assert baseline == greedy(trainer, final, prompt)


# What the policy is left as


@pytest.mark.parametrize("fails", [False, True], ids=["answers", "fails"])
def test_nothing_of_the_policy_or_the_random_state_is_changed(fails):
    model, tokenizer = tiny.model_and_tokenizer()
    model.train()
    model.model.layers[0].mlp.eval()
    model.gradient_checkpointing_enable()
    model.generation_config.temperature, model.config.use_cache = 0.7, False
    before = state(model)
    if fails:
        handle = model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(MemoryError("full")))
        with pytest.raises(MemoryError, match="full"):
            greedy_answers(model, tokenizer, ["yes"], max_new_tokens=4)
        handle.remove()
    else:
        greedy_answers(model, tokenizer, ["yes", turns("no"), "the quick brown fox"], max_new_tokens=4, batch_size=2)
    assert state(model) == before


def state(model):
    modules = [(module.training, vars(module).get("gradient_checkpointing")) for module in model.modules()]
    asks = [weight.requires_grad for weight in model.parameters()]
    settings = (id(model.generation_config), model.generation_config.to_dict(), model.config.use_cache)
    return modules, asks, settings, torch.get_rng_state().tolist()


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_answers_come_in_the_order_of_the_prompts_whatever_the_batch(batch_size):
    model, tokenizer = policy()
    model.generation_config.repetition_penalty = 5.0  # of the checkpoint's makers: greedy is without
    prompts = ["the quick brown fox jumps", "no", turns("a much longer question than the others"), "lazy"]
    alone = [greedy_answers(model, tokenizer, [prompt], max_new_tokens=TOKENS)[0] for prompt in prompts]
    assert greedy_answers(model, tokenizer, prompts, max_new_tokens=TOKENS, batch_size=batch_size) == alone
    assert len(set(alone)) == 4
    ids = tokenizer("no", return_tensors="pt")["input_ids"]
    model.generation_config.repetition_penalty = 1.0
    whole = model.generate(ids, do_sample=False, max_new_tokens=TOKENS)[0, ids.shape[1] :]
    assert alone[1] == tokenizer.decode(whole, skip_special_tokens=True)


# What it refuses


def bound(dataset, **changes):
    """Baselines that know a policy, as after the trainer was made."""
    baselines = GreedyBaselines(dataset, max_new_tokens=TOKENS)
    model, tokenizer = tiny.model_and_tokenizer()
    told = {"max_completion_length": TOKENS, **changes}
    args, step = type("Args", (), told)(), type("State", (), {"global_step": 0})()
    baselines.on_init_end(args, step, None, model=model, processing_class=tokenizer)
    return baselines


def test_without_the_callback_no_row_comes_without_an_answer():
    baselines = GreedyBaselines(data())
    with pytest.raises(ConfigError, match=r"callbacks=\[baselines\]"):
        baselines.dataset[0]


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        (lambda: data().to_iterable_dataset(), "IterableDataset"),
        (lambda: datasets.DatasetDict(train=data()), "DatasetDict"),
        (lambda: datasets.Dataset.from_list([{"question": "1+1?"}]), "no column 'prompt'.*'question'"),
        (lambda: datasets.Dataset.from_list([{"prompt": "1+1?", "baseline": "2"}]), "'baseline' is in the dataset"),
    ],
    ids=["stream", "all-splits", "no-prompts", "column-taken"],
)
def test_a_dataset_that_cannot_have_baselines_is_told_why(dataset, named):
    with pytest.raises(ConfigError, match=named):
        GreedyBaselines(dataset())


@pytest.mark.parametrize("wrong", [{"every": 0}, {"max_new_tokens": 0}, {"batch_size": 0}, {"column": ""}], ids=str)
def test_a_wrong_argument_is_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GreedyBaselines(data(), **wrong)


def test_workers_of_a_data_loader_have_no_policy():
    with pytest.raises(ConfigError, match="dataloader_num_workers=2"):
        bound(data(), dataloader_num_workers=2)
    copy = pickle.loads(pickle.dumps(bound(data()).dataset))  # as a worker that is spawned has it
    with pytest.raises(ConfigError, match="dataloader_num_workers=0"):
        copy[0]


def test_images_are_refused_as_columns_and_in_messages():
    with pytest.raises(ConfigError, match="'image' holds images"):
        bound(datasets.Dataset.from_list([{"prompt": turns("what?"), "image": "cat.png"}])).dataset[0]
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text"}]}]
    with pytest.raises(ConfigError, match=r"parts of kind \['image'\]"):
        bound(datasets.Dataset.from_list([{"prompt": prompt}])).dataset[0]


def test_weights_that_are_split_over_processes_are_refused():
    baselines = bound(data())
    model, _, _ = baselines._policy
    next(model.parameters()).ds_id = 0  # as ZeRO-3 marks them
    with pytest.raises(ConfigError, match="ZeRO-3"):
        baselines.dataset[0]


def test_a_transform_that_the_dataset_has_comes_first():
    asked = datasets.Dataset.from_list([{"question": "yes"}, {"question": "no"}])
    dataset = asked.with_transform(lambda batch: {"prompt": [turns(text) for text in batch["question"]]})
    baselines = bound(dataset)
    rows = [baselines.dataset[i] for i in range(2)]
    assert [row["prompt"] for row in rows] == [turns("yes"), turns("no")]
    assert [row["baseline"] for row in rows] == baselines.answers([turns("yes"), turns("no")])


def test_it_is_a_callback_of_transformers():
    from transformers import TrainerCallback

    baselines = GreedyBaselines(data())
    assert isinstance(baselines, TrainerCallback)
    assert isinstance(baselines, GreedyBaselines)


# Several processes


@pytest.mark.ranks
@pytest.mark.timeout(240)
def test_ranks_share_the_answers_and_the_failures(tmp_path):
    import launched

    ranks = launched.launch(2, tmp_path, [], script=__file__)
    assert len(ranks[0]["calls"]) == len(ranks[1]["calls"]) == 2
    for halves in zip(*(rank["calls"] for rank in ranks), strict=True):
        rows = [row for half in halves for row in half]
        assert rows == [row for row in rows[::G] for _ in range(G)], "also the group that is split meets one answer"
    generated = [prompt for rank in ranks for prompt in rank["generated"]]
    assert len(generated) == len({*generated}), "each prompt is answered on one rank"
    assert all(rank["generated"] for rank in ranks)
    assert ranks[1]["failed"] == ["RuntimeError", "no memory"]
    assert ranks[0]["failed"] == ["RuntimeError", "rank 1 raised RuntimeError: no memory"]


def on_a_rank(folder):
    """Two steps with three groups of four, six rows on each rank; then a policy that fails on one of them."""
    import torch.distributed

    generated, written = [], GreedyBaselines._generated

    def spied(self, prompts):
        generated.extend(prompt[0]["content"] for prompt in prompts)
        return written(self, prompts)

    GreedyBaselines._generated = spied
    reward, trainer, _ = run(per_device_train_batch_size=6, max_steps=2, ddp_timeout=60)
    found = {"calls": [[list(row) for row in rows] for rows in reward.calls], "generated": generated[:]}
    baselines = next(c for c in trainer.callback_handler.callbacks if isinstance(c, GreedyBaselines))
    rank = int(os.environ["RANK"])
    if rank == 1:
        GreedyBaselines._generated = fail
    try:
        baselines.answers([turns(f"new {rank}")])
    except Exception as error:
        found["failed"] = [type(error).__name__, str(error)]
    (Path(folder) / f"rank{rank}.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    faulthandler.dump_traceback_later(30, exit=True)  # it may wait for ever for a thread that waits for the interpreter
    torch.distributed.destroy_process_group()


def fail(self, prompts):
    raise RuntimeError("no memory")


if __name__ == "__main__":
    on_a_rank(sys.argv[1])
