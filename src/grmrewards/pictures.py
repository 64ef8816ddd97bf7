"""The images of a prompt: in its messages, or in a column of the dataset for which they have places. Pure functions.

Only what a dataset put into its prompts is shown to a judge. What an image may be is said in `judges/images`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.types import Message, Part

KINDS = ("image", "image_url")  # of parts


def images(prompt: Sequence[Message], given: Any = None) -> tuple[Part, ...]:
    """The images of a prompt, in order; those that are `given` where it has places for them, or none of its own.

    Raises `ConfigError` as `with_images`.

    >>> images([Message("user", (Part("image", data="cat.png"), Part("text", "What is it?")))])
    (Part(kind='image', text=''),)
    """
    if given is None and all(isinstance(message.content, str) for message in prompt):
        return ()
    return tuple(part for message in with_images(prompt, given) for part in _images(message))


def with_images(prompt: Sequence[Message], given: Any = None) -> tuple[Message, ...]:
    """The prompt with the images of a dataset's column: one, a list of them, or None.

    They fill the places that it has (`{"type": "image"}` without data) in order. Where it has neither places nor images
    they come before the first words of the user, as trainers put them. Where it has its images already, they are the same
    ones. Raises `ConfigError` where the counts do not match.
    """
    listed = list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
    own = [part for message in prompt for part in _images(message)]
    if not own and listed:
        return _in_front(prompt, listed)
    places = sum(part.data is None for part in own)
    if len(listed) != places and (places or len(listed) not in (0, len(own))):
        raise ConfigError(
            f"{len(listed)} images for a prompt with {len(own)} images, {places} of them to be filled in; allowed is one for "
            "each place. Name the column that has them with image_column=, or leave it out where prompts have them already."
        )
    left = iter(listed if places else ())
    return tuple(_filled(message, left) for message in prompt)


def _images(message: Message) -> list[Part]:
    """Its images; none of a tool, whose answers trainers do not fill in either."""
    if isinstance(message.content, str) or message.role == "tool":
        return []
    return [part for part in message.content if part.kind in KINDS]


def _in_front(prompt: Sequence[Message], listed: Sequence[Any]) -> tuple[Message, ...]:
    at = next((i for i, message in enumerate(prompt) if message.role == "user"), 0)
    said = prompt[at].content
    parts = (Part("text", said),) if isinstance(said, str) else said
    first = replace(prompt[at], content=(*(Part("image", data=image) for image in listed), *parts))
    return (*prompt[:at], first, *prompt[at + 1 :])


def _filled(message: Message, left: Iterator[Any]) -> Message:
    if isinstance(message.content, str) or message.role == "tool":
        return message
    parts = (
        replace(part, data=next(left)) if part.kind in KINDS and part.data is None else part for part in message.content
    )
    return replace(message, content=tuple(parts))


def comparable(data: Any) -> Any:
    """An array as an image: prompts are compared, and arrays have no single answer to that."""
    if hasattr(data, "__array_interface__") and not hasattr(data, "save"):
        arguments.installed("an image as an array", "PIL", extra="vision")
        from PIL import Image

        try:
            return Image.fromarray(data)
        except TypeError as error:
            raise ConfigError(f"an image of a prompt, an array that is none ({error}); allowed is uint8.") from error
    return data
