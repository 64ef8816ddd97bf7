"""The votes of one call, shared out over its groups: each next one goes where the order is least settled.

All groups of a call are judged at once. Each joins the budget, brings its first votes, and waits; when all wait, those too
that had to be given principles first, the votes of one round go to those responses of the whole call to which they are
worth most (`undecided.gains`), and so on until the budget is spent or every group is settled. In rounds, so that what is
asked for depends on what was judged and not on which answer came first. Each process shares out over its own groups.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from grmrewards import undecided
from grmrewards.types import CALL

ROUND = 0.5  # votes a round, for each of those that can be voted on: fewer settle more, and take longer


@dataclass(eq=False)
class Standings:
    """One group: the votes on each of its G responses, and the units that can be voted on.

    A unit is what one ballot judges: one response (pointwise), or all of them (listwise).
    """

    units: list[tuple[int, ...]]  # the places in `votes_GV` of the responses that it judges
    votes_GV: list[list[float]]
    asked: list[int] = field(default_factory=list)  # ballots, by unit

    def worth(self, pooled: float, most: int, settled: float) -> list[float]:
        """What one more ballot of each unit is worth; 0 where it has had `most`, and where the group is settled."""
        known = [place for place, votes_V in enumerate(self.votes_GV) if votes_V]
        standings_G = undecided.standings(self.votes_GV, pooled, [0.0] * len(self.votes_GV))
        if undecided.share_of_wrong_pairs(standings_G) <= settled:
            return [0.0] * len(self.units)
        gain = dict(zip(known, undecided.gains(standings_G), strict=True))
        worth = [math.fsum(gain.get(place, 0.0) for place in unit) for unit in self.units]
        return [w if asked < most else 0.0 for w, asked in zip(worth, self.asked, strict=True)]


class Budget:
    """So many votes a unit for all groups of a call together, at most `most` for one unit.

    `settled`: the expected share of wrongly ordered pairs below which a group needs no more votes.
    """

    def __init__(self, votes_each: float, *, most: int, settled: float) -> None:
        self.votes_each, self.most, self.settled = votes_each, most, settled
        self._left = 0.0
        self._coming: set[Any] = set()  # tasks whose group may join yet
        self._active: list[Standings] = []
        self._waiting: dict[Standings, asyncio.Future[list[int]]] = {}

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Within it, the others wait for the group of this task: until it joins, or ends without."""
        task = asyncio.current_task()
        self._coming.add(task)
        try:
            yield
        finally:
            self._coming.discard(task)
            self._share_out()

    @contextmanager
    def joined(self, group: Standings) -> Iterator[None]:
        """Within it, the group has a part in the budget, and the others wait for it."""
        self._coming.discard(asyncio.current_task())
        self._active.append(group)
        self._left += self.votes_each * len(group.units)
        try:
            yield
        finally:
            self._active.remove(group)
            self._waiting.pop(group, None)
            self._share_out()

    async def more(self, group: Standings) -> list[int]:
        """The units of `group` that shall be voted on once more. None of them: the call's votes are as they will be."""
        self._waiting[group] = asyncio.get_running_loop().create_future()
        self._share_out()
        return await self._waiting[group]

    def spent(self, ballots: int) -> None:
        """So many ballots were asked for."""
        self._left -= ballots

    def _share_out(self) -> None:
        if self._coming or any(group not in self._waiting or self._waiting[group].done() for group in self._active):
            return
        chosen = [] if _late() else self._chosen()
        for at, group in enumerate(self._active):
            units = [unit for k, unit in chosen if k == at]
            if units or not chosen:
                self._waiting[group].set_result(units)

    def _chosen(self) -> list[tuple[int, int]]:
        """The units of all groups that get a ballot in this round: (place among the active, unit)."""
        pooled = undecided.pooled_variance([votes_V for group in self._active for votes_V in group.votes_GV])
        if pooled is None:
            return []
        worth = [group.worth(pooled, self.most, self.settled) for group in self._active]
        ranked = sorted((-w, at, unit) for at, units in enumerate(worth) for unit, w in enumerate(units) if w > 0)
        size = max(1, math.ceil(ROUND * sum(len(group.units) for group in self._active)))
        return [(at, unit) for _, at, unit in ranked[: max(0, min(size, int(self._left)))]]


def _late() -> bool:
    """Whether the deadline of the call has passed: what is there has to do."""
    call = CALL.get()
    return call is not None and call.deadline is not None and asyncio.get_running_loop().time() >= call.deadline
