"""What the answers of a judge's own requests show about its server, said once in the log: it costs no request."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grmrewards.judges import capabilities as seen
from grmrewards.judges.probe import Asks

LOG = logging.getLogger("grmrewards")
EQUAL = 8  # questions in a row whose votes are all the same, to the letter, before it is said
LEAST_CHARS = 40  # shorter votes may well be the same
ALWAYS_THE_SAME = (
    f"the votes on {EQUAL} questions in a row were the same to the letter: if temperature does nothing here, several votes "
    "are one vote paid several times. `transformers serve` needs do_sample in the model's generation_config.json."
)


class Notices:
    """The oddities of one server that were seen, each said once."""

    def __init__(self, endpoint: Asks) -> None:
        self._endpoint = endpoint
        self._said: set[str] = set()
        self._equal = 0

    async def ask(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What the endpoint answers, looked at."""
        answer = await self._endpoint.ask(fields)
        self.look(fields, answer)
        return answer

    def look(self, sent: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Compare a request with its answer."""
        for kind, sentence in oddities(sent, answer, model=self._endpoint.model):
            self._say(kind, sentence)

    def votes(self, texts: Sequence[str], temperature: float | None) -> None:
        """Compare the votes on one question, however many requests they came in."""
        if len(texts) < 2 or temperature == 0:
            return
        alike = len(set(texts)) == 1 and len(texts[0]) >= LEAST_CHARS
        self._equal = self._equal + 1 if alike else 0
        if self._equal >= EQUAL:
            self._say("votes", ALWAYS_THE_SAME)

    def _say(self, kind: str, sentence: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            LOG.warning("%s: %s", self._endpoint.where(), sentence)


def oddities(sent: Mapping[str, Any], answer: Mapping[str, Any], *, model: str) -> Iterator[tuple[str, str]]:
    """What was asked for and silently not done: a short name and a sentence each."""
    limit = sent.get("max_tokens") or sent.get("max_completion_tokens")
    if isinstance(limit, int) and seen.overlong(answer, limit):
        yield "limit", seen.LIMIT_IGNORED
    if not seen.same_model(model, answer.get("model")):
        yield "model", seen.other_model(model, str(answer["model"]))
    if sent.get("logprobs") and seen.alternatives(answer) is None and any(seen.texts(answer)):
        yield "logprobs", "log-probabilities were asked for, and taken without a word, but not given."
    if _wants_json(sent) and seen.held_to_json(answer) == "ignored":
        yield "schema", "response_format was taken without a word and ignored: the answer is no JSON."


def _wants_json(sent: Mapping[str, Any]) -> bool:
    wanted = sent.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "json_schema":
        schema = (wanted or {}).get("json_schema", {}).get("schema", {})
        return isinstance(schema, Mapping) and schema.get("type") == "object"
    return kind == "json_object"
