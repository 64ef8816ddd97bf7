"""What a chat-completions server does with the fields that a judge sends, read from its answers. Pure functions.

Servers accept fields and ignore them, so what came back is compared with what was asked for; nothing is believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SLACK = 8  # tokens that a server may count beyond the limit: ends of turns, marks of its template
CHARS_A_TOKEN = 32  # far more than any text has, for servers that count no tokens


@dataclass(frozen=True)
class Capabilities:
    """What one server does. An empty text and None stand for what could not be seen."""

    where: str  # model and address, as asked for
    model: str = ""  # as asked for
    answers_as: str = ""  # what the answers call the model
    checks_model: bool = True  # refuses a model that it does not have
    n: int = 0  # how many answers came where two were asked for; 0: no telling
    copies: bool = False  # the answers of one request are the same, though those of two are not
    samples: bool | None = None  # answers at temperature 1 differ
    seed: str = ""  # "repeats": one seed twice gave one answer | "ignored"
    logprobs: str = ""  # "given" | "absent" | "refused"
    top_logprobs: int = 0  # the fewest alternatives at a token where 20 were asked for
    label_ids: str = ""  # the log-probabilities of tokens that a request names: "exact" | "absent"
    json_schema: str = ""  # "constrained" | "ignored" | "refused"
    token_limit: str = ""  # "max_tokens" | "max_completion_tokens": the field that holds | "ignored"
    counts_tokens: bool = True
    reasoning: str = ""  # the field of the message that it stands in; "content": not told apart from the answer
    continues: str = ""  # a begun answer of the assistant: "continued" | "ignored" | "refused"
    unknown_fields: str = ""  # "ignored" | "refused"

    def report(self) -> str:
        """What a judge does about it and what you can do, one sentence a line, the serious ones first."""
        lines = [f"  ! {sentence}" for sentence in self.warnings()]
        return "\n".join([f"{self.where}:", *lines, *(f"  - {sentence}" for sentence in self._remarks())])

    def warnings(self) -> list[str]:
        """What makes rewards wrong or runs dear, if nobody does anything about it."""
        return list(self._warnings())

    def _warnings(self) -> Iterator[str]:
        if not same_model(self.model, self.answers_as):
            yield other_model(self.model, self.answers_as)
        if self.token_limit == "ignored":
            yield LIMIT_IGNORED
        if self.samples is False:
            yield NO_SAMPLING
        if self.copies:
            yield "n gives the same answer n times under one seed: votes would be copies, so each is asked for alone."
        if self.reasoning == "content":
            yield (
                "the reasoning stands in the text of the answer: start the server with its reasoning parser, so that "
                "no score is read from a thought."
            )

    def _remarks(self) -> Iterator[str]:
        if not self.checks_model:
            yield "model: any name is answered, with the model that is loaded: see that it is the judge you mean."
        yield N_SEEN if self.n > 1 and not self.copies else N_ALONE if self.n else "n: no telling."
        yield _SEED[self.seed]
        yield _LOGPROBS[self.logprobs].format(self.top_logprobs)
        if self.logprobs == "given":
            yield from filter(None, [_LABEL_IDS[self.label_ids]])
        if self.logprobs == "given" and self.top_logprobs < 20 and self.label_ids != "exact":
            yield FEWER_ALTERNATIVES.format(self.top_logprobs)
        yield _SCHEMA[self.json_schema]
        if self.token_limit != "ignored":
            yield f"length: {self.token_limit or 'neither name of the limit'} is taken."
        if not self.counts_tokens:
            yield "usage: it counts no tokens, so max_tokens_total cannot hold, and logs show 0."
        if self.reasoning not in ("", "content"):
            yield f"reasoning: stands in {self.reasoning!r}, apart from the answer."
        yield _CONTINUES[self.continues]
        yield _UNKNOWN[self.unknown_fields]


LIMIT_IGNORED = (
    "answers are longer than the limit that was sent: it ignores the limit, every judgement may run to the end of the "
    "context window. Set the limit at the server, or use a server that knows max_tokens."
)
NO_SAMPLING = (
    "answers at temperature 1 are the same under every seed: temperature does nothing here, so several votes are one vote "
    "paid several times. `transformers serve` needs do_sample in the model's generation_config.json; else use votes=1."
)
N_SEEN = "n: several votes come in one request."
N_ALONE = "n: one answer comes where two are asked for; each vote is a request of its own, under a seed of its own."
FEWER_ALTERNATIVES = (
    "top_logprobs: {} of 20 alternatives come; a label that is not among them gets the largest probability it can have."
)
_SEED = {
    "repeats": "seed: one seed twice gives one answer.",
    "ignored": (
        "seed: one seed twice gives two answers, at least while other requests run, so a run cannot be repeated to the "
        "letter; scores are unharmed."
    ),
    "": "seed: no telling, since all answers were the same or none came.",
}
_LOGPROBS = {
    "given": "logprobs: given; GRAMReward can use this server.",
    "absent": "logprobs: taken without a word and not given; GRAMReward will refuse this server.",
    "refused": "logprobs: refused; GRAMReward cannot use this server. llama-cpp-python needs --logits_all true.",
    "": "logprobs: no telling, since no answer came in time; ask again when the server is warm.",
}
_LABEL_IDS = {
    "exact": "logprob_token_ids: taken; GRAMReward gets the exact probability of a label, however small it is.",
    "absent": "logprob_token_ids: not known here; GRAMReward reads labels from the likeliest tokens.",
    "": "",
}
_SCHEMA = {
    "constrained": "json_schema: answers are held to it.",
    "ignored": "json_schema: taken without a word and ignored; a template that counts on response_format will not be read.",
    "refused": "json_schema: refused or failing; leave response_format out of extra_body. The library does not need it.",
    "": "json_schema: no telling, since the answer was empty or late.",
}
_CONTINUES = {
    "continued": "continue_final_message: an answer that was begun is continued.",
    "ignored": "continue_final_message: ignored; an answer that was begun is taken as a finished turn.",
    "refused": "continue_final_message: refused; a family that begins the answer cannot use this server.",
    "": "continue_final_message: no telling; it needs a count of tokens, and an answer in time.",
}
_UNKNOWN = {
    "ignored": "unknown fields: ignored without a word; a misspelt name in extra_body does nothing.",
    "refused": "unknown fields: refused; a field of extra_body that it does not know ends the run with its message.",
    "": "unknown fields: no telling.",
}


def other_model(asked: str, answered: str) -> str:
    """The sentence for a server that answers under another name."""
    return (
        f"answers name the model {answered!r} where {asked!r} was asked for: some servers answer to any name with the "
        "model they have. See that it is the judge you mean."
    )


def same_model(asked: str, answered: Any) -> bool:
    """Whether two names may mean one model: one is part of the other, folders and case aside. No name is no news.

    >>> same_model("gpt-4o", "gpt-4o-2024-08-06"), same_model("/models/judge", "judge@main"), same_model("a", "b")
    (True, True, False)
    """
    if not asked or not isinstance(answered, str) or not answered:
        return True
    one, two = (name.lower().rstrip("/").rpartition("/")[2].partition("@")[0] for name in (asked, answered))
    return one in two or two in one


def texts(data: Mapping[str, Any]) -> list[str]:
    """What each choice says, its reasoning included: where a limit is short there is nothing else."""
    messages = [choice["message"] for choice in data["choices"]]
    names = ("reasoning", "reasoning_content", "content")
    return ["".join(m[name] for name in names if isinstance(m.get(name), str)) for m in messages]


def overlong(data: Mapping[str, Any], limit: int) -> bool:
    """Whether the answers are clearly longer than `limit` tokens each."""
    count = completion_tokens(data)
    if count is not None:
        return count > len(data["choices"]) * limit + SLACK
    return any(len(text) > CHARS_A_TOKEN * (limit + SLACK) for text in texts(data))


def completion_tokens(data: Mapping[str, Any]) -> int | None:
    """As the server counts them, over all choices."""
    return _used(data, "completion_tokens")


def prompt_tokens(data: Mapping[str, Any]) -> int | None:
    """As the server counts them."""
    return _used(data, "prompt_tokens")


def _used(data: Mapping[str, Any], name: str) -> int | None:
    usage = data.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else None


def alternatives(data: Mapping[str, Any]) -> int | None:
    """The fewest alternatives at a token; None where there are no log-probabilities."""
    logprobs = data["choices"][0].get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None
    return min(len(position.get("top_logprobs") or ()) for position in content)


def probability(data: Mapping[str, Any]) -> float | None:
    """How probable the first answer was; None where there are no log-probabilities."""
    if alternatives(data) is None:
        return None
    logprobs = [position.get("logprob") for position in data["choices"][0]["logprobs"]["content"]]
    return math.exp(min(0.0, sum(value for value in logprobs if isinstance(value, (int, float)))))


def reasoning_field(answers: Sequence[Mapping[str, Any]]) -> str:
    """Where the reasoning stands."""
    messages = [choice["message"] for data in answers for choice in data["choices"]]
    for name in ("reasoning", "reasoning_content"):
        if any(message.get(name) for message in messages):
            return name
    return "content" if any(str(m.get("content")).lstrip().startswith("<think") for m in messages) else ""


def held_to_json(data: Mapping[str, Any]) -> str:
    """What became of a schema for an object. Models without a word to say write spaces, if nothing else is allowed."""
    content = data["choices"][0]["message"].get("content")
    if not isinstance(content, str) or not content:
        return ""
    return "constrained" if not content.strip() or content.lstrip().startswith("{") else "ignored"
