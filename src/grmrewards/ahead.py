"""Principles before a reward needs them: those of a whole dataset, or of the batch for which a policy still generates.

They follow from the prompt alone, so nobody has to wait for the responses: `prefetch` writes them before training begins,
`Ahead` while the trainer fetches a batch, which is before its policy answers it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from grmrewards import ranks, rollouts, runner, tally, texts
from grmrewards.errors import ConfigError, GRMError, JudgeError, JudgeOutage
from grmrewards.judging import Progress, entered, seconds_of_a_call
from grmrewards.types import CALL, Call, Group

if TYPE_CHECKING:
    from grmrewards.families.ipgrm import IPGRMReward

log = logging.getLogger("grmrewards")
AT_ONCE = 1024  # prompts
IMAGES = ("image", "images")  # columns that trainers put into the prompts later, where they change the question


def prefetch(reward: IPGRMReward, dataset: Any) -> int:
    """Have the principles written for each prompt of `dataset`, with a progress bar; how many prompts have them.

    Processes that train together share the work. Raises `JudgeOutage` where too large a share of the prompts got none.
    """
    groups = list(_groups(reward, _rows(reward, dataset)))
    shares = ranks.shares(range(len(groups)), ranks.world_size())
    own = _from_own_place([groups[k] for k in shares[ranks.rank()]])

    def write() -> tuple[int, Mapping[str, str]]:
        reward.journal.begin()  # or nothing that an earlier run has recorded would be found
        return runner.run(_write_all(reward, own)), reward.learned()

    done = ranks.on_every_rank(f"{reward.name}: principles", write)
    for _, learned in done:
        reward.learn(learned)
    return sum(written for written, _ in done)


def count(reward: IPGRMReward, dataset: Any) -> int:
    """How many different prompts of `dataset` the reward would need principles for."""
    return sum(1 for _ in _groups(reward, _rows(reward, dataset)))


async def _write_all(reward: IPGRMReward, groups: Sequence[Group]) -> int:
    call, lost = Call(), 0
    CALL.set(call)
    silent = True if ranks.rank() else None
    left = iter(groups)
    async with entered(reward.judges()):
        with Progress(total=len(groups), desc=f"{reward.name}: principles", unit="prompt", disable=silent) as bar:

            async def each() -> None:
                nonlocal lost
                for group in left:
                    try:
                        await reward.principles(group)
                    except JudgeError as error:
                        lost += 1
                        call.failures[str(error)] += 1
                    bar.update()

            await runner.together(each() for _ in range(min(AT_ONCE, len(groups))))
    _check(reward, lost, len(groups), call)
    return len(groups) - lost


def _check(reward: IPGRMReward, lost: int, prompts: int, call: Call) -> None:
    why = f"{reward.name}: {lost} of {prompts} prompts got no principles: {tally.reasons(call)}"
    if lost > reward.failures.max_failures * prompts:
        raise JudgeOutage(f"{why}. That is more than max_failures={reward.failures.max_failures:g}.")
    if lost:
        warnings.warn(f"{why}. They are asked for again when a reward needs them.", stacklevel=2)


class Ahead:
    """A transform of a dataset, that changes nothing and has the principles written for the rows which are fetched.

    It does so in the process and at the time of one training alone: a copy in a data loader's worker is without a reward,
    and several processes cannot know which of them will judge a prompt. A local judge is left alone: it would take the
    policy's time. A pickle carries nothing, which is also what datasets are told apart by.
    """

    def __init__(self, reward: IPGRMReward | None = None, then: Any = None) -> None:
        self.reward, self.then = reward, then
        self._pid = os.getpid()
        self._asked: set[Hashable] = set()
        self._running: set[Future[None]] = set()

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """The rows of a batch, column by column, unchanged."""
        self.tell(dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
        return batch if self.then is None else self.then(batch)

    def row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """One row, unchanged."""
        self.tell([row])
        return row

    def tell(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Begin to ask for the principles of those prompts that were not asked for yet, and return at once."""
        reward = self.reward
        if reward is None or self._pid != os.getpid() or ranks.world_size() > 1:
            return
        if all(getattr(judge, "local", False) for judge in reward.judges()):
            return
        groups = {_words(group): group for group in _groups(reward, rows) if _words(group) not in self._asked}
        self._asked.update(groups)
        if groups:
            future = runner.start(_ask(reward, list(groups.values())))
            self._running.add(future)
            future.add_done_callback(self._running.discard)

    def __reduce__(self) -> tuple[Any, ...]:
        return Ahead, ()


