"""Where a server is and what each request to it carries, as the `openai` package would say; `OPENAI_*` variables count."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

CARRIERS = ("x-stainless", "host", "content-length", "connection", "accept-encoding")  # headers of who carries


@dataclass(frozen=True)
class Address:
    """Where a server is and what goes with each request to it."""

    base_url: str
    key: str = field(repr=False)
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for it; None: straight."""
        parts, known = urlsplit(self.url), urllib.request.getproxies()
        if urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        proxy = known.get(parts.scheme) or known.get("all")
        return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def address(base_url: str | None, api_key: str) -> Address:
    """What the `openai` package would send to `base_url` and where; `OPENAI_*` variables count."""
    import openai

    # A transport that is none: the client sends nothing, and so has no certificates to load and nothing to close.
    nowhere = openai.DefaultAsyncHttpxClient(transport=cast(Any, object()))
    client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, http_client=nowhere)
    url = str(client.base_url).rstrip("/")
    headers = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
    headers = {**client.auth_headers, **headers, "Content-Type": "application/json"}
    if "@" in urlsplit(url).netloc:  # credentials in the address win over a key, and cannot stand beside it
        headers.pop("Authorization", None)
    ours = {name: text for name, text in headers.items() if not name.lower().startswith(CARRIERS)}
    return Address(url, api_key, f"{url}/chat/completions", ours, {k: str(v) for k, v in client.default_query.items()})
