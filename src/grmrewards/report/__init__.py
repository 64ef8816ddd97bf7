"""One page that shows a training run, an evaluation or an audit, in one file that needs nothing else.

    import grmrewards.report

    grmrewards.report.write("run.jsonl", "report.html")

The page is made from what is on disk: the record of a reward (`log_path=`), the folder of an evaluation (`output=`), or the
page that `grmrewards audit --write` leaves as JSON. It opens from a file, offline, and texts of a policy run nothing in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from grmrewards import arguments, record
from grmrewards.errors import ConfigError
from grmrewards.judging import Progress
from grmrewards.report import audited, evaluated, index, training
from grmrewards.report.html import Html
from grmrewards.report.lines import Run, read
from grmrewards.report.page import document
from grmrewards.report.parts import Price
from grmrewards.report.source import Source, source_of
from grmrewards.report.summary import summarise

__all__ = ["write"]


def write(
    path: str | Path,
    output: str | Path = "report.html",
    *,
    title: str | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
) -> Path:
    """Write the page of a run, an evaluation or an audit, and return where it is.

    Args:
        path: A record, a folder with one (`record.jsonl`), the folder of an evaluation, or the JSON page of an audit.
        output: The file to write. It is whole or absent; one that stands there is replaced.
        title: Of the page. Default: what it is, and the name of `path`.
        price_in: Money for a million tokens that the judge reads.
        price_out: Money for a million tokens that it writes. Both, or none.

    Raises `ConfigError` for a path that is none of these, and for wrong arguments.

    >>> write("run.jsonl", "report.html", price_in=0.10, price_out=0.40)  # doctest: +SKIP
    PosixPath('report.html')
    """
    arguments.path("output", output)
    arguments.word("title", title)
    price = _price(price_in, price_out)
    source, target = source_of(path), Path(output)
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing((run := _read(source)).texts):
        _replace(target, _pieces(source, run, title or source.title, price))
    return target


def _price(read: float | None, written: float | None) -> Price:
    if (read is None) != (written is None):
        raise ConfigError(f"price_in={read!r} with price_out={written!r}; give both, or none.")
    given = (("price_in", read), ("price_out", written))
    return Price(*(arguments.number(name, value, least=0.0, optional=True) for name, value in given))


def _read(source: Source) -> Run:
    """The judgements behind a page; none where no record is there."""
    if source.record is None:
        return Run()
    return read(Progress(record.read(source.record), desc="reading", unit="line", delay=2, leave=False))


def _pieces(source: Source, run: Run, title: str, price: Price) -> Iterable[str]:
    wrong: set[int] = set()
    found = summarise(run)
    body: list[Html | None]
    if source.kind == "audit":
        about, body = audited.about(source.said), audited.sections(source.said)
    elif source.kind == "evaluation":
        judged = evaluated.judged(source.path, run)
        about, body, wrong = evaluated.about(judged), evaluated.sections(judged, price), judged.wrong_rows()
    else:
        about, body = training.about(found), training.sections(found, price)
    data = index.elements(run, flagged=found.flagged, wrong=wrong) if run.rows else ()
    return document(title, about, body, data)


def _replace(target: Path, pieces: Iterable[str]) -> None:
    """Write a file in one piece: whoever opens it sees the old one or the new one."""
    part = target.with_name(f"{target.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(pieces)
    os.replace(part, target)
