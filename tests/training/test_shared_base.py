"""A training whose judge is the policy's own base, beside the same training whose judge only repeats what that one said."""

import pytest
import trainers

torch = pytest.importorskip("torch", reason="needs the extra `local`")

from grmrewards import AdapterJudge, GRAMReward, IRPMReward, ScriptedJudge  # noqa: E402
from grmrewards.judges import embedded  # noqa: E402

pytestmark = [
    pytest.mark.trl,
    pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning"),
]

PROMPTS = ["Name 3 animals.", "Name 2 colours, but not red."]
FAMILIES = {"irpm": IRPMReward, "gram": GRAMReward}
OPTIONS = {"irpm": {"votes": 4}, "gram": {}}


class Written(AdapterJudge):
    """An `AdapterJudge` that keeps what it said, by prompt and seed."""

    def __init__(self):
        super().__init__(max_new_tokens=96)
        self.said = {}

    async def generate(self, messages, *, seed=None, **sampling):
        self.said[messages[0].content, seed] = replies = await super().generate(messages, seed=seed, **sampling)
        return replies

    async def choice_logprobs(self, messages, choices):
        self.said[messages[0].content] = logprobs = await super().choice_logprobs(messages, choices)
        return logprobs


class Repeating(ScriptedJudge):
    """A judge that says the same again."""

    def __init__(self, said):
        super().__init__(lambda messages: said[messages[0].content])
        self.said = said

    async def generate(self, messages, *, seed=None, **sampling):
        return self.said[messages[0].content, seed]

    async def choice_logprobs(self, messages, choices):
        return self.said[messages[0].content]


def run(family, judge):
    """What a training of three steps does: completions, gradients and random states of each, and the weights after it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    seen = {"completions": [], "rewards": [], "gradients": [], "random": []}

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            gradients = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
            seen["gradients"].append(gradients)
            seen["random"].append(torch.get_rng_state())

    made = FAMILIES[family](judge, group_size=trainers.GROUP_SIZE, **OPTIONS[family])

    def reward(prompts, completions, **columns):
        rewards = made(prompts, completions, **columns)
        seen["completions"].append(completions)
        seen["rewards"].append(rewards)
        return rewards

    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_pretrained(str(embedded.JUDGE), dtype=torch.float32)
    policy.warnings_issued = {}
    trainer = trainers.trainer(
        [reward],
        [{"prompt": [{"role": "user", "content": prompt}]} for prompt in PROMPTS * 3],
        model=policy,
        tokenizer=AutoTokenizer.from_pretrained(str(embedded.JUDGE)),
        peft_config=small_lora(),
        per_device_train_batch_size=2 * trainers.GROUP_SIZE,
        gradient_checkpointing=True,
        learning_rate=1e-2,
        max_steps=3,
    )
    trainer.add_callback(Watch())
    if isinstance(judge, AdapterJudge):
        judge.bind(trainer)
    trainer.train()
    weights = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    return {**seen, "weights": weights}


def small_lora():
    from peft import LoraConfig

    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1, task_type="CAUSAL_LM")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_judged_by_the_base_is_the_step_judged_by_anyone_else(family):
    judge = Written()
    shared = run(family, judge)
    scripted = run(family, Repeating(judge.said))
    assert shared["completions"] == scripted["completions"]
    assert shared["rewards"] == scripted["rewards"]
    assert any(reward is not None for rewards in shared["rewards"] for reward in rewards)
    assert len(shared["gradients"]) == len(scripted["gradients"]) == 3
    for one, other in zip(shared["gradients"], scripted["gradients"], strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(map(torch.equal, shared["random"], scripted["random"]))
    assert all(torch.equal(shared["weights"][name], scripted["weights"][name]) for name in shared["weights"])
    assert any("lora_B" in name and weight.abs().max() > 0 for name, weight in shared["weights"].items()), "it learnt"
