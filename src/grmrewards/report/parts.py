"""What pages of all kinds are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from grmrewards.report.html import Html, tag


class Price(NamedTuple):
    """Money for a million tokens that a judge reads, and for a million that it writes; None where it is not known."""

    read: float | None = None
    written: float | None = None

    def of(self, read: int, written: int) -> float | None:
        """What so many tokens cost.

        >>> Price(0.5, 2.0).of(2_000_000, 500_000)
        2.0
        """
        if self.read is None or self.written is None:
            return None
        return (self.read * read + self.written * written) / 1e6


def section(title: str, *children: Any, name: str | None = None) -> Html:
    """A part of a page under its title."""
    return tag("section", tag("h2", title), *children, id=name)


def tiles(shown: Iterable[tuple[str, str, str]]) -> Html:
    """Figures in large: what it is, how much, and a note."""
    return tag(
        "dl",
        [tag("div", tag("dt", label), tag("dd", value, tag("small", note))) for label, value, note in shown],
        class_="tiles",
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Html:
    """A table that scrolls within its own frame."""
    head = tag("thead", tag("tr", [tag("th", one, scope="col") for one in heads]))
    body = tag("tbody", [tag("tr", [tag("td", cell) for cell in row]) for row in rows])
    return tag(
        "div", tag("table", head, body), class_="scroll", tabindex="0", role="region", aria_label=f"table of {heads[0]}"
    )
