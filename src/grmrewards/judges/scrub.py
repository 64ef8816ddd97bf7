"""What a server says, without the keys that it was sent.

Servers and proxies repeat keys: in the text of a 401, in an HTML page of a proxy, in a debugging field. What they say
reaches exceptions, logs, records and the trainer's tables, which are shared with people who must not have the key. A
server that is hostile knows the key anyway; it must not be able to publish it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from html.entities import codepoint2name
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from grmrewards.judges.replies import parsed, text_of
from grmrewards.judges.secret import Secret, is_placeholder

MASK = "***"
LEAST_IN_ANSWERS = 8  # characters: masking a shorter key, "10" say, could change what a judge said
_MARKS = ("\0", r"\u00", r"\x", "&#", *(f"%{i}" for i in range(2, 8)))  # where an encoded character may begin
_NAMED = set("&<>\"'/\\ +")  # characters with further names, or a backslash before them
_SOUNDS_SECRET = re.compile("auth|key|token|secret|cookie|password|sig|code", re.IGNORECASE)


class Scrubber:
    """Replaces some secrets, plain or encoded, by `***`.

    Each character is known plain and in its URL, HTML and JSON form, in any mixture; the whole also in hex and, wherever
    it begins, in base64. What a server masks itself ("sk-...abcd") is its own matter.

    >>> Scrubber(["sk+secret/1"]).text("key sk%2Bsecret%2f1, sk&#43;secret/1 and 6sk+secret/1")
    'key ***, *** and 6***'
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({s.strip() for s in secrets if s.strip() and not is_placeholder(s)}, key=len, reverse=True)
        long = [secret for secret in known if len(secret) >= LEAST_IN_ANSWERS]
        self._all, self._long = (Secret(_pattern(some), "pattern") for some in (known, long))
        self._runs = Secret([run for secret in long for run in _runs(secret)], "runs")
        self._marks = [*_MARKS, *(mark for mark in "\\&" if set("".join(long)) & _NAMED)]

    def text(self, text: str) -> str:
        """For what is no judgement: an error, a page, the words of an exception."""
        return self._all.reveal().sub(MASK, text)

    def error(self, body: Any) -> Any:
        """`text` for all texts of an error object."""
        return _deep(body, self._all.reveal())

    def answer(self, raw: bytes) -> Any:
        """The JSON of an answer, its texts scrubbed; None for what is no JSON. A clean one costs microseconds."""
        data, pattern = parsed(raw), self._long.reveal()
        joined = [_join(choice) for choice in _choices(data)]
        if not any(joined) and not self._suspicious(raw.decode("latin-1").lower()):
            return data
        data = _deep(data, pattern)
        for choice in _choices(data):
            if pattern.search("".join(_tokens(choice))):
                choice["logprobs"] = None  # a key that is cut into tokens
        return data

    def _suspicious(self, text: str) -> bool:
        """Whether a secret may stand in it: a part of one does, or the beginning of an encoded character."""
        return any(run in text for run in self._runs.reveal()) or any(mark in text for mark in self._marks)


def in_address(url: str) -> list[str]:
    """The secrets in an address: a password, or a name without one, and what in the query sounds like a key."""
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    queried = [value for name, value in parse_qsl(parts.query) if _SOUNDS_SECRET.search(name)]
    return [*filter(None, (password or user, unquote(password or user), *queried))]


def in_headers(headers: Mapping[str, str]) -> list[str]:
    """The secrets in headers: the values of those that sound like it, without their scheme, and the password of "Basic"."""
    values = [value for name, value in headers.items() if _SOUNDS_SECRET.search(name)]
    return [*(value.rpartition(" ")[2] for value in values), *filter(None, map(_password, values))]


def _password(header: str) -> str:
    scheme, _, signs = header.partition(" ")
    try:
        user, _, password = base64.b64decode(signs if scheme.lower() == "basic" else "").decode().partition(":")
    except ValueError:
        return ""
    return password or user


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    forms = [form for secret in secrets for form in (_spelt(secret), *_encoded(secret.encode()))]
    return re.compile("|".join(forms) or r"(?!)", re.IGNORECASE)


def _runs(secret: str) -> list[str]:
    """Of each way to write a secret as a whole, a part that cannot be written otherwise."""
    return [
        secret.lower(),
        secret.encode().hex(),
        *(max(re.split("[+/]", c), key=len).lower() for c in _cores(secret.encode())),
    ]


def _spelt(secret: str) -> str:
    return "".join(map(_character, secret))


def _character(c: str) -> str:
    """All ways to write one character."""
    code = ord(c)
    named = f"|&{name};" if (name := codepoint2name.get(code) or {"'": "apos"}.get(c)) else ""
    escaped = rf"|\\{re.escape(c)}" if c in "\"/\\'" else ""
    spaced = r"|\+" if c == " " else ""
    ways = f"{re.escape(c)}|%{code:02x}|\\\\u{code:04x}|\\\\x{code:02x}|&#0*{code};|&#x0*{code:x};"
    return f"(?:{ways}{named}{escaped}{spaced})"


def _encoded(secret: bytes) -> list[str]:
    """Its hex and its base64, whose two last signs may be others or encoded for an address."""
    if len(secret) < LEAST_IN_ANSWERS:
        return []
    cores = [re.escape(core).replace(r"\+", "(?:[+-]|%2b)").replace("/", "(?:[/_]|%2f)") for core in _cores(secret)]
    return [secret.hex(), *cores]


def _cores(secret: bytes) -> Iterator[str]:
    """What of its base64 does not depend on the bytes around it, for each of the three places to begin."""
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + secret + bytes(2)).decode()
        yield whole[-(-8 * shift // 6) : 8 * (shift + len(secret)) // 6]


def _deep(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(MASK, value)
    if isinstance(value, dict):
        return {pattern.sub(MASK, name): _deep(item, pattern) for name, item in value.items()}
    return [_deep(item, pattern) for item in value] if isinstance(value, list) else value


def _choices(data: Any) -> list[dict[str, Any]]:
    choices = data.get("choices") if isinstance(data, dict) else None
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _join(choice: dict[str, Any]) -> bool:
    """Make one text of a content in blocks, between which a key may be cut. Whether there was one."""
    message = choice.get("message")
    if not isinstance(message, dict) or not any(isinstance(text, list) for text in message.values()):
        return False
    message.update({name: text_of(text) for name, text in message.items() if isinstance(text, list)})
    return True


def _tokens(choice: Mapping[str, Any]) -> list[str]:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [str(p.get("token")) for p in content if isinstance(p, dict)] if isinstance(content, list) else []
