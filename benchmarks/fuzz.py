"""Coverage-guided fuzzing of the same `check` that `hostile.py` sweeps with inputs from its grammar.

    pip install atheris                                  # Linux and macOS; no dependency of the package
    python benchmarks/fuzz.py -max_total_time=180        # seconds; all options are libFuzzer's
    python benchmarks/fuzz.py -runs=100000
    python benchmarks/fuzz.py crash-0123abcd             # one input again

It starts from a few hundred inputs of the grammar. What breaks a promise is kept as `crash-*` in the working folder.
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from pathlib import Path

try:
    import atheris
except ImportError:
    raise SystemExit("benchmarks/fuzz.py needs atheris, which is not installed: pip install atheris") from None

with atheris.instrument_imports(include=["grmrewards"], enable_loader_override=False):
    from hostile_check import check

from hostile_inputs import FINISHES, Input, generate, structure

SEEDS = 400
OPTIONS = ("-max_len=3000", "-timeout=5", "-rss_limit_mb=4096")


def as_input(data: bytes) -> Input:
    """Bytes as an input: one for how the judge finished, the rest is what was said. Any bytes are some text."""
    said = data[1:].decode("utf-8", "surrogateescape")
    return Input(said, FINISHES[data[0] % len(FINISHES)] if data else "stop", structure(random.Random(data), said))


def as_bytes(data: Input) -> bytes:
    """The other way round."""
    return bytes([FINISHES.index(data.finish)]) + data.text.encode("utf-8", "surrogatepass")


def test_one(data: bytes) -> None:
    """What libFuzzer calls."""
    check(as_input(data), templates=len(data) % 10 == 0)


def main() -> None:
    """Run until libFuzzer's options end it, or a promise is broken."""
    warnings.simplefilter("ignore")  # of parts that are named, not shown
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(SEEDS):
            Path(folder, str(seed)).write_bytes(as_bytes(generate(random.Random(f"fuzz {seed}"))))
        given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
        atheris.Setup([sys.argv[0], *OPTIONS, *sys.argv[1:], *([] if given else [folder])], test_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
