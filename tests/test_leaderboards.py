"""Published figures: each has a source and adds up as that source says, and a judge's own row finds its place."""

import pytest

from grmrewards.errors import ConfigError
from grmrewards.evaluation import leaderboards
from grmrewards.evaluation.leaderboards import AVERAGES, COLUMNS, TIES, Row, beside, rows

PUBLISHED = [name for name in COLUMNS if name != "preferences"]
EVERY = [row for name in PUBLISHED for row in rows(name)]
KINDS = {"generative", "scalar", "semi-scalar", "pairwise"}
PAIRS = (154, 98, 56, 42)  # of JudgeBench's four categories
PARTS = {
    name: [columns[:4], columns[4:7]] if name == "rm-bench" else [columns[1:6] if name == "ppe" else columns[:-1]]
    for name, columns in COLUMNS.items()
}


def digits(value: float) -> int:
    """Its decimals: 81.0 has none, as sources round."""
    return len(str(value).removesuffix(".0").partition(".")[2])


@pytest.mark.parametrize("benchmark", PUBLISHED)
def test_there_are_enough_judges_of_both_kinds(benchmark):
    kinds = [row.kind for row in rows(benchmark)]
    assert kinds.count("generative") >= 8
    assert kinds.count("scalar") >= 5


@pytest.mark.parametrize("row", EVERY, ids=[f"{row.benchmark}-{n}" for n, row in enumerate(EVERY)])
def test_a_row_says_what_it_is_and_where_it_comes_from(row: Row):
    assert row.source.startswith(("arXiv ", "github.com/", "nvidia/")), row
    assert set(row.figures) <= set(COLUMNS[row.benchmark])
    assert row.figures
    assert all(0 <= value <= 100 for value in row.figures.values()), row
    assert row.kind in KINDS
    assert row.ties in {None, *TIES}
    assert row.average in {None, *AVERAGES}


def test_no_judge_is_listed_twice_from_one_source():
    keys = [(row.benchmark, row.model, row.source) for row in EVERY]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("row", EVERY, ids=[f"{row.benchmark}-{n}" for n, row in enumerate(EVERY)])
def test_the_headline_is_what_its_parts_give_or_a_note_says_otherwise(row: Row):
    headline = row.figures.get(COLUMNS[row.benchmark][-1])
    for names in PARTS[row.benchmark]:
        parts = [row.figures[name] for name in names if name in row.figures]
        if headline is None or len(parts) < len(names):
            continue
        assert row.average, row
        weights = PAIRS if row.average == "pooled" else [1] * len(parts)
        mean = sum(part * weight for part, weight in zip(parts, weights, strict=True)) / sum(weights)
        rounding = 1.001 * 10.0 ** -max(digits(value) for value in (*parts, headline))
        assert abs(mean - headline) <= rounding or "average to" in row.note, (row, mean)


@pytest.mark.parametrize("row", [row for row in EVERY if row.average == "pooled"], ids=lambda row: row.model)
def test_pooled_figures_of_judgebench_are_shares_of_its_pairs(row: Row):
    for name, pairs in zip(COLUMNS["judgebench"], PAIRS, strict=False):
        nearest = 100 * round(row.figures[name] * pairs / 100) / pairs
        assert abs(row.figures[name] - nearest) < 0.1, (name, nearest)


@pytest.mark.parametrize("benchmark", PUBLISHED)
def test_rows_come_best_first(benchmark):
    headline = COLUMNS[benchmark][-1]
    values = [row.figures.get(headline, -1.0) for row in rows(benchmark)]
    assert values == sorted(values, reverse=True)


def names_of(text: str) -> list[str]:
    """The first cell of each line of the table."""
    table = text.split("\n\n")[0].splitlines()[2:]
    return [line.split(" | ")[0].removeprefix("| ") for line in table]


@pytest.mark.parametrize(
    ("overall", "place"), [(100.0, 0), (0.0, -1), (74.0, None)], ids=["best", "worst", "in-the-middle"]
)
def test_the_own_row_stands_where_its_headline_belongs(overall, place):
    names = names_of(beside("rewardbench2", {"Overall": overall}))
    better = sum(row.figures["Overall"] > overall for row in rows("rewardbench2"))
    assert names.index("**this judge**") == (better if place is None else place % len(names))
    assert len(names) == len(rows("rewardbench2")) + 1


def test_an_own_row_without_the_headline_is_kept_and_comes_last():
    assert names_of(beside("rmb", {"Helpfulness BoN": 55.5}))[-1] == "**this judge**"


def test_cells_that_nobody_filled_are_dashes_and_figures_that_nobody_publishes_are_left_out():
    text = beside("rm-bench", {"chat": 51.25, "chat hard": 12.5, "Overall": 60.0})
    own = next(line for line in text.splitlines() if "this judge" in line)
    assert own == "| **this judge** |  | 51.25 | – | – | – | – | – | – | 60 |  |  |  |"


def test_text_cannot_break_the_table(monkeypatch):
    row = Row("rmb", "a|b", "scalar", {"Overall": 50.0}, "arXiv x|y", note="p|q")
    monkeypatch.setattr(leaderboards, "_published", lambda: (row,))
    text = beside("rmb", {}, name="my\njudge | 2")
    assert "| a\\|b |" in text
    assert "| **my judge \\| 2** |" in text
    assert "1. arXiv x\\|y" in text
    assert "a\\|b [1]: p\\|q." in text


def test_below_the_table_stand_the_tie_rules_that_occur_and_no_others():
    text = beside("ppe", {"correctness": 60.0})
    used = {row.ties for row in rows("ppe")}
    for word, meaning in TIES.items():
        assert (f"{word} = {meaning}" in text) == (word in used)


def test_every_source_is_listed_with_the_number_that_the_table_gives_it():
    text = beside("judgebench", {"Overall": 60.0})
    for row in rows("judgebench"):
        line = next(line for line in text.splitlines() if line.endswith(f". {row.source}"))
        number = line.split(".")[0]
        assert any(part.startswith(f"| {row.model} |") and f"[{number}]" in part for part in text.splitlines())


def test_nothing_is_laid_beside_a_dataset_of_ones_own():
    assert rows("preferences") == []
    assert beside("preferences", {"Overall": 90.0}) == ""


def test_an_unknown_benchmark_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="rewardbench2"):
        rows("rewardbench3")
