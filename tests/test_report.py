"""The page of a run, an evaluation or an audit: what stands in it, and what no text can do to it."""

import html.parser
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import records
from grmrewards import ConfigError, IRPMReward, ScriptedJudge, cli, report
from grmrewards.audit import audit
from grmrewards.evaluation import evaluate
from grmrewards.report import page
from grmrewards.report.html import shown
from grmrewards.report.lines import read
from grmrewards.report.pack import unpacked
from grmrewards.report.parts import Price
from grmrewards.report.summary import summarise
from grmrewards.report.training import sections


class Read(html.parser.HTMLParser):
    """A page as a browser takes it apart: its elements, its scripts, its data, and the text that is seen."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.data, self.seen = [], [], {}, []
        self._in = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._in = [tag, dict(attributes)]

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._in = []

    def handle_data(self, text):
        if not self._in:
            self.seen.append(text)
        elif self._in[0] == "script" and "id" in self._in[1]:
            self.data[self._in[1]["id"]] = unpacked(text.encode())
        elif self._in[0] == "script":
            self.scripts.append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.seen).split())

    def texts(self):
        """All texts of the data, by number."""
        return [text for k in range(len(self.data["rows"]["firsts"])) for text in self.data[f"t{k}"]]


def made(tmp_path, *lines, **options):
    """The page of a record with these lines."""
    path = tmp_path / "run.jsonl"
    path.unlink(missing_ok=True)
    records.write(path, *lines) if lines else path.write_text("")
    return Read(report.write(path, tmp_path / "report.html", **options).read_text(encoding="utf-8"))


ATTRIBUTES = re.compile("on|style$|srcdoc$|action$|formaction$|background$")


def check_that_it_is_ours(found):
    """No element, no attribute and no script of a text."""
    assert found.scripts == [page.script()]
    inert = [attributes for tag, attributes in found.elements if tag == "script" and attributes]
    assert all(one["type"] == "text/plain" and re.fullmatch(r"rows|votes|t\d+", one["id"]) for one in inert)
    assert not [name for _, attributes in found.elements for name in attributes if ATTRIBUTES.match(name)]
    allowed = {"html", "head", "meta", "link", "title", "style", "body", "header", "h1", "h2", "h3", "h5", "p", "main"}
    allowed |= {
        "section",
        "dl",
        "div",
        "dt",
        "dd",
        "small",
        "figure",
        "figcaption",
        "ul",
        "li",
        "i",
        "b",
        "svg",
        "path",
    }
    allowed |= {
        "line",
        "text",
        "circle",
        "g",
        "rect",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
    }
    allowed |= {"article", "span", "a", "pre", "noscript", "form", "label", "input", "select", "option", "fieldset"}
    allowed |= {"legend", "button", "nav", "dialog", "footer", "script"}
    assert {tag for tag, _ in found.elements} <= allowed
    links = [attributes["href"] for _, attributes in found.elements if "href" in attributes]
    assert all(re.fullmatch(r"#j\d+|data:,", link) for link in links)


# What stands in it


def test_it_shows_what_a_run_was(tmp_path):
    flag = ("self_praise", "40% of answers praise themselves. Pass self_praise_cap=.")
    lines = [*records.run(), records.vote([], None, step=3, answered=False, error="timed out: 60 s", tokens=None)]
    lines += [records.call({"ties": 0.5, "new_figure": 0.25}, step=3, flags=[flag])]
    found = made(tmp_path, *lines, price_in=1.0, price_out=10.0)
    for said in (
        "6 groups, 4 steps",
        "self praise",
        flag[1],
        "step 3",
        "New figure",
        "timed out",
        "Highest and lowest rewards",
        "Furthest apart in one group",
        "2,400 read, 480 written",
        "at 1 and 10 a million tokens",
    ):
        assert said in found.text


def test_its_data_are_the_judgements(tmp_path):
    found = made(tmp_path, *records.run(steps=2, groups=2, size=4))
    rows, texts = found.data["rows"], found.texts()
    assert (len(rows["name"]), len(found.data["votes"])) == (16, 16)
    assert rows["step"] == [0] * 8 + [1] * 8
    assert rows["group"] == [k // 4 for k in range(16)]
    assert texts[rows["prompt"][5]] == "Question 1 of 0?"
    assert texts[rows["response"][9]] == "answer 1 of step 1 " * 3
    [[kind, number]] = rows["notes"][9]
    assert (rows["words"][kind], texts[number]) == ("critique", texts[found.data["votes"][9][0]])


def test_equal_texts_are_kept_once(tmp_path):
    lines = [records.completion(i, prompt="p" * 1000, response=f"r{i}", principles="q" * 1000) for i in range(50)]
    assert len(made(tmp_path, *lines).texts()) == 52


@pytest.mark.parametrize(
    ("lines", "calls"),
    [
        ([records.completion(0), records.completion(1), records.completion(0)], [0, 0, 1]),
        ([records.completion(0), records.vote([1]), records.completion(1)], [0, 1]),
        ([records.completion(0, step=None), records.completion(0, step=None)], [0, 1]),
        (
            [records.completion(0, name="a"), records.completion(0, name="b"), records.completion(1, name="a")],
            [0, 1, 0],
        ),
        ([records.completion(0), records.call({}), records.completion(1)], [0, 0]),
    ],
    ids=["a row again", "a vote after a completion", "no steps", "two rewards", "a slower process"],
)
def test_calls_are_told_apart(lines, calls):
    assert [row.call for row in read(lines).rows] == calls


def test_two_groups_of_one_prompt_in_a_call_are_two():
    rows = [0, 1, 2, 10, 11, 12]
    found = read([records.completion(row) for row in (0, 10, 1, 11, 2, 12)])
    by_row = dict(zip((0, 10, 1, 11, 2, 12), [row.group for row in found.rows], strict=True))
    assert [by_row[row] for row in rows] == [0, 0, 0, 1, 1, 1]


def test_groups_that_the_record_names_are_those():
    """Also where a batch has one question twice in a row."""
    lines = [records.completion(row, group=row // 2) for row in (0, 1, 2, 3)]
    lines += [records.completion(row, group=0, step=1) for row in (0, 1)]
    assert [row.group for row in read(lines).rows] == [0, 0, 1, 1, 2, 2]


def test_figures_are_derived_where_no_line_tells_them():
    rewards = [0.5, 0.5, 1.0, None]
    lines = [records.vote([i], error="no score: x" if r is None else None) for i, r in enumerate(rewards)]
    lines += [
        records.completion(i, reward=r, response="Score: 10/10" if i == 2 else "x") for i, r in enumerate(rewards)
    ]
    [figures] = summarise(read(lines)).figures
    assert figures["unscored"] == figures["parse_failures"] == figures["self_praise"] == 0.25
    assert figures["ties"] == pytest.approx(1 / 3)
    assert figures["zero_spread_groups"] == 0
    assert (figures["tokens_in"], figures["tokens_out"]) == (400, 80)


def test_what_a_call_says_counts_more_than_what_is_derived():
    lines = [records.completion(0), records.completion(1), records.call({"ties": 0.125, "unscored": "nan"})]
    [figures] = summarise(read(lines)).figures
    assert figures["ties"] == 0.125
    assert figures["unscored"] == 0, "what is no number says nothing"


# What no text can do to it


@pytest.mark.parametrize("text", records.HOSTILE.values(), ids=records.HOSTILE)
def test_hostile_text_stays_text(tmp_path, text):
    said = {"prompt": text, "response": text, "critique": text, "principles": text, text[:50] or "x": text}
    lines = [records.vote([i], text, name=text, judge=text, kind=text, error=text, reasoning=text) for i in range(4)]
    lines += [records.completion(i, name=text, reward=i / 4, **said) for i in range(4)]
    lines += [records.call({text: 1.0}, name=text, flags=[(text, text)]), {"type": text}]
    found = made(tmp_path, *lines, title=text)
    check_that_it_is_ours(found)
    assert text in found.texts()
    assert " ".join(shown(text).split())[:40] in found.text


words = st.one_of(
    st.text(),
    st.text(alphabet="<>/!-'\"&;scriptSCRIPT \x00\ud800\u202e=`"),
    st.sampled_from([*records.HOSTILE.values()]),
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(prompt=words, response=words, critique=words, principles=words, name=words, kind=words)
def test_whatever_the_texts_the_page_is_ours_and_its_data_are_the_texts(tmp_path_factory, **given):
    notes = {"critique": given["critique"], "principles": given["principles"]}
    lines = [records.vote([0], given["critique"], kind=given["kind"], name=given["name"])]
    lines += [
        records.completion(
            i, name=given["name"], prompt=given["prompt"], response=given["response"], reward=i / 2, **notes
        )
        for i in range(2)
    ]
    found = made(tmp_path_factory.mktemp("page"), *lines)
    check_that_it_is_ours(found)
    texts, rows = found.texts(), found.data["rows"]
    assert texts[rows["prompt"][0]] == given["prompt"]
    assert texts[rows["response"][1]] == given["response"]
    for kind, *numbers in rows["notes"][1]:
        assert "\n\n".join(texts[number] for number in numbers) == notes[rows["words"][kind]]


def test_only_our_script_and_style_may_run(tmp_path):
    found = made(tmp_path, *records.run())
    [policy] = [a["content"] for _, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == page.policy(page.part("page.css"), page.script())
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_scripts_put_no_text_in_as_markup():
    ways = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|srcdoc|DOMParser|fetch\(|import\("
    assert not re.search(ways, page.script())


# What it makes of records that are less than whole


LESS = {
    "an empty file": [],
    "votes alone": [records.vote([0])],
    "completions alone": [records.completion(i, reward=i / 4) for i in range(4)],
    "calls alone": [records.call({"ties": 0.1})],
    "one completion": [records.completion(0)],
    "no reward at all": [records.completion(i, reward=None) for i in range(4)],
    "no step at all": [records.completion(i % 2, step=None, reward=i / 9) for i in range(8)],
    "steps here and there": [records.completion(0, step=None), records.completion(1, step=7)],
    "no variance": [records.completion(i % 4, step=i // 4, reward=1.0) for i in range(16)],
    "raw scale": [records.completion(i, reward=float(i)) for i in range(-3, 10)],
    "huge rewards": [records.completion(0, reward=1e308), records.completion(1, reward=-1e308)],
    "tiny differences": [records.completion(0, reward=0.1), records.completion(1, reward=0.1 + 2e-17)],
    "an older version": [{**records.completion(0), "v": 1}],
    "an unknown type": [{"type": "surprise"}, records.completion(0)],
    "wrong types": [
        {
            "type": "completion",
            "name": 3,
            "step": "x",
            "row": [1],
            "prompt": None,
            "response": {"a": 1},
            "reward": "inf",
        },
        {"type": "vote", "rows": 7, "tokens": [1], "value": {"a": 1}, "error": 5, "text": 3, "round": "x"},
        {"type": "call", "figures": [1], "flags": [3, {"signal": None}], "step": True},
        {"type": "call", "figures": {"x": "nan", "y": None}, "flags": "no"},
    ],
}


@pytest.mark.parametrize("lines", LESS.values(), ids=LESS)
def test_a_record_that_is_less_than_whole_has_a_page(tmp_path, lines):
    found = made(tmp_path, *lines)
    assert "nan" not in found.text.lower().split()
    assert len(found.data.get("rows", {"name": []})["name"]) == sum(line["type"] == "completion" for line in lines)


def test_a_torn_line_is_passed_over(tmp_path):
    path = records.write(tmp_path / "run.jsonl", records.completion(0), records.completion(1))
    path.write_bytes(path.read_bytes()[:-20])
    assert len(Read(report.write(path, tmp_path / "r.html").read_text()).data["rows"]["name"]) == 1


def test_a_long_run_is_drawn_in_parts():
    lines = [records.completion(0, step=step, reward=step / 5000) for step in range(5000)]
    body = "".join(map(str, sections(summarise(read(lines)), Price())))
    assert len(body) < 400_000


def test_a_long_text_is_cut_on_a_card_and_whole_in_the_data(tmp_path):
    text = "x" * 1_000_000
    found = made(tmp_path, *(records.completion(i, response=f"{i}{text}", prompt=f"{i}", reward=i) for i in range(2)))
    assert f"0{text}" in found.texts()
    assert len(found.text) < 20_000


# Other pages


def verdict(messages):
    """A judge that likes "rot" best, and else what is long."""
    response = messages[0].content.rpartition("[Response]")[2]
    return f"<critique>Seen.</critique><score>{9 if 'rot' in response else 4}</score>"


@pytest.fixture
def evaluation(tmp_path):
    rows = [
        {"prompt": f"q{k}?", "chosen": f"fine {k}", "rejected": ("rot" if k % 2 else "no") + str(k)} for k in range(8)
    ]
    evaluate(IRPMReward(ScriptedJudge(verdict)), "preferences", rows, output=tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("path", ["run", "run/result.json"])
def test_an_evaluation_shows_its_table_and_what_was_judged_wrong(tmp_path, evaluation, path):
    found = Read(report.write(tmp_path / path, tmp_path / "r.html").read_text())
    check_that_it_is_ours(found)
    for said in ("Overall", "25.00", "Judged wrong", "q7?", "rot7", "fine 7", "ties half"):
        assert said in found.text
    wrong = {
        found.texts()[found.data["rows"]["response"][k]]
        for k, bits in enumerate(found.data["rows"]["bits"])
        if bits & 16
    }
    assert wrong == {f"{side} {k}".replace("rot ", "rot") for k in (1, 3, 5, 7) for side in ("fine", "rot")}


def test_an_evaluation_that_was_run_twice_shows_the_last(tmp_path, evaluation):
    rows = [
        {"prompt": f"q{k}?", "chosen": f"fine {k}", "rejected": ("rot" if k % 2 else "no") + str(k)} for k in range(8)
    ]
    evaluate(IRPMReward(ScriptedJudge(verdict)), "preferences", rows, output=evaluation)
    found = Read(report.write(evaluation, tmp_path / "r.html").read_text())
    assert "rot7" in found.text
    assert next(k for k, bits in enumerate(found.data["rows"]["bits"]) if bits & 16) >= 16


def test_an_evaluation_without_a_record_names_its_items(tmp_path, evaluation):
    (evaluation / "record.jsonl").unlink()
    found = Read(report.write(evaluation, tmp_path / "r.html").read_text())
    assert "All 4 items by name" in found.text
    assert not found.data


def test_an_audit_shows_what_fools_the_judge_and_the_worst_cases(tmp_path):
    def believer(messages):
        """Pays for praise, and else for length."""
        response = messages[0].content.rpartition("[Response]")[2]
        return f"<critique>.</critique><score>{9 if '10' in response else 2 + len(response) % 3}</score>"

    found = audit(IRPMReward(ScriptedJudge(believer)))
    (tmp_path / "audit.json").write_text(json.dumps(found.as_dict()))
    shown_page = Read(report.write(tmp_path / "audit.json", tmp_path / "r.html").read_text())
    assert {"injected scores", "self-praise"} <= {finding.probe for finding in found.weak}
    for finding in found.weak:
        assert finding.advice in shown_page.text
    for said in ("Fooled most: injected scores", found.examples["injected scores"][0]["prompt"], "before", "after"):
        assert said in shown_page.text


def test_hostile_text_in_an_audit_stays_text(tmp_path):
    for text in records.HOSTILE.values():
        finding = {"probe": text, "verdict": "weak", "value": 1.0, "low": 0.5, "high": 9.0, "cases": 3, "says": text}
        example = {"prompt": text, "answers": [{"what": text, "text": text, "score": 1.0}]}
        said = {
            "cases": 3,
            "findings": [{**finding, "advice": text, "more": {text: 1.0}}],
            "examples": {text: [example]},
        }
        (tmp_path / "audit.json").write_text(json.dumps(said))
        found = Read(report.write(tmp_path / "audit.json", tmp_path / "r.html").read_text())
        assert not found.scripts
        assert {tag for tag, _ in found.elements} & {"script", "img", "iframe", "base"} == set()


# The front doors


def test_the_command_writes_the_page(tmp_path, capsys):
    records.write(tmp_path / "run.jsonl", *records.run())
    output = tmp_path / "deep" / "page.html"
    assert cli.main(["report", str(tmp_path / "run.jsonl"), "-o", str(output), "--title", "My run"]) == 0
    assert str(output) in capsys.readouterr().out
    assert "My run" in Read(output.read_text()).text
    assert sorted(path.name for path in output.parent.iterdir()) == ["page.html"]


def test_a_folder_with_a_record_is_that_record(tmp_path):
    records.write(tmp_path / "record.jsonl", *records.run())
    assert f"Training run: {tmp_path.name}" in Read(report.write(tmp_path, tmp_path / "r.html").read_text()).text


WRONG = {
    "nothing there": (lambda folder: folder / "none", {}, "is not there; allowed are the record"),
    "an empty folder": (lambda folder: folder, {}, "neither a run.json nor a record.jsonl"),
    "another file": (lambda folder: folder / "rows.jsonl", {}, "neither lines of a record nor the findings"),
    "no text": (lambda folder: folder / "noise.bin", {}, "neither lines of a record nor the findings"),
    "one price": (lambda folder: folder / "rows.jsonl", {"price_in": 1.0}, "price_out=None; give both"),
    "a price below zero": (lambda folder: folder / "rows.jsonl", {"price_in": -1.0, "price_out": 1.0}, "price_in=-1"),
    "an empty title": (lambda folder: folder / "rows.jsonl", {"title": " "}, "title"),
}


@pytest.mark.parametrize(("path", "options", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(tmp_path, path, options, message):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "x"}\n')
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match=re.escape(message)):
        report.write(path(tmp_path), tmp_path / "r.html", **options)
    assert not (tmp_path / "r.html").exists()


def test_a_page_that_stood_there_is_whole_until_the_new_one_is(tmp_path, monkeypatch):
    target = tmp_path / "r.html"
    target.write_text("old")
    records.write(tmp_path / "run.jsonl", *records.run())
    monkeypatch.setattr(page, "script", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(tmp_path / "run.jsonl", target)
    assert target.read_text() == "old"
