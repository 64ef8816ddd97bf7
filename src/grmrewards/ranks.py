"""Several processes that train together: each does a share of the work, and each gets the results of all.

A trainer hands each process (rank) a slice of the batch, and a slice may cut a group in two. So the rows of all ranks are
gathered, every group is judged once on one rank, and the outcomes are gathered too. A rank that stayed away from a gather
would leave the others waiting until they die of the time-out: what goes wrong on the way travels as data instead, and is
raised on every rank after all have met.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

from grmrewards import errors
from grmrewards.errors import ConfigError, GRMError

T = TypeVar("T")


class _Outcome(NamedTuple):
    """What one rank brings to a gather: a result, or the name and the words of its error."""

    place: str
    value: Any = None
    error: str = ""
    message: str = ""


def world_size() -> int:
    """How many processes train together; 1 where torch is not even loaded."""
    distributed = _distributed()
    return 1 if distributed is None else int(distributed.get_world_size())


def rank() -> int:
    """Which of them this one is, from 0."""
    distributed = _distributed()
    return 0 if distributed is None else int(distributed.get_rank())


def timeout() -> float:
    """Seconds that a rank waits for the others (`ddp_timeout` of the trainer's arguments); infinite on one process."""
    distributed = _distributed()
    if distributed is None or world_size() == 1:
        return math.inf
    group = distributed.group.WORLD
    backends = [group._get_backend(device) for device in getattr(group, "_device_types", ())]  # there is no public way
    found = [getattr(getattr(backend, "options", None), "_timeout", None) for backend in backends]
    return min((t.total_seconds() for t in found if t), default=float(distributed.default_pg_timeout.total_seconds()))


def on_every_rank(place: str, work: Callable[[], T]) -> list[T]:
    """What `work` returned on each rank, in their order, on each of them.

    All ranks must call it, at the same `place` of the same program. Where `work` raised on one, it is raised on all: the
    error itself on its own rank, one with its class and words on the others (`RuntimeError` for classes not of this
    package, whose construction is unknown). Ctrl-C is not waited with: the launcher ends the other ranks.
    """
    if world_size() == 1:
        return [work()]
    own: Exception | None = None
    try:
        mine = pickle.dumps(_Outcome(place, work()))
    except Exception as error:
        own, mine = error, pickle.dumps(_Outcome(place, None, type(error).__name__, str(error)))
    outcomes: list[_Outcome] = [pickle.loads(data) for data in _gather(mine)]
    if own is not None:
        raise own
    _check_places([outcome.place for outcome in outcomes])
    for number, outcome in enumerate(outcomes):
        if outcome.error:
            raise _as_raised(number, outcome)
    return [outcome.value for outcome in outcomes]


def shares(keys: Sequence[Any], ranks: int) -> list[list[int]]:
    """Which items each rank does: in turn by distinct key, so that what is written once a prompt is written on one rank.

    >>> shares(["a", "b", "a", "c"], 2)
    [[0, 2, 3], [1]]
    """
    turns: dict[Any, int] = {}
    for key in keys:
        turns.setdefault(key, len(turns) % ranks)
    return [[i for i, key in enumerate(keys) if turns[key] == number] for number in range(ranks)]


def _distributed() -> Any:
    """`torch.distributed` where a group of processes has been made, else None. Never loads torch."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    return distributed if distributed and distributed.is_available() and distributed.is_initialized() else None


def _gather(mine: bytes) -> Sequence[bytes]:
    distributed = _distributed()
    gathered: list[Any] = [None] * world_size()
    with _own_device(distributed):
        distributed.all_gather_object(gathered, mine)
    return gathered


def _own_device(distributed: Any) -> AbstractContextManager[Any]:
    """NCCL carries objects over the current GPU, which is a matter of the thread: in any but the main one it is cuda:0."""
    on_main = threading.current_thread() is threading.main_thread()
    if on_main or "nccl" not in str(distributed.get_backend()):
        return contextlib.nullcontext()
    import torch

    return torch.cuda.device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def _check_places(places: Iterable[str]) -> None:
    """Two rewards that are called in different threads, or in another order on another rank, would take each other's rows."""
    if len(set(places)) > 1:
        raise ConfigError(
            f"the ranks do not call the same reward at the same time: {', '.join(places)}. Call rewards one after the "
            f"other, in one order on all ranks; and if only the names differ, pass name= so that they do not."
        )


def _as_raised(number: int, outcome: _Outcome) -> Exception:
    ours = getattr(errors, outcome.error, None)
    if isinstance(ours, type) and issubclass(ours, GRMError):
        return ours(f"rank {number}: {outcome.message}")
    return RuntimeError(f"rank {number} raised {outcome.error}: {outcome.message}")
