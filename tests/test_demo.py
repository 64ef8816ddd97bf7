"""`grmrewards demo` trains a policy in every family and leaves the files that it names."""

import json

import pytest

pytest.importorskip("trl", reason="needs the extra `trl`")

from grmrewards import cli, record


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--family", "ppo"])
    assert ended.value.code == 2
    assert "ipgrm" in capsys.readouterr().err


def test_a_family_that_the_server_cannot_serve_is_refused_with_the_reason(capsys, tmp_path):
    assert cli.main(["demo", "--family", "gram", "--endpoint", "--output", str(tmp_path)]) == 1
    assert "log-probabilities" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "options",
    [["--family", "ipgrm"], ["--family", "listwise"], ["--family", "irpm"], ["--family", "gram"], ["--endpoint"]],
    ids=lambda options: "-".join(options).strip("-"),
)
def test_demo_trains_and_writes_its_files(options, capsys, tmp_path):
    assert cli.main(["demo", "--steps", "3", "--output", str(tmp_path), *options]) == 0
    assert "rule score" in capsys.readouterr().out
    assert (tmp_path / "reward_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "| question |" in (tmp_path / "examples.md").read_text()
    entries = list(record.read(tmp_path / "record.jsonl"))
    judged = [entry for entry in entries if entry["type"] == "completion"]
    assert len(judged) == 3 * 64
    assert json.dumps(judged[0])
    assert sum(entry["score"] is not None for entry in judged) >= 0.95 * len(judged)
