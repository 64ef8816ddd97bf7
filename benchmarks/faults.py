"""The fault matrix: what the four families lose where the judge's server fails, by a rule that knows each reward.

    python benchmarks/faults.py                                   # 32 prompts x 8 responses, all families, all faults
    python benchmarks/faults.py --family gram --mode garbled      # one cell
    python benchmarks/faults.py --write docs/faults.md            # the table between its markers

Every cell is one call of a real reward with `OpenAIJudge` against a real HTTP server, a process of its own (`fault_server`).
The exit status is 1 if any judgement was lost, zeroed or wrong.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_rule import CALLED, needed, rows, truth
from fault_server import SLOW, TRANSPORT, UNUSABLE, FaultServer

import grmrewards
from grmrewards import GRMError, OpenAIJudge

RATE = 20.0  # requests a second, and as many at once
PRECISION = 1e-4  # the rule writes four decimals
EVERYTHING = dict.fromkeys((*TRANSPORT, *UNUSABLE), 0.05) | dict.fromkeys(SLOW, 0.01)
MODES: dict[str, dict[str, Any]] = {
    "500": {"faults": {"500": 0.1}},
    "reset": {"faults": {"reset": 0.1}},
    "html": {"faults": {"html": 0.1}},
    "truncated": {"faults": {"truncated": 0.05}},
    "no choices": {"faults": {"no choices": 0.05}},
    "empty": {"faults": {"empty": 0.1}},
    "garbled": {"faults": {"garbled": 0.1}},
    "cut": {"faults": {"cut": 0.1}},
    "count": {"faults": {"count": 0.1}},
    "hang": {"faults": {"hang": 0.02}},
    "drip": {"faults": {"drip": 0.02}},
    "429": {"rate": RATE, "burst": RATE},
    "429 with Retry-After": {"rate": RATE, "burst": RATE, "retry_after": True},
    "everything": {"faults": EVERYTHING},
}
SAYS = {
    "500": "HTTP 500, 10 %",
    "reset": "connection reset, 10 %",
    "html": "HTML with status 200, 10 %",
    "truncated": "truncated JSON, 5 %",
    "no choices": "`choices: []`, 5 %",
    "empty": "empty answer, 10 %",
    "garbled": "prose without a verdict, 10 %",
    "cut": "cut in half, 10 %",
    "count": "one score too many, 10 %",
    "hang": "no answer ever, 2 %",
    "drip": "an answer over 40 s, 2 %",
    "429": "429 from a token bucket",
    "429 with Retry-After": "the same with `Retry-After`",
    "everything": "the first nine at 5 % each, the slow two at 1 %",
}


@dataclass
class Outcome:
    """What became of one call."""

    judgements: int
    needed: int = 0  # requests where nothing fails
    lost: int = 0
    zeroed: int = 0
    wrong: int = 0
    votes_lost: int = 0  # answers that were asked for and not had, even where others made up for them
    raised: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    metrics: dict[str, float] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether nothing was lost, zeroed or wrong."""
        return not (self.lost or self.zeroed or self.wrong or self.votes_lost or self.raised)

    @property
    def requests(self) -> int:
        """As the server counted them."""
        return int(self.stats["counts"].get("requests", 0))


def counting(family: str, judge: Any, outcome: Outcome, **arguments: Any) -> Any:
    """The reward of a family that also counts each vote that was lost."""

    class Counting(getattr(grmrewards, CALLED[family])):  # type: ignore[misc]  # a base chosen at run time
        async def ask(self, *given: Any, **named: Any) -> Any:
            return count(await super().ask(*given, **named))

        async def choose(self, *given: Any, **named: Any) -> Any:
            return count([await super().choose(*given, **named)])[0]

    def count(votes: list[Any]) -> list[Any]:
        errors = [vote.error for vote in votes if vote.error]
        outcome.votes_lost += len(errors)
        outcome.reasons.update(error.partition(":")[0] for error in errors)
        return votes

    return Counting(judge, name=family, on_failure="none", max_failures=1.0, **arguments)


def measure(
    server: FaultServer,
    family: str,
    *,
    prompts: int,
    responses: int,
    settings: dict[str, Any],
    judge: Any = None,
    batch: int = 0,
    texts: tuple[list[str], list[str]] | None = None,
    **arguments: Any,
) -> Outcome:
    """One call of a family under `settings`, compared with the truth."""
    server.set(**settings)
    asked, said = texts or rows(prompts, responses, batch)
    outcome = Outcome(len(said), needed(family, prompts, responses))
    judge = judge or OpenAIJudge("judge", base_url=server.url, api_key="none", check_server=False)
    reward = counting(family, judge, outcome, group_size=responses, **arguments)
    started, cpu = time.monotonic(), time.process_time()
    try:
        found = reward(prompts=asked, completions=said, log_metric=outcome.metrics.__setitem__)
    except GRMError as error:
        outcome.raised, found = f"{type(error).__name__}: {error}", [None] * len(said)
    outcome.seconds, outcome.cpu = time.monotonic() - started, time.process_time() - cpu
    outcome.stats = server.stats()
    compare(outcome, found, truth(family, asked, said, responses))
    return outcome


