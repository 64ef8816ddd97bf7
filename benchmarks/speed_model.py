"""The judge whose speed is measured: random weights, and a tokenizer that makes one token of each word.

    FULL       29 million parameters; a question of 400 tokens with its instructions, eight responses of 90 to 210
    SMALL      half of that length on a sixth of the weights, for the leg that CI runs

Forward passes cost the same whatever the weights say, so none is downloaded. With a word a token, a text is as many tokens
long as it says, and what was sampled can be read back from the text of a reply without loss.
"""

from __future__ import annotations

import importlib.resources
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

WORDS = 8192
LABELS = ("A", "B")
SPREAD = 0.06  # of the weights: greedy answers of a flatter model are one word over and over


@dataclass(frozen=True)
class Sizes:
    """The model, and how many tokens each text has."""

    hidden: int = 512
    layers: int = 8
    heads: int = 8
    inner: int = 1536
    prefix: int = 400  # instructions and question
    responses: tuple[int, ...] = (90, 110, 130, 150, 150, 170, 190, 210)
    baseline: int = 150
    separator: int = 15  # between two responses
    tail: int = 12  # after the last response, as "#Preferred:"
    critique: int = 120
    votes: int = 4

    @property
    def prompts(self) -> tuple[int, ...]:
        """The tokens of each response's own prompt."""
        return tuple(self.prefix + response + self.tail for response in self.responses)


FULL = Sizes()
SMALL = Sizes(
    hidden=256,
    layers=4,
    heads=4,
    inner=768,
    prefix=200,
    responses=(45, 55, 65, 75, 75, 85, 95, 105),
    baseline=75,
    critique=24,
)


class Texts:
    """Random words in the lengths of `sizes`, the same for the same seed."""

    def __init__(self, sizes: Sizes, *, seed: int) -> None:
        rng = random.Random(seed)
        self.sizes = sizes
        self.prefix = words(rng, sizes.prefix)
        self.responses = [words(rng, length) for length in sizes.responses]
        self.baseline = words(rng, sizes.baseline)
        self.separator, self.tail = words(rng, sizes.separator), words(rng, sizes.tail)

    def judged(self) -> list[str]:
        """The prompt for each response alone."""
        return [f"{self.prefix} {response} {self.tail}" for response in self.responses]

    def pair(self, first: str, second: str) -> str:
        """The prompt that compares two responses."""
        return f"{self.prefix} {first} {self.separator} {second} {self.tail}"

    def pairs(self) -> list[str]:
        """All ordered pairs of two responses."""
        return [self.pair(first, second) for first, second in itertools.permutations(self.responses, 2)]

    def against_baseline(self) -> list[str]:
        """The baseline and each response, in this order."""
        return [self.pair(self.baseline, response) for response in self.responses]


def words(rng: random.Random, length: int) -> str:
    """A text of `length` tokens that no template contains."""
    return " ".join(f"t{rng.randrange(WORDS // 2, WORDS)}" for _ in range(length))


def tokenizer() -> Any:
    """One token for each word between blanks. The words of the default templates have one each, as have "A" and "B"."""
    known = ["<pad>", "<unk>", *(f"t{i}" for i in (2, 3, 4)), "A", "B"]
    for file in sorted((importlib.resources.files("grmrewards") / "prompts").iterdir(), key=lambda file: file.name):
        known += file.read_text(encoding="utf-8").split() if file.name.endswith(".txt") else []
    known = list(dict.fromkeys(known))
    vocabulary = {word: i for i, word in enumerate([*known, *(f"t{i}" for i in range(len(known), WORDS))])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=plain, clean_up_tokenization_spaces=False)
    wrapped.model_input_names = ["input_ids", "attention_mask"]
    wrapped.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return wrapped


def model(sizes: Sizes, *, seed: int) -> Any:
    """A Qwen3 with random weights that never ends an answer by itself."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=WORDS,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads // 2,
        head_dim=64,
        intermediate_size=sizes.inner,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    made = Qwen3ForCausalLM(config).eval()
    made.generation_config.eos_token_id, made.generation_config.pad_token_id = None, 0
    return made


def ids(tokens: Any, text: str) -> list[int]:
    """The token ids of a text."""
    return list(tokens(text, add_special_tokens=False)["input_ids"])


def left_padded(rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """The rows as one batch, as `generate` wants it."""
    longest = max(map(len, rows))
    filled = [[0] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return {"input_ids": torch.tensor(filled), "attention_mask": torch.tensor(mask)}
