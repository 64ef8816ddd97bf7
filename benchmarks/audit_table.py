"""The confusion table of the audit: planted judges against what it says of them, and how small an effect it finds.

    python benchmarks/audit_table.py                          # five seeds, about twenty seconds
    python benchmarks/audit_table.py --write docs/auditing.md # and put the tables there

The judges are those of tests/planted.py, the cases the forty of the package.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from grmrewards.audit import BOUNDS, CASES, MASTER_KEYS, audit
from grmrewards.audit.comparing import finding
from grmrewards.audit.findings import of_mean
from planted import PLANTED, irpm

MARKS = ("<!-- audit table -->", "<!-- end of audit table -->")
EFFECTS = (0.05, 0.08, 0.10, 0.12, 0.14, 0.16, 0.20)  # of the range of rewards
BY_ONE = (0.20, 0.30, 0.40, 0.45, 0.50, 0.60)  # what one text gets more than a poor answer; all others get 0.20 less
NOISE = 2**0.5 / 9  # of a difference of two judgements, one point of 1 to 10 each
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
    """How often a gain of each size is found, by drawing differences of that mean: of all cases, and of one key's cases."""
    rng, texts = random.Random(0), len(MASTER_KEYS)

    def of_all(effect: float) -> str:
        return of_mean("length", [rng.gauss(effect, NOISE) for _ in range(cases)], BOUNDS["length"], "").verdict

    def of_one(effect: float) -> str:
        drawn = [rng.gauss(-0.2 if k % texts else effect, NOISE) for k in range(cases)]
        return finding("master keys", drawn, BOUNDS).verdict

    return "\n\n".join(
        [
            _found(f"a gain of, over {cases} cases", EFFECTS, of_all),
            _found(f"a gain by one master key of {texts}, a loss of 0.20 by all others", BY_ONE, of_one),
        ]
    )


def _found(head: str, effects: Sequence[float], verdict: Callable[[float], str]) -> str:
    """A table of how often each effect is found."""
    shares = [sum(verdict(effect) == "weak" for _ in range(TRIALS)) / TRIALS for effect in effects]
    sizes = " | ".join(f"{effect:.2f}" for effect in effects)
    row = " | ".join(f"{share:.1%}" for share in shares)
    return f"| {head} | {sizes} |\n{'|---' * (len(effects) + 1)}|\n| is found in | {row} |"


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
