"""The tokenizer of the embedded judge, in which each fixed text of the templates is a single token.

Nothing to run. The five default templates are two to three hundred words each; as ordinary text they would fill the
window of a model with half a million parameters and take all of its training. Their fixed pieces never change, so each
is registered as one added token, taken from the templates themselves. A prompt is then some 50 tokens, most of them
the question and the answers. The price: the judge cannot read a template that was edited.

The rest is byte-level BPE with a vocabulary in which each word of the domain is one token. It loads with
`AutoTokenizer.from_pretrained` in transformers 4.56 and 5.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from training_data import KINDS, LARGEST_GROUP, STRAY_WORDS, make_example, template
from transformers import PreTrainedTokenizerFast

from grmrewards.judges.embedded.domain import CATEGORY_OF
from grmrewards.prompts import RESPONSE_HEAD, RESPONSE_TAIL

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TARGET_CHUNKS = (
    "Evaluation Principles:\n1. [Count] (Weight: 30%): exactly",
    "Evaluation Principles:\n1. [Count] (Weight: 35%): exactly",
    " items.\n2. [Kind] (Weight: 40%): every item is one of the",
    " items.\n2. [Kind] (Weight: 45%): every item is one of the",
    ".\n3. [No Repeats] (Weight: 15%): no item comes again.",
    ".\n3. [No Repeats] (Weight: 20%): no item comes again.",
    "\n4. [Required Item] (Weight: 15%): the item",
    "\n4. [Forbidden Item] (Weight: 15%): the item",
    "Analysis:",
    "\nScore: \\boxed{",
    "\nScores: \\boxed{",
    "<critique>",
    "</critique><score>",
    "</score>",
)
TURN_CHUNKS = ("user\n", "assistant\n")


def prompt_chunks() -> list[str]:
    """Every fixed piece of every default template, and the markers of the numbered responses."""
    pieces = [piece.text for kind in KINDS for piece in template(kind).pieces if not piece.name]
    numbered = [form.format(i=i) for form in (RESPONSE_HEAD, RESPONSE_TAIL) for i in range(1, LARGEST_GROUP + 1)]
    return list(dict.fromkeys(pieces + numbered))


def judge_chunks() -> list[str]:
    """The same, and every fixed text of the targets."""
    lines = ["Response 1:", *(f"\nResponse {i}:" for i in range(2, LARGEST_GROUP + 1))]
    return list(dict.fromkeys([*prompt_chunks(), *TARGET_CHUNKS, *lines]))


def build_tokenizer(vocab_size: int = 660, chunks: bool = True) -> PreTrainedTokenizerFast:
    """The judge's tokenizer, or without `chunks` the policy's, which must not be able to write template text."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = byte_level, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=byte_level.alphabet(),
        special_tokens=[PAD, START, END],
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    added = [*(judge_chunks() if chunks else ()), *TURN_CHUNKS]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in added])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        add_prefix_space=True,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    _require_single_tokens(wrapped)
    return wrapped


def _corpus(examples: int = 3000) -> list[str]:
    """Prompts and targets without their chunks, and each word of the domain often enough to become one token."""
    rng = random.Random(0)
    chunks = re.compile("|".join(map(re.escape, sorted(judge_chunks(), key=len, reverse=True))))
    drawn = [make_example(rng, KINDS[i % len(KINDS)]) for i in range(examples)]
    texts = [chunks.sub(" ", text) for example in drawn for text in (example.prompt, example.target)]
    words = [f" {word}" for word in (*CATEGORY_OF, *STRAY_WORDS) for _ in range(150)]
    return texts + words + [f" {label}" for label in ("A", "B", *range(11)) for _ in range(150)]


def _require_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    """Words and verdicts must be one token each: verdicts for their log-probabilities, words for the accuracy."""
    for word in ("A", "B", *CATEGORY_OF, *map(str, range(1, 11))):
        if len(ids := tokenizer(word, add_special_tokens=False)["input_ids"]) != 1:
            raise ValueError(f"{word!r} is {len(ids)} tokens; raise vocab_size")


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """tokenizer.json and a tokenizer_config.json that transformers 4.56 and 5 read alike."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "padding_side": "left",
        "model_max_length": 2048,
        "model_input_names": ["input_ids", "attention_mask"],
        "add_prefix_space": True,  # transformers 4 would else set it to false in tokenizer.json too
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
