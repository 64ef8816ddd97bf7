"""Checks of what users give an endpoint judge. Each raises `ConfigError` that says what was given and what is allowed."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from grmrewards.errors import ConfigError
from grmrewards.judges.faults import OPTIONAL

OURS = ("model", "messages", "stream", "logprobs", "top_logprobs", *OPTIONAL)  # fields that extra_body must not hold


def base_url(value: Any) -> Any:
    """`value` if it is an address, several different ones (as a list), or None."""
    if value is None or (isinstance(value, str) and _is_address(value)):
        return value
    several = list(value) if isinstance(value, (list, tuple)) else []
    if not several or not all(map(_is_address, several)) or len(set(several)) < len(several):
        raise ConfigError(
            f"base_url={value!r}; allowed is an address such as 'http://localhost:8000/v1', a list of different ones that "
            "serve the same model, or None."
        )
    return several


def client(value: Any, base_url: Any, api_key: str | None) -> Any:
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
        raise ConfigError(f"extra_body={value!r}; allowed is a dict of further request fields, or None.")
    if ours := [name for name in OURS if name in (value or {})]:
        raise ConfigError(f"extra_body={value!r} holds {ours[0]!r}, which the judge sets itself; leave it out.")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra_body={value!r}; allowed is what JSON can hold: {error}.") from None
    return copy.deepcopy(dict(value or {}))


def _is_address(value: Any) -> bool:
    parts = urlsplit(value) if isinstance(value, str) else None
    return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
