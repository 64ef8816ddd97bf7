"""The best of n responses, or all of them in order, by comparisons: for a reward that compares two, or any judge of pairs.

Scores of the whole group cost n(n - 1) / 2 comparisons; to name the best takes n - 1:

    linear_scan          n - 1, one after the other        the best
    knockout             n - 1, in ceil(log2 n) rounds     the best
    divide_and_conquer   at most n ceil(log2 n) - 2^ceil(log2 n) + 1, a merge sort     the whole ranking

A judge that goes in circles (a over b, b over c, c over a) has no best: then the winner depends on the order of the
responses and on the method. Ties, and comparisons that could not be had, leave the earlier response where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grmrewards import arguments, judging, rollouts, runner, tally
from grmrewards.errors import ConfigError, JudgeOutage
from grmrewards.reward import Reward
from grmrewards.types import CALL, Call, Group

Compare = Callable[[int, int], Awaitable[float | None]]  # (i, j) -> P(i is better than j), or None


@dataclass(frozen=True)
class Selection:
    """The index of the best response; with `divide_and_conquer` all indices, best first; and what that took.

    `comparisons` is how many were asked for, `unknown` how many of these could not be had.
    """

    best: int
    ranking: tuple[int, ...] | None
    comparisons: int
    unknown: int


def best_of_n(
    reward: Reward, prompt: Any, responses: Sequence[Any], *, method: str = "knockout", **columns: Sequence[Any]
) -> Selection:
    """The best of `responses` to `prompt`, by comparisons of two with `reward`'s judge.

    Args:
        reward: A `GRAMReward` (its baseline is left out), a `PairwiseReward`, or a family of your own with
            `async def better(self, group, i, j)`, the probability that response i is better than j, or None.
        prompt: A text, or a list of messages.
        responses: Texts, or lists of messages, as a trainer passes them. Equal ones are compared once; those without an
            answer come last, and no judge is asked about them.
        method: "knockout", "linear_scan" or "divide_and_conquer"; the last gives the whole ranking.
        **columns: The dataset columns that `reward` reads, one value a response.

    Raises `ConfigError` for other rewards and methods and for no responses, `JudgeOutage` where a larger share of the
    comparisons than the reward's `max_failures` could not be had, at the latest after its `deadline`.

    >>> from grmrewards import PairwiseReward, ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: r"Scores: \\boxed{6, 6}")
    >>> best_of_n(PairwiseReward(judge), "1+1?", ["2", "two", "2"])
    Selection(best=0, ranking=None, comparisons=1, unknown=0)
    """
    select = METHODS[arguments.one_of("method", method, tuple(METHODS))]
    group = _group(reward, prompt, responses, columns)
    contenders = [i for i in rollouts.distinct(group.responses)[0] if group.responses[i]]
    if not contenders:
        return Selection(0, tuple(range(len(group.responses))) if method == "divide_and_conquer" else None, 0, 0)
    return _for_rows(_run(reward, group, contenders, select), group, contenders)


async def linear_scan(compare: Compare, n: int) -> Selection:
    """The best of 0 .. n - 1: the first, until one beats it, and so on. n - 1 comparisons, none beside another."""
    games = _Games(compare, n)
    best = 0
    for new in range(1, n):
        best = await games.winner(best, new)
    return games.selection(best)


async def knockout(compare: Compare, n: int) -> Selection:
    """The best of 0 .. n - 1: neighbours meet, the winners go on; n - 1 comparisons, those of one round at once.

    The last of an odd round goes on without a game.
    """
    games = _Games(compare, n)
    left = list(range(n))
    while len(left) > 1:
        pairs = list(zip(left[::2], left[1::2], strict=False))
        left = await runner.together(games.winner(i, j) for i, j in pairs) + left[2 * len(pairs) :]
    return games.selection(left[0])


async def divide_and_conquer(compare: Compare, n: int) -> Selection:
    """All of 0 .. n - 1, the best first, by a merge sort whose halves are sorted at once.

    At most n ceil(log2 n) - 2^ceil(log2 n) + 1 comparisons, which is 17 for 8.
    """
    games = _Games(compare, n)
    ranking = await _sorted(games, range(n))
    return games.selection(ranking[0], tuple(ranking))


METHODS: dict[str, Callable[[Compare, int], Awaitable[Selection]]] = {
    "knockout": knockout,
    "linear_scan": linear_scan,
    "divide_and_conquer": divide_and_conquer,
}


class _Games:
    """The comparisons of one selection, counted."""

    def __init__(self, compare: Compare, n: int) -> None:
        arguments.whole("n", n)
        self.compare, self.comparisons, self.unknown = compare, 0, 0

    async def winner(self, earlier: int, later: int) -> int:
        """The later one if it is more likely the better one, else the earlier."""
        self.comparisons += 1
        p = await self.compare(earlier, later)
        self.unknown += p is None
        return later if p is not None and p < 0.5 else earlier

    def selection(self, best: int, ranking: tuple[int, ...] | None = None) -> Selection:
        return Selection(best, ranking, self.comparisons, self.unknown)


async def _sorted(games: _Games, members: Sequence[int]) -> list[int]:
    if len(members) < 2:
        return list(members)
    half = len(members) // 2
    left, right = await runner.together(_sorted(games, part) for part in (members[:half], members[half:]))
    merged: list[int] = []
    while left and right:
        ahead = left if await games.winner(left[0], right[0]) == left[0] else right
        merged.append(ahead.pop(0))
    return merged + left + right


def _group(reward: Reward, prompt: Any, responses: Sequence[Any], columns: dict[str, Sequence[Any]]) -> Group:
    """All responses as one group, as the reward would see it. Raises `ConfigError` for what cannot be compared."""
    if not isinstance(reward, Reward) or not callable(getattr(reward, "better", None)):
        raise ConfigError(
            f"reward={type(reward).__name__} compares no two responses; allowed are GRAMReward, PairwiseReward and a "
            f"family of your own with `async def better(self, group, i, j)`."
        )
    if isinstance(responses, str) or not responses:
        raise ConfigError(f"responses={responses!r}; allowed is a list of at least one response.")
    wanted = [name for name in (*columns, reward.image_column) if name]
    named = {name: rollouts.column(columns, name, len(responses)) for name in wanted}
    shown: dict[str, Any] = {"answer_tag": reward.answer_tag, "max_response_chars": reward.max_response_chars}
    shown["image_column"] = reward.image_column
    rows = rollouts.rollouts([prompt] * len(responses), responses, named, **shown)
    return rollouts.group_of(rows, range(len(rows)))


def _run(
    reward: Reward, group: Group, contenders: Sequence[int], select: Callable[[Compare, int], Awaitable[Selection]]
) -> Selection:
    """What `select` finds among the contenders, on the library's loop and within the reward's deadline."""
    reward.journal.begin()
    call, better = Call(), reward.better  # type: ignore[attr-defined]  # checked in `_group`
    seconds = judging.seconds_of_a_call(reward.deadline, reward.judges())

    async def compare(i: int, j: int) -> float | None:
        found: float | None = await better(group, contenders[i], contenders[j])
        return found

    async def entered() -> Selection:
        if seconds is not None:
            headroom = min(judging.HEADROOM, 0.1 * seconds)
            call.deadline = asyncio.get_running_loop().time() + seconds - headroom
        CALL.set(call)
        async with judging.entered(reward.judges()):
            return await select(compare, len(contenders))

    try:
        found = runner.run(entered(), limit=None if seconds is None else seconds + judging.PATIENCE)
    except runner.Blocked as error:
        raise JudgeOutage(f"{reward.name}: the judge did not come back by the deadline of {seconds:g} s.") from error
    if found.unknown > reward.failures.max_failures * found.comparisons:
        raise JudgeOutage(
            f"{reward.name}: {found.unknown} of {found.comparisons} comparisons could not be had: {tally.reasons(call)}. "
            f"That is more than max_failures={reward.failures.max_failures:g}."
        )
    return found


def _for_rows(found: Selection, group: Group, contenders: Sequence[int]) -> Selection:
    """What was found among the contenders, for all responses: equal ones side by side, those without an answer last."""
    ranking = None
    if found.ranking is not None:
        texts = [*(group.responses[contenders[k]] for k in found.ranking), ""]
        ranking = tuple(i for text in texts for i, response in enumerate(group.responses) if response == text)
    return replace(found, best=contenders[found.best], ranking=ranking)
