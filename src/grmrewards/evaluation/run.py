"""An evaluation: a judge is asked about the items of a benchmark, once, in a folder that keeps all that it said.

run.json      which benchmark, data, reward, and the items without their texts: enough to count again
record.jsonl  each judgement, as it comes; a run that was killed goes on from it and asks for nothing twice
scores.jsonl  the games of each item
result.json, result.md   the table
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from grmrewards import arguments, bulk
from grmrewards.bulk import Asked
from grmrewards.errors import ConfigError
from grmrewards.evaluation import judgebench, loading, own, ppe, rewardbench, rewardbench2, rmb, rmbench, stored
from grmrewards.evaluation.items import Benchmark, Count, Game, Item, Row
from grmrewards.evaluation.result import Evaluation
from grmrewards.evaluation.tables import table
from grmrewards.keys import content_key

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (rewardbench, rewardbench2, rmbench, judgebench, rmb, ppe, own)
}


def evaluate(
    reward: Callable[..., Any],
    benchmark: str,
    data: str | Path | Iterable[Row] | None = None,
    *,
    output: str | Path | None = None,
    ties: Count | None = None,
    errors: Count | None = None,
    limit: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """What `reward`'s judge gets in a benchmark.

    Args:
        reward: A reward of this package, or a function of TRL's signature.
        benchmark: "rewardbench", "rewardbench2", "rm-bench", "judgebench", "rmb", "ppe", or "preferences" for a dataset
            of your own.
        data: A file or folder in the published form, rows, "look-alike" (small and made up, in the domain of the embedded
            judge), or None for the hub.
        output: A folder for the run. The same call again goes on where it was stopped, and `rescore` counts again.
        ties: What equal scores count as ("wrong", "half", "dropped"); None: as the benchmark does it.
        errors: The same of judgements that were lost.
        limit: So many items at most, drawn at random.
        resamples: Of the intervals.
        seed: Of that draw, of the places at which answers are shown, and of the intervals.

    Raises `ConfigError` for wrong arguments and data, and for an `output` that holds another run; `JudgeOutage` where not
    one request was answered.

    >>> from grmrewards import IRPMReward, ScriptedJudge
    >>> judge = ScriptedJudge(lambda messages: f"<critique>.</critique><score>{'4' in messages[0].content}</score>")
    >>> found = evaluate(IRPMReward(judge), "preferences", [{"prompt": "2+2?", "chosen": "4", "rejected": "5"}])
    >>> found.table["Overall"].n
    1
    """
    protocol = BENCHMARKS[arguments.one_of("benchmark", benchmark, tuple(BENCHMARKS))]
    protocol.rules.but(ties=ties, errors=errors)  # a wrong word is told before a judge is paid
    items = _drawn(protocol.read(loading.rows(protocol, data)), limit, seed)
    folder = None if output is None else Path(output)
    about = {**_about(reward, protocol, items, seed), "made_up": isinstance(data, str) and data == loading.LOOK_ALIKE}
    if folder:
        stored.begin(folder, about, items)
    usage: Counter[str] = Counter()
    games = _games(reward, protocol, items, folder=folder, seed=seed, usage=usage)
    made = table(protocol, items, games, ties=ties, errors=errors, resamples=resamples, seed=seed)
    found = Evaluation(made, protocol.name, about["reward"], dict(usage), about["made_up"])
    if folder:
        found.save(folder)
    return found


def rescore(
    folder: str | Path,
    *,
    ties: Count | None = None,
    errors: Count | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """The table of a stored run, counted again, by other rules perhaps; no judge is asked and nothing is written.

    Items that an unfinished run did not come to count as lost judgements. Raises `ConfigError` for a folder without a run.
    """
    about, protocol = opened(folder)
    items, games = stored.items(about), stored.games(Path(folder))
    made = table(protocol, items, games, ties=ties, errors=errors, resamples=resamples, seed=seed)
    return Evaluation(made, protocol.name, about["reward"], {}, about["made_up"])


def opened(folder: str | Path) -> tuple[dict[str, Any], Benchmark]:
    """What a folder says of its run, and the benchmark. Raises `ConfigError` for a folder without one."""
    about = stored.read(Path(folder))
    if about is None or about["benchmark"] not in BENCHMARKS:
        raise ConfigError(f"{folder} holds no run; allowed is the output= of an evaluation.")
    return about, BENCHMARKS[about["benchmark"]]


# Asking


def _games(
    reward: Callable[..., Any],
    protocol: Benchmark,
    items: Sequence[Item],
    *,
    folder: Path | None,
    seed: int,
    usage: Counter[str],
) -> stored.Games:
    """The games of each item. What a record holds is not asked for again; of a function without one, what was scored."""
    ours = bulk.judging(reward)
    alone = bulk.alone(reward)
    games = stored.games(folder) if folder and not ours else {}  # of ours the record knows, and what the judge is
    if folder:
        stored.rewrite(folder, games)
    left = [item for item in items if item.id not in games]
    asked = bulk.measured(
        reward,
        record=None if folder is None else folder / "record.jsonl",
        raw=True,
        as_given=protocol.double,
    )
    call = {"log_metric": _adding(usage)} if ours else {}
    played = [(item, _places(item, protocol, alone, seed)) for item in left]
    named = {name for name in (*ours.columns(), *ours.if_there) if name} if ours else set()
    groups = [
        Asked(
            item.prompt, [item.responses[k] for k in places], {n: item.columns[n] for n in named & item.columns.keys()}
        )
        for item, several in played
        for places in several
    ]
    found = bulk.scores(asked, groups, name=protocol.title, **call)
    for item, several in played:
        games[item.id] = [Game(places, tuple(next(found))) for places in several]
        if folder:
            stored.append(folder, item.id, games[item.id])
    return games


def _places(item: Item, protocol: Benchmark, alone: bool, seed: int) -> list[tuple[int, ...]]:
    """The groups to judge. One that is judged side by side comes in a random order, or a pair in both."""
    listed = protocol.games(item, alone)
    if alone:
        return listed
    if protocol.double:
        return [order for places in listed for order in (places, places[::-1])]
    rng = random.Random(f"{seed} {item.id}")
    return [tuple(rng.sample(places, len(places))) for places in listed]


def _adding(usage: Counter[str]) -> Callable[[str, float], None]:
    """A trainer's `log_metric` that adds up what may be added."""

    def add(name: str, value: float) -> None:
        key = name.rpartition("/")[2]
        if key in ("calls", "tokens", "seconds", "replayed"):
            usage[key] += value  # type: ignore[assignment]  # seconds are no whole number

    return add


