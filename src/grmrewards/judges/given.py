"""Checks of what users give an endpoint judge. Each raises `ConfigError` that says what was given and what is allowed."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from grmrewards.errors import ConfigError
from grmrewards.judges.address import without_credentials
from grmrewards.judges.faults import OPTIONAL
from grmrewards.judges.scrub import in_address
from grmrewards.judges.secret import NO_KEY, Secret

OURS = ("model", "messages", "stream", "logprobs", "top_logprobs", *OPTIONAL)  # fields that extra_body must not hold

NO_KEY_NEEDED = Secret(NO_KEY, "api_key")


def held(value: Any, what: str) -> Secret[Any] | None:
    """`value` out of sight, whatever it is: what is wrong with it is found out later, and tracebacks show variables."""
    return value if value is None or isinstance(value, Secret) else Secret(value, what)


def base_url(given: Secret[Any] | None) -> Any:
    """What was given if it is an address, several different ones (as a list), or None; `Secret` where with a password."""
    if given is None or not given.known:
        return given
    value = given.reveal()
    if isinstance(value, str) and _is_address(value):
        return _kept(value)
    several = list(value) if isinstance(value, (list, tuple)) else []
    good = [isinstance(one, Secret) or _is_address(one) for one in several]
    if not several or not all(good) or len(set(several)) < len(several):
        value, several = _masked(value), []
        raise ConfigError(
            f"base_url={value}; allowed is an address such as 'http://localhost:8000/v1', a list of different ones that "
            "serve the same model, or None."
        )
    return [_kept(one) for one in several]


def shown(url: Any) -> Any:
    """An address as it may be shown, the `Secret` ones without their passwords."""
    if isinstance(url, list):
        return [shown(one) for one in url]
    return without_credentials(url.reveal()) if isinstance(url, Secret) and url.known else url and f"{url}"


def api_key(given: Secret[Any] | None) -> Secret[str] | None:
    """What was given if it can be a key, or None."""
    if given is None or not given.known:
        return given
    if not isinstance(given.reveal(), str) or not given.reveal().strip():
        kind = type(given.reveal()).__name__
        raise ConfigError(f"api_key=*** ({kind}); allowed is a text that is not empty, or None.")
    return key(given, needed=False)


def key(given: Secret[str] | None, *, needed: bool) -> Secret[str]:
    """The key to send: that which was given, or OPENAI_API_KEY, or a placeholder. Raises `ConfigError` for none of use."""
    if given is not None and not given.known:
        return given
    what = "api_key" if given is not None else "OPENAI_API_KEY"
    held = Secret((given.reveal() if given is not None else os.environ.get(what) or NO_KEY).strip(), what)
    if needed and held.reveal() == NO_KEY:
        raise ConfigError("no key: pass api_key= or set OPENAI_API_KEY, or base_url= for a server without keys.")
    if not re.fullmatch(r"[!-~]+", held.reveal()):
        raise ConfigError(
            f"{what} holds a space, a line break or a letter that is not ASCII, which no key has; it may have been copied "
            "with what stands beside it."
        )
    return held


def client(value: Any, base_url: Any, api_key: Any) -> Any:
    """`value` if it is an asynchronous client of the `openai` package that stands alone, or None."""
    if value is not None:
        import openai

        if not isinstance(value, openai.AsyncOpenAI):
            raise ConfigError(f"client={type(value).__name__}(...); allowed is an openai.AsyncOpenAI, or None.")
        if base_url is not None or api_key is not None:
            raise ConfigError("client= brings its own base_url and api_key; pass either the client or these.")
    return value


def extra_body(value: Any) -> dict[str, Any]:
    """A copy of `value` if it is a dict of fields that JSON can hold and that the judge does not set, or None."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(
            f"extra_body={type(value).__name__}(...); allowed is a dict of further request fields, or None."
        )
    if ours := [name for name in OURS if name in (value or {})]:
        raise ConfigError(f"extra_body holds {ours[0]!r}, which the judge sets itself; leave it out.")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra_body with {list(value or ())}: allowed is what JSON can hold: {error}.") from None
    return copy.deepcopy(dict(value or {}))


def _is_address(value: Any) -> bool:
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none: maybe the half of a password
        return False


def _kept(url: Any) -> Any:
    return Secret(url, "base_url") if isinstance(url, str) and in_address(url) else url


def _masked(value: Any) -> str:
    """What was given for an address, as far as it can hold no password: passwords may hold any sign but a last "@"."""
    return re.sub(r".*@|\?.*", "***", repr(value))
