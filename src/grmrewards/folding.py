"""Text as a tokenizer's normaliser or a hurried reader sees it, character for character.

A token of a chat format can be typed in other letters: full-width, mathematical, enclosed, accented, of another script,
with invisible characters between. `fold` writes each such character as the one of ASCII that it passes for, so that a
pattern for the plain form finds them all, and places in the folded text are places in the text. Nothing that is shown to
a judge is ever folded.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain

_ALIKE = {  # beyond what Unicode itself calls a form of an ASCII character: `passes for: look-alikes`
    "A": "ΑАᎪᴀ",
    "B": "ΒВᏴʙв",
    "C": "СᏟᴄϹ",
    "D": "Ꭰᴅ",
    "E": "ΕЕᎬᴇ",
    "F": "ꜰϜ",
    "G": "Ꮐɢ",
    "H": "ΗНᎻʜн",
    "I": "ΙІӀᏆ",
    "J": "ЈᎫᴊ",
    "K": "ΚКᏦᴋ",
    "L": "Ꮮʟ",
    "M": "ΜМᎷᴍ",
    "N": "Νɴ",
    "O": "ΟОᴏՕØ",
    "P": "ΡРᏢᴘ",
    "Q": "Ԛ",
    "R": "ᎡᏒʀ",
    "S": "ЅᏚꜱՏ",
    "T": "ΤТᎢᴛт",
    "U": "Սᴜ",
    "V": "Ꮩᴠ",
    "W": "ᎳԜᴡ",
    "X": "ΧХ",
    "Y": "ΥУҮʏ",
    "Z": "ΖᏃᴢ",
    "a": "αаɑ",
    "b": "ЬᏏ",
    "c": "сϲ",
    "d": "ԁđ",
    "e": "еҽ",
    "g": "ɡց",
    "h": "һհħ",
    "i": "ιіıɩɪ",
    "j": "јȷ",
    "k": "κк",
    "l": "ӏłⅼ",
    "m": "м",
    "n": "ո",
    "o": "οоօø",
    "p": "ρр",
    "q": "ԛ",
    "s": "ѕ",
    "t": "τтŧ",
    "u": "υս",
    "v": "νѵ",
    "w": "ԝ",
    "x": "χх",
    "y": "уү",
    "[": "【〔⟦❲〖⁅",
    "]": "】〕⟧❳〗⁆",
    "‹": "‹⟨〈〈❮❬",  # not `<` itself: ⟨s⟩ is an average in physics, and no normaliser makes `<s>` of it
    "›": "›⟩〉〉❯❭",
    "|": "│∣ǀ❘┃丨¦⎪",
    "'": "’‘ʼ′‛ʹ´",
    '"': "“”„‟″",
    ":": "꞉∶։׃",
    "#": "♯",
    "/": "⁄∕╱⧸",
    "-": "‐‑‒–—―−",
    "~": "∼˜",
    "!": "ǃ",
    "*": "∗",
    " ": "▁",  # how sentencepiece writes a space
}
_INVISIBLE = "\u1cf2\u1cf3\u200b\u115f\u1160\u2065\u2800\u3164\uffa0"  # but no format characters
_SCANNED = (  # where forms of ASCII characters, digits of other scripts, marks and format characters live
    (0x80, 0x3400),
    (0xA000, 0xAC00),
    (0xFB00, 0xFB30),
    (0xFC5E, 0xFC64),
    (0xFE00, 0x10000),
    (0x10000, 0x12000),
    (0x13430, 0x13460),
    (0x16A00, 0x16B70),
    (0x16F40, 0x17000),
    (0x1BC90, 0x1BCB0),
    (0x1CF00, 0x1CF50),
    (0x1D100, 0x1DAB0),
    (0x1E000, 0x1E960),
    (0x1F100, 0x1F200),
    (0x1FBF0, 0x1FBFA),
    (0xE0000, 0xE01F0),
)
_LETTERS = (0x1F150, 0x1F170, 0x1F1E6)  # white on black, and of flags: twenty-six letters from each


def fold(text: str) -> str:
    """`text`, of the same length, with look-alikes of ASCII as ASCII and all that is invisible as U+200B.

    >>> fold("［ＩＮＳＴ］ 𝐓𝐡𝐞 end")
    '[INST] The end'
    """
    return text if text.isascii() else text.translate(_tables()[0])


def spell(text: str) -> str:
    """`text` with ligatures and the like spelled out, since a normaliser makes `<start>` of `<ﬆart>`."""
    return text if text.isascii() or not _wide().search(text) else text.translate(_tables()[1])


def read(text: str) -> str:
    """`text` as it is read: spelled out, folded, without what is invisible."""
    return fold(spell(text)).replace("\u200b", "")


def small(text: str) -> str:
    """`read(text)` in small letters, with `<` for `‹`: in one pass, as every text goes through here."""
    return text.lower() if text.isascii() else text.translate(_small())


def places_in(text: str, places: Sequence[int]) -> list[int]:
    """Places in `text`, from those in `read(text)`: right after the same characters.

    >>> read("<ﬆa\u200brt>"), places_in("<ﬆa\u200brt>", [1, 4, 5])
    ('<start>', [1, 3, 5])
    """
    spelled = spell(text)
    starts, shifts = [], [0]
    for match in re.finditer("\u200b+", fold(spelled)):
        starts.append(match.start() - shifts[-1])
        shifts.append(shifts[-1] + len(match[0]))
    places = [place + shifts[bisect_left(starts, place)] for place in places]
    return places if spelled is text else _unspelled(text, places)


def _unspelled(text: str, places: Sequence[int]) -> list[int]:
    """Places in `text`, from those in `spell(text)`: inside of a ligature there is none, so after it."""
    ends, limits, shifts = [], [], [0]
    for match in _wide().finditer(text):
        shifts.append(shifts[-1] + len(_tables()[1][ord(match[0])]) - 1)
        ends.append(match.end() + shifts[-1])
        limits.append(match.end())
    before = [bisect_right(ends, place) for place in places]
    limits.append(len(text))
    return [min(place - shifts[at], limits[at]) for place, at in zip(places, before, strict=True)]


@functools.cache
def _wide() -> re.Pattern[str]:
    return re.compile("[" + "".join(map(chr, _tables()[1])) + "]")


@functools.cache
def _tables() -> tuple[dict[int, str], dict[int, str]]:
    """What stands for one character of ASCII, and what for several. Made at first use, in a few milliseconds."""
    one: dict[int, str] = (
        {0x200B: "\u200b"}
        | {ord(sign): "\u200b" for sign in _INVISIBLE}
        | dict.fromkeys(range(0xE000, 0xF900), "\u200b")
    )
    several = {ord("ß"): "ss", ord("ẞ"): "SS"}
    for sign, form in _forms():
        if len(form) == 1:
            one[ord(sign)] = form
        elif form.strip("."):  # not the ellipsis
            several[ord(sign)] = form
    for plain, alike in _ALIKE.items():
        one |= dict.fromkeys(map(ord, alike), plain)
    for start in _LETTERS:
        one |= {start + i: chr(ord("A") + i) for i in range(26)}
    return one, several


@functools.cache
def _small() -> dict[int, str]:
    """What `small` makes of each character."""
    one, several = _tables()
    table = {ord(c): c.lower() for c in map(chr, range(0x2000)) if c.lower() != c and len(c.lower()) == 1}
    table |= {sign: form.lower() for sign, form in (one | several).items()}
    return table | dict.fromkeys((sign for sign, form in one.items() if form == "\u200b"), "") | _quotes(one)


def _quotes(one: dict[int, str]) -> dict[int, str]:
    plain = {"‹": "<", "›": ">"}
    return {sign: plain[form] for sign, form in one.items() if form in plain}


def _forms() -> Iterator[tuple[str, str]]:
    """Characters with the ASCII that they are a form of; U+200B for what is a mark or invisible."""
    signs = "".join(map(chr, chain.from_iterable(range(*ends) for ends in _SCANNED)))
    for sign, made_of, kind in zip(
        signs, map(unicodedata.decomposition, signs), map(unicodedata.category, signs), strict=True
    ):
        if kind in ("Mn", "Mc", "Me", "Cf"):
            yield sign, "\u200b"
        elif kind == "Nd":
            yield sign, str(unicodedata.decimal(sign))
        elif made_of:
            form = unicodedata.normalize("NFKD", sign)
            if unicodedata.combining(form[0]):
                yield sign, "\u200b"
            elif form[0].isascii() and (plain := _without_marks(form)).isascii():
                yield sign, plain


def _without_marks(form: str) -> str:
    return form if len(form) == 1 else "".join(c for c in form if not unicodedata.combining(c))
