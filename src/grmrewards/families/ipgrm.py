"""IP-GRM: principles from the question alone, then each response judged by them (arXiv 2602.10019).

A judge that writes its criteria with a response in view writes criteria that favour it (principle drift). IP-GRM
factorises: `P ~ p(P | q)` once a prompt, then `J, r ~ p(J, r | q, P, y)` for each of its G responses, so that
I(P; y | q) = 0 by construction. One call a prompt for the principles, kept in a cache, and one a response.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from grmrewards import ahead, arguments, parsing, principles, scoring, texts
from grmrewards.batch import JUDGING
from grmrewards.errors import ConfigError, JudgeError, ParseError
from grmrewards.keys import content_key, identity, message_parts
from grmrewards.polls import Poll, Unit
from grmrewards.principles import PrincipleCache
from grmrewards.prompts import Template
from grmrewards.rollouts import distinct
from grmrewards.types import CALL, Call, Group, Judge, Reply
from grmrewards.voted import VotedReward

FAR = 0.5  # points between the boxed score and the recomputed one that are worth an alarm


class IPGRMReward(VotedReward):
    """Scores 1 to 10 by principles that never saw a response. G + 1 calls a group, G with cached principles.

    Args:
        judge: Judges the responses, and writes the principles unless `principles_judge` is given.
        combine: "boxed" takes the judge's own final number, as published; "weighted" recomputes the weighted mean of its
            criterion scores; "auto" recomputes it where the judge gave all parts, else takes the box.
        cache_dir: A folder that keeps principles over runs and shares them between processes.
        principles_judge: A stronger judge for the principles alone.
        principles_template: The prompt for the principles, with `{question}`.
        **shared: The arguments of `VotedReward` (one vote by default) and of `Reward`. A dataset column `principles` has
            priority over writing any.

    >>> from grmrewards import ScriptedJudge
    >>> def reply(messages):
    ...     asks_for_principles = "[The Begin of Response]" not in messages[0].content
    ...     if asks_for_principles:
    ...         return "Evaluation Principles:\\n1. [Right] (Weight: 100%): is it right?"
    ...     return r"Score: \\boxed{10}"
    >>> IPGRMReward(ScriptedJudge(reply))(prompts=["1+1?"] * 2, completions=["2", "two"])
    [1.0, 1.0]
    """

    family: ClassVar[str] = "ipgrm"
    score_range: ClassVar[tuple[float, float]] = (1.0, 10.0)
    marks: ClassVar[tuple[str, ...]] = ("question", "principles", "response")
    decimals: ClassVar[int] = 1
    pointwise = True
    in_view: bool = False  # whether the writer of principles is shown the response
    if_there: ClassVar[tuple[str, ...]] = ("principles", "principals")

    def __init__(
        self,
        judge: Judge,
        *,
        combine: Literal["boxed", "weighted", "auto"] = "boxed",
        cache_dir: str | Path | None = None,
        principles_judge: Judge | None = None,
        principles_template: str | Path | None = None,
        **shared: Any,
    ) -> None:
        self.combine = arguments.one_of("combine", combine, ("boxed", "weighted", "auto"))
        self.principles_judge = arguments.judge(
            "principles_judge", judge if principles_judge is None else principles_judge
        )
        self.principles_template = Template(
            "ipgrm_principles" if principles_template is None else principles_template, required=("question",)
        )
        self.cache = PrincipleCache(cache_dir)
        self.spent_ahead: list[Call] = []  # what was asked ahead of the call that will use it
        super().__init__(judge, **shared)
        if self.score_read == "expected" and combine != "boxed":
            raise ConfigError(
                f"score='expected' with combine={combine!r}; it is the box whose number is expected: 'boxed'."
            )

    def judges(self) -> list[Judge]:
        judges = super().judges()
        return judges if any(self.principles_judge is judge for judge in judges) else [*judges, self.principles_judge]

    def prefetch(self, dataset: Any) -> int:
        """Have the principles written for each prompt of `dataset`, so that training never waits for them.

        `dataset` is the trainer's, or any sequence of rows or prompts. With `cache_dir`, what is written is kept, and an
        interrupted call goes on where it was. Returns for how many prompts there are principles; raises `JudgeOutage`
        where too large a share got none. On several processes, call it on all of them.
        """
        return ahead.prefetch(self, dataset)

    def ahead(self, dataset: Any) -> Any:
        """`dataset` for the trainer, unchanged but for this: when it fetches a batch, the principles are asked for.

        The trainer fetches a batch before its policy answers it, so an endpoint writes them meanwhile. For a judge behind
        an endpoint and one process; on several, or with a local judge, nothing is asked ahead.

        >>> trainer = GRPOTrainer(..., train_dataset=reward.ahead(dataset))  # doctest: +SKIP
        """
        return ahead.transformed(dataset, ahead.Ahead(self))

    def learned(self) -> dict[str, str]:
        return self.cache.take_new()

    def learn(self, found: Mapping[str, str]) -> None:
        self.cache.put(found)

    def show_response_to_principles(self) -> None:
        """From now on have principles written with the response in view, one group a response, without the cache.

        For measuring how far a judge bends its criteria towards what it sees (principle drift), and for nothing else.
        """
        self.in_view = True

    async def score(self, group: Group) -> list[float | None]:
        principles = await self.principles(group)
        if call := CALL.get():
            call.counts["groups_by_principles"] += 1
        while self.spent_ahead and (call := CALL.get()):
            call.add(self.spent_ahead.pop())
        self.note("principles", range(len(group.responses)), principles)
        firsts, places = distinct(group.responses)
        rows_of = [[i for i, place in enumerate(places) if place == p] for p in range(len(firsts))]
        units = [self._unit(group, rows, p, principles) for p, rows in enumerate(rows_of)]
        scores = await self.voted(units, len(firsts))
        return [scores[place] for place in places]

    async def principles(self, group: Group) -> str:
        """The principles of a prompt: the dataset's, the cache's, or new ones. Raises `JudgeError` if none can be had."""
        given = next((group.columns[name][0] for name in self.if_there if name in group.columns), None)
        if given:
            return texts.clean(str(given))
        if self.in_view:
            seen = self.messages(group, template=Template("ipgrm_in_view"), response=group.responses[0], reference=None)
            return await self._write_principles(seen)
        messages = self.messages(group, template=self.principles_template, reference=None)
        key = content_key(
            v=principles.VERSION,
            judge=await identity(self.principles_judge) if self.cache.folder else "",  # in memory it is this one
            template=self.principles_template.digest,
            temperature=0.0,
            messages=message_parts(messages),
        )
        written_by = str(getattr(self.principles_judge, "model", type(self.principles_judge).__name__))
        about = {"prompt": texts.question(group.prompt), "judge": written_by}
        return await self.cache.get(key, lambda: self._write_principles(messages), **about)

    async def _write_principles(self, messages: Sequence[Any]) -> str:
        asked: dict[str, Any] = {"judge": self.principles_judge, "temperature": 0.0, "kind": "written principles"}
        (vote,) = await self.ask(messages, parsing.principles_text, fresh=self.cache.refreshing, **asked)
        if vote.value is None:
            raise JudgeError(f"no principles: {vote.error}")
        if JUDGING.get() and (call := CALL.get()):  # not ahead of the call, nor where none came
            call.counts["principles_written"] += 1
        return vote.value

    def _unit(self, group: Group, rows: Sequence[int], place: int, principles: str) -> Unit:
        """What is asked about the response that stands at `rows` (equal texts are judged once)."""
        response = group.responses[rows[0]]
        messages = self.messages(group, row=rows[0], principles=principles, response=response)
        read = functools.partial(self._read, principles=principles)
        return Unit([Poll(group.prompt, (response,), messages, read, _find, (place,), rows)])

    def _read(self, reply: Reply, *, principles: str) -> list[float]:
        low, high = type(self).score_range
        (boxed,) = parsing.boxed_scores(reply, 1, low=low, high=high)
        if self.combine == "boxed":
            return [boxed]
        weights = parsing.weights(principles)
        scores = parsing.criterion_scores(reply.text, low=low, high=high)
        if not weights or len(weights) != len(scores):
            if self.combine == "auto":
                return [boxed]
            raise ParseError(f"{len(weights)} weights and {len(scores)} criterion scores: no weighted mean")
        weighted = scoring.weighted_average(weights, scores)
        if (call := CALL.get()) is not None:
            call.counts["recomputed"] += 1
            call.counts["box_disagrees"] += abs(boxed - weighted) > FAR
        return [weighted]


def _find(reply: Reply) -> list[tuple[int, int]]:
    return parsing.boxed_spans(reply, 1)
