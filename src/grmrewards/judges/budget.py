"""Hard limits on what a judge may cost over its life."""

from __future__ import annotations

from grmrewards.errors import FatalJudgeError


class Budget:
    """Requests and tokens used so far, and how many there may be; None: any number."""

    def __init__(self, max_calls: int | None, max_tokens_total: int | None) -> None:
        self.max_calls, self.max_tokens_total = max_calls, max_tokens_total
        self.calls = self.tokens = 0

    def spend(self) -> None:
        """A request is to be sent. Raises `FatalJudgeError` where none may be."""
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise FatalJudgeError(self._exceeded("max_calls", self.max_calls))
        if self.max_tokens_total is not None and self.tokens >= self.max_tokens_total:
            raise FatalJudgeError(self._exceeded("max_tokens_total", self.max_tokens_total))
        self.calls += 1

    def use(self, prompt_tokens: int, completion_tokens: int) -> None:
        """An answer came, usable or not."""
        self.tokens += prompt_tokens + completion_tokens

    def spares(self, requests: int) -> bool:
        """Whether so many requests are left that one may go to a copy that is not strictly needed."""
        return self.max_calls is None or self.max_calls - self.calls > requests

    def _exceeded(self, name: str, limit: int) -> str:
        return (
            f"{name}={limit} is used up: {self.calls} requests were sent and {self.tokens} tokens used since this judge "
            f"was made. Raise {name}, pass None for no limit, or make a new judge."
        )
