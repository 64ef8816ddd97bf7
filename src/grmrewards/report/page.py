"""The page: one file that asks for nothing else, and runs no script but the one whose digest it names."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from importlib.resources import files

from grmrewards import __version__
from grmrewards.report.html import Html, join, tag

SCRIPTS = ("dom.js", "data.js", "filter.js", "table.js", "detail.js", "main.js")


def part(name: str) -> str:
    """A file that stands beside this one."""
    return files("grmrewards.report").joinpath(name).read_text(encoding="utf-8")


def script() -> str:
    """The one script of a page."""
    return '"use strict";\n' + "\n".join(part(name) for name in SCRIPTS)


def policy(style: str, code: str) -> str:
    """What a browser may do with a page: use this style and run this script, and nothing else, from nowhere else."""
    sources = [f"{kind}-src '{_digest(text)}'" for kind, text in (("style", style), ("script", code))]
    return "; ".join(["default-src 'none'", *sources, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def document(title: str, about: str, body: Iterable[Html | None], data: Iterable[Html]) -> Iterator[str]:
    """A page in pieces: what is read at once first, the data of the browser last. Without data there is no browser."""
    style, code = part("page.css"), script()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(style, code)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(style)),
    )
    yield f'<!doctype html>\n<html lang="en">\n{head}\n<body>\n'
    yield tag("header", tag("h1", title), tag("p", about))
    yield tag("main", join(*body))
    rest = iter(data)
    first = next(rest, None)
    yield "" if first is None else part("browser.html")
    yield tag(
        "footer", f"Made by grmrewards {__version__}. This file holds all that it shows and asks for nothing else."
    )
    if first is not None:
        yield f"\n<script>{code}</script>\n"
        for one in itertools.chain([first], rest):
            yield f"{one}\n"
    yield "\n</body>\n</html>\n"
