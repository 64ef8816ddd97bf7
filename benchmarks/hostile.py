"""A million hostile inputs through every parser, extractor and template, and the worst case of each at a megabyte.

    python benchmarks/hostile.py                            # 1,000,000 inputs, two processes
    python benchmarks/hostile.py --inputs 20000             # a look
    python benchmarks/hostile.py --seed 3 --only 12345      # one input again, with the trace of what it broke
    python benchmarks/hostile.py --write docs/hostile.md    # the tables between their markers

Every input goes through all parsers and extractors, each tenth through the templates too (`hostile_check`), and every
result is held against rules that share no code with the package (`hostile_rule`). The exit status is 1 where one is
broken, where less than one in a hundred inputs got through a parser, and where a worst case is slow or grows faster than
its input.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import platform
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hostile_check import PARSERS, Seen, check
from hostile_inputs import Input, generate
from hostile_rule import Violation

from grmrewards import parsing, texts
from grmrewards.errors import GRMError
from grmrewards.judges import replies
from grmrewards.prompts import Template, neutralise
from grmrewards.types import Reply

CHUNK = 2_000
LEAST_SHARE = 0.01  # of the inputs, that each parser must get something out of
SLOW = 50.0  # milliseconds for a megabyte, in a parser
GROWTH = 3.0  # a megabyte against half of one: twice is linear
MEGABYTE = 1_000_000
Broken = dict[str, tuple[int, int, str]]  # what: how often, the first index, the input


def one(seed: int, index: int) -> Input:
    """The input of this number."""
    return generate(random.Random(f"{seed} {index}"))


def chunk(start: int, *, seed: int, stop: int) -> tuple[Seen, Broken]:
    """What came of the inputs from `start` on."""
    warnings.simplefilter("ignore")  # of parts that are named, not shown
    seen: Seen = Counter()
    broken: Broken = {}
    for index in range(start, min(start + CHUNK, stop)):
        data = one(seed, index)
        try:
            check(data, seen, templates=index % 10 == 0)
        except Violation as violation:
            what = str(violation)[:70]
            times, first, shown = broken.get(what, (0, index, f"{violation!s:.200}\n    {data!r:.300}"))
            broken[what] = (times + 1, first, shown)
    return seen, broken


def sweep(inputs: int, seed: int, processes: int) -> tuple[Seen, Broken]:
    """All inputs, by several processes."""
    seen: Seen = Counter()
    broken: Broken = {}
    work = partial(chunk, seed=seed, stop=inputs)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, (part, wrong) in enumerate(pool.imap(work, range(0, inputs, CHUNK)), 1):
            seen.update(part)
            for what, (times, index, shown) in wrong.items():
                before = broken.get(what, (0, index, shown))
                broken[what] = (before[0] + times, *before[1:])
            if done % 50 == 0:
                print(f"{done * CHUNK:>9,} inputs, {len(broken)} kinds of violation", file=sys.stderr)
    return seen, broken


def outcomes(seen: Seen) -> str:
    """One row a reader: how many inputs gave something, nothing, or were refused."""
    names = sorted({name for name, _ in seen}, key=lambda name: (name not in PARSERS, name))
    lines = ["| reader | read | nothing there | refused |", "| --- | --- | --- | --- |"]
    for name in names:
        counts = [seen[name, outcome] for outcome in ("read", "empty", "refused")]
        shares = [f"{count:,} ({count / sum(counts):.1%})" for count in counts]
        lines.append(f"| `{name}` | {' | '.join(shares)} |")
    return "\n".join(lines)


def shallow(seen: Seen, inputs: int) -> list[str]:
    """The parsers that too few inputs got through."""
    return [name for name in PARSERS if seen[name, "read"] < LEAST_SHARE * inputs]


# The worst case

SHAPES = {
    "boxes": r"\boxed{",
    "spaces": " ",
    "blank lines": "\n ",
    "empty list items": "-\n",
    "opened thoughts": "<think>",
    "closed thoughts": "</think>",
    "tags": "<score>",
    "half tags": "<score ",
    "braces": "{",
    "macros": r"\text{",
    "broken JSON": '{"',
    "nested JSON": '{"a":',
    "JSON objects": '{"a":{}}',
    "weights": "(weight:",
    "criteria": "[A]: score: 9/10 score",
    "headers": "evaluation principles ",
    "digits": "9",
    "letters": "a",
    "half markers": "[The End of Response",
    "typed markers": "[ T h e ",
    "pipes": "<|",
    "half control tokens": "<|im_",
    "control tokens": "<|im_end|>",
    "invisible characters": "\u200b",
    "combining marks": "e\u0301\u0301",
    "half characters": "\ud800",
    "control characters": "\x00",
}


def readers() -> dict[str, Callable[[str], Any]]:
    """Everything that reads a text of another's."""
    templates = {name: Template(name) for name in ("ipgrm", "listwise", "gram")}
    marks = ("question", "response", "principles", "answer_a", "answer_b")
    return {
        **{name: lambda text, parse=parse: parse(Reply(text)) for name, (parse, _) in PARSERS.items()},
        "principles_text, listed": lambda text: parsing.principles_text(Reply("1. x\n" + text + "y")),
        "texts.clean": texts.clean,
        "texts.answer": texts.answer,
        "texts.answer, tag": lambda text: texts.answer(text, "answer"),
        "texts.question": lambda text: texts.question(texts.messages(text)),
        "texts.shorten": lambda text: texts.shorten(text, 4_000),
        "replies.encodable": replies.encodable,
        "replies.parsed": lambda text: replies.parsed(text.encode("utf-8", "replace")),
        "neutralise": neutralise,
        **{
            f"Template.fill, {name}": lambda text, t=template: t.fill(**dict.fromkeys(marks, text), responses=[text])
            for name, template in templates.items()
        },
    }


