"""Prints what a judge of the family that Unsloth has patched here says, as JSON: `python isolated.py FOLDER [unsloth]`."""

import json
import os
import sys


def logprobs(folder, *, unsloth):
    """The log-probabilities of two labels; with `unsloth`, from a process of its own beside a patched class."""
    if unsloth:
        os.environ |= {"UNSLOTH_ALLOW_CPU": "1", "TORCHDYNAMO_DISABLE": "1"}  # its code for GPUs, and nothing compiled
        import unsloth as _  # noqa: F401
        from unsloth.models.qwen2 import FastQwen2Model

        FastQwen2Model.pre_patch()
    from transformers import Qwen2ForCausalLM

    from grmrewards import Message, TransformersJudge

    judge = TransformersJudge(folder, device="cpu", isolate=unsloth)

    async def ask():
        async with judge:
            return [
                await judge.choice_logprobs([Message("user", text)], ["a", "b"]) for text in ("fox", "the lazy dog")
            ]

    # The library's own loop: a notebook's is running already.
    from grmrewards import runner

    return {"patched": Qwen2ForCausalLM.forward.__module__, "logprobs": runner.run(ask())}


if __name__ == "__main__":
    print(json.dumps(logprobs(sys.argv[1], unsloth="unsloth" in sys.argv[2:])))
