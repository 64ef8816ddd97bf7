"""What a family works with: the prompt for a judge, votes on it, the log-probabilities of set answers, and notes.

`Reward` is one of these with a trainer on its other side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from grmrewards import asking, keys, texts
from grmrewards.asking import Logprobs
from grmrewards.batch import JUDGING
from grmrewards.journal import Journal
from grmrewards.prompts import Template
from grmrewards.types import CALL, Group, Judge, Message, Part, Reply, Vote

T = TypeVar("T")


class Asks:
    """The one way from a family to its judges."""

    __name__: str
    judge: Judge
    template: Template
    journal: Journal
    seed: int
    criteria: str | None
    criteria_column: str | None
    reference_column: str | None

    def judges(self) -> list[Judge]:
        """The judges that a call uses; each that is an async context manager is entered once a call."""
        return [self.judge]

    def messages(
        self, group: Group, *, template: Template | None = None, row: int = 0, **values: str | Sequence[str] | None
    ) -> list[Message]:
        """The prompt for the judge: `template` filled with the group's question and `values`, its images before the text.

        The group's system message, the reference and the criteria of its `row` are filled in where the template has a
        place for them.
        """
        if self.reference_column and "reference" not in values:
            values["reference"] = texts.answer(group.columns[self.reference_column][row])
        text = (template or self.template).fill(
            control_tokens=[token for judge in self.judges() for token in getattr(judge, "control_tokens", ())],
            question=texts.question(group.prompt),
            system=texts.system(group.prompt),
            **{"criteria": self._criteria(group, row), **values},
        )
        images = texts.images(group.prompt)
        return [Message("user", (*images, Part("text", text)) if images else text)]

    def _criteria(self, group: Group, row: int) -> str:
        """What else shall count: for all prompts, and for this one."""
        if self.criteria_column is None:
            return texts.clean(self.criteria or "")
        own = group.columns[self.criteria_column][row]
        listed = "\n".join(map(str, own)) if isinstance(own, (list, tuple)) else str(own or "")
        return texts.clean("\n".join(part.strip() for part in (self.criteria or "", listed) if part.strip()))

    async def ask(
        self,
        messages: Sequence[Message],
        read: Callable[[Reply], T],
        *,
        n: int = 1,
        judge: Judge | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_logprobs: int | None = None,
        about: Sequence[int] = (),
        kind: str = "critique",
        fresh: bool = False,
        start: int = 0,
    ) -> list[Vote[T]]:
        """`n` votes of the judge on one prompt: the usable ones first, then the lost ones with their reasons.

        `read` turns a `Reply` into a value or raises `ParseError`; what it cannot use is asked for again. `about` gives the
        group's responses that the votes concern, `kind` what the texts are in log and record. `fresh`: replay none.
        `start`: so many votes on these messages were asked for before, and these shall be others.
        """
        asked, seed = judge or self.judge, (self.content_seed(messages) + start) % 2**31
        sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        if top_logprobs is not None:
            sampling["top_logprobs"] = top_logprobs
        judgement = await self.journal.judgement(self.__name__, asked, messages, about=about, kind=kind, **sampling)
        sampling.update(n=n, known=() if fresh else judgement.replies(), keep=judgement.keep)
        votes = await asking.ask(asked, messages, read, **sampling)
        for vote in votes:
            if vote.reply and not vote.error and kind != "score":  # that is one token
                self.note(kind, about, vote.reply.text)
        return votes

    async def choose(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        about: Sequence[int] = (),
        judge: Judge | None = None,
        kind: str = "choice",
    ) -> Vote[Logprobs]:
        """One vote: for each of `choices`, as the judge's next words, the log-probability of each of its tokens."""
        asked: dict[str, Any] = {"about": about, "kind": kind, "choices": list(choices)}
        chosen = judge or self.judge
        judgement = await self.journal.judgement(self.__name__, chosen, messages, **asked)
        vote = await asking.choose(chosen, messages, choices, known=judgement.choice(), keep=judgement.keep)
        if vote.value is not None and kind == "choice" and (call := CALL.get()):
            call.seen("label_mass", math.fsum(math.exp(min(asking.total(label), 0.0)) for label in vote.value))
        return vote

    def note(self, kind: str, about: Sequence[int], text: str) -> None:
        """Keep `text` with the responses `about` of the group being judged, for `log_extra` and the record."""
        if judging := JUDGING.get():
            for i in about:
                judging.batch.notes.setdefault(kind, {}).setdefault(judging.rows[i], []).append(texts.clean(text))

    def content_seed(self, content: object) -> int:
        """A seed that depends on `seed` and on what is judged, never on the order or the process of the calls."""
        return keys.content_seed(self.seed, content)
