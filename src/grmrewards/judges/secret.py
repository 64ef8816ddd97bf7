"""A value that is used and never shown: not by `repr`, not by `vars`, not in a traceback, not in a pickle.

Judges are printed, logged with `vars`, pickled to workers and shown by notebooks with every local variable of a frame
that failed. A key that stands in a plain attribute is in all of these.
"""

from __future__ import annotations

import os
import re
from typing import Any, Generic, TypeVar, cast

from grmrewards.errors import ConfigError

T = TypeVar("T")
NO_KEY = "no-key"  # what a server without keys is sent
PLACEHOLDERS = frozenset(
    [NO_KEY, "none", "empty", "dummy", "ollama", "lm-studio", "not-needed", "not-used", "sk-no-key-required"]
)  # what servers without keys are sent: no secret, so a pickle carries it and no text is scrubbed of it
_SOUNDS_SECRET = re.compile("key|token|secret|pass|auth|credential|url", re.IGNORECASE)
_LONG = 8  # characters; a shorter value may stand in any variable by accident


class Secret(Generic[T]):
    """A value that only `reveal` gives. `what` says which argument it came from.

    A pickle carries no value, but the name of the environment variable that holds the very same, if there is one: the
    value is read from there in the other process. A copy within this process keeps the value.

    >>> f"{Secret('sk-1234', 'api_key')}", [Secret('sk-1234', 'api_key')]
    ('***', [***])
    """

    __slots__ = ("_held", "_name", "what")

    def __init__(self, value: T, what: str) -> None:
        self._held: tuple[T] | tuple[()] = (value,)
        self._name, self.what = "", what

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return bool(self._held) or self._name in os.environ

    def reveal(self) -> T:
        """The value. Raises `ConfigError` where it was lost on the way through a pickle."""
        if not self._held and self._name in os.environ:
            self._held = (cast(T, os.environ[self._name].strip()),)
        if not self._held:
            raise ConfigError(_lost(self.what, self._name))
        return self._held[0]

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: Any) -> Secret[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._held and is_placeholder(self._held[0]):
            return Secret, (self._held[0], self.what)
        return from_environment, (self._name or _variable(self._held), self.what)


def from_environment(name: str, what: str) -> Secret[str]:
    """The value of a variable of this process; one that says what to do where there is none. For pickles."""
    secret = Secret("", what)
    secret._held, secret._name = (), name
    if secret.known:
        secret.reveal()
    return secret


def is_placeholder(value: object) -> bool:
    """Whether it is what a server without keys is sent."""
    return isinstance(value, str) and value.strip().lower() in PLACEHOLDERS


def _variable(held: tuple[Any, ...]) -> str:
    """The name of an environment variable that holds this value; "" where none does."""
    names = [name for name, value in os.environ.items() if held and value.strip() == held[0]]
    likely = [name for name in names if len(held[0]) >= _LONG or _SOUNDS_SECRET.search(name)]
    return min(likely, key=lambda name: (name != "OPENAI_API_KEY", name), default="")


def _lost(what: str, name: str) -> str:
    if name:
        return (
            f"{what}: it was pickled as the environment variable {name}, which is not set in this process. Set it here."
        )
    return (
        f"{what}: pickles carry no keys and no passwords, so this judge has none. Set OPENAI_API_KEY in both processes and "
        "leave api_key out, or pass one that stands in an environment variable, api_key=os.environ['MY_KEY']: then the "
        "pickle carries the name of the variable."
    )
