"""How fast judging is, against the naive ways and against what forward passes alone cost: ratios of one run.

    make bench                                            # all, written to docs/speed.md and docs/speed.json
    python benchmarks/speed.py --only gram critiques      # some of: gram critiques votes distribution ipgrm listwise plots
    python benchmarks/speed.py --small                    # a sixth of the model, a minute; fails if a factor is lost

A judge with random weights, one thread, CPU seconds of this process; the ways run in turns and a table shows medians. A way
whose judgements differ from one at a time has no line, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there

import torch
import transformers
from faults import write
from speed_choices import distribution, gram
from speed_clock import Table
from speed_judge import Judged
from speed_listwise import listwise
from speed_model import FULL, SMALL
from speed_plots import plots
from speed_step import ipgrm
from speed_writing import critiques, votes

# Tokens of criteria and critique, prompts a step
CASES = [((256, 256), 1), ((60, 120), 1), ((60, 120), 4), ((256, 256), 4)]
SMALL_CASES = [((32, 32), 1)]
# What `--small` must still show: 60 % of what is seen where nothing is wrong, since other work may run beside it. Without
# shared prefixes the five are 0.9, 8.2, 2.5, 1.2 and 0.9. What is counted and not timed needs no such slack.
LEAST = {"gram pairs": 2.7, "gram baseline": 12.0, "critiques": 1.9, "votes runs": 1.9, "distribution": 2.4}
MOST = {
    "ipgrm 32+32 x1 warm": 0.8,  # 0.6 is seen; half of it is what must be written
    "ipgrm 32+32 x1 tokens": 0.6,
    "listwise one order": 1.3,
    "listwise two orders": 2.2,
}


def paths(judged: Judged, *, small: bool, rounds: int, folder: Path | None) -> dict[str, Callable[[], list[Table]]]:
    """What can be measured, by name."""
    found: dict[str, Callable[[], list[Table]]] = {
        "gram": lambda: [gram(judged, rounds=rounds, peers=not small)],
        "critiques": lambda: [critiques(judged, rounds=rounds, peers=not small)],
        "votes": lambda: [votes(judged, rounds=rounds, peers=not small)],
        "distribution": lambda: [distribution(judged, rounds=rounds)],
        "ipgrm": lambda: ipgrm(judged, rounds=rounds, cases=SMALL_CASES if small else CASES),
        "listwise": lambda: [listwise(judged.sizes)],
    }
    return found if small else found | {"plots": lambda: [plots(judged, folder)]}


def lost(tables: list[Table]) -> list[str]:
    """The factors of a small run that are not what they should be."""
    bounds = LEAST | MOST
    due = [factor for table in tables for factor in table.factors if factor.name in bounds]
    return [f"{f.name}: {f.median():.2f}, where {bounds[f.name]} is due" for f in due if not f.keeps(bounds[f.name])]


def conditions(judged: Judged, rounds: int) -> dict[str, Any]:
    """Where and how it was measured."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "seed": judged.seed,
        "parameters": sum(parameter.numel() for parameter in judged.model.parameters()),
        "sizes": vars(judged.sizes),
    }


def shown(tables: list[Table]) -> str:
    """The tables of one path, with their names where there are several."""
    return "\n\n".join(f"**{t.name}**\n\n{t.markdown()}" if len(tables) > 1 else t.markdown() for t in tables)


def keep(path: Path, name: str, tables: list[Table], about: dict[str, Any]) -> None:
    """The tables of one path into the document and, with every single time, into the file beside it."""
    write(path, name, shown(tables))
    raw = path.with_suffix(".json")
    known = json.loads(raw.read_text()) if raw.exists() else {}
    known[name] = {"conditions": about, **{table.name: table.raw() for table in tables}}
    raw.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("gram", "critiques", "votes", "distribution", "ipgrm", "listwise", "plots")
    parser.add_argument("--only", nargs="+", choices=names, default=list(names))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, help="3, or 2 with --small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--write", type=Path, help="a document with markers such as <!-- gram --> ... <!-- end of gram -->"
    )
    given = parser.parse_args()
    if given.small and given.write:
        parser.error("--small is a check, its figures are not for a document")
    rounds = given.rounds or (2 if given.small else 3)
    judged = Judged(SMALL if given.small else FULL, seed=given.seed)
    folder = given.write.parent if given.write else None
    known = paths(judged, small=given.small, rounds=rounds, folder=folder)
    done: list[Table] = []
    for name in (name for name in given.only if name in known):
        tables = known[name]()
        done += tables
        print(f"## {name}\n\n{shown(tables)}\n", flush=True)
        if given.write:
            keep(given.write, name, tables, conditions(judged, rounds))
    wrong = [way for table in done for way in table.wrong] + (lost(done) if given.small else [])
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