async def _ask(reward: IPGRMReward, groups: Sequence[Group]) -> None:
    """Have the principles written; what that costs is told with the call that uses them."""
    call = Call()
    CALL.set(call)
    if (seconds := seconds_of_a_call(reward.deadline, reward.judges())) is not None:
        call.deadline = asyncio.get_running_loop().time() + seconds

    async def one(group: Group) -> None:
        try:
            await reward.principles(group)
        except GRMError as error:  # the reward will meet it again, and do what has to be done
            log.info("%s: principles ahead of time could not be had: %s", reward.__name__, error)

    async with entered(reward.judges()):
        await runner.together(one(group) for group in groups)
    reward.spent_ahead.append(call)


def transformed(dataset: Any, ahead: Ahead) -> Any:
    """`dataset`, a `Dataset` or `IterableDataset` of the datasets library, that tells `ahead` what is fetched."""
    if hasattr(dataset, "with_transform"):
        kind = dataset.format["type"]
        if kind not in (None, "python", "custom"):
            raise ConfigError(f"a dataset in the format {kind!r}; allowed is one of Python objects, as TRL needs it.")
        ahead.then = dataset.format["format_kwargs"]["transform"] if kind == "custom" else None
        return dataset.with_transform(ahead)
    if hasattr(dataset, "map") and hasattr(dataset, "features"):
        return dataset.map(ahead.row)
    raise ConfigError(f"dataset={type(dataset).__name__}; allowed is a Dataset or IterableDataset of `datasets`.")


def _rows(reward: IPGRMReward, dataset: Any) -> Iterable[Mapping[str, Any]]:
    """The rows of a dataset, without the columns that decide nothing here; or prompts as rows."""
    known = getattr(dataset, "column_names", None)
    needed = [reward.prompt_column or "prompt", *_deciding(reward), *_images(reward)]
    if known and hasattr(dataset, "select_columns"):
        dataset = dataset.select_columns([name for name in needed if name in known])
    return (row if isinstance(row, Mapping) else {needed[0]: row} for row in dataset)


def _groups(reward: IPGRMReward, rows: Iterable[Mapping[str, Any]]) -> Iterator[Group]:
    """One group without responses for each prompt that the reward would be given."""
    name = reward.prompt_column or "prompt"
    seen: set[Hashable] = set()
    for row in rows:
        if name not in row:
            raise ConfigError(f"the dataset has no column {name!r}; there are {sorted(row)}.")
        if any(row.get(image) is not None for image in _images(reward)):
            continue  # its prompt will have an image in it, and so another key
        given = {column: (row[column],) for column in _deciding(reward) if column in row}
        group = rollouts.question_of(texts.messages(row[name]), given)
        if _words(group) not in seen:
            seen.add(_words(group))
            yield group


def _deciding(reward: IPGRMReward) -> list[str]:
    """The columns that decide what principles a prompt has."""
    return [*reward.if_there, *([reward.criteria_column] if reward.criteria_column else [])]


def _images(reward: IPGRMReward) -> list[str]:
    return [*IMAGES, *([reward.image_column] if reward.image_column else [])]


def _words(group: Group) -> tuple[str, ...]:
    return texts.system(group.prompt), texts.question(group.prompt), *map(str, group.columns.values())


def _from_own_place(groups: list[Group]) -> list[Group]:
    """The groups, beginning at another one in each process.

    A launcher has started several that know nothing of each other yet: what one writes, the others find in the folder.
    """
    world, rank = int(os.environ.get("WORLD_SIZE") or 1), int(os.environ.get("RANK") or 0)
    first = len(groups) * rank // world if ranks.world_size() == 1 else 0
    return groups[first:] + groups[:first]
