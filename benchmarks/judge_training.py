"""What preferences can mend in a judge, by which rule and settings: IRPM's training on judges with planted weaknesses.

    make judge-training                                     # trains what is missing; docs/judge_training.md, .json and .png
    python benchmarks/judge_training.py --tables rules      # one table, printed
    python benchmarks/judge_training.py --check docs/judge_training.json    # whether the goals are met

Each run is the example script on one core; what it found is kept in --runs, and a run that is there is not made again. Two
and a half hours of one core in all. The exit status of --check is 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults import write
from judge_training_report import TABLES, check, conditions, draw, summary, table
from judge_training_runs import make, runs


def main() -> int:
    """Train, print, write; or check."""
    given = parse_arguments()
    if given.check:
        return check(json.loads(given.check.read_text(encoding="utf-8")))
    todo = [run for run in runs() if run.table in given.tables]
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as threads:
        for run in threads.map(lambda one: make(one, given.runs), todo):
            print(f"{run.table}, {run.row}, seed {run.seed}: done", file=sys.stderr, flush=True)
    found = {
        "conditions": conditions(),
        "runs": [summary(run, given.runs) for run in runs() if run.is_there(given.runs)],
    }
    for name in given.tables:
        print(f"## {name}\n\n{table(name, found)}\n", flush=True)
        if given.write:
            write(given.write, name, table(name, found))
    if given.write:
        given.write.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
        draw(found, given.write.with_suffix(".png"))
    return 0


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
