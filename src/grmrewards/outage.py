"""When failures stop being noise: the share of unscored completions over a window, and the error that ends the run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from grmrewards import tally
from grmrewards.errors import JudgeOutage
from grmrewards.types import Call

WINDOW = 64  # completions


class FailureWindow:
    """The fate of the last 64 completions, or of the last call if that was larger. Safe to use from several threads.

    A pickle carries `max_failures` alone: another process begins with a clean window.
    """

    def __init__(self, max_failures: float) -> None:
        self.max_failures = max_failures
        self._lock = threading.Lock()
        self._lost: deque[bool] = deque(maxlen=WINDOW)

    def check(self, scores: Sequence[float | None], call: Call, *, name: str) -> None:
        """Raise `JudgeOutage` where too many are lost, and at once where not one request of the call was answered."""
        lost = [score is None for score in scores]
        size = max(WINDOW, len(lost))
        with self._lock:
            self._lost = deque([*self._lost, *lost], maxlen=size)
            recent = sum(self._lost)
        why = f"{name}: {sum(lost)} of {len(lost)} completions are unscored: {tally.reasons(call)}."
        if call.requests and call.counts["requests_lost"] == call.requests:
            raise JudgeOutage(f"{why} Not one of {call.requests} requests was answered: is the judge running?")
        if recent > self.max_failures * size:
            raise JudgeOutage(
                f"{why} With {recent} of the last {size} the share exceeds max_failures={self.max_failures:g}."
            )

    def __getstate__(self) -> dict[str, float]:
        return {"max_failures": self.max_failures}

    def __setstate__(self, state: dict[str, float]) -> None:
        self.__init__(state["max_failures"])  # type: ignore[misc]  # a fresh start is what unpickling means here