def _drawn(items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """At most `limit` units of the items, in their order."""
    units = list(dict.fromkeys((item.stratum, item.unit) for item in items))
    if arguments.whole("limit", limit, optional=True) is None or limit is None or limit >= len(units):
        return items
    drawn = set(random.Random(seed).sample(units, limit))
    return [item for item in items if (item.stratum, item.unit) in drawn]


def _about(reward: Callable[..., Any], protocol: Benchmark, items: Sequence[Item], seed: int) -> dict[str, Any]:
    """What tells this run from another one."""
    texts = [[item.id, str(item.prompt), *item.responses] for item in items]
    said = {"benchmark": protocol.name, "data": content_key(rows=texts), "seed": seed}
    return {**said, "reward": describe(reward)}


def describe(reward: Callable[..., Any]) -> dict[str, Any]:
    """A reward in words: its family, its judge's name, and the settings that decide what it gives."""
    ours = bulk.judging(reward)
    if ours is None:
        return {"function": getattr(reward, "__name__", type(reward).__name__)}
    if ours is not reward:
        return {**describe(ours), "with": getattr(reward, "name", "auxiliaries")}
    reward = ours
    plain = {name: value for name, value in vars(reward).items() if _is_plain(value)}
    left_out = ("__name__", "log_path", "name", "on_failure", "scale", "min_spread", "deadline", "group_size")
    settings = {name: value for name, value in plain.items() if name not in left_out}
    judges = [str(getattr(judge, "model", type(judge).__name__)) for judge in reward.judges()]
    return {"family": reward.family, "judge": judges, "template": reward.template.digest, **settings}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) or (
        isinstance(value, (tuple, list)) and all(isinstance(one, (str, int, float)) for one in value)
    )
