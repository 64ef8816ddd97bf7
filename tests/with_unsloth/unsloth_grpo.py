"""Training runs in a process that imported Unsloth first, on a CPU: with TRL's trainer, or with what Unsloth makes of it.

    python tests/with_unsloth/unsloth_grpo.py trl|unsloth|names|batches|pictures

Printed is, as JSON in the last line, what `test_unsloth.py` looks at. Unsloth changes libraries for its whole process, so
it is imported in functions only: pytest, which looks for doctests in this file, must stay without it.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import tiny_grpo  # found by the line above, and brings the folder of `tiny`

import tiny

MARKUP = (  # ChatML with a place for pictures
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def trl():
    """TRL's own trainer on Unsloth's backend for CPUs, as anyone gets it who imports Unsloth where there is no GPU."""
    _import_unsloth()
    return tiny_grpo.main()


def unsloth():
    """The trainer that Unsloth generates."""
    generate_trainer()
    return tiny_grpo.main()


def names():
    """Three rewards of one class and a function, each of one value: what the trainer calls them, and what it logs."""
    from grmrewards import IRPMReward, ScriptedJudge

    generate_trainer()

    def always(points):
        return ScriptedJudge(lambda _: f"<critique>So.</critique><score>{points}</score>")

    def polite(completions, **_):
        return [0.8] * len(completions)

    rewards = [IRPMReward(always(2)), IRPMReward(always(4)), IRPMReward(always(6), name="helpful"), polite]
    trainer = tiny_grpo.train(*rewards, max_steps=2, disable_tqdm=False)  # the table is its progress bar
    return {"names": trainer.reward_func_names, "logged": trainer.state.log_history[0]}


def batches():
    """A batch that no group fits into, which Unsloth makes as large as one group: what each call was about."""
    from grmrewards import ListwiseReward, ScriptedJudge

    generate_trainer()
    shown, calls = [], []

    def count(text):
        return sum(c in "aeiou" for c in text)

    def rank(
        messages,
    ):  # 1, and 3 for each that it beats: right only among the responses that it is to be compared with
        texts = re.findall(r"\[The Begin of Response [0-9]+\]\n(.*?)\n\[The End of", messages[0].content, re.DOTALL)
        shown.append(len(texts))
        counts = [count(text) for text in texts]
        return "Scores: \\boxed{" + ", ".join(str(1 + 3 * sum(c < mine for c in counts)) for mine in counts) + "}"

    reward = ListwiseReward(ScriptedJudge(rank), votes=2, group_size=4)

    def watched(prompts, completions, **columns):
        rewards = reward(prompts=prompts, completions=completions, **columns)
        counts = [count(completion[0]["content"]) for completion in completions]
        calls.append([[p[0]["content"], mine, r] for p, mine, r in zip(prompts, counts, rewards, strict=True)])
        return rewards

    rows = [{"prompt": tiny_grpo.question(text)} for text in ["yes", "yes", "no"] * 4]  # one prompt follows itself
    sizes = {"num_generations": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "max_steps": 2}
    trainer = tiny_grpo.train(watched, rows=rows, shuffle_dataset=False, **sizes)
    return {"batch": trainer.args.per_device_train_batch_size, "shown": shown, "calls": calls}


def pictures():
    """A policy that sees pictures: what the trainer gives to a reward, and what the judge was asked with `prompt_column`."""
    from PIL import Image

    from grmrewards import GRAMReward, IPGRMReward, IRPMReward, ListwiseReward, ScriptedJudge

    generate_trainer()
    given, asked = [], {}

    def plain(prompts, completions, image, **_):
        given.extend(zip(prompts, completions, [type(picture).__name__ for picture in image], strict=True))
        return [0.0] * len(prompts)

    def judge(name):
        def reply(messages):
            asked.setdefault(name, []).append(messages[0].content)
            return tiny_grpo.reply(messages)

        return ScriptedJudge(reply)

    kinds = [IPGRMReward, ListwiseReward, IRPMReward, GRAMReward]
    rewards = [kind(judge(kind.family), prompt_column="question", group_size=4) for kind in kinds]
    without = IRPMReward(judge("without"), group_size=4)
    questions = [f"What is in picture {i}?" for i in range(4)]
    rows = [
        {"prompt": tiny_grpo.question(q), "question": q, "image": Image.new("RGB", (28, 28))} for q in questions * 4
    ]
    policy = _seeing_policy()
    sampling = {"suppress_tokens": [policy[0].config.image_token_id]}  # no picture would belong to it
    trainer = tiny_grpo.train(
        *rewards, without, plain, policy=policy, rows=rows, max_steps=1, num_generations=4, generation_kwargs=sampling
    )
    return {"given": given, "asked": asked, "questions": questions, "logged": trainer.state.log_history[0]}


def _import_unsloth():
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["UNSLOTH_COMPILE_LOCATION"] = tempfile.mkdtemp()  # by default a folder where one stands
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling takes longer than these runs, and needs a C++ compiler
    import unsloth  # noqa: F401 - before TRL and transformers, as its notebooks do


def generate_trainer():
    """Put Unsloth's trainers in the place of TRL's, as importing Unsloth does where there is a GPU."""
    os.environ["UNSLOTH_ALLOW_CPU"] = "1"  # its code for GPUs, without one
    _import_unsloth()
    from unsloth.models import rl

    for trainer in ("grpo_trainer", "rloo_trainer"):
        rl._patch_trl_rl_trainers(trainer)


def _seeing_policy():
    """A Llava of a few thousand weights around the text model of `tiny`, and its processor."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    text, tokenizer = tiny.model_and_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    text.config.vocab_size = len(tokenizer)
    side = {"image_size": 28, "patch_size": 14}
    sight = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, projection_dim=32, **side
    )
    config = LlavaConfig(
        vision_config=sight,
        text_config=text.config,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=MARKUP,
        num_additional_image_tokens=1,
    )
    return tiny.as_a_policy(LlavaForConditionalGeneration(config)), processor


RUNS = {run.__name__: run for run in (trl, unsloth, names, batches, pictures)}

if __name__ == "__main__":
    print(json.dumps(RUNS[sys.argv[1]]()))
