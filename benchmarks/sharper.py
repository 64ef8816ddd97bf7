"""How well scores order responses, by how they are had: one vote, eight, expected scores, adaptive votes, filters, cascades.

    make sharper                                                     # trains what is missing, docs/sharper.md and .json
    python benchmarks/sharper.py --judges JUDGES --only irpm gram    # some families, printed
    python benchmarks/sharper.py --small                             # four groups on the judge of this package, a minute
    python benchmarks/sharper.py --check docs/sharper.json           # whether the stored figures are what they have to be

The judges are trained into JUDGES (an hour on one core, once) and what they say is kept there. The exit status of --check
is 1 where a point is missed; goals fail nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there

import sharper_judges
import torch
import transformers
from faults import write
from sharper_cases import SEED, SIZE, STEP, cases
from sharper_figures import Figures, figures
from sharper_judges import KINDS, SEEDS
from sharper_methods import FAMILIES, VOTING
from sharper_report import extra_table, family_table, judge_table, point_table, points
from sharper_run import Run, measure

GROUPS, FEW = 48, 4
Task = tuple[Path, str, int, str, int, bool]


def main() -> int:
    """Train, measure, print, write; or check."""
    given = parse_arguments()
    if given.check:
        return check(json.loads(given.check.read_text())["figures"])
    if not given.small:
        train(given.judges, given.only, given.jobs)
    found = figures(ran(list(tasks(given)), given.jobs))
    known = kept(given.write.with_suffix(".json"), found, conditions(given.groups)) if given.write else found
    for name, table in tables(known, given.only):
        print(f"## {name}\n\n{table}\n", flush=True)
        if given.write:
            write(given.write, name, table)
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--judges", type=Path, default=Path("demo-output/judges"), help="folder of judges and their votes"
    )
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--groups", type=int, default=0, help=f"cases; by default {GROUPS}, or {FEW} with --small")
    parser.add_argument("--small", action="store_true", help="the judge of this package alone")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument(
        "--write", type=Path, help="a document with markers such as <!-- irpm --> ... <!-- end of irpm -->"
    )
    parser.add_argument("--check", type=Path, help="stored figures; measures nothing")
    given = parser.parse_args()
    if given.small and given.write:
        parser.error("--small is a check, its figures are not for a document")
    given.groups = given.groups or (FEW if given.small else GROUPS)
    return given


def check(known: Figures) -> int:
    """Print the points; 1 where one is missed or could not be looked at."""
    found = points(known)
    missing = [f"{family}, {kind}" for family in VOTING for kind in KINDS if kind not in known.get(family, {})]
    print(point_table(found), *(f"Not measured: {what}." for what in missing), sep="\n")
    return int(bool(missing) or any(not point.met and not point.goal for point in found))


def train(folder: Path, families: list[str], jobs: int) -> None:
    """Judges first, since those in doubt begin with the embedded ones, and meta models begin with judges."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
        for kinds in (("embedded", "weak"), ("doubt",)):
            list(threads.map(lambda one: sharper_judges.train(folder, *one), [(k, s) for k in kinds for s in SEEDS]))
        metas = [(k, s, f) for k in sharper_judges.WITH_META for s in SEEDS for f in families if f in VOTING]
        list(threads.map(lambda one: sharper_judges.train_meta(folder, *one), metas))


def tasks(given: argparse.Namespace) -> Iterator[Task]:
    """The weak judges first: cascades find their votes known. What takes longest in front of the rest."""
    kinds, seeds = (("embedded",), (0,)) if given.small else (("weak", "doubt", "embedded"), SEEDS)
    for kind in kinds:
        for family in sorted(given.only, key=lambda name: name not in ("listwise", "pairwise")):
            yield from ((given.judges, kind, seed, family, given.groups, given.small) for seed in seeds)


def ran(todo: list[Task], jobs: int) -> list[Run]:
    """In processes of their own, in the order of the report."""
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as processes:
        runs = list(processes.map(run, todo))
    return sorted(runs, key=lambda run: (FAMILIES.index(run.family), KINDS.index(run.kind), run.seed))


def run(task: Task) -> Run:
    """One task."""
    folder, kind, seed, family, groups, alone = task
    torch.set_num_threads(1)
    done = measure(folder, kind, seed, family, cases(groups), alone=alone)
    print(f"{kind} {seed}, {family}: done", file=sys.stderr, flush=True)
    return done


def conditions(groups: int) -> dict[str, Any]:
    """Where and how it was measured."""
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return {**versions, "groups": groups, "responses": SIZE, "groups a call": STEP, "seed": SEED}


def kept(path: Path, found: Figures, about: dict[str, Any]) -> Figures:
    """All that is known, once `found` is kept; families that were not measured now stay as they were."""
    known = json.loads(path.read_text()) if path.exists() else {"conditions": {}, "figures": {}}
    known["conditions"] |= dict.fromkeys(found, about)
    merged: Figures = known["figures"] | found
    known["figures"] = {family: merged[family] for family in FAMILIES if family in merged}  # in the order of the page
    path.write_text(json.dumps(known, indent=1) + "\n")
    return dict(known["figures"])


def tables(known: Figures, families: list[str]) -> Iterator[tuple[str, str]]:
    """By marker: of these families, and those that are over all."""
    yield from ((family, family_table(family, known[family])) for family in families)
    yield from (("judges", judge_table(known)), ("rest", extra_table(known)), ("points", point_table(points(known))))


if __name__ == "__main__":
    sys.exit(main())
