"""Put the held-out figures of one or several training seeds into the card of a judge: card.json and MODEL_CARD.md.

    python examples/embedded_judge/card.py embedded/judge --figures seed0.json seed1.json seed2.json --note "..."

Each file is what `evaluate.py --json` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

DOMAIN = (
    "Knows one domain: questions such as 'Name 3 animals, one of them fox.' over eight categories of twelve words, "
    "with one word required or forbidden or none. It knows nothing else: any other question gets a meaningless score."
)
COLUMNS = {
    "IP-GRM exact": ("ipgrm", "exact"),
    "IRPM exact": ("irpm", "exact"),
    "principles exact": ("ipgrm_principles", "exact"),
    "listwise of 8 exact": ("listwise", "exact"),
    "listwise r": ("listwise", "r"),
    "pairwise": ("gram", "exact"),
}
TEXT = """# The embedded judge

{domain}

A Qwen3 architecture of {parameters:,} parameters, trained from nothing on one CPU core in {seconds} s
({steps:,} steps, {examples:,} generated examples, seed {seed}). Weights in bf16, to be computed with in fp32. It answers
the five default templates of this package, word for word; an edited template is a language that it has never seen.

## Held-out figures

"exact" is the share of scores (or principles) right to the digit (or letter), "pairwise" the share of untied pairs
decided rightly with both orders averaged. No text of the first split's questions occurs in training; no required or
forbidden word of the second one's is ever required or forbidden in training. "seed" is that of the training, "cases"
that with which the cases were drawn. The recipe was tuned with seed 0 on cases 9999, which makes those figures a little
too good; no decision was taken on other cases.

{table}
{note}
## Limits

- It is a fixture for trying out and testing, not a judge of anything real.
- Answers of more than ten items, other words than those of `domain.py` and other spellings were hardly or never seen.
- Groups of one to eight; system prompts, references and criteria only in the few forms of `training_data.py`.
- A listwise answer of a group of eight took up to 230 new tokens, a pointwise one up to 40.

## Made with

`examples/embedded_judge/train.py`; figures by `examples/embedded_judge/evaluate.py`.
"""


def main() -> None:
    """Read figures, write both cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path)
    parser.add_argument("--figures", type=Path, nargs="+", required=True)
    parser.add_argument("--note", default="", help="a sentence for the card, such as why this seed")
    args = parser.parse_args()
    path = args.judge / "card.json"
    card = json.loads(path.read_text(encoding="utf-8")) | {"domain": DOMAIN, "note": args.note}
    card["heldout"] = [json.loads(file.read_text(encoding="utf-8")) for file in args.figures]
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    note = f"\n{args.note}\n" if args.note else ""
    (args.judge / "MODEL_CARD.md").write_text(TEXT.format(table=table(card["heldout"]), **card | {"note": note}))


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown, one row for each training seed, seed of the cases and split."""
    rows = [["seed", "cases", "split", *COLUMNS], ["---"] * (len(COLUMNS) + 3)]
    for run in runs:
        for name, split in run["splits"].items():
            values = [f"{split[kind][key]:.3f}" for kind, key in COLUMNS.values()]
            rows.append([str(run["seed"]), str(run["case_seed"]), name, *values])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
