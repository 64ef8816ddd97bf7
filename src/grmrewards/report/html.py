"""HTML from texts that nobody vouches for: what is no `Html` is escaped, and what would hide or turn text round is shown.

>>> tag("p", "1 < 2", tag("b", "<script>"), class_="note")
'<p class="note">1 &lt; 2<b>&lt;script&gt;</b></p>'
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_VOID = ("meta", "link", "br", "hr")


class Html(str):
    """Markup that was made here. Anything else is text."""

    __slots__ = ()


def shown(text: str) -> str:
    r"""`text` as it may stand in a document: control characters and marks that turn text round become signs.

    >>> shown("a\x1b[31m\r\n\u202eb\ud800")
    'a␛[31m\n[U+202E]b�'
    """
    return _HIDDEN.sub(_sign, text.replace("\r\n", "\n")) if _HIDDEN.search(text) else text


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20 or code == 0x7F:
        return chr(0x2421 if code == 0x7F else 0x2400 + code)
    return "\ufffd" if code < 0xA0 or code >= 0xD800 else f"[U+{code:04X}]"


def escaped(child: Any) -> str:
    """Markup as it is, and all else as text."""
    return child if isinstance(child, Html) else html.escape(shown(str(child)))


def join(*children: Any) -> Html:
    """Markup from its parts; None is nothing, and a list is its items."""
    return Html("".join(_flat(children)))


def _flat(children: Iterable[Any]) -> Iterable[str]:
    for child in children:
        if isinstance(child, (list, tuple)) or hasattr(child, "__next__"):
            yield from _flat(child)
        elif child is not None:
            yield escaped(child)


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element. An attribute's `_` is a `-`, one at its end is left out; None and False leave the attribute out."""
    given = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(shown(str(value)))}"'
