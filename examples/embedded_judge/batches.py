"""Batches of token ids for `train.py`: what to draw when, what each token shall predict, sorted by length.

Nothing to run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from hints import Hint, Hints
from training_data import KINDS, LONGEST, make_example, noisy_answer, perfect_answer
from transformers import PreTrainedTokenizerFast

from grmrewards.judges.embedded.domain import make_question

EARLY_MIX = (0.06, 0.36, 0.20, 0.13, 0.25)  # shares of KINDS in the first third, while the answers' labels are learnt
LATE_MIX = (0.05, 0.20, 0.14, 0.45, 0.16)


Target = tuple[int, int, float]  # position, token to predict there, weight


@dataclass(frozen=True)
class Sample:
    """Token ids, what to predict after the last layer, and hints for what to predict after others."""

    ids: list[int]
    targets: list[Target]
    hints: dict[int, list[Hint]]


def judge_batches(
    rng: random.Random, tokenizer: PreTrainedTokenizerFast, progress: Callable[[], float], score_noise: float = 0
) -> Iterator[list[Sample]]:
    """Batches without end: short answers first, more lists and pairs later, large groups last."""
    hints = Hints(tokenizer)
    rare = {tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("forbidden", "there", "missing")}
    while True:
        mix = EARLY_MIX if progress() < 0.3 else LATE_MIX
        longest, tidy = (4 if progress() < 0.05 else LONGEST), progress() < 0.3
        kinds = rng.choices(KINDS, mix, k=512)
        groups = [rng.randint(1, 4 if progress() < 0.3 else 8) for _ in kinds]
        drawn = [
            make_example(rng, kind, group=group, longest=longest, tidy=tidy, score_noise=score_noise)
            for kind, group in zip(kinds, groups, strict=True)
        ]
        prompts = encode_prompts(tokenizer, [example.prompt for example in drawn])
        targets = tokenizer([example.target for example in drawn], add_special_tokens=False)["input_ids"]
        samples = [
            sample_of(prompt, [*target, tokenizer.eos_token_id], hints.find(example, prompt, target), rare)
            for prompt, target, example in zip(prompts, targets, drawn, strict=True)
        ]
        yield from cut_batches(rng, samples)


def policy_batches(rng: random.Random, tokenizer: PreTrainedTokenizerFast) -> Iterator[list[Sample]]:
    """Batches without end of questions with noisy answers, a perfect one in place of an empty one."""
    while True:
        questions = [make_question(rng) for _ in range(512)]
        answers = [noisy_answer(rng, question, longest=6) or perfect_answer(rng, question) for question in questions]
        prompts = encode_prompts(tokenizer, [question.text for question in questions])
        targets = tokenizer(answers, add_special_tokens=False)["input_ids"]
        samples = [sample_of(p, [*t, tokenizer.eos_token_id]) for p, t in zip(prompts, targets, strict=True)]
        yield from cut_batches(rng, samples)


def encode_prompts(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids exactly as in real use: chat template first, then no further special tokens."""
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def sample_of(
    prompt: list[int], target: list[int], hints: dict[int, list[Hint]] | None = None, rare: Container[int] = ()
) -> Sample:
    """A verdict of one token counts for four, since it stands for all that longer targets spell out; `rare` ones 3."""
    usual = 1.0 if len(target) > 2 else 4.0
    targets = [(len(prompt) - 1 + i, token, 3.0 if token in rare else usual) for i, token in enumerate(target)]
    return Sample(prompt + target, targets, hints or {})


def cut_batches(rng: random.Random, sequences: list[Sample], tokens: int = 1500) -> list[list[Sample]]:
    """Batches of about `tokens` tokens with padding, sequences of like length together, in random order."""
    batches: list[list[Sample]] = [[]]
    for sequence in sorted(sequences, key=lambda s: len(s.ids)):
        if (len(batches[-1]) + 1) * len(sequence.ids) > tokens and batches[-1]:
            batches.append([])
        batches[-1].append(sequence)
    rng.shuffle(batches)
    return batches
