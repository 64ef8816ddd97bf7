"""The stored figures of the benchmark of scores are held to its points, and its tables have no holes."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import sharper
import sharper_methods
from sharper_figures import figures
from sharper_measure import Asked
from sharper_report import family_table, judge_table, points
from sharper_run import Outcome, Run
from sharper_stats import ordered, tie_rate

pytestmark = pytest.mark.slow  # they look after a benchmark, not after the package


def outcome(scores, votes=8.0):
    truth = [0.0, 0.25, 0.5, 1.0]
    return Outcome([ordered(own, truth) for own in scores], Asked(8, 0, 80, 800), metrics={"votes": votes})


GOOD, FLAT = [[1, 2, 3, 4]] * 4, [[1, 2, 2, 4]] * 4


def runs(**changed):
    """All judges and one family, in which everything is as it has to be, but for what is `changed`."""
    usual = {
        "8 votes": outcome(GOOD),
        "expected, 1 critique": outcome(GOOD, 1.0),
        "adaptive, 4 votes": outcome(GOOD, 4.0),
        "adaptive, 3.2 votes": outcome(GOOD, 3.2),
        "at random, 4 votes": outcome(FLAT, 4.0),
        "at random, 3.2 votes": outcome(FLAT, 3.2),
    }
    renamed = {name.replace("_", " ").replace(" c ", ", "): value for name, value in changed.items()}
    told = {"score_entropy": 1.5, "within_critique": 0.9, "score_mass": 1.0, "vote_sd": 1.2}
    kinds = ("embedded", "weak", "doubt")
    return [Run(kind, seed, "irpm", usual | renamed, dict(told)) for kind in kinds for seed in (0, 1)]


def missed(found):
    return [point.what for point in points(figures(found)) if not point.met and not point.goal]


def test_points_are_met_where_everything_is_as_it_has_to_be():
    assert missed(runs()) == []
    assert tie_rate(outcome(FLAT).groups) > 0.1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({"expected_c_1 critique": outcome(FLAT, 1.0)}, "ties of the expected score", id="ties"),
        pytest.param({"expected_c_1 critique": outcome([[2, 1, 3, 4]] * 4)}, "judge in doubt", id="expected is worse"),
        pytest.param({"adaptive_c_4 votes": outcome(FLAT, 4.0)}, "adaptive votes against 8", id="adaptive is worse"),
        pytest.param({"adaptive_c_4 votes": outcome(GOOD, 4.5)}, "adaptive votes against 8", id="adaptive costs more"),
        pytest.param({"at random_c_4 votes": outcome(GOOD, 4.0)}, "as many at random", id="random is as good"),
    ],
)
def test_a_missed_point_is_named(changed, words):
    assert any(words in what for what in missed(runs(**changed)))


def test_tables_have_a_row_a_method_and_a_cell_a_column():
    found = figures(runs())
    for table in (family_table("irpm", found["irpm"]), judge_table(found)):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows}) == 1
    assert family_table("irpm", found["irpm"]).count("| 8 votes |") == 3


def all_measured(**changed):
    """Figures of every voting family."""
    return dict.fromkeys(sharper_methods.VOTING, figures(runs(**changed))["irpm"])


@pytest.mark.parametrize(
    ("known", "status"),
    [
        pytest.param(all_measured(), 0, id="all met"),
        pytest.param(all_measured(**{"adaptive_c_3.2 votes": outcome(FLAT, 3.2)}), 0, id="a goal fails nothing"),
        pytest.param(all_measured(**{"adaptive_c_4 votes": outcome(FLAT, 4.0)}), 1, id="a point is missed"),
        pytest.param({"irpm": all_measured()["irpm"]}, 1, id="families are missing"),
        pytest.param({}, 1, id="nothing measured"),
    ],
)
def test_check_reads_what_was_stored(known, status, tmp_path, monkeypatch):
    (tmp_path / "sharper.json").write_text(json.dumps({"figures": known}))
    monkeypatch.setattr(sys, "argv", ["sharper.py", "--check", str(tmp_path / "sharper.json")])
    assert sharper.main() == status


def test_families_that_were_not_measured_again_stay(tmp_path):
    path = tmp_path / "sharper.json"
    sharper.kept(path, {"gram": {"embedded": 1}}, {"groups": 48})
    assert sharper.kept(path, {"irpm": {"embedded": 2}}, {"groups": 4}) == {
        "irpm": {"embedded": 2},
        "gram": {"embedded": 1},
    }
    assert json.loads(path.read_text())["conditions"] == {"gram": {"groups": 48}, "irpm": {"groups": 4}}
