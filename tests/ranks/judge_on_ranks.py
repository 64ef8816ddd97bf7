"""A judge in training, as one rank of several, started by torchrun: what its reward was passed and gave goes to a file.

    torchrun --nproc_per_node=2 tests/ranks/judge_on_ranks.py FOLDER LAYOUT...

A layout is a key of `LAYOUTS`. `test_pairs_on_ranks.py` starts it, and puts the slices of all ranks together again.
"""

import importlib
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "training"), str(Path(__file__).parent)]

import train_on_ranks  # noqa: E402 - found by the line above, as this file is run as a script

import tiny  # noqa: E402

G, PAIRS = 4, 24
GRPO = ("trl", "GRPO")
LAYOUTS = {  # by processes: trainer, rows on each, options
    1: {
        "one-pair": (*GRPO, 2 * G, {}),
        "pairs": (*GRPO, 4 * G, {}),
        "accumulated": (*GRPO, G, {"gradient_accumulation_steps": 2}),
        "accumulated-halves": (*GRPO, 2, {"gradient_accumulation_steps": 4}),
        "four-steps-a-generation": (*GRPO, G, {"steps_per_generation": 4}),
        "generation-batch": (*GRPO, 2 * G, {"generation_batch_size": 8 * G}),
        "twice-through": (*GRPO, 2 * G, {"num_iterations": 2}),
        "rloo": ("trl", "RLOO", 2 * G, {"beta": 0.0}),
    },
    2: {
        "a-side-each": (*GRPO, G, {}),
        "a-pair-each": (*GRPO, 2 * G, {}),
        "three-sides-each": (*GRPO, 3 * G, {}),
        "accumulated-halves": (*GRPO, G // 2, {"gradient_accumulation_steps": 2}),
        "accumulated-uneven": (*GRPO, 3 * G // 2, {"gradient_accumulation_steps": 2}),
        "four-steps-a-generation": (*GRPO, G, {"steps_per_generation": 4}),
        "rloo": ("trl", "RLOO", G, {"beta": 0.0}),
    },
    4: {
        "half-a-side-each": (*GRPO, G // 2, {}),
        "a-side-each": (*GRPO, G, {}),
        "uneven": (*GRPO, 3 * G // 2, {"gradient_accumulation_steps": 2}),
    },
}


def preferences():
    """So many that no two questions are alike."""
    return [
        {"prompt": f"question {n}", "chosen": f"yes {n}", "rejected": f"no {n}", "margin": 1.0} for n in range(PAIRS)
    ]


def vowels(reply):
    """A score for whatever an untrained model writes; unreadable where it wrote none, as judgements at times are."""
    from grmrewards import ParseError

    count = sum(letter in "aeiou" for letter in reply.text)
    if not count:
        raise ParseError("no vowel")
    return float(count % 11)


def recording():
    """An `IntergroupReward` that keeps what it was passed, what it read, and what it gave."""
    from grmrewards.training import IntergroupReward

    class Recording(IntergroupReward):
        calls: list = []  # noqa: RUF012 - made anew below

        def __call__(self, /, prompts, completions, **told):
            given = super().__call__(prompts=prompts, completions=completions, **told)
            texts = [completion[-1]["content"] for completion in completions]
            self.calls.append({"rewards": given, "texts": texts, **{name: told[name] for name in ("pair", "side")}})
            return given

    reward = Recording("auc", read=vowels)
    reward.calls = []
    return reward


def train(layout, folder):
    """Two generations and more of a trainer with this layout: the calls of its reward on this rank."""
    from grmrewards.training import preference_pairs

    module, name, rows, options = LAYOUTS[int(os.environ["WORLD_SIZE"])][layout]
    found = importlib.import_module(module)
    model, tokenizer = tiny.model_and_tokenizer(window=1024)
    changes = {"num_generations": G, "max_completion_length": 8, "shuffle_dataset": False, "max_steps": 5, **options}
    config = getattr(found, f"{name}Config")
    args = train_on_ranks.settings(config, folder / layout, per_device_train_batch_size=rows, **changes)
    reward = recording()
    trainer = getattr(found, f"{name}Trainer")(
        model=model,
        reward_funcs=[reward],
        args=args,
        train_dataset=preference_pairs(preferences(), args=args, template="{question}: {response}"),
        processing_class=tokenizer,
    )
    trainer.train()
    return reward.calls


if __name__ == "__main__":
    train_on_ranks.main(*sys.argv[1:], train=train)
