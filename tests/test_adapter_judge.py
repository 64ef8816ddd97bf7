"""A judge on the policy's own base weights: it judges as the bare base does, and the policy never notices."""

import asyncio
import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
peft = pytest.importorskip("peft", reason="needs the extra `local`")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from grmrewards import AdapterJudge, ConfigError, GRAMReward, IRPMReward, Message, TransformersJudge  # noqa: E402
from grmrewards.judges import embedded  # noqa: E402
from grmrewards.prompts import Template  # noqa: E402

# peft and TRL ask transformers 5.23 for gradient checkpointing by the old name.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning"
)

QUESTION = "Name 3 animals."
MESSAGES = [
    [Message("user", Template("irpm").fill(question=QUESTION, response=response))]
    for response in ("cat, dog, cow", "cat", "cat, spoon, cow")
]
PAIR = [Message("user", Template("gram").fill(question=QUESTION, answer_a="cat, dog, cow", answer_b="cat"))]


def lora(**changes):
    return peft.LoraConfig(
        **{"r": 4, "target_modules": ["q_proj", "v_proj", "o_proj"], "lora_dropout": 0.5, "task_type": "CAUSAL_LM"}
        | changes
    )


def moved(model, *, adapter="default", seed=0):
    """`model` with that adapter far from where it began, as after much training."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name and f".{adapter}." in name:  # both halves, or it would depend on what was drawn before
            size = 2.0 if "lora_B" in name else weight.shape[1] ** -0.5
            weight.data = torch.randn(weight.shape, generator=generator) * size
    return model


def bare():
    return AutoModelForCausalLM.from_pretrained(str(embedded.JUDGE), dtype=torch.float32)


@pytest.fixture
def base():
    return bare()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(embedded.JUDGE))


@pytest.fixture
def policy(base):
    """A LoRA policy in the middle of its training, as TRL has it by default: train mode, gradient checkpointing."""
    model = moved(peft.get_peft_model(base, lora()))
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    return model.train()


def judged(judge, **sampling):
    """Its texts on all messages together, and its choice."""

    async def main():
        async with judge:
            texts = await asyncio.gather(*(judge.generate(m, max_tokens=64, **sampling) for m in MESSAGES))
            return [reply.text for replies in texts for reply in replies], await judge.choice_logprobs(PAIR, ["A", "B"])

    return asyncio.run(main())


def state(model):
    """All that a policy's training depends on."""
    return {
        "weights": {name: weight.detach().clone() for name, weight in model.named_parameters()},
        "gradients": {name: None if w.grad is None else w.grad.clone() for name, w in model.named_parameters()},
        "trained": {name: weight.requires_grad for name, weight in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "adapters": {
            name: (list(module.active_adapters), module.disable_adapters)
            for name, module in model.named_modules()
            if hasattr(type(module), "adapter_layer_names")
        },
        "random": torch.get_rng_state(),
    }


def assert_same(before, after):
    for part in ("trained", "modes", "adapters"):
        assert after[part] == before[part], part
    assert torch.equal(after["random"], before["random"])
    for part in ("weights", "gradients"):
        for name, tensor in before[part].items():
            same = after[part][name] is None if tensor is None else torch.equal(after[part][name], tensor)
            assert same, (part, name)


def backward(model):
    model(input_ids=torch.arange(5, 45).reshape(2, 20)).logits.sum().backward()


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.0, "seed": 3, "n": 2}])
def test_it_judges_as_the_bare_base_does_under_gradient_checkpointing(policy, tokenizer, sampling):
    policy.config.use_cache = False  # as trainers do
    judge = AdapterJudge().bind(policy, tokenizer)
    texts, (log_a, log_b) = judged(judge, **sampling)
    bare_texts, (bare_a, bare_b) = judged(TransformersJudge.embedded(), **sampling)
    assert type(judge._loading.result().network._runner).__name__ == "Shared"
    assert texts == bare_texts
    assert any("<score>" in text for text in texts)
    assert [*log_a, *log_b] == pytest.approx([*bare_a, *bare_b], abs=1e-5)


def test_a_policy_in_training_would_give_other_texts(policy, tokenizer):
    """So that the test above can fail."""
    policy.eval()
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": MESSAGES[0][0].content}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    output = policy.generate(input_ids=torch.tensor([ids]), max_new_tokens=64, do_sample=False)
    text = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
    assert text.strip() != judged(TransformersJudge.embedded(), temperature=0.0)[0][0]


def test_the_policy_never_notices(policy, tokenizer):
    policy.base_model.model.model.layers[0].self_attn.eval()  # a part in another mode than the whole
    backward(policy)
    before = state(policy)
    judge = AdapterJudge().bind(policy, tokenizer)
    assert None not in IRPMReward(judge)(prompts=[QUESTION] * 2, completions=["cat, dog, cow", "cat"])
    assert None not in GRAMReward(judge)(prompts=[QUESTION] * 2, completions=["cat, dog, cow", "cat"])
    assert_same(before, state(policy))
    backward(policy)  # nothing that was made in inference mode is in the way


@pytest.mark.parametrize("used_before", [True, False])
def test_not_even_where_judging_fails(policy, tokenizer, used_before, monkeypatch):
    judge = AdapterJudge().bind(policy, tokenizer)
    if used_before:
        judged(judge, temperature=0.0)
    before = state(policy)

    def fail(*_, **__):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(policy.get_base_model(), "forward", fail)
    with pytest.raises(RuntimeError, match="CUDA error"):
        judged(judge, temperature=0.0)
    assert_same(before, state(policy))


