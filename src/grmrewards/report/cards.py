"""Completions with what the judge wrote of them, side by side; in the page itself, so that they are read without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grmrewards.report.html import Html, join, tag
from grmrewards.report.lines import Row, Run
from grmrewards.report.words import short

LONGEST = 1500  # characters of a text on a card; the browser has all of it


def box(label: str, text: str, *, longest: int = LONGEST) -> Html:
    """A text under its name."""
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return tag(
        "div",
        tag("h5", label),
        tag("pre", cut, tabindex="0", role="region", aria_label=label, dir="auto"),
        class_="text",
    )


def beside(run: Run, pairs: Iterable[tuple[int, int]], heads: tuple[str, str]) -> Html:
    """Two completions in each row, under the two heads."""
    return join(
        tag("div", [card(run, k, head) for k, head in zip(pair, heads, strict=True)], class_="beside") for pair in pairs
    )


def same_prompt(run: Run, pairs: Iterable[tuple[int, int]], heads: tuple[str, str]) -> Html:
    """Two responses to one prompt in each row, with what they have in common above them."""
    return join(_shared(run, pair, heads) for pair in pairs)


def _shared(run: Run, pair: tuple[int, int], heads: tuple[str, str]) -> Html:
    one, other = pair
    row, against = run.rows[one], run.rows[other]
    common = [kind for kind, ids in row.notes.items() if against.notes.get(kind) == ids and kind != "critique"]
    top = [box("prompt", run.texts.get(row.prompt)), *(box(kind, _note(run, row, kind)) for kind in common)]
    parts = [card(run, k, head, without=("prompt", *common)) for k, head in zip(pair, heads, strict=True)]
    return tag("div", tag("div", top, class_="common"), tag("div", parts, class_="beside"), class_="pair")


def card(run: Run, k: int, head: str, *, without: Sequence[str] = ()) -> Html:
    """One completion."""
    row = run.rows[k]
    texts = {"prompt": run.texts.get(row.prompt), **{kind: _note(run, row, kind) for kind in row.notes}}
    critique = {"critique": texts.pop("critique")} if "critique" in texts else {}
    texts |= {"response": run.texts.get(row.response), **critique}
    boxes = [box(kind, text) for kind, text in texts.items() if kind not in without and text]
    return tag("article", _head(row, k, head), boxes, class_=f"card {head.split()[0]}")


def _head(row: Row, k: int, head: str) -> Html:
    where = "" if row.step is None else f"step {row.step:,} · "
    score = "" if row.score is None or row.score == row.reward else f" (score {short(row.score)})"
    link = tag("a", f"#{k + 1}", href=f"#j{k + 1}", title="open in the browser below")
    return tag("header", tag("b", head), tag("span", f"reward {short(row.reward)}{score}"), tag("small", where, link))


def _note(run: Run, row: Row, kind: str) -> str:
    return "\n\n".join(run.texts.get(number) for number in row.notes[kind])
