"""Where a server is and what each request to it carries, as the `openai` package would say; `OPENAI_*` variables count."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from grmrewards.judges.scrub import Scrubber, in_address, in_headers
from grmrewards.judges.secret import Secret

CARRIERS = ("x-stainless", "host", "content-length", "connection", "accept-encoding")  # headers of who carries


class Carried(NamedTuple):
    """What a request needs and nobody may see. No address in it holds a name and a password: they stand in a header."""

    key: str
    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    proxy: str | None  # that the environment names; None: straight


@dataclass(frozen=True)
class Address:
    """Where a server is, what goes with each request to it, and what is scrubbed from what it says."""

    where: str  # to be shown
    carried: Secret[Carried]
    scrub: Scrubber

    @property
    def proxied(self) -> str:
        """The scheme of the proxy, "" for none."""
        return urlsplit(self.carried.reveal().proxy or "").scheme


def address(base_url: str | Secret[str] | None, key: Secret[str]) -> Address:
    """What the `openai` package would send to `base_url` and where; `OPENAI_*` variables count."""
    import openai

    # A transport that is none: the client sends nothing, and so has no certificates to load and nothing to close.
    nowhere = openai.DefaultAsyncHttpxClient(transport=cast(Any, object()))
    client = openai.AsyncOpenAI(base_url=revealed(base_url), api_key=key.reveal(), http_client=nowhere)
    carried = Secret(_carried(client, key), "base_url")
    return Address(without_credentials(str(client.base_url)), carried, Scrubber(_secrets(client, carried.reveal())))


def _carried(client: Any, key: Secret[str]) -> Carried:
    headers = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
    headers = {**client.auth_headers, **headers, "Content-Type": "application/json"}
    headers.update(basic(str(client.base_url)))  # credentials in the address win over a key
    ours = {name: text for name, text in headers.items() if not name.lower().startswith(CARRIERS)}
    url = without_user(str(client.base_url)).rstrip("/")
    return Carried(key.reveal(), url, ours, {k: str(v) for k, v in client.default_query.items()}, _proxy(url))


def _secrets(client: Any, carried: Carried) -> list[str]:
    addresses = (str(client.base_url), carried.proxy or "")
    return [carried.key, *in_headers(carried.headers), *(secret for url in addresses for secret in in_address(url))]


def _proxy(url: str) -> str | None:
    parts, known = urlsplit(url), urllib.request.getproxies()
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxy = known.get(parts.scheme) or known.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def basic(url: str) -> dict[str, str]:
    """The header that says the name and the password in an address; none where there are none.

    Clients log addresses, and their exceptions hold them.
    """
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    name, _, password = user.partition(":")
    signs = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
    return {"Authorization": f"Basic {signs}"} if at else {}


def without_user(url: str) -> str:
    """The address without a name and a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def without_credentials(url: str) -> str:
    """The address alone.

    >>> without_credentials("https://me:secret@example.org:8000/v1?key=secret")
    'https://example.org:8000/v1'
    """
    return urlsplit(without_user(url))._replace(query="", fragment="").geturl().rstrip("/")


def revealed(url: str | Secret[str] | None) -> str | None:
    """An address as it was given."""
    return url.reveal() if isinstance(url, Secret) else url
