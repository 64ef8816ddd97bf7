"""The options to use, from what was found; as a line of Python and as a line for the shell. Pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grmrewards.doctor.diagnosis import FAMILIES, Diagnosis, Doubt
from grmrewards.doctor.speed import Speed

Votes = int | tuple[int, int]
BY_DOUBT: dict[Doubt, tuple[Votes, str]] = {
    "score": (1, "expected"),
    "critique": ((2, 16), "sampled"),
    "both": ((2, 16), "expected"),
    "none": (1, "sampled"),
    "unseen": (8, "sampled"),
    "unread": (1, "sampled"),
}
CUT_OFF = 0.01  # the share of answers from which a longer limit is worth its time
FULL = 0.75  # of the requests that may be sent at once, as many went on: it could bear more


@dataclass(frozen=True)
class Where:
    """Which judge it is, as it was given; `template` is a path."""

    model: str
    base_url: str | None = None
    local: bool = False
    template: str | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Options:
    """What to use. None: what it is by default."""

    family: str
    votes: Votes
    score: str
    max_tokens: int | None = None
    max_concurrency: int | None = None

    @property
    def votes_on_average(self) -> float:
        """That are paid for: adaptive ones spend twice the least, as is `VotedReward`'s default."""
        return float(min(2 * self.votes[0], self.votes[1]) if isinstance(self.votes, tuple) else self.votes)


def advise(
    found: Diagnosis,
    speed: Speed,
    *,
    family: str,
    limit: int,
    max_tokens: int | None = None,
    max_concurrency: int | None = None,
    at_once: int | None = None,
    samples: bool = True,
) -> Options:
    """What the figures suggest for a family.

    `limit` is that of the tokens of an answer, `at_once` that of requests (None: there is none); `max_tokens` and
    `max_concurrency` are what was given for them and stay where nothing speaks against it. `samples`: whether answers at
    temperature 1 differ, where that is known.
    """
    votes, score = BY_DOUBT[found.doubt]
    if not samples:
        votes = 1
    busy = at_once is not None and speed.prompts_at_once >= at_once and speed.parallel >= FULL * at_once
    return Options(
        family,
        votes,
        score,
        max_tokens=2 * limit if found.cut_off >= CUT_OFF else max_tokens,
        max_concurrency=2 * at_once if busy and at_once else max_concurrency,
    )


def python(where: Where, options: Options) -> str:
    """The line that builds the reward.

    >>> python(Where("m", "http://localhost:8000/v1"), Options("irpm", (2, 16), "expected", max_tokens=4096))
    "IRPMReward(OpenAIJudge('m', base_url='http://localhost:8000/v1', max_tokens=4096), votes=(2, 16), score='expected')"
    """
    of_reward: dict[str, Any] = {"votes": options.votes}
    of_reward |= {"score": "expected"} if options.score == "expected" else {}
    of_reward |= {"template": where.template} if where.template else {}
    if where.local and where.temperature is not None:
        of_reward["temperature"] = where.temperature
    return f"{FAMILIES[options.family].__name__}({_judge(where, options)}, {_arguments(of_reward)})"


def _judge(where: Where, options: Options) -> str:
    if where.local and where.model == "embedded":
        return "TransformersJudge.embedded()"
    length = {"max_new_tokens" if where.local else "max_tokens": options.max_tokens}
    if where.local:
        return f"TransformersJudge({_arguments(length, where.model)})"
    given = {"base_url": where.base_url, "temperature": where.temperature, **length}
    return f"OpenAIJudge({_arguments({**given, 'max_concurrency': options.max_concurrency}, where.model)})"


def _arguments(named: Mapping[str, Any], *first: Any) -> str:
    return ", ".join([*map(repr, first), *(f"{name}={value!r}" for name, value in named.items() if value is not None)])


def shell(where: Where, options: Options) -> str:
    """The same for `grmrewards judge`.

    >>> shell(Where("embedded", local=True), Options("listwise", (2, 16), "sampled"))
    'grmrewards judge --model embedded --local --family listwise --votes 2,16'
    """
    votes = options.votes if isinstance(options.votes, int) else ",".join(map(str, options.votes))
    named = {
        "--base-url": where.base_url,
        "--max-tokens": options.max_tokens,
        "--temperature": where.temperature,
        "--max-concurrency": options.max_concurrency,
        "--family": options.family,
        "--votes": votes,
        "--score": None if options.score == "sampled" else options.score,
        "--template": where.template,
    }
    words = ["grmrewards", "judge", "--model", where.model, *(["--local"] if where.local else [])]
    return shlex.join([*words, *(str(w) for pair in named.items() if pair[1] is not None for w in pair)])
