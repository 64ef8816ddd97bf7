"""What servers say about the model that they have, where they list their models (GET <base_url>/models).

A name says little: `--served-model-name judge` is one name over many checkpoints. With vLLM `root` is the folder of the
weights, with llama.cpp `meta` counts their parameters and bytes. What changes from one start of a server to the next,
such as `created`, is left out. A server that has no such list says nothing, each time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Sequence
from typing import Any

from grmrewards.errors import TransportError
from grmrewards.judges.carrier import Answer
from grmrewards.judges.faults import Again, fault
from grmrewards.judges.replica import Lane
from grmrewards.judges.replies import parsed
from grmrewards.types import CALL

LOG = logging.getLogger("grmrewards")
FIELDS = ("id", "root", "parent", "max_model_len", "owned_by")
TRIES, WAIT, LONGEST = 4, 0.1, 5.0  # attempts, seconds between the first two, and seconds for one
PASSING = (408, 409, 425, 429)
_SCOPES = re.compile("scope|permission", re.IGNORECASE)  # OpenAI's keys that may judge, and may not list


async def listed(lanes: Sequence[Lane], model: str, timeout: float) -> list[str]:
    """What each server that answers says about `model`: mostly one text, several where the servers differ.

    Where all fail to say it, the answer is one that equals no other: a judgement of this process is then not taken for that
    of any judge. Raises `FatalJudgeError` where a key is refused, `TransportError` where no server can be reached.
    """
    found = await asyncio.gather(*(_one(lane, model, timeout) for lane in lanes), return_exceptions=True)
    errors = [error for error in found if isinstance(error, BaseException)]
    texts = [text for text in found if isinstance(text, str)]
    fatal = [error for error in errors if not isinstance(error, TransportError)]
    if fatal or len(errors) == len(found):
        raise (fatal or errors)[0]
    return sorted({text for text in texts if text}) if texts else [f"unknown {secrets.token_hex(8)}"]


def said(data: Any, model: str) -> str:
    """What a list of models says about `model`, or about the only one that there is; "" where it is no such list.

    >>> said({"data": [{"id": "judge", "root": "out/checkpoint-200", "created": 7}]}, "judge")
    '{"id": "judge", "root": "out/checkpoint-200"}'
    """
    entries = data.get("data") if isinstance(data, dict) else None
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    named = [entry for entry in entries if entry.get("id") == model] or (entries if len(entries) == 1 else [])
    if not named:
        return ""
    kept = {name: named[0][name] for name in FIELDS if named[0].get(name) is not None}
    meta = named[0].get("meta")
    return json.dumps({**kept, **({"meta": meta} if isinstance(meta, dict) else {})}, sort_keys=True)


async def _one(lane: Lane, model: str, timeout: float) -> str | None:
    """What one server says; None where it fails to."""
    call, now = CALL.get(), asyncio.get_running_loop().time
    deadline = (call.deadline if call else None) or now() + TRIES * LONGEST
    for attempt in range(TRIES):
        try:
            left = (deadline - now()) / 2  # the rest is for the judgement
            answer = await lane.carrier.models(max(0.001, min(timeout, LONGEST, left)))
            return said(_body(answer, lane.where), model)
        except Again as again:
            reason, wait = again.reason, again.after if again.after is not None else WAIT * 2**attempt
        if attempt + 1 == TRIES or now() + wait > deadline:
            break
        await asyncio.sleep(wait)
    if reason.startswith("no connection"):
        raise TransportError(f"{reason}: no list of models of {lane.where} in {attempt + 1} attempts")
    LOG.warning(
        "%s does not list its models (%s): what is judged now cannot be told from others later.", lane.where, reason
    )
    return None


def _body(answer: Answer, where: str) -> Any:
    """The JSON of an answer, None where there is no list. Raises `Again`, or what a refused key means."""
    data = answer.scrub.error(parsed(answer.raw))
    if answer.status < 300:
        return data
    detail = (
        data.get("error", data) if isinstance(data, dict) else answer.scrub.text(answer.raw.decode(errors="replace"))
    )
    refused = answer.status in (401, 403) and not _SCOPES.search(str(detail))
    if refused or answer.status in PASSING or (answer.status >= 500 and answer.status != 501):
        raise fault(answer.status, answer.headers, detail, {}, where=where)
    return None
