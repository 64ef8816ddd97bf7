"""What a step costs as it grows: calls, tokens and seconds of the four families, against group size, votes and prompts.

Calls and tokens are counted by a judge without a model, so they are exact. Seconds are CPU seconds of the random model on
the smaller sizes, each run once, drawn relative to the family's own step of one prompt, eight responses and one vote.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speed_clock import Table, clocked, middle
from speed_judge import Judged
from speed_model import words

from grmrewards import GRAMReward, IPGRMReward, IRPMReward, ListwiseReward, Message, Reply

QUESTION = 100  # tokens
LENGTHS = (90, 110, 130, 150, 150, 170, 190, 210)  # of responses, again and again
WRITTEN = {"principles": 60, "ipgrm": 60, "irpm": 60, "listwise": 60}  # tokens, of each vote
FAMILIES = ("ipgrm", "irpm", "listwise", "gram")
AXES = {"responses": "responses a prompt (G)", "votes": "votes", "prompts": "prompts a step"}
COUNTED = {"responses": (2, 4, 8, 16, 32, 64), "votes": (1, 2, 4, 8, 16, 32), "prompts": (1, 4, 16, 64, 256, 1024)}
TIMED = {"responses": (2, 4, 8, 16), "votes": (1, 2, 4, 8), "prompts": (1, 2, 4)}
BASE = {"responses": 8, "votes": 1, "prompts": 1}


@dataclass
class Point:
    """One step of one family."""

    family: str
    axis: str
    at: int
    calls: int
    read: int
    written: int
    seconds: float | None = None  # of CPU


class Answering:
    """A judge that counts, and says what the family can read; with a judge inside, that one works as long as it should."""

    local = True

    def __init__(self, size: int, inside: Any = None) -> None:
        self.size, self.inside, self.model = size, inside, "answering"
        self.calls = self.read = self.written = 0

    async def generate(self, messages: Sequence[Message], *, n: int = 1, **sampling: Any) -> list[Reply]:
        """`n` answers to one prompt: one call."""
        asked = str(messages[0].content)
        kind = next((kind for mark, kind in MARKS.items() if mark in asked), "principles")
        self._count(asked, n * WRITTEN[kind])
        if self.inside:
            await self.inside.generate(messages, n=n, max_tokens=WRITTEN[kind], **sampling)
        return [Reply(SAYS[kind].format(", ".join(["7"] * self.size)))] * n

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """One token, by one call."""
        self._count(str(messages[0].content), 1)
        if self.inside:
            found: list[tuple[float, ...]] = await self.inside.choice_logprobs(messages, choices)
            return found
        return [(-0.7,), (-0.7,)]

    def _count(self, asked: str, written: int) -> None:
        self.calls += 1
        self.read += len(asked.split())
        self.written += written

    async def __aenter__(self) -> Answering:
        if self.inside:
            await self.inside.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self.inside:
            await self.inside.__aexit__(*error)


MARKS = {"<critique>": "irpm", "#### Responses to be Scored": "listwise", "[The Begin of Response]": "ipgrm"}
SAYS = {
    "principles": "Evaluation Principles: 1. [Right] (Weight: 100%): is it right?",
    "ipgrm": "Score: \\boxed{{7}}",
    "irpm": "<critique>.</critique><score>7</score>",
    "listwise": "Scores: \\boxed{{{}}}",
}


def step(family: str, axis: str, at: int, inside: Any = None) -> Point:
    """One step of a family, where `axis` has the value `at` and the others that of `BASE`."""
    sizes = BASE | {axis: at}
    judge, size, rng = Answering(sizes["responses"], inside), sizes["responses"], random.Random(at)
    asked = [words(rng, QUESTION) for _ in range(sizes["prompts"])]
    prompts = [question for question in asked for _ in range(size)]
    completions = [words(rng, LENGTHS[i % len(LENGTHS)]) for _ in asked for i in range(size)]
    reward = rewards(judge, sizes["votes"], size)[family]
    found, _ = clocked(lambda: reward(prompts=prompts, completions=completions))
    return Point(family, axis, at, judge.calls, judge.read, judge.written, found.cpu if inside else None)


def rewards(judge: Any, votes: int, size: int) -> Mapping[str, Any]:
    """The four families with their defaults. GRAM has no votes: both orders are its two."""
    return {
        "ipgrm": IPGRMReward(judge, votes=votes, group_size=size),
        "irpm": IRPMReward(judge, votes=votes, group_size=size),
        "listwise": ListwiseReward(judge, votes=votes, group_size=size),
        "gram": GRAMReward(judge, group_size=size),
    }


def plots(judged: Judged, folder: Path | None) -> Table:
    """Count, time, draw. The table holds the counts at G = 8 and the ratios that seconds grow by."""
    counted = [step(family, axis, at) for family in FAMILIES for axis, ats in COUNTED.items() for at in ats]
    timed = [
        step(family, axis, at, inside=judged.judge())
        for family in FAMILIES
        for axis, ats in TIMED.items()
        for at in ats
        if family != "gram" or axis != "votes"
    ]
    if folder:
        draw(counted, timed, folder / "speed-growth.png")
    return table(counted, timed)


def table(counted: Sequence[Point], timed: Sequence[Point]) -> Table:
    """Every point in one row."""
    found = Table("plots", head=["", "at", "calls", "tokens read", "tokens written", "CPU, of the family's base"])
    base = bases(timed)
    seconds = {(p.family, p.axis, p.at): (p.seconds or 0.0) / base[p.family] for p in timed}
    for p in counted:
        ratio = seconds.get((p.family, p.axis, p.at))
        cells = (f"{p.family}, {AXES[p.axis]}", f"{p.at:,}", f"{p.calls:,}", f"{p.read:,}", f"{p.written:,}")
        found.rows.append([*cells, "" if ratio is None else f"{ratio:.2f}"])
    return found


def bases(timed: Sequence[Point]) -> dict[str, float]:
    """Each family's own seconds of one prompt, eight responses and one vote: the median, since it is on every axis."""
    found = {
        family: [p.seconds or 0.0 for p in timed if p.family == family and p.at == BASE[p.axis]] for family in FAMILIES
    }
    return {family: middle(seconds) for family, seconds in found.items()}


def draw(counted: Sequence[Point], timed: Sequence[Point], path: Path) -> None:
    """Three rows of panels, one column an axis."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    base = bases(timed)
    figure, panels = plt.subplots(3, 3, figsize=(10, 8.5), sharex="col", sharey="row", layout="constrained")
    for column, (axis, label) in enumerate(AXES.items()):
        for family, marker in zip(FAMILIES, "os^D", strict=True):
            own = [p for p in counted if (p.family, p.axis) == (family, axis)]
            real = [p for p in timed if (p.family, p.axis) == (family, axis)]
            ats = [p.at for p in own]
            style: dict[str, Any] = {"marker": marker, "markersize": 4, "label": family}
            panels[0, column].plot(ats, [p.calls for p in own], **style)
            panels[1, column].plot(ats, [p.read + p.written for p in own], **style)
            panels[2, column].plot([p.at for p in real], [(p.seconds or 0.0) / base[family] for p in real], **style)
        panels[2, column].set_xlabel(label)
    for row, label in enumerate(
        ("calls", "tokens, read and written", "CPU seconds,\nof its own G = 8, 1 vote, 1 prompt")
    ):
        panels[row, 0].set_ylabel(label)
    for panel in panels.flat:
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    for column, at in enumerate(COUNTED.values()):
        panels[2, column].set_xticks(at, [str(value) for value in at])
    panels[0, 0].legend()
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)
