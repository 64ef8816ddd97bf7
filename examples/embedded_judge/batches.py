"""Batches of token ids for `train.py`: what to draw when, what each token shall predict, sorted by length.

Nothing to run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hints import Hint, Hints
from training_data import KINDS, LONGEST, make_example, noisy_answer
from transformers import PreTrainedTokenizerFast

from grmrewards.judges.embedded.domain import make_question

EARLY_MIX = (0.12, 0.38, 0.20, 0.05, 0.25)  # shares of KINDS in the first third, while the answers' labels are learnt
LATE_MIX = (0.08, 0.17, 0.11, 0.30, 0.34)


Target = tuple[int, int, float]  # position, token to predict there, weight


@dataclass(frozen=True)
class Sample:
    """Token ids, (position, token to predict there, weight) for the last layer, and hints for the first one."""

    ids: list[int]
    targets: list[Target]
    early: Sequence[Hint] = ()


def judge_batches(
    rng: random.Random, tokenizer: PreTrainedTokenizerFast, progress: Callable[[], float], hint_weight: float
) -> Iterator[list[Sample]]:
    """Batches without end: short answers first, more lists and pairs later, large groups last."""
    hints = Hints(tokenizer)
    while True:
        mix = EARLY_MIX if progress() < 0.3 else LATE_MIX
        longest, tidy = (4 if progress() < 0.05 else LONGEST), progress() < 0.3
        kinds = rng.choices(KINDS, mix, k=512)
        groups = [rng.randint(1, 4 if progress() < 0.45 else 8) for _ in kinds]
        drawn = [
            make_example(rng, kind, group=group, longest=longest, tidy=tidy)
            for kind, group in zip(kinds, groups, strict=True)
        ]
        prompts = encode_prompts(tokenizer, [example.prompt for example in drawn])
        targets = tokenizer([example.target for example in drawn], add_special_tokens=False)["input_ids"]
        samples = []
        for prompt, target, example in zip(prompts, targets, drawn, strict=True):
            late, early = hints.find(example, prompt, target)
            samples.append(
                sample_of(prompt, [*target, tokenizer.eos_token_id], [(*hint, hint_weight) for hint in late], early)
            )
        yield from cut_batches(rng, samples)


def policy_batches(rng: random.Random, tokenizer: PreTrainedTokenizerFast) -> Iterator[list[Sample]]:
    """Batches without end of questions with noisy answers."""
    while True:
        questions = [make_question(rng) for _ in range(512)]
        answers = [noisy_answer(rng, question, longest=6) for question in questions]
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


def sample_of(prompt: list[int], target: list[int], late: Sequence[Target] = (), early: Sequence[Hint] = ()) -> Sample:
    """A verdict of one token counts for four, since it stands for all that longer targets spell out."""
    weight = 1.0 if len(target) > 2 else 4.0
    targets = [(len(prompt) - 1 + i, token, weight) for i, token in enumerate(target)]
    return Sample(prompt + target, [*targets, *late], early)


def cut_batches(rng: random.Random, sequences: list[Sample], tokens: int = 1500) -> list[list[Sample]]:
    """Batches of about `tokens` tokens with padding, sequences of like length together, in random order."""
    batches: list[list[Sample]] = [[]]
    for sequence in sorted(sequences, key=lambda s: len(s.ids)):
        if (len(batches[-1]) + 1) * len(sequence.ids) > tokens and batches[-1]:
            batches.append([])
        batches[-1].append(sequence)
    rng.shuffle(batches)
    return batches
