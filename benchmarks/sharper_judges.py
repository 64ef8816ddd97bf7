"""The judges that are compared: three kinds, three training seeds each, and the meta reward models of two kinds.

    embedded   the judge of this package (seed 0), and two that were trained like it
    weak       a third of the steps: its critiques are often wrong
    doubt      the embedded one, trained on with noise in the scores alone: good critiques, and then doubt

What is missing in the folder is trained: 10 minutes for each embedded one, 3 for a weak one, 1 for one in doubt, 1 for a
meta model, on one core.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from grmrewards.judges.embedded import JUDGE

KINDS = ("embedded", "weak", "doubt")
SEEDS = (0, 1, 2)
WITH_META = ("weak", "doubt")  # the embedded one is hardly ever wrong: nothing to learn from
EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = {"embedded": "strong", "weak": "weak", "doubt": "doubt"}
STEPS = {
    "embedded": ["--steps", "3600"],
    "weak": ["--steps", "1200"],
    "doubt": ["--steps", "400", "--score-noise", "1.5"],
}


def judge(folder: Path, kind: str, seed: int) -> Path:
    """Where the judge is, once it is trained."""
    return JUDGE if (kind, seed) == ("embedded", 0) else folder / f"{NAMES[kind]}{seed}" / "judge"


def meta(folder: Path, kind: str, seed: int, family: str) -> Path:
    """Where its meta reward model for one family is."""
    return folder / f"{NAMES[kind]}{seed}" / f"meta-{family}"


def train(folder: Path, kind: str, seed: int) -> None:
    """Train a judge, unless it is there; one in doubt needs the embedded one of its seed."""
    place = judge(folder, kind, seed)
    if (place / "card.json").exists():
        return
    start = ["--start", str(judge(folder, "embedded", seed))] if kind == "doubt" else []
    out = ["--seed", str(seed), "--out", str(place.parent)]
    _run(EXAMPLES / "embedded_judge" / "train.py", *STEPS[kind], *start, *out)


def train_meta(folder: Path, kind: str, seed: int, family: str) -> None:
    """Train a meta reward model, unless it is there."""
    place = meta(folder, kind, seed, family)
    if (place / "tokenizer.json").exists():  # what is written last
        return
    given = ["--judge", str(judge(folder, kind, seed)), "--family", family, "--seed", str(seed), "--out", str(place)]
    pairs = ["--responses", "2", "--groups", "250"] if family == "listwise" else []  # or hardly a vote is right
    _run(EXAMPLES / "meta_model" / "train_meta.py", *given, *pairs)


def _run(script: Path, *arguments: str) -> None:
    print(" ".join([script.name, *arguments]), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, str(script), *arguments], check=True, stdout=sys.stderr)
