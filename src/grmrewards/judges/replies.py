"""What goes to a chat-completions server, and what comes back as replies or as probabilities of labels. Pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grmrewards.errors import ConfigError, FatalJudgeError, ParseError
from grmrewards.judges import images
from grmrewards.judges.faults import Again
from grmrewards.types import Message, Part, Reply, TokenLogprob

MIN_LABEL_MASS = 0.5  # below it the judge was mostly about to say something else, and what is left is noise
LEAST_MASS = 1e-9  # of a label that is not among the alternatives, so that its logarithm exists
ROUNDING = 0.01  # a log-probability above 0 by no more is 1.0; what lies higher is none, and must not become certainty
SENTINEL = -9000.0  # servers write -9999 for "not computed"
NO_IDS: Mapping[int, str] = {}


# To the server


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as JSON. Half characters (lone surrogates), which no UTF-8 can carry, become U+FFFD."""
    return [
        {
            "role": message.role,
            "content": encodable(message.content)
            if isinstance(message.content, str)
            else [_block(part) for part in message.content],
        }
        for message in messages
    ]


def encodable(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates replaced.

    >>> encodable("a\\ud800b")
    'a\\ufffdb'
    """
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _block(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": encodable(part.text)}
    if part.kind in ("image", "image_url"):
        return {"type": "image_url", "image_url": {"url": images.url(part.data)}}
    raise ConfigError(
        f"a part of kind {part.kind!r} with data of type {type(part.data).__name__} cannot be sent to an endpoint; "
        "allowed are text and images."
    )


# From the server: answers


def parsed(raw: bytes) -> Any:
    """What the JSON says; None for anything else, be it HTML or cut off."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def completion(data: Any) -> dict[str, Any]:
    """The answer as a dict with at least one choice that has a message. Raises `Again` for anything else."""
    if data is None:
        raise Again("no JSON in the answer (base_url mostly ends in /v1)")
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices:
        raise Again("no choices in the answer")
    if not all(isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices):
        raise Again("a choice without a message")
    return dict(data)


def replies(data: Mapping[str, Any]) -> list[Reply]:
    """One reply a choice. The tokens of the request stand on the first, so that a sum counts them once."""
    prompt_tokens, completion_tokens = tokens(data)
    return [
        Reply(
            text=text_of(choice["message"].get("content")),
            reasoning=text_of(choice["message"].get("reasoning") or choice["message"].get("reasoning_content")),
            finish_reason=str(choice.get("finish_reason") or "stop"),
            logprobs=tuple(_token_logprobs(choice)),
            prompt_tokens=0 if i else prompt_tokens,
            completion_tokens=0 if i else completion_tokens,
        )
        for i, choice in enumerate(data["choices"])
    ]


def tokens(data: Mapping[str, Any]) -> tuple[int, int]:
    """Prompt and completion tokens of a request; 0 where the server does not say."""
    usage = data.get("usage")
    counts = (usage.get(name) for name in ("prompt_tokens", "completion_tokens")) if isinstance(usage, dict) else (0, 0)
    prompt_tokens, completion_tokens = (count if isinstance(count, int) else 0 for count in counts)
    return prompt_tokens, completion_tokens


def text_of(content: Any) -> str:
    """A text; of a list of blocks the text ones; else nothing."""
    if isinstance(content, list):
        return "".join(b["text"] for b in content if isinstance(b, dict) and isinstance(b.get("text"), str))
    return content if isinstance(content, str) else ""


def _token_logprobs(choice: Mapping[str, Any]) -> Iterator[TokenLogprob]:
    for position in _positions(choice) or ():
        alternatives = _alternatives(position)
        top = dict(reversed(alternatives))  # the likelier of equal texts
        token = str(position.get("token"))
        yield TokenLogprob(token, top.get(token, -math.inf), top)


# From the server: labels


def has_logprobs(data: Mapping[str, Any]) -> bool:
    """Whether an answer has log-probabilities, or need not have them, since it was filtered."""
    choice = data["choices"][0]
    return _positions(choice) is not None or choice.get("finish_reason") == "content_filter"


def label_logprobs(
    data: Mapping[str, Any], labels: Sequence[str], *, where: str, ids: Mapping[int, str] = NO_IDS
) -> list[float]:
    """For each label the logarithm of its probability as the first token, over all ways to write it ("A", " A", "▁A").

    `ids` are tokens that were asked for by their numbers, with the labels that they write: some servers answer so. A label
    that is not among the alternatives gets the largest probability it can have there. Raises `ParseError` where the labels
    together are not what the judge was about to say, `FatalJudgeError` where there are no log-probabilities.
    """
    if not has_logprobs(data):
        raise FatalJudgeError(
            f"{where} answers without log-probabilities, which this reward needs. vLLM, SGLang, llama.cpp and OpenAI's "
            "models without reasoning give them; `transformers serve` does not. Use one of those, a TransformersJudge, "
            "or a family that reads text (IPGRMReward, ListwiseReward, IRPMReward)."
        )
    alternatives = top_logprobs(data)
    if any(math.isnan(logprob) for _, logprob in alternatives):
        raise ParseError("a log-probability that is not a number: the judge overflows in its precision")
    written = {named(i): label for i, label in ids.items()}
    said = [(written.get(token, bare(token)), lp) for token, lp in alternatives]
    masses = [math.fsum(math.exp(lp) for text, lp in said if text == label) for label in labels]
    if sum(masses) < MIN_LABEL_MASS:
        raise ParseError(_first_words(alternatives, labels, sum(masses)))
    returned = [math.exp(logprob) for _, logprob in alternatives]
    bound = max(LEAST_MASS, min(*returned, 1.0 - math.fsum(returned)))
    return [math.log(mass or bound) for mass in masses]


def top_logprobs(data: Mapping[str, Any]) -> list[tuple[str, float]]:
    """(token, logprob) for the first token of the answer, most likely first; nothing where the server gave none."""
    positions = _positions(data["choices"][0])
    return _alternatives(positions[0]) if positions else []


def named(token_id: int) -> str:
    """How servers write a token by its number.

    >>> named(450)
    'token_id:450'
    """
    return f"token_id:{token_id}"


def _positions(choice: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The tokens of an answer with their log-probabilities; None where the server gave none."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [position for position in content if isinstance(position, dict)] if isinstance(content, list) else None


def _alternatives(position: Mapping[str, Any]) -> list[tuple[str, float]]:
    """(token, logprob) at one position, most likely first: the alternatives, and the sampled one if not among them."""
    given = position.get("top_logprobs")
    listed = [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else []
    if position.get("token") not in [entry.get("token") for entry in listed]:
        listed.append(dict(position))
    pairs = [(str(entry.get("token")), entry.get("logprob")) for entry in listed]
    numbers = [(token, lp) for token, lp in pairs if isinstance(lp, (int, float)) and not isinstance(lp, bool)]
    known = [(token, float(min(lp, 0.0))) for token, lp in numbers if not lp <= SENTINEL and not lp > ROUNDING]
    return sorted(known, key=lambda pair: -pair[1])


def bare(token: str) -> str:
    """A token without the space it carries, written out or as the mark of a byte-level or SentencePiece vocabulary."""
    return token.strip().strip("ĠĊ▁")


def _first_words(alternatives: Sequence[tuple[str, float]], labels: Sequence[str], mass: float) -> str:
    begins = ", ".join(f"{token[:20]!r} ({math.exp(logprob):.2f})" for token, logprob in alternatives[:3])
    return (
        f"the judge does not begin with {' or '.join(labels)}: their probability is {mass:.2f}, it begins with "
        f"{begins or 'nothing'}. Thinking must be off: extra_body={{'chat_template_kwargs': {{'enable_thinking': False}}}}."
    )
