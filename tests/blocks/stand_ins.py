"""What is put in the place of what a page names, so that its blocks run without a GPU and a network, and why.

what stands on the page                   what is there instead, and why

http://localhost:8000, http://node1:8000  a server on loopback with the embedded judge (server.py)
a model's name, as Qwen/Qwen3-8B          the folder of the embedded judge, or policy for those of SMALL: no download
the name of a vision model                a model of one layer that sees (tests/seeing.py): no download
load_dataset("org/name")                  nine preferences, in HelpSteer3's form (files.py): no download
files that a page reads                   small ones in its working folder (files.py): they are the reader's
GRPOConfig, SFTConfig, ...                the same, on a CPU, for one step with answers of 16 tokens, without vLLM: time
VLLMJudge                                 the embedded judge, after a look at the arguments: vLLM needs a GPU, and has
                                          its own tests in tests/test_vllm_judge.py
VLLMJudge that thinks                     a judge that prefers either answer in turn: the embedded one does not think
BitsAndBytesConfig                        None, after a look at its arguments: quantisation needs a GPU
TransformersJudge(max_new_tokens=)        at most 320: the embedded judge's window is 2,048 tokens
/tmp/                                     the page's working folder: nothing is left behind
a browser (grmrewards report --open)      none
OPENAI_BASE_URL and OPENAI_API_KEY        the server on loopback, and "key": without --base-url OpenAI is asked
grmrewards audit and doctor               with eight cases, and two, of the embedded judge's domain where none are given:
                                          it knows no other, and time
grmrewards demo --steps                   four steps: time; `make test-judge` has whole runs
pip, make, vllm, accelerate, ...          a check of what they are told (commands.py): no network, no GPU, or a leg of
                                          the suite of its own
names that no block of the page makes     those of PRELUDE
"""

import contextlib
import inspect
import re
from unittest import mock

from blocks import files
from grmrewards.judges.embedded import JUDGE, POLICY

SMALL = ("Qwen/Qwen3-0.6B", "Qwen/Qwen2.5-0.5B-Instruct")  # in the place of policies; whatever else is named judges
VISION = re.compile(r"\bQwen/Qwen[\d.]+-VL-[\w.-]+")
NAME = re.compile(r"\b(?:Qwen|unsloth|meta-llama|google|mistralai|HuggingFaceTB)/[\w.-]*\w")
ADDRESS = re.compile(r"http://[\w.-]+:\d{4,5}\b")
STEPS, LENGTH, ANSWER = 1, 16, 320

PRELUDE = {  # by page: Python that is run before its first block
}


def text(source, *, address, vision, folder):
    """A block's text with addresses, models and places replaced."""
    other = address.replace(
        "127.0.0.1", "localhost"
    )  # of a second replica, since one judge is not given one address twice
    source = re.sub(r"(?<![\w.])/tmp/", f"{folder}/", source)  # first: a checkout may lie in /tmp itself
    source = ADDRESS.sub(lambda found: other if "node2" in found[0] else address, source)
    source = VISION.sub(lambda _: str(vision()), source)
    return NAME.sub(lambda found: str(POLICY if found[0] in SMALL else JUDGE), source)


def environment(address):
    """What a command without --base-url reads."""
    return {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"{address}/v1", "WANDB_MODE": "offline", "BROWSER": "true"}


@contextlib.contextmanager
def python(source):
    """While Python of this text runs: what is replaced in the libraries that it names."""
    with contextlib.ExitStack() as stack:
        if "trl" in source:
            _shorten_training(stack)
        if "load_dataset" in source:
            _know_datasets(stack)
        if "BitsAndBytesConfig" in source:
            _without_a_gpu(stack)
        _judges(stack)
        yield


def _thought(a):
    """A verdict for one of two answers, after a thought, with log-probabilities."""
    from grmrewards import Reply, TokenLogprob

    tokens = ("<think>", "Hm.", "</think>", "\n\n", "[[A]]" if a else "[[B]]")
    return Reply(tokens[-1], "Hm.", logprobs=tuple(TokenLogprob(token, -0.1) for token in tokens))


def _shorten_training(stack):
    import trl

    for name in ("GRPOConfig", "RLOOConfig", "SFTConfig", "RewardConfig", "DPOConfig"):
        stack.enter_context(mock.patch.object(trl, name, _short(getattr(trl, name))))


def _short(config):
    """The same config, with a step or two on a CPU."""

    class Short(config):
        def __post_init__(self):
            self.use_cpu, self.bf16, self.fp16 = True, False, False
            self.max_steps = STEPS if self.max_steps < 1 else min(self.max_steps, STEPS)
            self.save_strategy = "no"
            if hasattr(self, "max_completion_length"):
                self.max_completion_length = min(self.max_completion_length or LENGTH, LENGTH)
            super().__post_init__()
            if hasattr(self, "use_vllm"):
                self.use_vllm = False

    Short.__name__ = Short.__qualname__ = f"Short{config.__name__}"
    globals()[Short.__name__] = Short  # a trainer that saves its model pickles its arguments
    return Short


def _know_datasets(stack):
    import datasets

    def load(path, *arguments, **more):
        if "/" in path:
            return datasets.Dataset.from_list(list(files.preferences()))
        return real(path, *arguments, **more)

    real = datasets.load_dataset
    stack.enter_context(mock.patch.object(datasets, "load_dataset", load))


def _without_a_gpu(stack):
    import transformers

    known = inspect.signature(transformers.BitsAndBytesConfig)
    stand_in = mock.Mock(side_effect=lambda *given, **more: known.bind(*given, **more) and None)
    stack.enter_context(mock.patch.object(transformers, "BitsAndBytesConfig", stand_in))


def _judges(stack):
    import grmrewards
    from grmrewards import ScriptedJudge
    from grmrewards.judges.transformers import TransformersJudge
    from grmrewards.judges.vllm import VLLMJudge

    known, begin = inspect.signature(VLLMJudge), TransformersJudge.__init__

    def vllm(*given, **more):
        asked = known.bind(*given, **more).arguments
        if (asked.get("chat_template_kwargs") or {}).get("enable_thinking"):
            return ScriptedJudge(lambda messages: [_thought(1), _thought(0)])
        return TransformersJudge(asked["model"], max_new_tokens=ANSWER, dtype="float32")

    def short(self, *given, **more):
        more["max_new_tokens"] = min(more.get("max_new_tokens", ANSWER), ANSWER)
        begin(self, *given, **more)

    stack.enter_context(mock.patch.object(grmrewards, "VLLMJudge", vllm, create=True))
    stack.enter_context(mock.patch.object(TransformersJudge, "__init__", short))
