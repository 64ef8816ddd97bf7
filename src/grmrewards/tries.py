"""Linear patterns for many markers and control tokens: tries, so that a tokenizer may have thousands of them.

A pattern consumes the first sign of what it finds, and no more: the rest is looked at, so that two that overlap are both
found. It runs over folded text (`folding`), and no part of it walks back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from grmrewards.folding import read, small

Trie = dict[str, "Trie"]  # from a sign, as a pattern, to what may follow it; "" marks an end

ANY = "\0"  # stands for any number
_NUMBER, _WIDE_NUMBER = "[0-9]++", r"[0-9][0-9\s]*+"
_SPACES = r"[\s'~]++"  # the accents ´ and ˜ are folded to a look-alike, and are a space to a normaliser
# `<|...|>` around any name, without its first sign; as long as it is a name: `f <|> g` and `xs |> f <| y` are code.
_BARRED = r"\|[^\s<>|][^<>|\n]{0,80}+\|>"

# Tokens that are an index or a type parameter in code, but for their case, and words: `x[mask]` is not `[MASK]`, nor
# `impl<S>` `<s>`. A tag is looked for as it is and in capitals, all else in any case.
_AS_TYPED = re.compile(rf"\[/?[\w{ANY}]+\]|</?\w>|[^\W_].*", re.DOTALL)
_TAG = re.compile(rf"</?[\w{ANY}]+>")
_LONGEST = 80  # signs that are looked at


def patterns(markers: Sequence[str], known: Sequence[str], tokens: Sequence[str]) -> tuple[str, str, str]:
    """Patterns for the first signs of all markers, `known` and other control tokens; "{i}" is any number in them.

    The first is for small letters, with `>` for `›`; the second for text as typed, with tokens whose case matters. It does
    not where a token comes in two cases, as from a tokenizer that overlooks it. The third finds, in small letters, whatever
    may be one: where it finds nothing, there is nothing.
    """
    cases = {token.swapcase() for token in tokens if token.swapcase() != token}
    plain = [(token, token in cases) for token in (_plain(token) for token in [*known, *tokens])]
    free = [token for token, both in plain if both or not (_AS_TYPED.fullmatch(token) or _TAG.fullmatch(token))]
    bound = [token for token, both in plain if not both and (_AS_TYPED.fullmatch(token) or _TAG.fullmatch(token))]
    capitals = [token.upper() for token in bound if not _AS_TYPED.fullmatch(token)]
    any_case = [*(_token(small(token)) for token in free), *([["<", _BARRED]] if known else [])]
    spaced = [_marker(form) for marker in markers for form in (marker, marker.lower(), marker.upper())]
    either = _pattern(spaced, [*any_case, *(_token(small(token)) for token in bound)])
    return _pattern(spaced, any_case), _pattern([], map(_token, [*bound, *capitals])), either


def _pattern(spaced: Iterable[list[str]], tokens: Iterable[list[str]]) -> str:
    roots: dict[str, tuple[Trie, Trie]] = {}
    for kind, many in enumerate((spaced, tokens)):
        for first, *rest in (signs[:_LONGEST] for signs in many if len(signs) > 1):
            _insert(roots.setdefault(first, ({}, {}))[kind], rest)
    return (
        "|".join(_way(first, *root) for first, root in roots.items()) or "(?!)"
    )  # sre skips to the literals that ways begin with


def _way(first: str, markers: Trie, tokens: Trie) -> str:
    """What may follow one first sign. Of a run of it the last is looked at, since a run counts as one sign."""
    ahead = [_emit(trie, gap) for trie, gap in ((markers, r"\s*+"), (tokens, "")) if trie]
    last = "" if first in markers or first in tokens else f"(?!{first})"
    return f"{first}{last}(?={'|'.join(ahead)})"


def _emit(trie: Trie, gap: str) -> str:
    if "" in trie:
        return ""
    ways = [sign + _emit(rest, gap) for sign, rest in trie.items()]
    return gap + (ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})")


def _insert(trie: Trie, signs: Iterable[str]) -> None:
    for sign in signs:
        trie = trie.setdefault(sign, {})
    trie[""] = {}


# The signs of a marker or token, each as a pattern


def _plain(token: str) -> str:
    """A token as it stands in folded text."""
    return read(token.replace("{i}", ANY)).strip()


def _marker(marker: str) -> list[str]:
    """A marker in any case, any number in place of its own, a run of one punctuation sign of any length."""
    typed = re.sub(r"[0-9]+", ANY, small(marker).replace("{i}", ANY))
    runs = [(sign, len([*same])) for sign, same in groupby(sign for sign in typed if not sign.isspace())]
    if len(runs) < 2:
        return []  # a rule such as ######: nothing that says where a part begins
    inner = [sign for run in runs[1:-1] for sign in _run(*run)]
    first, last = (re.escape(sign).replace(ANY, "[0-9]") for sign in (runs[0][0], runs[-1][0]))
    again = [first] * (runs[0][1] - 1) if runs[0][0].isalpha() else []
    return [first, *again, *inner, last]


def _run(sign: str, length: int) -> list[str]:
    if sign == ANY:
        return [_WIDE_NUMBER]
    once = re.escape(sign)
    return [once] * length if length == 1 or sign.isalpha() else [rf"{once}[{once}\s]*+"]


def _token(token: str) -> list[str]:
    """The signs of a token, with spaces only where it has some; a run at its start counts as one sign."""
    start = re.match(r"([^\w\s])\1*(?=.)", token)
    if start:
        token = token[start.end() - 1 :]
    signs = re.sub(r"\s+", " ", token)
    return [{" ": _SPACES, ANY: _NUMBER}.get(sign) or re.escape(sign) for sign in signs]
