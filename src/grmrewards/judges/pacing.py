"""How fast a server may be asked whose limit nobody knows. Pure: the time is an argument, so a test needs no clock.

Servers count with token buckets, and a bucket that refuses is empty. So what it granted between two refusals, over the
time between them, is its rate; before the first refusal nothing is known, and after it only a guess. Between refusals
the rate climbs a little, since limits are raised and other users leave.
"""

from __future__ import annotations

START = 500.0  # requests a second at first; doubled every 16 requests, so 64 are on their way within 60 ms
MOST = 1e6  # beyond it no request waits
GUESS = 10.0  # at least this after the first refusal, whose cause may have been others
LEAST = 0.5  # never slower: a server that refuses everything is asked every two seconds whether it still does
CLIMB = 1.05  # a second, while the rate is measured and refusals are recent
QUIET = 5.0  # seconds without a refusal after which the limit may have been lifted: the rate doubles twice a second
ENOUGH = 8  # granted requests between two refusals that make a measurement
# A Retry-After of no more is mostly a fraction of a second: it holds for the request that got it alone.
ROUNDED_UP = 1.0
LONGEST_PAUSE = 60.0  # seconds for which a single Retry-After may stop the requests of all


class Pacer:
    """The rate of one server, learnt from what it refuses. It outlives a call, and the next one starts with what it knows.

    `ranks` processes of one machine ask at once: each begins with its share, and since each measures what it is granted
    itself, their rates add up to the limit.
    """

    def __init__(self, *, ranks: int = 1) -> None:
        self.rate = START / ranks
        self._guess, self._least = GUESS / ranks, LEAST / ranks
        self._next = 0.0  # when the next may go
        self._last: float | None = None  # when the last one went
        self._since, self._granted = 0.0, 0  # the measurement: from when on, and what was granted
        self._refused_at: float | None = None
        self._measured = False

    def wait(self, now: float) -> float:
        """Seconds until the next request may go; 0 or less: now."""
        return self._next - now

    def went(self, now: float) -> None:
        """A request goes now."""
        if self._last is None:
            self._last = self._since = now
        gap = now - self._last
        self._since += max(0.0, gap - 1.0)  # idle time would make a measurement too low
        self._granted += 1
        self.rate = min(MOST, self.rate * self._growth(now, gap))
        self._last, self._next = now, max(self._next, now - 0.002) + 1 / self.rate  # 2 ms: what a sleep is late by

    def refused(self, sent: float, now: float, after: float | None = None) -> None:
        """The server refused a request of the time `sent`, and asked to wait `after` seconds."""
        self._granted -= 1
        if after and after > ROUNDED_UP:
            self._next = self._last = max(self._next, now + min(after, LONGEST_PAUSE))
        if self._refused_at is not None and sent < self._refused_at:
            return  # it went before the last correction, and says nothing about the rate since then
        self._slow_down(now)
        self._refused_at, self._last = now, max(self._last or now, now)
        self._next = max(self._next, now + 1 / self.rate)

    def _growth(self, now: float, gap: float) -> float:
        """The factor on the rate for a request that goes `gap` seconds after the last."""
        if self._refused_at is None:
            return float(2 ** (1 / 16))
        if self._measured and now - self._refused_at < QUIET:
            return float(CLIMB ** min(1.0, gap))
        return float(2 ** min(1.0, 2 * gap))

    def _slow_down(self, now: float) -> None:
        if self._refused_at is None:
            self.rate = max(self._guess, self._granted / max(1.0, now - self._since))
        elif self._granted >= ENOUGH:
            granted = self._granted / max(now - self._since, 1e-3)
            self.rate, self._measured = min(self.rate, max(self.rate / 2, granted, self._least)), True
        else:
            self.rate = max(self._least, self.rate * 0.7)
            return  # too little for a measurement, which goes on
        self._since, self._granted = now, 0
