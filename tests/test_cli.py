"""The command line, as a shell sees it: what it prints, what it exits with, and what it does not load."""

import io
import json
import os
import subprocess
import sys
import types

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import IRPMReward, JudgeError, ListwiseReward, ScriptedJudge, bulk, cli
from grmrewards.bulk import Asked
from grmrewards.cli import NOT_PASSED, options, scored
from grmrewards.doctor.heard import Judged
from servers import Server, completes, fails, says
from servers import choice as answer

SCORES = {"good": "8", "fair": "5", "bad": "2"}


def points(prompt):
    """The answer of a judge that knows three words; of others it has nothing to say."""
    response = prompt.rpartition("[Response]")[2].strip()
    score = f"<score>{SCORES[response]}</score>" if response in SCORES else ""
    return f"<critique>That is {response}.</critique>{score}"


@pytest.fixture
def server(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    server.script = lambda body: says(*[points(body["messages"][0]["content"])] * body.get("n", 1))
    yield server
    server.stop()


def at(server):
    return ["--model", "m", "--base-url", server.url]


def asked(server):
    """The requests that were judgements, not the look at the server."""
    return [body for body in server.bodies if "[Response]" in body["messages"][0]["content"]]


def shell(*arguments, **more):
    return subprocess.run([sys.executable, "-m", "grmrewards", *arguments], capture_output=True, text=True, **more)


# The group


HEAVY = ["torch", "openai", "transformers", "aiohttp", "numpy", "trl"]


@pytest.mark.parametrize("arguments", [[], ["judge"], ["doctor"], ["demo"]], ids=["all", "judge", "doctor", "demo"])
def test_help_loads_no_heavy_library(arguments):
    probe = (
        f"import sys; from grmrewards.cli import main; code = main({[*arguments, '--help']})\n"
        f"print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_lists_every_command_and_exit_code(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in (*cli.COMMANDS, "0 ", "1 ", "2 ", "3 ", "130 ") if f"  {name}" not in shown] == []


@pytest.fixture
def command(monkeypatch):
    """Makes a function the command `grmrewards made`."""

    def made(function):
        module = types.SimpleNamespace(command=click.command()(function))
        monkeypatch.setitem(sys.modules, "grmrewards.cli.made", module)
        monkeypatch.setattr(cli, "COMMANDS", ("made",))
        return cli.main(["made"])

    return made


def raises(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "code", "said"),
    [
        pytest.param(lambda: None, 0, "", id="done"),
        pytest.param(raises(JudgeError("no judge")), 1, "grmrewards: no judge\n", id="an error of the package"),
        pytest.param(raises(FileNotFoundError("no such model")), 1, "grmrewards: no such model\n", id="no file"),
        pytest.param(lambda: NOT_PASSED, 3, "", id="not passed"),
        pytest.param(raises(KeyboardInterrupt()), 130, "grmrewards: stopped\n", id="Ctrl-C"),
    ],
)
def test_exit_codes(command, capsys, function, code, said):
    assert command(function) == code
    assert capsys.readouterr().err.lstrip("\n") == said


def test_other_errors_are_not_hidden(command):
    with pytest.raises(ZeroDivisionError):
        command(raises(ZeroDivisionError()))


LOCAL = ["judge", "--local", "--model", "embedded"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["probe"], "No such command", id="unknown command"),
        pytest.param(["judge", "q", "a"], "--model", id="no model"),
        pytest.param(["judge", "--model", "m", "q"], "at least one response", id="no response"),
        pytest.param(["judge", "--model", "m", "q", "@no/such.txt"], "@no/such.txt", id="no such file"),
        pytest.param(["doctor", "--model", "m", "--price-in", "1"], "belong together", id="one price"),
        pytest.param(["judge", "--model", "m", "--votes", "2,16,4", "q", "a"], "as in 2,16", id="three votes"),
        pytest.param([*LOCAL, "--base-url", "http://x", "q", "a"], "--base-url is for endpoints", id="local address"),
        pytest.param([*LOCAL, "--max-concurrency", "2", "q", "a"], "--max-concurrency is for", id="local requests"),
        pytest.param(["doctor", "--model", "m", "--family", "gram"], "listwise", id="no votes to look at"),
        pytest.param(["doctor", "--model", "m", "--generations", "8"], "belong together", id="half a step"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_allowed(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion(kind):
    done = shell(env={**os.environ, "_GRMREWARDS_COMPLETE": f"{kind}_source"})
    if kind != "bash" or done.returncode == 0:  # the one for bash asks for the bash of this machine
        assert "_GRMREWARDS_COMPLETE" in done.stdout


# The options


@pytest.mark.parametrize("family", options.FAMILIES)
@pytest.mark.parametrize(("name", "value"), [("votes", 4), ("score", "expected"), ("seed", 3), ("temperature", 0.5)])
def test_a_family_gets_what_was_given_or_says_that_it_takes_no_such_thing(family, name, value):
    judge = ScriptedJudge(str)
    if family in options.TAKEN_BY.get(name, options.FAMILIES):
        reward = options.build_reward(family, judge, **{name: value})
        assert getattr(reward, "score_read" if name == "score" else name) == value
    else:
        with pytest.raises(click.UsageError, match=f"--{name} is nothing that --family {family} takes"):
            options.build_reward(family, judge, **{name: value})
    assert type(options.build_reward(family, judge, **{name: None})).__name__ == options.FAMILIES[family]


@pytest.mark.parametrize(("text", "votes"), [("8", 8), ("2,16", (2, 16))])
def test_votes_are_a_number_or_a_pair(text, votes):
    assert options.Votes().convert(text, None, None) == votes


def test_the_key_is_no_option():
    for name in ("judge", "doctor"):
        shown = CliRunner().invoke(cli.group, [name, "--help"]).output
        assert "--model" in shown
        assert "key" not in shown


# judge


def test_responses_are_ranked_with_their_scores_and_first_words(server, capsys):
    assert cli.main(["judge", *at(server), "How?", "bad", "good", "unheard of"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "How?  (irpm, 0 to 10)"
    assert [line.split() for line in lines[:4]] == [
        ["1", "8", "good"],
        ["That", "is", "good."],
        ["2", "2", "bad"],
        ["That", "is", "bad."],
    ]
    assert lines[4].split() == ["-", "no", "score", "unheard", "of"]
    assert "no <score> in the answer" in lines[5]


def test_the_options_reach_the_server(server, tmp_path):
    template = tmp_path / "irpm"  # the name of one of ours: the file is meant
    template.write_text("Mine. {?criteria}{criteria}{/criteria}{reference} {question}\n[Response]\n{response}")
    given = ["--max-tokens", "99", "--temperature", "0.5", "--votes", "2", "--template", str(template)]
    (tmp_path / "a.txt").write_text("fair\n")
    shown = ["--reference", "R", "--criteria", "C"]
    assert cli.main(["judge", *at(server), *given, *shown, "@@home?", f"@{tmp_path / 'a.txt'}"]) == 0
    (body, *_) = asked(server)
    assert body["messages"][0]["content"] == "Mine. CR @home?\n[Response]\nfair"
    assert (body["max_tokens"], body["temperature"], body["n"]) == (99, 0.5, 2)


LINES = [
    {"prompt": "How?", "completions": ["bad", "unheard of"]},
    {"prompt": [{"role": "user", "content": "Why?"}], "completion": "good", "reference": "R"},
]


@pytest.mark.parametrize("words", [["-"], []], ids=["dash", "piped"])
def test_json_lines_come_out_as_json_lines(server, capsys, monkeypatch, words):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(map(json.dumps, LINES)) + "\n\n"))
    assert cli.main(["judge", *at(server), "--json", "--reference", "S", *words]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["prompt"], first["scores"], first["rewards"]) == ("How?", [2.0, None], [0.2, None])
    assert first["critiques"][0].startswith("<critique>That is bad.")
    assert first["unscored"][0] is None
    assert "no <score>" in first["unscored"][1]
    assert (second["prompt"], second["scores"]) == (LINES[1]["prompt"], [8.0])
    references = {body["messages"][0]["content"].partition("[Reference Answer]\n")[2][0] for body in asked(server)}
    assert references == {"R", "S"}, "a line's own comes first"


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "q"}', '{"prompt": "q", "completions": []}'])
def test_a_line_that_is_no_prompt_with_responses_is_named(server, capsys, monkeypatch, line):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"\n{line}\n"))
    assert cli.main(["judge", *at(server)]) == 1
    assert "line 2" in capsys.readouterr().err


