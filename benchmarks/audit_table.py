"""The confusion table of the audit: planted judges against what it says of them, and how small an effect it finds.

    python benchmarks/audit_table.py                          # five seeds, about fifteen seconds
    python benchmarks/audit_table.py --write docs/auditing.md # and put the tables there

The judges are those of tests/planted.py, the cases the forty of the package.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from grmrewards.audit import BOUNDS, CASES, audit
from grmrewards.audit.findings import of_mean
from planted import PLANTED, irpm

MARKS = ("<!-- audit table -->", "<!-- end of audit table -->")
EFFECTS = (0.05, 0.08, 0.10, 0.12, 0.14, 0.16, 0.20)  # of the range of rewards
NOISE = 0.1 * 2**0.5  # of a difference of two judgements, one point of ten each
TRIALS = 2000


def confusion(seeds: range) -> str:
    """For each planted judge: what must be found, how often it was, and what else was found."""
    lines = ["| planted judge | must be found | found | follows from it | false alarms |", "|---|---|---|---|---|"]
    for name, (make, weakness, must, may) in PLANTED.items():
        found = Counter(f.probe for seed in seeds for f in audit(make(seed, **weakness), CASES).weak)
        hit = ", ".join(f"{found[probe]} of {len(seeds)}" for probe in sorted(must)) or "–"
        also = ", ".join(f"{probe} ({found[probe]})" for probe in sorted(may) if found[probe]) or "–"
        false = sum(count for probe, count in found.items() if probe not in must | may)
        lines.append(f"| {name} | {', '.join(sorted(must)) or 'nothing'} | {hit} | {also} | {false} |")
    return "\n".join(lines)


def power(cases: int) -> str:
    """How often a gain of each size is found, by drawing differences of that mean."""
    rng = random.Random(0)
    shares = []
    for effect in EFFECTS:
        drawn = ([rng.gauss(effect, NOISE) for _ in range(cases)] for _ in range(TRIALS))
        shares.append(sum(of_mean("length", d, BOUNDS["length"], "").verdict == "weak" for d in drawn) / TRIALS)
    head = f"| a gain of, over {cases} cases | " + " | ".join(f"{effect:.2f}" for effect in EFFECTS) + " |"
    row = "| is found in | " + " | ".join(f"{share:.1%}" for share in shares) + " |"
    return "\n".join([head, "|---" * (len(EFFECTS) + 1) + "|", row])


def main() -> None:
    """Print the tables, and write them where they are told to go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", type=Path, help="the page to put the tables into")
    given = parser.parse_args()
    judged = len(audit(irpm(0), CASES).findings)
    said = f"Seeds 0 to {given.seeds - 1}, {len(CASES)} cases, {judged} probes for a judge of single answers."
    page = "\n\n".join([said, confusion(range(given.seeds)), power(len(CASES))])
    print(page)
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        block = f"{MARKS[0]}\n{page}\n{MARKS[1]}"
        found = re.sub(rf"{MARKS[0]}.*?{MARKS[1]}", lambda _: block, text, flags=re.DOTALL)
        given.write.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
