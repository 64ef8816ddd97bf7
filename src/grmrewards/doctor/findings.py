"""All that was found about a judge, as text and as JSON. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from grmrewards.doctor.advice import Options, Where, python, shell
from grmrewards.doctor.diagnosis import Diagnosis
from grmrewards.doctor.local import LocalModel
from grmrewards.doctor.speed import Bill, Price, Speed, bill
from grmrewards.judges.capabilities import Capabilities


@dataclass(frozen=True)
class Findings:
    """What a judge can do, where its doubt lies, how fast it is, what it costs, and what to use."""

    where: Where
    can: Capabilities | LocalModel
    doubt: Diagnosis
    speed: Speed
    options: Options
    price: Price | None = None
    prompts_per_step: int | None = None
    generations: int | None = None

    @property
    def thousand(self) -> Bill:
        """A thousand judgements."""
        return bill(self.speed, 1000, expected=self.options.score == "expected", price=self.price)

    @property
    def step(self) -> Bill | None:
        """A step of training with the options to use; None where its size was not given."""
        if self.prompts_per_step is None or self.generations is None:
            return None
        responses = 1 if self.options.family == "listwise" else self.generations
        judgements = self.prompts_per_step * responses * self.options.votes_on_average
        expected = self.options.score == "expected"
        return bill(self.speed, judgements, expected=expected, prompts=self.prompts_per_step, price=self.price)

    def report(self) -> str:
        """In parts with headings; the options to use last."""
        parts = [
            self.can.report(),
            f"Its judgements ({self.options.family})\n{self.doubt.report()}",
            f"Its speed\n{self.speed.report()}",
            "\n".join(["What it costs", *self._costs()]),
            "\n".join(["Options to use", *(f"  {line}" for line in self._to_use())]),
        ]
        return "\n\n".join(parts)

    def _costs(self) -> list[str]:
        lines = [self.thousand.report("a thousand judgements")]
        if self.step is not None:
            what = f"{self.prompts_per_step} prompts, {self.generations} responses each: {self.step.judgements:,.0f} judgements"
            lines += [f"a step of training: {what}", self.step.report("  takes")]
        return lines

    def _to_use(self) -> list[str]:
        longer = f"# {self.doubt.cut_off:.1%} of the answers were cut off: a longer limit"
        cut = [longer] if self.options.max_tokens and self.doubt.cut_off else []
        return [*cut, python(self.where, self.options), shell(self.where, self.options)]

    def as_json(self) -> dict[str, Any]:
        """Everything of the report, as JSON takes it."""
        found = {name: dataclasses.asdict(getattr(self, name)) for name in ("can", "doubt", "speed", "options")}
        found["doubt"] |= {"worth": self.doubt.worth, "lies_in": self.doubt.doubt, "advice": self.doubt.advice()}
        found["speed"]["parallel"] = self.speed.parallel
        warnings = self.can.warnings() if isinstance(self.can, Capabilities) else []
        return {
            "model": self.where.model,
            **found,
            "warnings": warnings,
            "thousand_judgements": dataclasses.asdict(self.thousand),
            "step": dataclasses.asdict(self.step) if self.step else None,
            "python": python(self.where, self.options),
            "shell": shell(self.where, self.options),
        }
