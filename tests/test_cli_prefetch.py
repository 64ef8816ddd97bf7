"""`grmrewards prefetch`: principles before a training, for a training."""

import json

import pytest

from grmrewards import IPGRMReward, OpenAIJudge, cli
from servers import Server, fails, says

PRINCIPLES = "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."


@pytest.fixture
def server(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    server.script = lambda body: says(PRINCIPLES)
    yield server
    server.stop()


@pytest.fixture
def data(tmp_path):
    rows = [{"prompt": question, "label": "x"} for question in ("Why?", "How?", "Why?")]
    (path := tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prefetch(server, data, folder, *more):
    return cli.main(
        ["prefetch", str(data), "--model", "m", "--base-url", server.url, "--cache-dir", str(folder), *more]
    )


def asked(server):
    """The requests about a question of the data, not the look at the server."""
    return [body for body in server.bodies if any(q in body["messages"][0]["content"] for q in ("Why?", "How?"))]


def test_a_training_finds_the_principles_that_were_prefetched(server, data, tmp_path, capsys):
    assert prefetch(server, data, tmp_path / "principles") == 0
    assert capsys.readouterr().out == f"2 of 2 prompts have principles in {tmp_path / 'principles'}\n"
    assert len(asked(server)) == 2
    assert prefetch(server, data, tmp_path / "principles") == 0
    assert len(asked(server)) == 2, "nothing was left to ask"
    server.script = lambda body: says(r"Score: \boxed{7}")
    reward = IPGRMReward(OpenAIJudge("m", base_url=server.url), cache_dir=tmp_path / "principles")
    assert reward(prompts=["Why?", "How?"], completions=["a", "b"]) == [pytest.approx(2 / 3)] * 2
    assert len(asked(server)) == 4, "the judgements alone"


def test_they_can_be_read_beside_their_prompts(server, data, tmp_path):
    assert prefetch(server, data, tmp_path / "principles", "--export", str(tmp_path / "all.jsonl")) == 0
    entries = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert sorted(entry["prompt"] for entry in entries) == ["How?", "Why?"]
    assert all("it is right" in json.dumps(entry) for entry in entries)


def test_prompts_without_principles_are_counted_and_told_by_the_exit_code(server, data, tmp_path, capsys):
    server.script = lambda body: says("" if "How?" in body["messages"][0]["content"] else PRINCIPLES)
    with pytest.warns(UserWarning, match="1 of 2 prompts got no principles"):
        assert prefetch(server, data, tmp_path / "principles") == 1
    assert "1 of 2 prompts have principles" in capsys.readouterr().out


def test_a_server_that_refuses_is_named(server, data, tmp_path, capsys):
    server.script = lambda body: fails(404)
    assert prefetch(server, data, tmp_path / "principles") == 1
    assert "404" in capsys.readouterr().err


def test_a_column_that_is_not_there_is_named_with_its_line(server, data, tmp_path, capsys):
    assert prefetch(server, data, tmp_path / "principles", "--prompt-column", "question") == 1
    assert "'question'" in (shown := capsys.readouterr().err)
    assert "line 1" in shown