def test_nothing_scored_is_an_error(server, capsys):
    assert cli.main(["judge", *at(server), "How?", "what", "who"]) == 1
    assert capsys.readouterr().out.count("no score") == 2


def test_a_refused_key_is_an_error_with_its_reason(server, capsys):
    server.script = lambda body: fails(401)
    assert cli.main(["judge", *at(server), "How?", "good"]) == 1
    assert "401" in capsys.readouterr().err


def test_a_reader_that_goes_away_gets_no_traceback(server):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "grmrewards", "judge", *at(server), "How?", "good"]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=50)
    os.close(writes)
    assert len(asked(server)) == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_lines_are_judged_in_parts_as_they_come(monkeypatch):
    monkeypatch.setattr(bulk, "AT_ONCE", 2)
    taken, judge = [], ScriptedJudge(lambda messages: points(messages[0].content))

    def lines():
        for i in range(5):
            taken.append(i)
            yield Asked(f"{i}?", ["good", "bad"])

    found = scored.scored(lambda **columns: IRPMReward(judge, **columns), lines())
    assert [judged.score for judged in next(found).judged] == [8.0, 2.0]
    assert taken == [0, 1]
    assert [one.asked.prompt for one in found] == ["1?", "2?", "3?", "4?"]


def test_what_was_written_about_all_responses_stands_once():
    judge = ScriptedJudge(lambda messages: r"All fine. \boxed{9, 9}")
    (one,) = scored.scored(lambda **columns: ListwiseReward(judge, votes=1), [Asked("How?", ["a", "b"])])
    assert scored.as_text(one, width=80, critique=True).count("All fine.") == 1


