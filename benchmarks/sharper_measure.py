"""A judge that remembers: what it once said it says again, so that methods are compared on the same votes.

"8 votes" are then the first eight of "16 votes", and a filter chooses among the very same ones. What a method asked for is
counted whether it was known or not. Answers are kept in a file, by the judge's weights, so that a second run is quick.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from grmrewards import Message, Reply, TransformersJudge
from grmrewards.types import TokenLogprob

Logprobs = list[tuple[float, ...]]


@dataclass
class Asked:
    """What a judge was asked for."""

    answers: int = 0  # written ones: a request for eight counts eight
    looks: int = 0  # at the probabilities of set continuations: one forward pass
    written: int = 0  # tokens
    read: int = 0  # tokens of prompts, once for each answer, as an endpoint would bill them


MOST_TOKENS = 640  # eight long answers in one list need more than the 320 of the demo


class Pool:
    """The judge in a folder, through a memory. An async context manager as a local judge is."""

    local = True
    exact_choices = True

    def __init__(self, folder: Path, memory: Path) -> None:
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]
        self.path = memory.with_name(f"{memory.name}-{weights}.pickle")
        self.inner = TransformersJudge(str(folder), device="cpu", dtype=torch.float32, max_new_tokens=MOST_TOKENS)
        self.model = self.inner.model
        self.asked = Asked()
        self._known: dict[Any, Any] = pickle.loads(self.path.read_bytes()) if self.path.exists() else {}
        self._digests: dict[tuple[Message, ...], bytes] = {}

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        top_logprobs: int | None = None,
    ) -> list[Reply]:
        """As the judge in the folder, always with the log-probabilities of what it wrote and without alternatives."""
        digest = self._digest(messages)
        seeds = [0 if temperature == 0 else (seed or 0) + i for i in range(n)]
        keys = [(digest, temperature, max_tokens, own) for own in seeds]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        said = {"temperature": temperature, "max_tokens": max_tokens, "top_logprobs": 1}
        found = await asyncio.gather(*(self.inner.generate(messages, seed=seeds[i], **said) for i in new))
        self._known.update((keys[i], _without_alternatives(reply)) for i, (reply,) in zip(new, found, strict=True))
        replies: list[Reply] = [self._known[key] for key in keys]
        self.asked.answers += n
        self.asked.written += sum(reply.completion_tokens for reply in replies)
        self.asked.read += sum(reply.prompt_tokens for reply in replies)
        return replies

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> Logprobs:
        """As the judge in the folder."""
        key = (self._digest(messages), tuple(choices))
        if key not in self._known:
            self._known[key] = await self.inner.choice_logprobs(messages, choices)
        self.asked.looks += 1
        found: Logprobs = self._known[key]
        return found

    async def identity(self) -> str:
        """That of the judge in the folder."""
        return await self.inner.identity()

    def check_choices(self, choices: Sequence[str]) -> None:
        """That of the judge in the folder."""
        self.inner.check_choices(choices)

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Those of the judge in the folder."""
        return self.inner.control_tokens

    async def __aenter__(self) -> Pool:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.inner.__aexit__(*error)

    def take(self) -> Asked:
        """What was asked since this was last called."""
        asked, self.asked = self.asked, Asked()
        return asked

    def save(self) -> None:
        """Keep what is known, in one piece: another process may read it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        draft.write_bytes(pickle.dumps(self._known, protocol=pickle.HIGHEST_PROTOCOL))
        draft.replace(self.path)

    def _digest(self, messages: Sequence[Message]) -> bytes:
        asked = tuple(messages)
        if asked not in self._digests:
            self._digests[asked] = hashlib.sha256(repr([(m.role, m.content) for m in asked]).encode()).digest()[:16]
        return self._digests[asked]


def _without_alternatives(reply: Reply) -> Reply:
    """An exact judge is asked for the log-probabilities of a score, so nobody reads the alternatives of a token."""
    return replace(reply, logprobs=tuple(TokenLogprob(step.token, step.logprob) for step in reply.logprobs))
