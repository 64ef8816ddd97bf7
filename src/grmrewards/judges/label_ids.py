"""The tokens that write a label, and whether a server gives the exact log-probability of each (`logprob_token_ids`).

vLLM gives those of the tokens that a request names, however unlikely they are, instead of those of the likeliest 20.
Which tokens write "A" the server says itself (POST /tokenize). Others take the field and ignore it, or refuse it, so a
tiny request is asked with it before the first labels, and only an answer of exactly these tokens is believed. Whatever
goes wrong here, labels are read from the likeliest tokens.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from grmrewards.errors import GRMError
from grmrewards.judges.faults import Again, Refused
from grmrewards.judges.replies import bare, named, parsed, top_logprobs
from grmrewards.types import CALL

if TYPE_CHECKING:
    from grmrewards.judges.endpoint import Endpoint
    from grmrewards.judges.replica import Lane

LOG = logging.getLogger("grmrewards")
FIELD = "logprob_token_ids"
MOST_IDS = 128  # that vLLM takes
TESTS, PAUSE = 3, 60.0  # in a process, for other labels or after one that showed nothing, and seconds between such
LONGEST, WARM_UP = 5.0, 30.0  # seconds for the tokens, and for the answer: the first log-probabilities of a vLLM took 7
SHARE = 4  # of the time that a call has left: the rest is for its judgements
ASK = {"role": "user", "content": "Which is better, A or B?"}
TEST = {"messages": [ASK], "max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}
Ids = dict[int, str]  # token -> the label that it writes


class LabelIds:
    """The tokens of labels, looked up and tested once a process, by two tiny requests a server.

    Not where `wanted` is False, and not where the user sends a list of his own.
    """

    def __init__(self, endpoint: Endpoint, extra: Mapping[str, Any], *, wanted: bool = True) -> None:
        self.endpoint, self.extra = endpoint, extra
        self.wanted = wanted and FIELD not in extra
        self._pid, self._tests, self._rests_until = 0, 0, 0.0
        self._known: dict[tuple[str, ...], Ids] = {}

    async def of(self, labels: Sequence[str]) -> Ids:
        """The tokens whose log-probabilities to ask for; none where they would not come. The endpoint must be open."""
        key = tuple(labels)
        if self.wanted and not self._settled(key):
            async with self.endpoint.testing():
                if not self._settled(key):
                    await self._test(key)
        return self._known.get(key, {})

    async def seen(self, labels: Sequence[str]) -> str:
        """What the server does: "exact", "absent", or "" where that could not be seen."""
        ids = await self.of(labels)
        return "exact" if ids else "absent" if tuple(labels) in self._known else ""

    def drop(self) -> None:
        """A judgement was refused with them, and not without."""
        if any(self._known.values()):
            LOG.warning("%s refuses %s now: labels are read from the likeliest tokens.", self.endpoint.where(), FIELD)
        self._known, self._tests = {labels: {} for labels in self._known}, TESTS

    def _settled(self, labels: tuple[str, ...]) -> bool:
        """Whether there is nothing more to see, for now."""
        if self._pid != os.getpid():
            self._pid, self._tests, self._rests_until, self._known = os.getpid(), 0, 0.0, {}
        return labels in self._known or self._tests >= TESTS or time.monotonic() < self._rests_until

    async def _test(self, labels: tuple[str, ...]) -> None:
        """Servers that cannot be reached are left out; all others must say the same."""
        try:
            found = await asyncio.gather(*(self._one(lane, labels) for lane in self.endpoint.lanes()))
        finally:
            self._tests += 1
        told = [ids for ids in found if ids is not None]
        if told:
            self._known[labels] = told[0] if all(ids == told[0] for ids in told) else {}
        else:
            self._rests_until = time.monotonic() + PAUSE

    async def _one(self, lane: Lane, labels: Sequence[str]) -> Ids | None:
        """The tokens that one server gives exact values of; none where it does not, None where that was not seen."""
        try:
            ids = await self._looked_up(lane, labels)
            fields = {**TEST, **self.extra, FIELD: [*ids], "return_tokens_as_token_ids": True}
            return ids if ids and exact(await self.endpoint.once(lane, fields, self._seconds(WARM_UP)), ids) else {}
        except Again as again:
            LOG.debug("%s: exact log-probabilities of labels were not seen: %s", lane.where, again)
            return None
        except (Refused, GRMError) as refusal:
            LOG.debug("%s: %s is refused: %s", lane.where, FIELD, refusal)
            return {}

    async def _looked_up(self, lane: Lane, labels: Sequence[str]) -> Ids:
        """The tokens that write the labels; none where the server does not tell those of each."""
        asked = {"prompt": ways(labels), "add_special_tokens": False, "return_token_strs": True}
        answer = await lane.carrier.tokenize({"model": self.endpoint.model, **asked}, self._seconds(LONGEST))
        if answer is not None and (answer.status == 429 or answer.status >= 500):
            raise Again(f"HTTP {answer.status}")
        ids = written(parsed(answer.raw), labels) if answer is not None and answer.status < 300 else {}
        return ids if set(ids.values()) == set(labels) and len(ids) <= MOST_IDS else {}

    def _seconds(self, longest: float) -> float:
        call, longest = CALL.get(), min(longest, self.endpoint.timeout)
        if call is None or call.deadline is None:
            return longest
        return max(0.001, min(longest, (call.deadline - asyncio.get_running_loop().time()) / SHARE))


def ways(labels: Sequence[str]) -> str:
    """A text in which each label stands as it may begin an answer: at the start of a line, and after a space.

    >>> ways(("A", "B"))
    '\\n\\nA\\n\\nB A B'
    """
    return "".join(f"\n\n{label}" for label in labels) + "".join(f" {label}" for label in labels)


def written(data: Any, labels: Sequence[str]) -> Ids:
    """The tokens, in the answer of /tokenize, that are one label and no more.

    >>> written({"tokens": [9, 35, 300, 7], "token_strs": ["Ċ", "A", "ĠA", "Bee"]}, ("A", "B"))
    {35: 'A', 300: 'A'}
    """
    tokens, texts = (data.get("tokens"), data.get("token_strs")) if isinstance(data, dict) else (None, None)
    if not isinstance(tokens, list) or not isinstance(texts, list) or len(tokens) != len(texts):
        return {}
    pairs = [(i, bare(text)) for i, text in zip(tokens, texts, strict=True) if type(i) is int and isinstance(text, str)]
    return {i: label for i, label in pairs if label in labels}


def exact(data: Mapping[str, Any], ids: Ids) -> bool:
    """Whether an answer has the log-probability of each of these tokens and, but for the sampled one, of no other."""
    found = top_logprobs(data)
    wanted = {named(i) for i in ids}
    return wanted <= {token for token, _ in found} and len(found) <= len(wanted) + 1