@settings(deadline=None, derandomize=True)
@given(st.lists(st.none() | st.integers(0, 3).map(float)))
def test_ranks_order_as_scores_do(scores):
    places = scored.ranks(scores)
    for score, place in zip(scores, places, strict=True):
        assert (place is None) == (score is None)
        for other, its in zip(scores, places, strict=True):
            if score is not None and other is not None:
                assert (score > other) == (place < its)


@given(st.text(), st.text(), st.text(), st.integers(1, 200))
@settings(deadline=None, derandomize=True)
def test_any_text_can_be_shown(prompt, response, critique, width):
    one = scored.Scored(Asked(prompt, [response]), [Judged(5.0, critique, None)], "irpm", 0.0, 10.0)
    assert "(irpm, 0 to 10)" in scored.as_text(one, width=width)
    assert json.loads(scored.as_json(one))["rewards"] == [0.5]


def test_the_judge_of_the_package_judges_on_this_machine(capsys):
    pytest.importorskip("torch", reason="needs the extra `local`")
    assert cli.main([*LOCAL, "--json", "Name 3 animals.", "cat, dog, fox", "red, saw, tea"]) == 0
    good, bad = json.loads(capsys.readouterr().out)["scores"]
    assert good > bad


# doctor


@pytest.fixture
def steady(server):
    """A server whose judge gives no log-probabilities, and every other answer of which is cut off."""
    texts = ["<critique>Fine.</critique><score>7</score>", "<critique>Fi"]

    def script(body):
        cut = {"finish_reason": "length"}
        said = [answer(texts[i % 2], **(cut if i % 2 else {})) for i in range(body.get("n", 1))]
        return completes(*said)

    server.script = script
    return server


def test_doctor_says_what_a_server_can_do_and_which_options_to_use(steady, capsys):
    size = ["--prompts-per-step", "4", "--generations", "8", "--price-in", "1", "--price-out", "2"]
    assert cli.main(["doctor", *at(steady), "--votes", "2", *size]) == 0
    shown = capsys.readouterr().out
    parts = [part.splitlines()[0] for part in shown.split("\n\n")]
    assert parts == [
        f"'m' at {steady.url}:",
        "Its judgements (irpm)",
        "Its speed",
        "What it costs",
        "Options to use",
    ]
    assert "logprobs: taken without a word and not given" in shown
    assert "Its votes do not differ" in shown
    assert f"IRPMReward(OpenAIJudge('m', base_url='{steady.url}', max_tokens=4096), votes=1)" in shown
    assert f"grmrewards judge --model m --base-url {steady.url} --max-tokens 4096 --family irpm --votes 1" in shown


def test_doctor_as_json_has_the_same(steady, capsys):
    size = ["--prompts-per-step", "4", "--generations", "8", "--price-in", "1", "--price-out", "2"]
    assert cli.main(["doctor", *at(steady), "--votes", "2", "--json", *size]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["can"]["logprobs"] == "absent"
    assert found["doubt"]["lies_in"] == "none"
    assert 0 < found["doubt"]["cut_off"] < 1
    assert found["speed"]["judgement"][0] == 7, "tokens that the server counts for a prompt"
    assert found["step"]["judgements"] == 4 * 8
    tokens, money = found["thousand_judgements"]["tokens"], found["thousand_judgements"]["money"]
    assert money == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6)
    assert found["options"] == {
        "family": "irpm",
        "votes": 1,
        "score": "sampled",
        "max_tokens": 4096,
        "max_concurrency": None,
    }


def test_what_doctor_suggests_for_the_shell_is_taken(steady, capsys):
    assert cli.main(["doctor", *at(steady), "--votes", "2", "--json"]) == 0
    suggested = json.loads(capsys.readouterr().out)["shell"].split()
    assert suggested[0] == "grmrewards"
    assert cli.main([*suggested[1:], "How?", "good"]) == 0


def test_doctor_exits_with_1_where_no_answer_can_be_read(server, capsys):
    server.script = lambda body: says(*["no idea"] * body.get("n", 1))
    assert cli.main(["doctor", *at(server), "--votes", "2"]) == 1
    shown = capsys.readouterr().out
    assert "Most of its answers could not be read" in shown
    assert "no <score> in the answer" in shown


def test_doctor_passes_on_why_a_server_refuses(server, capsys):
    server.script = lambda body: fails(404)
    assert cli.main(["doctor", *at(server)]) == 1
    assert "HTTP 404" in capsys.readouterr().err


def test_what_a_judge_quotes_does_not_reach_the_terminal_as_an_order():
    one = scored.Scored(
        Asked("q", ["r"]), [Judged(7.0, "good \x1b[2J\x1b]0;owned\x07 answer", None)], "irpm", 0.0, 10.0
    )
    for whole in (False, True):
        assert not {"\x1b", "\x07"} & set(scored.as_text(one, width=100, critique=whole))