def compare(outcome: Outcome, found: Sequence[float | None], right: Sequence[float]) -> None:
    """Count what differs."""
    for reward, wanted in zip(found, right, strict=True):
        if reward is None:
            outcome.lost += 1
        elif abs(reward - wanted) > PRECISION:
            outcome.zeroed += reward == 0.0
            outcome.wrong += reward != 0.0


def limited(settings: dict[str, Any], requests: int, judgements: int) -> dict[str, Any]:
    """A rate limit scaled to what a family asks: GRAM's 1792 comparisons shall not take 90 seconds."""
    scale = max(1.0, requests / judgements / 2)
    rates = {name: settings[name] * scale for name in ("rate", "burst") if name in settings}
    return {**settings, **rates}


def matrix(server: FaultServer, given: argparse.Namespace) -> dict[str, dict[str, Outcome]]:
    """All cells; the clean run of each family first."""
    size = {"prompts": given.prompts, "responses": given.responses, "deadline": given.deadline}
    measure(server, "irpm", settings={}, **size | {"prompts": 1, "responses": 1})  # imports, at nobody's cost
    found: dict[str, dict[str, Outcome]] = {}
    for family in given.family:
        clean = measure(server, family, settings={}, **size)
        found[family] = {"clean": clean}
        show(family, "clean", clean)
        for mode in given.mode:
            settings = limited(MODES[mode] | {"seed": given.seed}, clean.needed, clean.judgements)
            found[family][mode] = measure(server, family, settings=settings, **size)
            show(family, mode, found[family][mode])
    return found


def show(family: str, mode: str, outcome: Outcome) -> None:
    """One line to the terminal, as soon as it is known."""
    counts = outcome.stats["counts"]
    print(
        f"{family:9s} {mode:21s} lost {outcome.lost:3d} zeroed {outcome.zeroed:3d} wrong {outcome.wrong:3d} votes lost "
        f"{outcome.votes_lost:3d}  {outcome.seconds:6.2f} s  {outcome.cpu:5.2f} s CPU  {counts}",
        file=sys.stderr,
    )
    for reason, count in outcome.reasons.most_common(3):
        print(f"          {count} x {reason}", file=sys.stderr)
    if outcome.raised:
        print(f"          {outcome.raised}", file=sys.stderr)


def table(found: dict[str, dict[str, Outcome]]) -> str:
    """One row a fault, one column a family."""
    families = list(found)
    modes = list(next(iter(found.values())))
    head = ["fault", "faults met", *(CALLED[family] for family in families)]
    lines = [head, ["---"] * len(head)]
    for mode in modes:
        outcomes = [found[family][mode] for family in families]
        met = sum(met_faults(outcome) for outcome in outcomes)
        cells = [cell(found[family][mode], found[family]["clean"]) for family in families]
        lines.append([SAYS.get(mode, "none"), str(met), *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def met_faults(outcome: Outcome) -> int:
    """Requests that the server let fail."""
    return sum(n for kind, n in outcome.stats["counts"].items() if kind not in ("requests", "good", "left"))


def cell(outcome: Outcome, clean: Outcome) -> str:
    """Lost, zeroed, wrong; then what it cost."""
    if outcome is clean:
        return (
            f"{outcome.lost} / {outcome.zeroed} / {outcome.wrong}; {outcome.requests} requests, {outcome.seconds:.2f} s"
        )
    if not met_faults(outcome):
        return "no such fault"
    requests, seconds = outcome.requests / outcome.needed, outcome.seconds - clean.seconds
    votes = f" ({outcome.votes_lost} answers)" if outcome.votes_lost else ""
    return f"{outcome.lost} / {outcome.zeroed} / {outcome.wrong}{votes}; {requests:.2f}×, {seconds:+.1f} s"


def write(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers `<!-- name -->` and `<!-- end of name -->` of a document."""
    between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    old = path.read_text()
    if not between.search(old):
        raise SystemExit(f"{path} has no <!-- {name} --> ... <!-- end of {name} -->")
    path.write_text(between.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", old))


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--responses", type=int, default=8)
    parser.add_argument("--family", nargs="+", choices=CALLED, default=list(CALLED))
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for one call of a reward")
    parser.add_argument(
        "--write", type=Path, help="a document with the markers <!-- matrix --> and <!-- end of matrix -->"
    )
    given = parser.parse_args()
    with FaultServer() as server:
        found = matrix(server, given)
    print(table(found))
    if given.write:
        write(given.write, "matrix", table(found))
    return int(not all(outcome.good for modes in found.values() for outcome in modes.values()))


if __name__ == "__main__":
    sys.exit(main())
