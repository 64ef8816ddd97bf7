"""What a Python function does, as a hash that is the same wherever and whenever its file is read."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any


def code_hash(function: Callable[..., Any]) -> str:
    """Of its instructions, names and constants, its defaults and the plain values that it closes over.

    Neither the file, its lines nor an address in memory counts. What the function calls does not count either.
    """
    return hashlib.sha256(repr(list(_of(function))).encode()).hexdigest()[:16]


def _of(thing: Any) -> Iterator[Any]:
    """Its parts, as texts."""
    if isinstance(thing, CodeType):
        yield from (thing.co_code.hex(), thing.co_names, thing.co_varnames, [list(_of(c)) for c in thing.co_consts])
    elif isinstance(thing, functools.partial):
        yield from (list(_of(part)) for part in (thing.func, thing.args, tuple(sorted(thing.keywords.items()))))
    elif isinstance(thing, (tuple, list)):
        yield [list(_of(item)) for item in thing]
    elif isinstance(thing, frozenset):
        yield sorted(map(repr, thing))
    elif thing is None or thing is ... or isinstance(thing, (bool, int, float, complex, str, bytes)):
        yield repr(thing)
    elif inspect.ismethod(thing):
        yield from _of(thing.__func__)
    elif inspect.isfunction(thing):
        closed = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        defaults = sorted((thing.__kwdefaults__ or {}).items())
        yield from (list(_of(part)) for part in (thing.__code__, thing.__defaults__ or (), defaults, _plain(closed)))
    else:
        yield type(thing).__qualname__
        if callable(thing) and inspect.isfunction(call := type(thing).__call__):
            yield from _of(call)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _plain(values: list[Any]) -> list[Any]:
    """Those that have a value: an object may close over itself."""
    return [value for value in values if isinstance(value, (bool, int, float, str, bytes, tuple))]
