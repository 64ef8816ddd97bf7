"""The probe at the first use of a server, beside the first judgements."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

from grmrewards.judges.capabilities import Capabilities
from grmrewards.judges.label_ids import LabelIds
from grmrewards.judges.probe import Asks, probe

LOG = logging.getLogger("grmrewards")
TRIES = 3  # calls that may end before the probe does


class FirstUse:
    """The probe that runs beside the first judgements of a process, and says what it saw in the log.

    It delays nothing and raises nothing: what is wrong with the set-up the judgements themselves will say. Of several
    processes that train together the first one probes.
    """

    def __init__(
        self, endpoint: Asks, extra: Mapping[str, Any], *, wanted: bool, label_ids: LabelIds | None = None
    ) -> None:
        self.endpoint, self.extra, self.wanted, self.label_ids = endpoint, extra, wanted, label_ids
        self.found: Capabilities | None = None
        self._pid, self._tries = 0, 0  # of the process that probes
        self._task: asyncio.Task[None] | None = None

    @property
    def takes_n(self) -> bool:
        """Whether several votes may be asked for in one request, as far as is known."""
        return self.found is None or (self.found.n != 1 and not self.found.copies)

    def begin(self) -> None:
        """Start the probe, unless this process has seen its end or too many of them. The endpoint must be open."""
        if self._pid != os.getpid():
            self._pid, self._tries, self._task, self.found = os.getpid(), 0, None, None
        first = os.environ.get("RANK", "0") == "0"
        if self.wanted and first and self.found is None and self._task is None and self._tries < TRIES:
            self._tries += 1
            self._task = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Stop it if it has not ended: the next call starts it again. To be called before the endpoint closes."""
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        try:
            self.found = await probe(self.endpoint, self.extra, self.label_ids)
        except Exception as error:  # whatever a server made of it: nothing that a run should end for
            LOG.info("what the server can do was not seen: %s", error)
            return
        LOG.info("%s", self.found.report())
        for sentence in self.found.warnings():
            LOG.warning("%s: %s", self.found.where, sentence)
