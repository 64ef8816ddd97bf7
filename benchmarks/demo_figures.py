"""The README's table: what the demo's policy learns, by the rule that never touches the judge.

    make figures                                            # all families, seeds 0, 1, 2; about 25 minutes on one core
    python benchmarks/demo_figures.py --families gram       # one of them

Each run is a process of its own, `grmrewards demo --family F --seed S`, with the demo's own settings. Runs that the results
file holds already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FAMILIES = ("ipgrm", "listwise", "irpm", "gram")
SCORE = re.compile(r"^(before|after) +training: rule score ([0-9.]+)", re.MULTILINE)
SECONDS = re.compile(r"in ([0-9]+) s of training")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path("demo-output/figures.json"))
    given = parser.parse_args()
    given.results.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(given.results.read_text()) if given.results.exists() else {}
    for family in given.families:
        for seed in given.seeds:
            if f"{family}-{seed}" not in results:
                results[f"{family}-{seed}"] = run(family, seed)
                given.results.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


def run(family: str, seed: int, *options: str) -> dict[str, float]:
    """Before, after and seconds of one demo."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["--family", family, "--seed", str(seed), "--output", folder, *options]
        command = [sys.executable, "-m", "grmrewards", "demo", *given]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    scores = {when: float(score) for when, score in SCORE.findall(done.stdout)}
    return {**scores, "seconds": float(SECONDS.findall(done.stdout)[-1])}


def table(results: dict[str, dict[str, float]]) -> str:
    """One row a family: the rise of each seed, and the medians."""
    lines = [
        "| reward | rule score before | after (median) | rise: median (each seed) | training |",
        "|---|---|---|---|---|",
    ]
    for family in FAMILIES:
        runs = [run for name, run in sorted(results.items()) if name.startswith(f"{family}-")]
        if runs:
            rises = [run["after"] - run["before"] for run in runs]
            cells = (
                family,
                f"{statistics.median(run['before'] for run in runs):.2f}",
                f"{statistics.median(run['after'] for run in runs):.2f}",
                f"{statistics.median(rises):+.2f} ({', '.join(f'{rise:+.2f}' for rise in rises)})",
                f"{statistics.median(run['seconds'] for run in runs):.0f} s",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
