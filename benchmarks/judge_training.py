"""What preferences can mend in a judge, by which rule and settings: IRPM's training on judges with planted weaknesses.

    make judge-training                                     # trains what is missing; docs/judge_training.md, .json and .png
    python benchmarks/judge_training.py --tables rules      # one table, printed
    python benchmarks/judge_training.py --check docs/judge_training.json    # whether the goals are met

Each run is the example script on one core; what it found is kept in --runs, and a run that is there is not made again. Two
hours of one core in all. The exit status of --check is 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults import write
from judge_training_report import TABLES, check, conditions, draw, policies, summary, table
from judge_training_runs import demos, runs, train, weaken


def main() -> int:
    """Train, print, write; or check."""
    given = parse_arguments()
    if given.check:
        return check(json.loads(given.check.read_text(encoding="utf-8")))
    measure(given.runs, given.tables, given.jobs)
    done = [summary(run, given.runs) for run in runs() if run.is_there(given.runs)]
    found = {"conditions": conditions(), "runs": done, "policies": policies(given.runs)}
    for name in given.tables:
        print(f"## {name}\n\n{table(name, found)}\n", flush=True)
        if given.write:
            write(given.write, name, table(name, found))
    if given.write:
        given.write.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
        draw(found, given.write.with_suffix(".png"))
    return 0


def measure(root: Path, tables: Sequence[str], jobs: int) -> None:
    """Weaken, train, and let policies be trained by what came of it, whatever of this has not been done yet."""
    todo = [run for run in runs() if run.table in tables or (run.row == "length" and "policy" in tables)]
    with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
        list(threads.map(lambda one: weaken(root, *one), sorted({(run.weakness, run.seed) for run in todo})))
        list(threads.map(lambda run: train(root, run), todo))
        if "policy" in tables:
            list(threads.map(lambda demo: demo.run(root), demos()))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("demo-output/judge-training"), help="folder of all runs")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--write", type=Path, help="a document with markers such as <!-- rules --> ... ")
    parser.add_argument("--check", type=Path, help="stored figures; trains nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
