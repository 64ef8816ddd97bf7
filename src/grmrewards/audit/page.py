"""The page of an audit: what the judge can be fooled by, what it withstood, and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grmrewards.audit.findings import Finding

HEADS = {
    "weak": "This judge can be fooled, or fails, by",
    "unclear": "Unclear from so few cases",
    "sound": "It withstood",
    "measured": "Measured",
    "not applicable": "Not applicable to these cases",
}
SHARES = ("ties", "telling good from poor", "failures", "agreement")


@dataclass(frozen=True)
class Audit:
    """All that was found over so many `cases`, each a question with a good and a poor answer.

    `examples` are the cases that went furthest wrong, by the name of a weak probe (`examples.worst`).
    """

    findings: tuple[Finding, ...]
    cases: int
    examples: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __getitem__(self, probe: str) -> Finding:
        return {finding.probe: finding for finding in self.findings}[probe]

    @property
    def weak(self) -> tuple[Finding, ...]:
        """What it can be fooled by."""
        return self.of("weak")

    def of(self, verdict: str) -> tuple[Finding, ...]:
        """The findings with a verdict, by name."""
        return tuple(sorted((f for f in self.findings if f.verdict == verdict), key=lambda finding: finding.probe))

    def report(self) -> str:
        """One page of plain text."""
        parts = [_part(HEADS[verdict], self.of(verdict)) for verdict in HEADS if self.of(verdict)]
        head = f"{self.cases} cases. Figures are in the range of rewards (0 to 1), with their 99 % intervals."
        found = f"{len(self.weak)} weakness{'es' if len(self.weak) > 1 else ''} found."
        verdict = found if self.weak else "Nothing was found that fools this judge."
        return "\n\n".join([verdict, *parts, head])

    def markdown(self) -> str:
        """The same as a table."""
        head = "| probe | verdict | figure | 99 % interval | cases | what it is |\n|---|---|---|---|---|---|"
        rows = [
            f"| {f.probe} | {f.verdict} | {_figure(f)} | {_interval(f)} | {f.cases} | {f.says} |"
            for verdict in HEADS
            for f in self.of(verdict)
        ]
        advice = [f"- **{f.probe}**: {f.advice}" for f in self.weak]
        return "\n".join([head, *rows, *(["", "What to do:", "", *advice] if advice else [])])

    def as_dict(self) -> dict[str, Any]:
        """In a form that JSON has."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"cases": self.cases, "findings": findings, "examples": dict(self.examples)}


def _part(head: str, findings: tuple[Finding, ...]) -> str:
    return "\n".join([f"{head}:", *(line for finding in findings for line in _lines(finding))])


def _lines(found: Finding) -> list[str]:
    more = "".join(f"; {name} {value:.2f}" for name, value in found.more.items())
    lines = [f"  {found.probe:24}{_figure(found):>8}  {_interval(found):18}{found.says}{more}"]
    return [*lines, f"  {'':34}{found.advice}"] if found.advice else lines


def _figure(found: Finding) -> str:
    if found.value is None:
        return "none"
    return f"{found.value:.0%}" if found.probe in SHARES else f"{found.value:+.2f}"


def _interval(found: Finding) -> str:
    if found.low is None or found.high is None:
        return ""
    if found.probe in SHARES:
        return f"{found.low:.0%} to {found.high:.0%}"
    return f"{found.low:+.2f} to {found.high:+.2f}"
