"""What the tokenizer of a judge in training decides: which texts are signs of its chat format, and how long a prompt is."""

from __future__ import annotations

from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """What is made harmless in a prompt besides the signs of known chat formats; nothing without a tokenizer."""
    if tokenizer is None:
        return ()
    from grmrewards.judges.chat import structural_tokens  # loads transformers

    return structural_tokens(tokenizer)


def limit(tokenizer: Any, max_prompt_tokens: Any) -> int | None:
    """`max_prompt_tokens` if it is a number, and there is a tokenizer to count with, or None."""
    longest: int | None = arguments.whole("max_prompt_tokens", max_prompt_tokens, optional=True)
    if longest is not None and tokenizer is None:
        raise ConfigError(f"max_prompt_tokens={longest} without a tokenizer; pass the judge's tokenizer=.")
    return longest


def fits(tokenizer: Any, text: str, longest: int | None) -> bool:
    """Whether a text has no more tokens than that, the few of the chat format not counted."""
    return longest is None or len(tokenizer(text, add_special_tokens=False)["input_ids"]) <= longest
