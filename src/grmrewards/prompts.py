"""Prompts as files, filled in one pass, with everything that is filled in made harmless.

A template is text with three kinds of marks, each for a known name only, so that other braces stay as they are:

    {response}                      replaced by the value
    {?reference}...{/reference}     kept only where the value is given
    {responses}                     the group, each between "[The Begin of Response i]" and "[The End of Response i]"

Values are inserted once and never scanned again: a response that holds "{question}" stays what it is. Where a value
holds one of the template's own markers or a control token of a chat format, or would complete one with the line that it
is put into, a backslash is inserted after its first character (`neutral`).
"""

from __future__ import annotations

import functools
import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from grmrewards.errors import ConfigError
from grmrewards.neutral import Guard, guard, neutralise

__all__ = ["NAMES", "RESPONSE_HEAD", "RESPONSE_TAIL", "Piece", "Template", "neutralise", "warn_if_trained_with_another"]

NAMES = ("question", "system", "reference", "criteria", "principles", "response", "responses", "answer_a", "answer_b")
RESPONSE_HEAD, RESPONSE_TAIL = "[The Begin of Response {i}]\n", "\n[The End of Response {i}]\n"

# Released judges that were trained with a template of their own (methods 1, 2, 3, 5).
_TRAINED_WITH_ANOTHER = re.compile(r"(?<![a-z])(?:ip-grm|irpm|gram-|deepseek-grm)", re.IGNORECASE)

_MARK = re.compile(r"\{([?/]?)(" + "|".join(NAMES) + r")\}")

# What a template sets its parts apart with: a bracketed or hashed heading on its own line, a tag.
_MARKER = re.compile(r"^\[[^\]\n]+\](?=\n|$)|^#+ [^\n]+ #+(?=\n|$)|^#\w+:|</?[A-Za-z_]+>", re.MULTILINE)

_LINE = 80  # characters of a line, beside a value, that are looked at


class Piece(NamedTuple):
    """A stretch of fixed text, or (`name`) the place of a value; `block` names the optional block it stands in."""

    text: str
    name: str
    block: str


class Template:
    """A prompt template.

    `source` is a text with marks, the path of a file, or the name of one of ours ("ipgrm", "ipgrm_principles",
    "ipgrm_in_view", "listwise", "irpm", "gram"). `required` names the marks that must occur. Raises `ConfigError` otherwise.

    >>> Template("Q: {question}\\nA: {response}", required=("response",)).fill(question="1+1?", response="2")
    'Q: 1+1?\\nA: 2'
    """

    def __init__(self, source: str | Path, *, required: Sequence[str] = ()) -> None:
        self.text = _load(source)
        self.digest = hashlib.sha256(self.text.encode()).hexdigest()
        self.pieces = tuple(_pieces(self.text))
        self.markers = tuple(dict.fromkeys(m for p in self.pieces for m in _MARKER.findall(p.text)))
        names = {piece.name for piece in self.pieces if piece.name}
        if missing := [name for name in required if name not in names]:
            raise ConfigError(
                f"template={self.text[:60]!r} lacks {_braced(missing)}; it has {_braced(sorted(names)) or 'no marks'}. "
                f"A template is a text or the path of a file with the marks {_braced(required)}."
            )
        if "responses" in names:
            self.markers += (RESPONSE_HEAD.strip(), RESPONSE_TAIL.strip())

    def fill(self, *, control_tokens: Sequence[str] = (), **values: str | Sequence[str] | None) -> str:
        """The prompt, with `control_tokens` (those of the judge's tokenizer) made harmless beside the known ones."""
        how = guard(self.markers, tuple(control_tokens))
        pieces = [piece for piece in self.pieces if not piece.block or values.get(piece.block)]
        text = ""
        for piece, after in zip(pieces, [*pieces[1:], Piece("", "", "")], strict=True):
            value = values.get(piece.name) if piece.name else None
            if value is None:
                text += piece.text
            elif isinstance(value, str):
                text += _guarded(how, value, _line_before(text), _line_after(after.text))
            else:
                text += "".join(
                    RESPONSE_HEAD.format(i=i) + _guarded(how, response) + RESPONSE_TAIL.format(i=i)
                    for i, response in enumerate(value, 1)
                )
        return text


def warn_if_trained_with_another(model: str) -> None:
    """Warn where the name of a judge says that our default template is not the one it was trained with."""
    if _TRAINED_WITH_ANOTHER.search(model) and not model.startswith("scripted:"):
        warnings.warn(
            f"{model!r} looks like a judge that was trained with a template of its own. Pass that as template=, or its "
            "scores will be those of another task.",
            stacklevel=4,
        )


def _load(source: str | Path) -> str:
    """The text of a template: ours by name, a file by path, or the text itself."""
    if not isinstance(source, (str, Path)):
        raise ConfigError(f"template={source!r}; allowed is a text or the path of a file.")
    if isinstance(source, str) and re.fullmatch(r"[a-z_]{1,40}", source):
        ours = resources.files("grmrewards") / "prompts" / f"{source}.txt"
        if ours.is_file():
            return ours.read_text(encoding="utf-8").removesuffix("\n")
    if isinstance(source, str) and ("\n" in source or "{" in source):
        return source
    try:
        return Path(source).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"template={str(source)[:200]!r} is neither a file of text nor a text with marks such as {{question}} "
            f"({type(error).__name__})."
        ) from error


def _pieces(text: str) -> Iterator[Piece]:
    """Cut a template at its marks. Raises `ConfigError` for optional blocks that are not opened and closed in turn."""
    block = ""
    at = 0
    for mark in _MARK.finditer(text):
        kind, name = mark.groups()
        if (kind == "?" and block) or (kind == "/" and block != name):
            raise ConfigError(f"template: {mark[0]} at character {mark.start()} stands where block {block!r} is open.")
        if mark.start() > at:
            yield Piece(text[at : mark.start()], "", block)
        if not kind:
            yield Piece("", name, block)
        block = {"?": name, "/": "", "": block}[kind]
        at = mark.end()
    if block:
        raise ConfigError(f"template: optional block {{?{block}}} is never closed with {{/{block}}}.")
    if at < len(text):
        yield Piece(text[at:], "", "")


def _braced(names: Sequence[str]) -> str:
    return ", ".join("{" + name + "}" for name in names)


def _line_before(text: str) -> str:
    """What stands before a value on its line: a value must not complete a token that the template or another began."""
    return text[max(text.rfind("\n") + 1, len(text) - _LINE) :]


def _line_after(text: str) -> str:
    return text[:_LINE].partition("\n")[0]


@functools.lru_cache(maxsize=256)  # long responses must not pile up
def _guarded(how: Guard, text: str, before: str = "", after: str = "") -> str:
    """`text` made harmless. A question stands in the prompts of its whole group, a response on every ballot."""
    return how.harmless(text, before, after)
