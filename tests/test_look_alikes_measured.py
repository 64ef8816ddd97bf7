"""The embedded judge goes through every benchmark on made-up data of its own domain, from the first row to the table."""

import json

import pytest
from click.testing import CliRunner

from grmrewards import GRAMReward, IPGRMReward, IRPMReward, ListwiseReward, PairwiseReward, TransformersJudge, cli
from grmrewards.evaluation import BENCHMARKS, evaluate

ROWS = {"rewardbench": 20, "rewardbench2": 12, "rm-bench": 5, "judgebench": 10, "rmb": 10, "ppe": 10, "preferences": 10}
HEADLINES = {"ppe": "correctness"}
FAMILIES = {
    "irpm": (IRPMReward, {}),
    "gram": (GRAMReward, {}),
    "ipgrm": (IPGRMReward, {}),
    "listwise": (ListwiseReward, {"votes": 1}),
    "pairwise": (PairwiseReward, {}),
}


@pytest.fixture(scope="module")
def judge():
    return TransformersJudge.embedded()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_family_goes_through_every_benchmark(judge, benchmark, family):
    make, settings = FAMILIES[family]
    found = evaluate(make(judge, **settings), benchmark, "look-alike", limit=ROWS[benchmark], resamples=20)
    table = found.table
    assert table.missing == 0
    assert table[HEADLINES.get(benchmark, "Overall")].value > 60, "it knows these questions"
    assert all(line.low <= line.value + 1e-9 and line.value <= line.high + 1e-9 for line in table.lines.values())
    assert "Skywork" not in found.markdown(), "no published figure beside data that is made up"


def test_the_command_line_measures_counts_again_and_compares(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(cli.group, arguments, catch_exceptions=False, standalone_mode=False)

    judge = ["--model", "embedded", "--local", "--family", "gram", "--data", "look-alike", "--limit", "12"]
    done = run("eval", "judgebench", *judge, "--output", str(tmp_path / "run"))
    assert "| Overall |" in done.output
    assert f"The run is in {tmp_path / 'run'}" in done.output
    again = run("recount", str(tmp_path / "run"), "--ties", "half", "--json")
    assert json.loads(again.output)["rules"]["ties"] == "half"
    beside = run("recount", str(tmp_path / "run"), "--against", str(tmp_path / "run"))
    assert "| Overall | +0.00 |" in beside.output
    assert cli.main(["eval", "judgebench", *judge, "--fail-under", "100.0"]) in (0, cli.NOT_PASSED)
    assert cli.main(["eval", "preferences", *judge, "--limit", "4", "--fail-under", "0"]) == 0


def test_the_command_line_ranks_checkpoints(tmp_path, capsys):
    questions = ["Name 3 animals.", "Name 2 tools.", "Name 2 fruits."]
    answers = {"good": ["dog, cat, owl", "saw, axe", "fig, pear"], "bad": ["dog, red, red", "saw, saw", "fig, dog"]}
    for name, own in answers.items():
        lines = [json.dumps({"prompt": q, "completion": a}) for q, a in zip(questions, own, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    files = [str(tmp_path / "bad.jsonl"), f"best={tmp_path / 'good.jsonl'}"]
    assert cli.main(["rank", *files, "--anchor", "bad", "--model", "embedded", "--local"]) == 0
    _, first, second, _ = capsys.readouterr().out.splitlines()
    assert (first.split()[0], *second.split()[:2]) == ("best", "bad", "+0")
    with pytest.raises(SystemExit) as wrong:
        cli.main(["rank", "nowhere.jsonl", "--model", "embedded", "--local"])
    assert wrong.value.code == 2


def test_the_command_line_audits_with_an_exit_code(tmp_path, capsys):
    words = {
        "cat": "saw",
        "fox": "axe",
        "owl": "fig",
        "bear": "pear",
        "wolf": "red",
        "lion": "blue",
        "goat": "hat",
        "duck": "boot",
    }
    rows = [
        {"prompt": "Name 2 animals.", "chosen": f"dog, {word}", "rejected": f"red, {other}"}
        for word, other in words.items()
    ]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judge = ["--model", "embedded", "--local", "--family", "gram", "--data", str(tmp_path / "cases.jsonl")]
    code = cli.main(["audit", *judge, "--write", str(tmp_path / "page.md")])
    page = capsys.readouterr().out
    weak = "weaknesses found" in page
    assert code == (cli.NOT_PASSED if weak else 0)
    assert "| telling good from poor |" in (tmp_path / "page.md").read_text()
    assert cli.main(["audit", *judge, "--strict", "--json"]) == cli.NOT_PASSED, "eight cases leave something unclear"
    assert json.loads(capsys.readouterr().out)["cases"] == 8