def test_adapters_that_somebody_had_switched_off_stay_off(policy, tokenizer):
    with policy.disable_adapter():
        before = state(policy)
        judged(AdapterJudge().bind(policy, tokenizer), temperature=0.0)
        assert_same(before, state(policy))


def test_layers_of_which_a_whole_copy_is_trained_are_those_of_the_base(base, tokenizer):
    policy = peft.get_peft_model(base, lora(modules_to_save=["norm"])).train()
    copies = [weight for name, weight in policy.named_parameters() if "modules_to_save" in name]
    for weight in copies:
        weight.data.mul_(3)
    before = state(policy)
    texts, _ = judged(AdapterJudge().bind(policy, tokenizer), temperature=0.0)
    assert copies
    assert texts == judged(TransformersJudge.embedded(), temperature=0.0)[0]
    assert_same(before, state(policy))


# A second adapter


@pytest.fixture
def trained_judge(tmp_path):
    """The folder of an adapter that changes what the base says, and what the base says with it."""
    model = moved(peft.get_peft_model(bare(), lora(target_modules=["q_proj"])), seed=5)
    model.save_pretrained(tmp_path / "judge")
    alone = TransformersJudge(
        model.merge_and_unload().eval(), AutoTokenizer.from_pretrained(str(embedded.JUDGE)), max_new_tokens=320
    )
    return tmp_path / "judge", judged(alone, temperature=0.0)


@pytest.mark.parametrize("given", ["folder", "name"])
def test_a_second_adapter_judges_and_is_not_trained(policy, tokenizer, trained_judge, given):
    folder, (texts, choice) = trained_judge
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    if given == "name":
        policy.load_adapter(str(folder), adapter_name="critic", is_trainable=False)
    judge = AdapterJudge(adapter="critic" if given == "name" else folder).bind(policy, tokenizer)
    assert {name for name, weight in policy.named_parameters() if weight.requires_grad} == trained
    before = state(policy)
    found, found_choice = judged(judge, temperature=0.0)
    assert found == texts != judged(TransformersJudge.embedded(), temperature=0.0)[0]
    assert [x for (x,) in found_choice] == pytest.approx([x for (x,) in choice], abs=1e-4)
    assert_same(before, state(policy))


def test_binding_twice_loads_the_adapter_once(policy, tokenizer, trained_judge):
    judge = AdapterJudge(adapter=trained_judge[0])
    judge.bind(policy, tokenizer)
    weights = len(list(policy.parameters()))
    judge.bind(policy, tokenizer)
    assert len(list(policy.parameters())) == weights


# Who it is


def identity(judge):
    return asyncio.run(judge.identity())


def test_the_policys_training_does_not_make_it_another_judge(policy, tokenizer):
    first = identity(AdapterJudge().bind(policy, tokenizer))
    moved(policy, seed=9)
    assert identity(AdapterJudge().bind(policy, tokenizer)) == first
    policy.get_base_model().model.norm.weight.data.add_(1e-3)
    assert identity(AdapterJudge().bind(policy, tokenizer)) != first


def test_another_adapter_is_another_judge(policy, tokenizer, trained_judge):
    bare = identity(AdapterJudge().bind(policy, tokenizer))
    judge = AdapterJudge(adapter=trained_judge[0]).bind(policy, tokenizer)
    first = identity(judge)
    moved(policy, adapter="grmrewards_judge", seed=9)
    assert len({bare, first, identity(judge.bind(policy, tokenizer))}) == 3


# What cannot be


def test_before_it_is_bound_it_says_what_to_do():
    reward = GRAMReward(AdapterJudge())
    with pytest.raises(ConfigError, match=r"judge\.bind\(trainer\)"):
        reward(prompts=["q"] * 2, completions=["a", "b"])


def test_labels_are_checked_when_there_is_a_tokenizer(policy, tokenizer):
    judge = AdapterJudge()
    judge.check_choices(["A", "cat, dog"])
    with pytest.raises(ConfigError, match="one token of its own"):
        judge.bind(policy, tokenizer)


def test_a_policy_without_an_adapter_is_refused(base, tokenizer):
    with pytest.raises(ConfigError, match="has no adapter"):
        AdapterJudge().bind(base, tokenizer)


def test_a_policy_without_a_tokenizer_is_refused(policy):
    with pytest.raises(ConfigError, match="no tokenizer"):
        AdapterJudge().bind(policy)


def test_a_merged_adapter_is_refused(policy, tokenizer):
    judge = AdapterJudge().bind(policy, tokenizer)
    policy.merge_adapter()
    with pytest.raises(ConfigError, match="merged"):
        judged(judge, temperature=0.0)


def test_weights_that_are_split_over_processes_are_refused(policy, tokenizer):
    judge = AdapterJudge().bind(policy, tokenizer)
    next(policy.parameters()).ds_id = 0  # as DeepSpeed marks those of ZeRO-3
    with pytest.raises(ConfigError, match="ZeRO-3"):
        judged(judge, temperature=0.0)


def test_only_an_unbound_judge_can_be_pickled(policy, tokenizer):
    judge = pickle.loads(pickle.dumps(AdapterJudge(max_new_tokens=64)))
    texts, _ = judged(judge.bind(policy, tokenizer), temperature=0.0)
    assert texts == judged(TransformersJudge.embedded(), temperature=0.0)[0]
    with pytest.raises(ConfigError, match="cannot be pickled"):
        pickle.dumps(judge)


@pytest.mark.parametrize(("name", "value"), [("adapter", 5), ("max_new_tokens", 0), ("adapter", " ")])
def test_wrong_arguments_are_named(name, value):
    with pytest.raises(ConfigError, match=f"{name}="):
        AdapterJudge(**{name: value})
