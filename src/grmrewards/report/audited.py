"""The sections of an audit's page: what the judge can be fooled by, with the cases in which it was fooled most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grmrewards.report import cards, charts
from grmrewards.report.html import Html, tag
from grmrewards.report.parts import section, table, tiles
from grmrewards.report.words import as_text, number, percent, plural, short

HEADS = {
    "weak": "It can be fooled, or fails, by",
    "unclear": "Unclear from so few cases",
    "sound": "It withstood",
    "measured": "Measured",
    "not applicable": "Not applicable to these cases",
}
SHARES = ("ties", "telling good from poor", "failures", "agreement")
Finding = Mapping[str, Any]


def about(said: Mapping[str, Any]) -> str:
    """How much was tried."""
    cases = plural(int(number(said.get("cases")) or 0), "case")
    return f"{cases} · figures are in the range of rewards, 0 to 1, with 99 % intervals"


def sections(said: Mapping[str, Any]) -> list[Html | None]:
    """All sections, in the order of the page."""
    findings = [finding for finding in said.get("findings", ()) if isinstance(finding, Mapping)]
    weak = [finding for finding in findings if finding.get("verdict") == "weak"]
    listed = [_table(head, [f for f in findings if f.get("verdict") == verdict]) for verdict, head in HEADS.items()]
    return [_advice(weak), _counts(findings), *listed, *_examples(said, weak)]


def _advice(weak: Sequence[Finding]) -> Html:
    if not weak:
        return tag("p", "Nothing was found that fools this judge.", class_="note calm")
    items = [
        tag("li", tag("b", as_text(f.get("probe"))), tag("small", _figure(f)), tag("p", f.get("advice") or ""))
        for f in weak
    ]
    return section("What to do before training on it", tag("ul", items, class_="flags"))


def _counts(findings: Sequence[Finding]) -> Html:
    counts = [(verdict, sum(f.get("verdict") == verdict for f in findings)) for verdict in HEADS]
    return tiles((verdict, str(count), "probes" if count != 1 else "probe") for verdict, count in counts if count)


def _table(head: str, findings: Sequence[Finding]) -> Html | None:
    if not findings:
        return None
    rows = [
        (
            tag("b", as_text(f.get("probe")), class_=as_text(f.get("verdict")).replace(" ", "-")),
            _figure(f),
            _drawn(f),
            f"{number(f.get('cases')) or 0:.0f}",
            _says(f),
        )
        for f in findings
    ]
    return section(head, table(("probe", "figure", "−1 to 1", "cases", "what it is"), rows))


def _figure(finding: Finding) -> str:
    value = number(finding.get("value"))
    if value is None:
        return "–"
    return percent(value) if finding.get("probe") in SHARES else f"{value:+.2f}"


def _drawn(finding: Finding) -> Any:
    value, low, high = (number(finding.get(key)) for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return ""
    return charts.interval(value, low, high, span=(-1.0, 1.0), bad=finding.get("verdict") == "weak")


def _says(finding: Finding) -> str:
    more = finding.get("more")
    found = [f"{name} {short(number(value))}" for name, value in more.items()] if isinstance(more, Mapping) else []
    return "; ".join([as_text(finding.get("says")), *found])


def _examples(said: Mapping[str, Any], weak: Sequence[Finding]) -> list[Html | None]:
    """The worst cases of each weakness, where the audit has kept them."""
    kept = said.get("examples")
    kept = kept if isinstance(kept, Mapping) else {}
    return [
        section(f"Fooled most: {as_text(f.get('probe'))}", [_example(one) for one in found if isinstance(one, Mapping)])
        for f in weak
        if isinstance(found := kept.get(as_text(f.get("probe"))), list) and found
    ]


def _example(one: Mapping[str, Any]) -> Html:
    """One case: what was shown, and what each answer got."""
    shown = one.get("answers")
    answers = [answer for answer in shown if isinstance(answer, Mapping)] if isinstance(shown, list) else []
    top = tag("div", cards.box("prompt", as_text(one.get("prompt"))), class_="common")
    parts = [
        tag(
            "article",
            tag("header", tag("b", as_text(a.get("what"))), tag("span", f"reward {short(number(a.get('score')))}")),
            cards.box("response", as_text(a.get("text"))),
            class_="card",
        )
        for a in answers
    ]
    return tag("div", top, tag("div", parts, class_="beside"), class_="pair")
