"""What judges write, and the one number (or none) that is read from it. Ids carry the line of the hostile-input table."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import IRPMReward, JudgeError, ListwiseReward, Reply, ScriptedJudge, parsing, scoring
from grmrewards.errors import ParseError

GOLDEN = Path(__file__).parents[2] / "shared" / "data" / "golden_specs.json"
MEGABYTE = 1_000_000
steady = settings(deadline=None, derandomize=True)


def boxed(text, count=1, *, low=0, high=10, finish="stop"):
    return parsing.boxed_scores(Reply(text, finish_reason=finish), count, low=low, high=high)


def tagged(text, *, low=0, high=10, finish="stop"):
    return parsing.tagged_score(Reply(text, finish_reason=finish), "score", low=low, high=high)


def from_json(text, count=1, *, key="score", low=0, high=10, finish="stop"):
    return parsing.json_scores(Reply(text, finish_reason=finish), key, count, low=low, high=high)


def principles(text, finish="stop"):
    return parsing.principles_text(Reply(text, finish_reason=finish))


# The last box


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(r"Score: \boxed{7.3}", [7.3], id="plain"),
        pytest.param(r"<think>\boxed{10}, no</think>Score: \boxed{4}", [4], id="B2-4-only-after-the-reasoning"),
        pytest.param(r"prefilled reasoning \boxed{9}</think>\boxed{4}", [4], id="B2-4-think-never-opened"),
        pytest.param(r"e.g. \boxed{9, 9} ... Scores: \boxed{3, 7}", [3, 7], id="B2-5-echoed-example-first"),
        pytest.param(r"\boxed{3, 7} no, rather \boxed{4, 6}", [4, 6], id="B2-6-last-of-two-complete-boxes"),
        pytest.param(r"\boxed{8/10}", [8], id="B2-7-out-of-ten"),
        pytest.param(r"\boxed{8 / 10, 7/10.0}", [8, 7], id="B2-7-out-of-ten-with-spaces"),
        pytest.param(r"\boxed{8.5/10}", [8.5], id="B2-8-decimal-out-of-ten"),
        pytest.param(r"\boxed{10}", [10], id="B2-10-upper-bound"),
        pytest.param(r"\boxed{0}", [0], id="B2-10-lower-bound"),
        pytest.param(r"\boxed{7，8}", [7, 8], id="B2-12-full-width-comma"),
        pytest.param(r"\boxed{Response 1: 8, Response 2: 3}", [8, 3], id="B2-14-labels-in-order"),
        pytest.param(r"\boxed{#1 = 8, #2 = 3/10}", [8, 3], id="B2-14-hash-labels"),
        pytest.param(r"\boxed{Response 2: 3, Response 1: 8}", [8, 3], id="B2-15-labels-decide-the-order"),
        pytest.param(r"\boxed{\text{8}, \text{3}}", [8, 3], id="B2-17-text-macros"),
        pytest.param(r"\boxed{\mathbf{8},\,$3$, **5**}", [8, 3, 5], id="B2-17-other-clothes"),
        pytest.param(r"\boxed {8}", [8], id="B2-17-space-before-the-brace"),
        pytest.param(r"\boxed{[8, 3]}", [8, 3], id="B2-17-list-brackets"),
        pytest.param(r"\boxed{\boxed{8}}", [8], id="B2-17-box-in-a-box"),
        pytest.param(", ".join(map(str, range(9_000))) + r" \boxed{2}", [2], id="B2-18-numbers-before-the-box"),
        pytest.param(r"\boxed{5, 5, 5}", [5, 5, 5], id="B2-20-ties"),
    ],
)
def test_box_is_read(text, want):
    assert boxed(text, len(want)) == want


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 1, id="B2-1-empty"),
        pytest.param(None, 1, id="B2-1-none"),
        pytest.param(" \n\t\u3000", 1, id="B2-1-blank"),
        pytest.param("<think>hm</think>\n", 1, id="B2-1-nothing-after-the-reasoning"),
        pytest.param("I'm sorry, I can't rate this response.", 1, id="B2-2-refusal"),
        pytest.param("I cannot rate 2 of 10 responses.", 1, id="B2-2-refusal-with-numbers"),
        pytest.param(r"Score: \boxed{7", 1, id="B2-3-box-never-closed"),
        pytest.param(r"e.g. \boxed{9}. Score: \boxed{7", 1, id="B2-3-earlier-box-does-not-stand-in"),
        pytest.param(r"<think>the best gets \boxed{10}", 1, id="B2-4-reasoning-without-end"),
        pytest.param(r"done</think>\boxed{9}<think>wait", 1, id="B2-4-reasoning-opened-again"),
        pytest.param(r"\boxed{3/5}", 1, id="B2-7-other-denominator"),
        pytest.param(r"\boxed{8/0}", 1, id="B2-7-out-of-nothing"),
        pytest.param(r"\boxed{8/100}", 1, id="B2-7-out-of-a-hundred"),
        pytest.param(r"\boxed{7-8}", 1, id="B2-9-hyphen-range"),
        pytest.param(r"\boxed{7–8}", 1, id="B2-9-dash-range"),
        pytest.param(r"\boxed{7 to 8}", 1, id="B2-9-range-in-words"),
        pytest.param(r"\boxed{-3}", 1, id="B2-10-negative"),
        pytest.param("\\boxed{\u22123}", 1, id="B2-10-minus-sign"),
        pytest.param(r"\boxed{11}", 1, id="B2-10-above"),
        pytest.param(r"\boxed{100}", 1, id="B2-10-percent"),
        pytest.param(r"\boxed{10.01}", 1, id="B2-10-just-above"),
        pytest.param(r"\boxed{NaN}", 1, id="B2-11-nan"),
        pytest.param(r"\boxed{inf}", 1, id="B2-11-inf"),
        pytest.param(r"\boxed{1e1}", 1, id="B2-11-exponent"),
        pytest.param(r"\boxed{1_0}", 1, id="B2-11-underscore"),
        pytest.param(r"\boxed{" + "9" * 400 + "}", 1, id="B2-11-four-hundred-nines"),
        pytest.param(r"\boxed{٨}", 1, id="B2-12-arabic-digit"),
        pytest.param(r"\boxed{８}", 1, id="B2-12-full-width-digit"),
        pytest.param(r"\boxed{½}", 1, id="B2-12-vulgar-fraction"),
        pytest.param(r"\boxed{7,5, 8,5}", 2, id="B2-13-decimal-commas"),
        pytest.param(r"\boxed{Response 1: 8, Response 3: 3}", 2, id="B2-14-labels-with-a-gap"),
        pytest.param(r"\boxed{Response 0: 8, Response 1: 3}", 2, id="B2-14-labels-from-zero"),
        pytest.param(r"\boxed{Response 1: 8, 3}", 2, id="B2-14-half-labelled"),
        pytest.param(r"\boxed{Response 1: 8, Response 1: 3}", 2, id="B2-15-label-twice"),
        pytest.param(r"\boxed{8}", 2, id="B2-16-one-too-few"),
        pytest.param(r"\boxed{8, 7, 6}", 2, id="B2-16-one-too-many"),
        pytest.param(r"\boxed{8, 7,}", 2, id="B2-16-trailing-comma"),
        pytest.param(r"\boxed{}", 1, id="B2-16-nothing"),
        pytest.param(r"\boxed{8, 7" + " " * 3_000 + ", 9}", 2, id="B2-16-more-than-the-count-far-behind"),
        pytest.param(r"\boxed{\frac{7}{10}}", 1, id="B2-17-fraction"),
        pytest.param(r"\boxed{1**0}", 1, id="B2-17-clothes-do-not-join-digits"),
        pytest.param(r"\boxed{\text{1}0}", 1, id="B2-17-macros-do-not-join-digits"),
        pytest.param(r"\boxed{3} and \boxed as asked", 1, id="B2-17-last-box-without-a-brace"),
        pytest.param(r"\boxed 8", 1, id="B2-17-no-brace"),
        pytest.param(", ".join(map(str, range(9_000))), 1, id="B2-18-numbers-without-a-box"),
        pytest.param(r"\boxed{" + ", ".join(map(str, range(900))) + "}", 2, id="B2-18-numbers-in-the-box"),
        pytest.param('```json\n{"score": 8}\n```', 1, id="B2-22-json-fence"),
        pytest.param('{"scores": [8, 7]} as asked', 2, id="B2-22-json-and-prose"),
        pytest.param("Final score: 8", 1, id="no-box-no-guess"),
    ],
)
def test_box_is_refused(text, count):
    with pytest.raises(ParseError):
        boxed(text, count)


def test_b2_3_cut_off_after_a_box_that_was_not_the_last_word():
    with pytest.raises(ParseError, match="max_tokens"):
        boxed(r"e.g. \boxed{9}. Now to the first criterion", finish="length")


@pytest.mark.parametrize("reason", ["length", "LENGTH", "max_tokens", "content_filter", "abort"])
def test_b2_3_cut_off_for_whatever_reason(reason):
    for read, text in ((boxed, r"\boxed{9}"), (tagged, "<score>9</score>"), (from_json, '{"score": 9}')):
        assert read(text + "\n", finish=reason) in ([9], 9)
        with pytest.raises(ParseError, match=reason):
            read(text + " was the example. Now", finish=reason)
    with pytest.raises(ParseError, match=reason):
        principles(f"Evaluation Principles:\n{LISTED}", reason)


@pytest.mark.parametrize("end", ["", ".", "**", "$\n"])
def test_b2_3_cut_off_right_behind_the_verdict_keeps_it(end):
    assert boxed(r"Score: \boxed{9}" + end, finish="length") == [9]
    assert tagged("<score>9</score>" + end, finish="length") == 9


# The last tag


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("<critique>fine</critique><score>7.5</score>", 7.5, id="plain"),
        pytest.param("<think><score>10</score></think><score>4</score>", 4, id="B2-4-only-after-the-reasoning"),
        pytest.param("as <score>9</score> says; <score> 3 </score>", 3, id="B2-5-quoted-score-first"),
        pytest.param("<score>8 / 10</score>", 8, id="B2-7-out-of-ten"),
        pytest.param("<score>8.5/10</score>", 8.5, id="B2-8-decimal-out-of-ten"),
        pytest.param("<score>0.0</score>", 0, id="B2-10-lower-bound"),
        pytest.param(r"<score>**\text{8}**</score>", 8, id="B2-17-clothes"),
        pytest.param("<SCORE>8</Score>", 8, id="any-case"),
        pytest.param("<score>3</score> <score final='yes'>8</score >", 8, id="B2-5-attributes-hide-no-tag"),
        pytest.param("<scores>3</scores> <score>8</score>", 8, id="another-tag-that-begins-alike"),
        pytest.param("<critique>İİİ</critique><score>7.5</score>", 7.5, id="letters-that-grow-in-lower-case"),
        pytest.param("<score>8</score> is final</score>", 8, id="stray-closing-tag"),
        pytest.param("<score>8</score>\n\nI hope this helps.", 8, id="B2-22-trailing-prose"),
    ],
)
def test_tag_is_read(text, want):
    assert tagged(text) == want


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="B2-1-empty"),
        pytest.param(None, id="B2-1-none"),
        pytest.param("I can't help with that.", id="B2-2-refusal"),
        pytest.param("<critique>good</critique><score>8", id="B2-3-never-closed"),
        pytest.param("<score>9</score> and so <score>8", id="B2-3-earlier-tag-does-not-stand-in"),
        pytest.param('<score>9</score> <score value="3"/>', id="B2-3-earlier-tag-does-not-stand-in-for-an-empty-one"),
        pytest.param("<think><score>10</score>", id="B2-4-reasoning-without-end"),
        pytest.param("<score>3/5</score>", id="B2-7-other-denominator"),
        pytest.param("<score>7-8</score>", id="B2-9-range"),
        pytest.param("<score>-1</score>", id="B2-10-negative"),
        pytest.param("<score>10.5</score>", id="B2-10-above"),
        pytest.param("<score>nan</score>", id="B2-11-nan"),
        pytest.param("<score>٨</score>", id="B2-12-arabic-digit"),
        pytest.param("<score>7,5</score>", id="B2-13-decimal-comma"),
        pytest.param("<score>8 7</score>", id="B2-16-two-numbers"),
        pytest.param("<score></score>", id="B2-16-nothing"),
        pytest.param("<score>8" + " " * 3_000 + "/5</score>", id="B2-16-far-behind"),
        pytest.param('{"score": 8}', id="B2-22-json"),
        pytest.param("</score>8<score>", id="inside-out"),
        pytest.param("Score: 8", id="no-tag-no-guess"),
    ],
)
def test_tag_is_refused(text):
    with pytest.raises(ParseError):
        tagged(text)


def test_tag_cut_off_in_the_middle_of_more_text():
    with pytest.raises(ParseError, match="max_tokens"):
        tagged("the example <score>9</score> shows", finish="length")


# The last JSON object, for families of one's own


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param('{"score": 7.5}', [7.5], id="B2-22-plain"),
        pytest.param('{"why": "good", "score": 8} I hope this helps {much}.', [8], id="B2-22-trailing-prose"),
        pytest.param('Here:\n```json\n{"score": 8}\n```', [8], id="B2-22-json-fence"),
        pytest.param('{"score": "8"}', [8], id="B2-22-number-as-a-string"),
        pytest.param('{"score": "**8/10**"}', [8], id="B2-22-string-out-of-ten"),
        pytest.param('{"score": [8, "3", "7 / 10"]}', [8, 3, 7], id="B2-22-list"),
        pytest.param('{"score": [8]}', [8], id="B2-22-list-of-one"),
        pytest.param('[{"score": 8}]', [8], id="B2-22-object-in-a-list"),
        pytest.param('{"result": {"score": 8}, "n": 1}', [8], id="B2-22-nested"),
        pytest.param('<think>{"score": 9}</think>{"score": 3}', [3], id="B2-4-only-after-the-reasoning"),
        pytest.param('e.g. {"score": 9}. Mine: {"score": 3}', [3], id="B2-5-echoed-example-first"),
        pytest.param('{"said": "{\\"score\\": 10}", "score": 3}', [3], id="B2-5-echoed-in-a-string-before"),
        pytest.param('{"score": 3, "said": "{\\"score\\": 10}"}', [3], id="B2-5-echoed-in-a-string-behind"),
        pytest.param('as in {"score": <number>}: {"score": 3}', [3], id="B2-5-the-form-repeated"),
        pytest.param('{"score": 3} {"note": "done"}', [3], id="B2-5-an-object-without-the-key-behind"),
        pytest.param('{"why": "two\nlines", "score": 3}', [3], id="a-line-break-in-a-string"),
        pytest.param('{"id": 1, "id": 1} {"score": 3}', [3], id="B2-22-duplicate-in-another-object"),
        pytest.param('{"x": ' + "9" * 5_000 + ', "score": 3}', [3], id="B2-11-digits-elsewhere"),
    ],
)
def test_json_is_read(text, want):
    assert from_json(text, len(want)) == want


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 1, id="B2-1-empty"),
        pytest.param(None, 1, id="B2-1-none"),
        pytest.param("I can't rate this.", 1, id="B2-2-refusal"),
        pytest.param('{"score": 8', 1, id="B2-3-never-closed"),
        pytest.param('{"score": 9} and so {"score": 8', 1, id="B2-3-earlier-object-does-not-stand-in"),
        pytest.param('<think>{"score": 9}', 1, id="B2-4-reasoning-without-end"),
        pytest.param('{"score": 3, "quoted": {"score": 10}}', 1, id="B2-5-key-at-two-depths"),
        pytest.param('{"score": 3, "quoted": {"score": 10}, oops}', 1, id="B2-5-inside-of-a-broken-object"),
        pytest.param('{score: 3, "quoted": {"score": 10}}', 1, id="B2-5-inside-of-what-is-no-json"),
        pytest.param('{"score": "3, "quoted": {"score": 10}', 1, id="B2-5-inside-of-what-was-never-closed"),
        pytest.param('{"mine": 3, "quoted": {"score": 10}', 1, id="B2-5-inside-of-another-that-was-never-closed"),
        pytest.param('{"score": "3/5"}', 1, id="B2-7-other-denominator"),
        pytest.param('{"score": "7-8"}', 1, id="B2-9-range"),
        pytest.param('{"score": -3}', 1, id="B2-10-negative"),
        pytest.param('{"score": 10.01}', 1, id="B2-10-above"),
        pytest.param('{"score": NaN}', 1, id="B2-11-nan"),
        pytest.param('{"score": Infinity}', 1, id="B2-11-infinity"),
        pytest.param('{"score": "inf"}', 1, id="B2-11-inf-as-a-string"),
        pytest.param('{"score": 1e1}', 1, id="B2-11-exponent"),
        pytest.param('{"score": ' + "9" * 400 + "}", 1, id="B2-11-four-hundred-nines"),
        pytest.param('{"score": ' + "9" * 5_000 + "}", 1, id="B2-11-more-digits-than-python-reads"),
        pytest.param('{"score": true}', 1, id="B2-11-true"),
        pytest.param('{"score": null}', 1, id="B2-11-null"),
        pytest.param('{"score": "٨"}', 1, id="B2-12-arabic-digit"),
        pytest.param('{"score": "\\u0038"}', 1, id="B2-12-digit-as-an-escape"),
        pytest.param('{"score": "7,5"}', 1, id="B2-13-decimal-comma"),
        pytest.param('{"score": [8]}', 2, id="B2-16-one-too-few"),
        pytest.param('{"score": [8, 7, 6]}', 2, id="B2-16-one-too-many"),
        pytest.param('{"score": 8}', 2, id="B2-16-a-number-where-two-are-wanted"),
        pytest.param('{"score": []}', 1, id="B2-16-nothing"),
        pytest.param('{"score": [[8]]}', 1, id="B2-16-list-in-a-list"),
        pytest.param('{"score": {"1": 8}}', 1, id="B2-16-object"),
        pytest.param('{"score": 9, "score": 3}', 1, id="B2-22-duplicate-key"),
        pytest.param('{"score": 3, "a": {"b": 1, "b": 2}}', 1, id="B2-22-duplicate-key-anywhere-in-it"),
        pytest.param('{"score": 8,}', 1, id="B2-22-trailing-comma"),
        pytest.param("{'score': 8}", 1, id="B2-22-python"),
        pytest.param('{"Score": 8}', 1, id="B2-22-another-key"),
        pytest.param(r'{"quote": "\boxed{9}"}', 1, id="no-key-no-guess"),
    ],
)
def test_json_is_refused(text, count):
    with pytest.raises(ParseError):
        from_json(text, count)


# Principles and their parts

LISTED = "1. [Depth] (Weight: 60%): goes deep.\n2. [Tone] (Weight: 40%): fits."


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(f"Evaluation Principles:\n{LISTED}", f"Evaluation Principles:\n{LISTED}", id="plain"),
        pytest.param(
            f"Sure!\n\nevaluation principles：\n{LISTED}", f"evaluation principles：\n{LISTED}", id="preamble"
        ),
        pytest.param(f"评估原则：\n{LISTED}", f"评估原则：\n{LISTED}", id="chinese-header"),
        pytest.param(LISTED, LISTED, id="list-without-header"),
        pytest.param("- deep\n- short", "- deep\n- short", id="bullets"),
        pytest.param(
            f"Evaluation Principles:\n{LISTED}\n\n  Analysis: none", f"Evaluation Principles:\n{LISTED}", id="cut"
        ),
        pytest.param(
            f"<think>Evaluation principles: no</think>Evaluation Principles:\n{LISTED}",
            f"Evaluation Principles:\n{LISTED}",
            id="B2-4-header-in-the-reasoning",
        ),
    ],
)
def test_principles_are_read(text, want):
    assert principles(text) == want


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        pytest.param("", "stop", id="B2-1-empty"),
        pytest.param(None, "stop", id="B2-1-none"),
        pytest.param("I'm sorry, but I can't help with that.", "stop", id="B2-2-refusal"),
        pytest.param(f"Evaluation Principles:\n{LISTED}\n3. [Cla", "length", id="B2-3-cut-off"),
        pytest.param(f"<think>{LISTED}", "stop", id="B2-4-reasoning-without-end"),
        pytest.param("Evaluation Principles:\n  ", "stop", id="header-alone"),
        pytest.param(LISTED + "\n3. more" * 5_000, "stop", id="B2-19-repetition-is-never-cached"),
    ],
)
def test_principles_are_refused(text, finish):
    with pytest.raises(ParseError):
        principles(text, finish)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (LISTED, [0.6, 0.4]),
        ("(Weight: 30%) (weight：10 %)", [0.75, 0.25]),
        ("no weights", []),
        ("(Weight: 0%)", []),
        ("(Weight: x%)", []),
    ],
)
def test_weights_sum_to_one(text, want):
    assert parsing.weights(text) == pytest.approx(want)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("- **[Depth]**: fine. Score: 8/10\n- **[Tone]**: Score: 6.5/10.0", [8, 6.5], id="plain"),
        pytest.param("<think>[A]: Score: 1/10</think>- [B]: Score: 6/10", [6], id="after-the-reasoning"),
        pytest.param("- [A]: first Score: 3/10, at last Score: 4/10", [4], id="last-of-a-line"),
        pytest.param("- [A]: Score: 11/10\n- [B]: Score: 6/10", [], id="out-of-range-none"),
        pytest.param("- [A]: Score: 8/100", [], id="out-of-a-hundred"),
        pytest.param("- [A]: Score: 8/10.5", [], id="out-of-ten-and-a-half"),
        pytest.param("- [A]: 'Score: 9/10', it says. Score: -3/10", [], id="B2-10-an-earlier-score-does-not-stand-in"),
        pytest.param("- [A]: Score: 9/10\n- [B]: Score: 4-6/10", [], id="B2-9-a-range-voids-all"),
        pytest.param("- [A]: Score: 8/10.0.", [8], id="full-stop-behind"),
        pytest.param("Final Score: 8/10", [], id="no-criterion"),
    ],
)
def test_criterion_scores(text, want):
    assert parsing.criterion_scores(text, low=1, high=10) == want


# Any text in, linear time: these took seconds to hours where the parser went back over what it had read


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(r"\boxed{" * 16_000, id="B2-19-boxes"),
        pytest.param("boxed" + " " * 32_000, id="B2-19-spaces"),
        pytest.param("\\boxed" + " " * MEGABYTE, id="B2-19-space-before-the-brace"),
        pytest.param(r"\boxed{" + "{" * MEGABYTE, id="B2-19-braces"),
        pytest.param(r"\boxed{" + r"\text{" * 150_000, id="B2-19-macros"),
        pytest.param("<score>" * 140_000, id="B2-19-tags"),
        pytest.param("<think>" * 140_000, id="B2-19-thinks"),
        pytest.param("1. x" + "\n" * MEGABYTE + "y", id="B2-19-newlines"),
        pytest.param("x" + "\n " * (MEGABYTE // 2) + "y", id="B2-19-newlines-and-no-list"),
        pytest.param("Evaluation Principles" + " " * MEGABYTE + "y", id="B2-19-header"),
        pytest.param("]:" * (MEGABYTE // 2), id="B2-19-criteria"),
        pytest.param("(weight:" * (MEGABYTE // 8), id="B2-19-weights"),
        pytest.param("9" * MEGABYTE, id="B2-19-digits"),
        pytest.param("a" * MEGABYTE, id="B2-19-letters"),
        pytest.param('{"a":' * (MEGABYTE // 5), id="B2-19-nested-json"),
        pytest.param('{"' * (MEGABYTE // 2), id="B2-19-broken-json"),
        pytest.param('{"score": 9, "a": [' + "[" * MEGABYTE, id="B2-19-nested-lists"),
        pytest.param('{"a":{}}' * (MEGABYTE // 8), id="B2-19-json-objects"),
        pytest.param("<score " * (MEGABYTE // 7), id="B2-19-open-tags"),
    ],
)
def test_b2_19_a_megabyte_of_anything(text):
    for read in (boxed, tagged, from_json, principles):
        with pytest.raises(JudgeError):
            read(text)
    parsing.weights(text)
    if "<think>" not in text:
        parsing.criterion_scores(text, low=1, high=10)


def test_b2_19_the_verdict_at_the_end_of_a_megabyte():
    assert boxed("x" * MEGABYTE + r"\boxed{7}") == [7]
    assert tagged("x" * MEGABYTE + "<score>7</score>") == 7
    assert from_json('{"x": ' * (MEGABYTE // 6) + '{"score": 1' + "x" * 20_000 + '{"score": 7}') == [7]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(r"\boxed{8" + " " * 1_900 + "/5}", id="spaces-before-the-total"),
        pytest.param(r"\boxed{" + ",".join(f"#{i}:{i}" for i in range(200, 450)) + "}", id="labels"),
        pytest.param(r"\boxed{" + "x" * 1_900 + "}", id="letters"),
        pytest.param(r"\boxed{" + "x" * 9_000 + "}", id="more-letters"),
        pytest.param("x" * 30_000, id="no-box"),
        pytest.param("<score>" + "x" * 9_000, id="open-tag"),
        pytest.param('{"score": ["' + "x" * 9_000 + '"]}', id="json"),
        pytest.param('{"score": [' + "1," * 5_000 + "1]}", id="list"),
    ],
)
def test_an_error_quotes_little_of_the_judge(text):
    for read in (boxed, tagged, from_json, principles):
        with pytest.raises(ParseError) as error:
            read(text, 250) if read is boxed else read(text)
        assert len(str(error.value)) < 200


ANYTHING = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*"0189.,/-[]{}$ \n٨，", "\\boxed{", "\\text{", "<score>", "</score>", "</think>"])).map(
        "".join
    ),
)


@steady
@given(ANYTHING, st.sampled_from(["stop", "length"]))
def test_a_score_is_inside_its_range_or_not_read(text, finish):
    for read in (boxed, tagged):
        try:
            got = read(text, low=1, high=10, finish=finish)
        except ParseError:
            continue
        assert all(1 <= score <= 10 for score in (got if isinstance(got, list) else [got]))


@steady
@given(st.lists(st.integers(10, 100).map(lambda n: n / 10), min_size=1, max_size=12), ANYTHING)
def test_what_stands_before_the_verdict_never_changes_it(scores, noise):
    verdict = r" \boxed{" + ", ".join(map(str, scores)) + "}"
    before = noise.replace("<think>", "")
    assert boxed(before + verdict, len(scores), low=1) == scores


# Where the outcome is that of a family


def ballots(*texts, **kwargs):
    reward = ListwiseReward(ScriptedJudge(lambda _: list(texts)), shuffle=False, scale="raw", **kwargs)
    return reward(prompts=["q", "q"], completions=["a", "b"])


def test_b2_16_a_ballot_with_another_count_is_dropped_not_padded():
    assert ballots(r"\boxed{8, 4}", r"\boxed{9}", votes=2) == [8.0, 4.0]


def test_b2_20_ties_are_scores():
    assert ballots(r"\boxed{5, 5}", votes=3) == [5.0, 5.0]


def test_b2_21_one_usable_vote_of_eight_is_enough():
    unusable = ["no idea"] * 7
    assert ballots(r"\boxed{8, 4}", *unusable, votes=8) == [8.0, 4.0]


def test_a_vote_that_cannot_be_read_is_asked_for_again():
    asked = []

    def reply(_):
        asked.append(1)
        return "no idea" if len(asked) < 3 else "<score>8</score>"

    assert IRPMReward(ScriptedJudge(reply), scale="raw")(prompts=["q"], completions=["a"]) == [8.0]
    assert len(asked) == 3


# The papers' own code, run once; `want` is what we make of the cases


def golden(name):
    if not GOLDEN.exists():
        pytest.skip("the folder of golden cases is not beside this checkout")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


def test_golden_boxed_scores():
    for case in golden("ipgrm_parse_reward_score")["cases"]:
        if case["want"] is None:
            with pytest.raises(ParseError):
                boxed(case["out"], low=1)
        else:
            assert boxed(case["out"], low=1) == [case["want"]], case


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("- **[A]**: Score: 9.9/10.0\n\nScore: \\boxed{6.4/10}", 6.4, id="criterion-line-before"),
        pytest.param("- **[A]**: Score: 9.9/10.0\n- **[B]**: Sco", None, id="cut-off-before-the-box"),
        pytest.param("Score: \\boxed{6.4}\n[the review ends here]", 6.4, id="brackets-behind"),
        pytest.param("Score: \\boxed{6.4}, see [3] and [1]", 6.4, id="references-behind"),
        pytest.param("Score: \\boxed{72}", None, id="percent-is-not-clamped"),
        pytest.param("Score: \\boxed{0.4}", None, id="below-is-not-clamped"),
        pytest.param("Score: \\boxed{\\text{6.4}}", 6.4, id="text-macro"),
    ],
)
def test_cases_like_the_golden_ones(text, want):
    if want is None:
        with pytest.raises(ParseError):
            boxed(text, low=1)
    else:
        assert boxed(text, low=1) == [want]


def test_golden_weighted_average():
    case = golden("ipgrm_weighted_average")
    assert scoring.weighted_average(case["weights"], case["scores"]) == pytest.approx(case["value"])


def test_golden_pairs():
    for case in golden("gram_pair")["cases"]:
        p = scoring.preference([tuple(z) for z in case["z"]])
        assert [p, 1 - p] == pytest.approx(case["want"], abs=5e-5), case


def test_golden_two_slopes():
    for case in golden("two_slope_scale")["cases"]:
        assert scoring.rescale(case["score"], "two_slope", low=0, high=10) == pytest.approx(case["want"]), case


@pytest.mark.parametrize(
    ("weights", "scores", "want"), [([50, 50], [4, 8], 6.0), ([30, 10], [4, 8], 5.0), ([1], [7.25], 7.25)]
)
def test_weighted_average(weights, scores, want):
    assert scoring.weighted_average(weights, scores) == pytest.approx(want)


@pytest.mark.parametrize(
    ("logits", "want"),
    [
        pytest.param([(2, 0), (2, 0)], 1 / (1 + math.exp(-2)), id="both-orders-agree"),
        pytest.param([(3, 0), (0, 3)], 0.5, id="only-a-liking-for-a-place"),
        pytest.param([(0, 0)], 0.5, id="one-order"),
        pytest.param([(-math.inf, 0)], 0.0, id="no-mass-on-the-first"),
        pytest.param([(0, -math.inf)], 1.0, id="no-mass-on-the-second"),
        pytest.param([(1e6, -1e6), (-1e6, 1e6)], 0.5, id="no-overflow"),
    ],
)
def test_preference_of_a_pair(logits, want):
    assert scoring.preference(logits) == pytest.approx(want)


@pytest.mark.parametrize(
    "read",
    [lambda r: parsing.tagged_score(r, "score", low=0, high=10), lambda r: parsing.boxed_scores(r, 1, low=1, high=10)],
    ids=["tag", "box"],
)
def test_an_answer_that_was_cut_off_before_its_verdict_says_so(read):
    """It is the usual fate of judges that think, and `no <score>` would not say what to do."""
    with pytest.raises(ParseError, match=r"cut off.*max_tokens"):
        read(Reply("The response is well argued, and", finish_reason="length"))
