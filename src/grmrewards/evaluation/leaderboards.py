"""The figures that papers publish, as data: what a judge's own table can be laid beside.

`leaderboards.json` is a list of `Row`, one a line; every figure was read in the source that its row names, or in a copy of
it. Sources count ties and take averages in their own ways, which the rows say, so that a gap of a point or two is not taken
for a finding.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grmrewards.errors import ConfigError

COLUMNS: Mapping[str, Sequence[str]] = {  # of each benchmark, with its headline last
    "rewardbench": ("Chat", "Chat Hard", "Safety", "Reasoning", "Overall"),
    "rewardbench2": ("Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties", "Overall"),
    "rm-bench": ("chat", "math", "code", "safety", "hard", "normal", "easy", "Overall"),
    "judgebench": ("mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench", "Overall"),
    "rmb": ("Helpfulness BoN", "Helpfulness Pairwise", "Harmlessness BoN", "Harmlessness Pairwise", "Overall"),
    "ppe": ("human preference", "MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus", "correctness"),
    "preferences": (),  # a dataset of one's own, about which nothing is published
}
TIES = {
    "wrong": "an equal score is wrong",
    "half": "an equal score counts half",
    "shared": "a shared first place counts 1 / winners",
    "random": "equal scores are ordered at random",
    "second": "an equal score goes to the second answer",
    "none": "the judge has to name one answer",
    "both orders": "asked in both orders, right and undecided is right, right and wrong is wrong",
    "consistent": "right only if right in both orders",
}
AVERAGES = {"macro": "mean of the parts", "pooled": "over all items"}
NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """One judge in one benchmark, as one source has it.

    `figures` are in per cent, under the names of `COLUMNS`. `kind` is "generative" (it writes), "scalar", "semi-scalar" (it
    writes, and a head scores) or "pairwise" (it compares and writes nothing). `ties` is a word of `TIES`, `average` one of
    `AVERAGES`; None where the source does not say, or shows no parts. `note` is what a reader has to know of the figures.
    """

    benchmark: str
    model: str
    kind: str
    figures: Mapping[str, float]
    source: str
    ties: str | None = None
    average: str | None = None
    note: str = ""


@functools.cache
def _published() -> tuple[Row, ...]:
    """All rows, read once."""
    text = Path(__file__).with_name("leaderboards.json").read_text(encoding="utf-8")
    return tuple(Row(**fields) for fields in json.loads(text))


def columns(benchmark: str) -> Sequence[str]:
    """The names of a benchmark's published figures, the headline last. Raises `ConfigError` for an unknown benchmark.

    >>> columns("rewardbench")[-1]
    'Overall'
    """
    if benchmark not in COLUMNS:
        raise ConfigError(f"benchmark={benchmark!r}; allowed are {', '.join(map(repr, COLUMNS))}.")
    return COLUMNS[benchmark]


def rows(benchmark: str) -> list[Row]:
    """What is published about a benchmark, best first by its headline ("Overall"; "correctness" for PPE).

    A judge may stand in several sources, each with a row of its own. Rows without the headline come last. Raises
    `ConfigError` for an unknown benchmark.

    >>> [(row.model, row.figures["Overall"]) for row in rows("judgebench")][:1]
    [('Skywork-Reward-V2-Llama-3.1-8B-40M', 83.4)]
    """
    names = columns(benchmark)
    found = [row for row in _published() if row.benchmark == benchmark]
    return sorted(found, key=lambda row: _rank(names, row.figures), reverse=True)


def _rank(names: Sequence[str], figures: Mapping[str, float]) -> tuple[float, ...]:
    """By the headline, then by the first column: what has neither comes last."""
    return tuple(figures.get(name, -1.0) for name in (names[-1], names[0]))


def beside(benchmark: str, figures: Mapping[str, float], *, name: str = "this judge") -> str:
    """A Markdown table of the published rows with a judge's own row among them, and below it sources and rules.

    Args:
        benchmark: One of `COLUMNS`.
        figures: The judge's own, in per cent, by the names of its table; those that nobody publishes are left out.
        name: What its row is called.

    Returns "" where nothing is published. Raises `ConfigError` for an unknown benchmark.

    >>> text = beside("rewardbench2", {"Ties": 88.0, "Overall": 79.75})
    >>> print(*[line.split(" | ")[0] for line in text.splitlines()[6:9]], sep="\\n")
    | Databricks-Mosaic-Research/PGRM
    | **this judge**
    | Gemini-2.5-Pro
    """
    published = rows(benchmark)
    if not published:
        return ""
    names = COLUMNS[benchmark]
    sources = list(dict.fromkeys(row.source for row in published))
    lines = [(_rank(names, row.figures), _line(row, names, sources)) for row in published]
    lines.append((_rank(names, figures), _cells(f"**{_escaped(name)}**", "", *_values(figures, names), "", "", "")))
    ordered = sorted(lines, key=lambda line: line[0], reverse=True)
    head = _cells("published", "kind", *names, "ties", "average", "source")
    table = [head, "|---" * (len(names) + 5) + "|", *(line for _, line in ordered)]
    return "\n".join([*table, "", *_below(published, sources)])


def _line(row: Row, names: Sequence[str], sources: Sequence[str]) -> str:
    told = (row.ties or NOTHING, row.average or NOTHING, f"[{sources.index(row.source) + 1}]")
    return _cells(_escaped(row.model), row.kind, *_values(row.figures, names), *told)


def _values(figures: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{figures[name]:.2f}".rstrip("0").rstrip(".") if name in figures else NOTHING for name in names]


def _below(published: Sequence[Row], sources: Sequence[str]) -> list[str]:
    """The words of the table, what is to be known of some rows, and the sources."""
    notes = [
        f"- {_escaped(row.model)} [{sources.index(row.source) + 1}]: {_escaped(row.note)}."
        for row in published
        if row.note
    ]
    numbered = [f"{number}. {_escaped(source)}" for number, source in enumerate(sources, 1)]
    return [
        f"Ties: {_legend(TIES, (row.ties for row in published))}. The judge's own row counts as its table says.",
        f"Average: {_legend(AVERAGES, (row.average for row in published))}.",
        *(["", "Of single rows:", "", *notes] if notes else []),
        *("", "Sources:", "", *numbered),
    ]


def _legend(words: Mapping[str, str], used: Iterable[str | None]) -> str:
    known = set(used)
    said = [f"{word} = {meaning}" for word, meaning in words.items() if word in known]
    return "; ".join([*said, f"{NOTHING} = the source does not say"] if None in known else said)


def _cells(*texts: str) -> str:
    return f"| {' | '.join(texts)} |"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