def milliseconds(read: Callable[[str], Any], shape: str, size: int) -> float:
    """The best of three, each time with a text of its own, since some answers are kept."""
    best = float("inf")
    for i in range(3):
        text = f"{i}" + shape * (size // len(shape))
        started = time.process_time()
        with contextlib.suppress(GRMError):
            read(text)
        best = min(best, 1000 * (time.process_time() - started))
    return best


def worst_cases() -> Iterator[tuple[str, str, float, float]]:
    """For each reader its slowest shape, the milliseconds for a megabyte, and how many times those of half a megabyte."""
    for name, read in readers().items():
        times = {shape: milliseconds(read, text, MEGABYTE) for shape, text in SHAPES.items()}
        shape = max(times, key=times.__getitem__)
        half = milliseconds(read, SHAPES[shape], MEGABYTE // 2)
        yield name, shape, times[shape], times[shape] / max(half, 0.01)


def slow(name: str, ms: float, growth: float) -> bool:
    """Whether a reader holds the training up. What takes no time at all has no growth that could be measured."""
    return (name in PARSERS and ms > SLOW) or (ms > 5 and growth > GROWTH)


def times_table(cases: list[tuple[str, str, float, float]]) -> str:
    """One row a reader."""
    lines = ["| reader | slowest of the shapes | 1 MB | against 0.5 MB |", "| --- | --- | --- | --- |"]
    lines += [f"| `{name}` | {shape} | {ms:.1f} ms | {growth:.1f}× |" for name, shape, ms, growth in cases]
    return "\n".join(lines)


def write(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers `<!-- name -->` and `<!-- end of name -->` of a document."""
    head, opening, rest = path.read_text().partition(f"<!-- {name} -->\n")
    _, closing, tail = rest.partition(f"<!-- end of {name} -->")
    if not closing:
        raise SystemExit(f"{path} has no <!-- {name} --> ... <!-- end of {name} -->")
    path.write_text(f"{head}{opening}\n{text}\n\n{closing}{tail}")


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, help="the number of one input, to be read again")
    parser.add_argument("--write", type=Path, help="a document with the markers of `inputs` and `worst`")
    given = parser.parse_args()
    if given.only is not None:
        print(data := one(given.seed, given.only))
        print(check(data))
        return 0
    started = time.monotonic()
    seen, broken = sweep(given.inputs, given.seed, given.processes)
    seconds = time.monotonic() - started
    cases = list(worst_cases())
    machine = f"{given.processes} processes, Python {platform.python_version()}, seed {given.seed}"
    said = f"{given.inputs:,} inputs in {seconds:.0f} s, {machine}: {sum(n for n, *_ in broken.values())} violations."
    tables = {"inputs": f"{said}\n\n{outcomes(seen)}", "worst": times_table(cases)}
    for name, text in tables.items():
        print(text, end="\n\n")
        if given.write:
            write(given.write, name, text)
    late = [case for case in cases if slow(case[0], *case[2:])]
    for what, (times, index, shown) in broken.items():
        print(f"{times} x {what}\n    first: --seed {given.seed} --only {index}: {shown}", file=sys.stderr)
    print(*(f"too few inputs get through {name}" for name in shallow(seen, given.inputs)), sep="\n", file=sys.stderr)
    print(*(f"slow: {case}" for case in late), sep="\n", file=sys.stderr)
    return int(bool(broken or late or shallow(seen, given.inputs)))


if __name__ == "__main__":
    sys.exit(main())
