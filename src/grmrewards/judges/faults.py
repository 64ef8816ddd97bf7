"""What a refusal of a chat-completions server means, as the exception to raise. Pure functions.

A fault may pass (`Again`), may be about a field that this server does not take (`Refused`), or ends the request with an
error of the package.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from typing import Any

from grmrewards.errors import ContextOverflow, FatalJudgeError, ParseError

LONGEST_RETRY_AFTER = 86_400.0  # a header that asks for more than a day is a broken clock
QUOTA = {"insufficient_quota", "billing_hard_limit_reached"}  # "quota" in a text alone may be a limit a minute (Gemini)
FILTERED = {"content_filter", "content_policy_violation", "invalid_prompt"}  # one prompt's fault, not the set-up's
TOO_MANY = "HTTP 429"  # the one fault that says nothing about the server's health, and all about its pace
OPTIONAL = ("max_completion_tokens", "max_tokens", "temperature", "seed", "n")  # can be renamed or left out
_OVERFLOW = re.compile(
    r"context[ _](?:length|size|window)|maximum (?:model|allowed) length|(?:prompt|input) is too long"
    r"|input tokens? (?:count|exceed)|inputs` (?:tokens|must have)|exceeds? the maximum (?:number of tokens|allowed length)",
    re.IGNORECASE,
)
_ADVICE = {
    401: "The key was refused: pass api_key= or set OPENAI_API_KEY.",
    402: "The account has no credit left: top it up, or use another key.",
    403: "The key may not use this model, or not from here: ask for access, or use another key.",
    404: "No such model or path: compare the model with what GET <base_url>/models lists; base_url mostly ends in /v1.",
}


class Again(Exception):
    """An attempt failed, the next may not. `after`: seconds that the server asked to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


class Refused(Exception):
    """The server does not take `field`: ask again without it, or under its other name."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def fault(status: int, headers: Mapping[str, str], body: Any, sent: Mapping[str, Any], *, where: str) -> Exception:
    """What an answer with this HTTP status means, as the exception to raise. `body` is the error object or a text."""
    detail = body if isinstance(body, dict) else {"message": body}
    text = str(detail.get("message") or body)[:2000]
    codes = {str(detail.get("code")), str(detail.get("type"))}
    if status == 402 or codes & QUOTA:
        return FatalJudgeError(f"{where}: HTTP {status}, the quota is used up. {_ADVICE[402]} It says: {text[:300]}")
    if status in (408, 409, 425, 429) or status >= 500:
        return Again(f"HTTP {status}", retry_after(headers))
    if codes & FILTERED:
        return ParseError(f"the server's content filter refused the prompt: {text[:300]}")
    if status == 413 or (status in (400, 422) and _OVERFLOW.search(" ".join((*codes, text)))):
        return ContextOverflow(f"the prompt does not fit into the judge's context window: {text[:300]}")
    if status in (400, 422) and (field := _named(detail.get("param"), text, sent)):
        return Refused(field, text[:300])
    advice = _ADVICE.get(status, "It refuses the request as such: look at the model, base_url and extra_body.")
    return FatalJudgeError(f"{where}: HTTP {status}. {advice} It says: {text[:300]}")


def _named(param: Any, text: str, sent: Mapping[str, Any]) -> str | None:
    """The optional field of the request that an error is about."""
    optional = [field for field in OPTIONAL if field in sent]
    if param in optional:
        return str(param)
    quoted = {field: field if len(field) > 1 else f"['\"`]{field}['\"`]" for field in optional}
    return next((field for field in optional if re.search(rf"(?<!\w){quoted[field]}(?!\w)", text)), None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait, by any of the three ways to say it; None if it says nothing sensible.

    >>> retry_after({"retry-after-ms": "250"}), retry_after({"retry-after": "2"}), retry_after({"retry-after": "soon"})
    (0.25, 2.0, None)
    """
    ways = ((headers.get("retry-after-ms"), 0.001), (headers.get("retry-after"), 1.0))
    found = (_seconds(value) * unit for value, unit in ways if value)
    return next((seconds for seconds in found if 0 <= seconds <= LONGEST_RETRY_AFTER), None)


def _seconds(value: str) -> float:
    """A number, or the time until an HTTP date; NaN for anything else."""
    try:
        return float(value)
    except ValueError:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError, OverflowError):
            return math.nan
