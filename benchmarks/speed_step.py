"""A training step of IP-GRM on a local judge: principles once a prompt, against criteria written in every judgement.

The baseline writes criteria and critique for each response, as a pointwise judge does. IP-GRM writes the criteria once a
prompt ("cold") or has them in its cache ("warm"), and then a critique for each response. All three are real rewards on the
same judge. Its random words stay counted; what is handed to the reward is a text as long that it can read.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import speed_bound
import speed_tokens
from speed_clock import Exact, Factor, Table, middle, paired, ratios
from speed_judge import Judged
from speed_model import words

from grmrewards import IPGRMReward, IRPMReward, Message, Reply, TransformersJudge

GOAL = 0.60  # of the baseline; published is 0.763 with a warm cache, on hardware and lengths that are not known
QUESTION = 100  # tokens
HEADER = "Evaluation Principles: 1. [Right] (Weight: 100%):"
CRITIQUES = {"ipgrm": "{} Score: \\boxed{{7.0}}", "irpm": "<critique> {} </critique><score>7.0</score>"}
FIXED = {"principles": 6, "ipgrm": 2, "irpm": 3}  # words beside the random ones
Lengths = tuple[int, int]  # tokens of the criteria and of a critique


class Speaking:
    """`judge` with the words of a real one: it writes as many tokens as it should, and says what a reward can read."""

    local = True

    def __init__(self, judge: TransformersJudge, *, criteria: int, critique: int, together: int) -> None:
        self.judge, self.model = judge, "speaking"
        self.lengths = {"principles": criteria, "ipgrm": critique, "irpm": together}
        self.read: list[str] = []  # the prompts
        self.written: list[Reply] = []

    async def generate(self, messages: Sequence[Message], *, n: int = 1, **sampling: Any) -> list[Reply]:
        """The judge's own answers with other words."""
        asked = str(messages[0].content)
        kind = "principles" if "[The Begin of Response]" not in asked and "<critique>" not in asked else ""
        kind = kind or ("irpm" if "<critique>" in asked else "ipgrm")
        replies = await self.judge.generate(messages, n=n, max_tokens=self.lengths[kind], **sampling)
        self.read += [asked] * n
        self.written += replies
        return [dataclasses.replace(reply, text=self._text(kind, asked), finish_reason="stop") for reply in replies]

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """The judge's own."""
        return await self.judge.choice_logprobs(messages, choices)

    def _text(self, kind: str, asked: str) -> str:
        filling = words(random.Random(asked), self.lengths[kind] - FIXED[kind])
        return f"{HEADER} {filling}" if kind == "principles" else CRITIQUES[kind].format(filling)

    async def __aenter__(self) -> Speaking:
        await self.judge.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.judge.__aexit__(kind, error, trace)

    def tokens(self) -> tuple[int, int]:
        """Read and written so far."""
        return sum(r.prompt_tokens for r in self.written), sum(r.completion_tokens for r in self.written)


class Step:
    """One batch of a trainer, and the three ways to judge it."""

    def __init__(self, judged: Judged, lengths: Lengths, *, groups: int) -> None:
        rng, self.judged, self.lengths, self.groups = random.Random(judged.seed), judged, lengths, groups
        asked = [words(rng, QUESTION) for _ in range(groups)]
        self.prompts = [question for question in asked for _ in judged.sizes.responses]
        self.completions = [words(rng, length) for _ in asked for length in judged.sizes.responses]
        self.last: dict[str, Speaking] = {}

    def way(self, name: str) -> Callable[[], Callable[[], object]]:
        """One of "baseline", "cold" and "warm", with a judge and a cache of its own in each run."""

        def ready() -> Callable[[], object]:
            criteria, critique = self.lengths
            judge = Speaking(self.judged.judge(), criteria=criteria, critique=critique, together=criteria + critique)
            size = len(self.judged.sizes.responses)
            known = IPGRMReward(judge, group_size=size)
            reward = IRPMReward(judge, group_size=size) if name == "baseline" else known
            if name == "warm":
                known.prefetch([{"prompt": prompt} for prompt in dict.fromkeys(self.prompts)])
                judge.read.clear()
                judge.written.clear()
            self.last[name] = judge
            return lambda: reward(prompts=self.prompts, completions=self.completions)

        return ready

    def tokens(self, name: str) -> str:
        """Read and written in the last run."""
        read, written = self.last[name].tokens()
        return f"{read:,} + {written:,}"

    def exact(self, name: str) -> Exact:
        """Whether a plain forward pass, token by token, would have written the same in the last run."""
        judge = self.last[name]
        same = sum(self.judged.greedy(text, reply) for text, reply in zip(judge.read, judge.written, strict=True))
        return Exact(None, same, len(judge.written))

    def bound(self) -> None:
        """A warm step's tokens once, and its critiques side by side."""
        sizes, critique = self.judged.sizes, self.lengths[1]
        rows = self.groups * len(sizes.responses)
        read = self.last["warm"].tokens()[0] // rows
        ends = sum(sizes.responses) + 10 * len(sizes.responses)
        prefix = read - ends // len(sizes.responses)
        speed_bound.prefill(self.judged.model, self.groups * speed_tokens.shared(prefix, [ends]))
        speed_bound.decode(self.judged.model, rows=rows, context=read + critique // 2, steps=critique)


def ipgrm(judged: Judged, *, rounds: int, cases: Sequence[tuple[Lengths, int]]) -> list[Table]:
    """A table for each length of the texts and number of prompts a step; steps of several are long enough to run once."""
    return [one_case(Step(judged, lengths, groups=groups), rounds if groups == 1 else 1) for lengths, groups in cases]


def one_case(step: Step, rounds: int) -> Table:
    """The lines and factors of one step."""
    names, (criteria, critique) = ("baseline", "cold", "warm"), step.lengths
    case = f"{criteria}+{critique} x{step.groups}"
    runs, _ = paired({name: step.way(name) for name in names} | {"bound": step.judged.plain(step.bound)}, rounds)
    table = Table(f"ipgrm {case}")
    says = ("criteria in every judgement", "**IP-GRM, principles written**", "**IP-GRM, principles known**")
    for name, way in zip(names, says, strict=True):
        table.add(way, runs[name], tokens=step.tokens(name), exact=step.exact(name))
    table.add("bound of the last: forward passes, nothing else", runs["bound"], exact="no judgement")
    size = len(step.judged.sizes.responses)
    floor = speed_tokens.written(step.groups, size, criteria=criteria, critique=critique)
    seconds = {name: ratios(runs[name], runs["baseline"]) for name in ("cold", "warm", "bound")}
    cold = step.last["cold"].tokens()[1] / step.last["baseline"].tokens()[1]
    promised = criteria >= critique  # shorter criteria save less than what is promised
    table.factors = [
        Factor(f"{table.name} warm", "CPU, principles known", seconds["warm"], GOAL, middle(seconds["bound"])),
        Factor(f"{table.name} cold", "CPU, principles written", seconds["cold"], None),
        Factor(
            f"{table.name} tokens", "tokens written, principles too", [cold], GOAL, floor["cold"] / floor["baseline"]
        ),
    ]
    for factor in table.factors:
        factor.at_most = True
        factor.goal = factor.goal if promised else None
    return table
