"""The distribution of a score: where its number stands, what else might have stood there, and how likely that was."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grmrewards import Reply, parsing
from grmrewards.alternatives import Beginning, followed, seen
from grmrewards.distribution import MIN_MASS, exact, score_tokens, spread, strings
from grmrewards.errors import ParseError
from grmrewards.types import TokenLogprob
from scored_model import CLOSING, ScoreModel

steady = settings(deadline=None, derandomize=True, max_examples=40)
WHOLE, DECIMALS = strings(0, 10, decimals=0), strings(1, 10, decimals=1)


def tokens(*steps):
    """Log-probabilities of (sampled, {alternative: probability}) or of texts that were certain."""
    given_ = [step if isinstance(step, tuple) else (step, {step: 1.0}) for step in steps]
    return tuple(
        TokenLogprob(token, math.log(top[token]), {text: math.log(p) for text, p in top.items()})
        for token, top in given_
    )


def of(text, *steps):
    """What was seen of the last number in the answer `text`."""
    reply = Reply(text, logprobs=tokens(*steps))
    span = parsing.boxed_spans(reply, text.rpartition("\\boxed")[2].count(",") + 1)[-1]
    return seen(reply, span, WHOLE)


def approx(values):
    return pytest.approx(values, abs=1e-9)


# Where a score stands


@pytest.mark.parametrize(
    ("text", "count", "want"),
    [
        pytest.param(r"Score: \boxed{7.3}", 1, ["7.3"], id="plain"),
        pytest.param(r"\boxed{9} no: \boxed{8/10}", 1, ["8"], id="last-box-out-of-ten"),
        pytest.param("<think>\\boxed{1}</think>\n \\boxed{ 4 }\n", 1, ["4"], id="after-the-reasoning"),
        pytest.param(r"\boxed{#2: 9, #1: 10 / 10}", 2, ["10", "9"], id="labels-decide-the-order"),
        pytest.param(r"\boxed{Response 2: 2, Response 1: 1}", 2, ["1", "2"], id="the-label-is-no-score"),
        pytest.param(r"\boxed{[\text{8}， $\mathbf{3}$,\,**5.5**]}", 3, ["8", "3", "5.5"], id="clothes"),
        pytest.param("7 " * 30_000 + r"\boxed{3, 3}", 2, ["3", "3"], id="beyond-the-tail"),
    ],
)
def test_the_places_of_boxed_scores(text, count, want):
    assert [text[a:b] for a, b in parsing.boxed_spans(Reply(text), count)] == want


PIECES = [
    "\\boxed",
    "{",
    "}",
    "8",
    "7.5",
    "10",
    "/10",
    ",",
    "，",
    " ",
    "\n",
    "#1:",
    "#2 =",
    "Response 2: ",
    "\\text{",
    "$",
]
PIECES += ["**", "</think>", "<score>", "<score >", "</score>", "[", ")", "9", "\\,", "é"]
PATTERNS = ["{}", "\\boxed{{{}}}", "<score>{}</score>", "x</think>y \\boxed{{{}}} ", "\\boxed{{{},9}}"]


@settings(steady, max_examples=150)
@given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from(PATTERNS), st.integers(1, 3))
def test_the_number_at_a_place_is_the_score_that_was_read(pieces, pattern, count):
    reply = Reply(pattern.format("".join(pieces)))
    ways = [
        (lambda: parsing.boxed_scores(reply, count, low=0, high=10), lambda: parsing.boxed_spans(reply, count)),
        (lambda: [parsing.tagged_score(reply, "score", low=0, high=10)], lambda: [parsing.tagged_span(reply, "score")]),
    ]
    for scores, spans in ways:
        try:
            want = scores()
        except ParseError:
            continue
        assert [float(reply.text[a:b]) for a, b in spans()] == want


@pytest.mark.parametrize("text", ["", "no box", r"\boxed{}", r"\boxed{eight}", r"\boxed{7"])
def test_a_score_that_cannot_be_found_has_no_place(text):
    with pytest.raises(ParseError):
        parsing.boxed_spans(Reply(text), 1)


# All texts of a score


@pytest.mark.parametrize(
    ("low", "high", "decimals", "want"),
    [
        pytest.param(1, 10, 0, "1 2 3 4 5 6 7 8 9 10", id="whole"),
        pytest.param(0, 1, 1, "0 1 0.0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0", id="tenths"),
        pytest.param(-2.5, 1.2, 1, "0 1 0.0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0 1.1 1.2", id="nothing-negative"),
        pytest.param(0.5, 2.5, 0, "1 2", id="bounds-that-are-not-whole"),
    ],
)
def test_the_texts_of_a_score(low, high, decimals, want):
    assert strings(low, high, decimals=decimals) == want.split()


# From log-probabilities of each


def logs(*probabilities):
    return tuple(math.log(p) for p in probabilities)


@pytest.mark.parametrize(
    ("texts", "logprobs", "mean", "mass"),
    [
        pytest.param(["6", "8"], [logs(0.6), logs(0.2)], 6.5, 0.8, id="one-token-each"),
        pytest.param(["1", "10"], [logs(0.6), logs(0.6, 0.5)], 5.5, 0.6, id="1-holds-10"),
        pytest.param(["1", "10"], [logs(0.3), logs(0.3)], 5.5, 0.6, id="10-is-a-token-as-likely-as-1"),
        pytest.param(["1", "10"], [logs(0.3), logs(0.9, 0.5)], (0.3 + 4.5) / 0.75, 0.75, id="10-begins-otherwise"),
        pytest.param(
            ["7", "7.0", "7.5"], [logs(0.8), logs(0.8, 0.5, 0.5), logs(0.8, 0.5, 0.25)], 7.0625, 0.8, id="7-is-7.0"
        ),
        pytest.param(
            ["1", "10", "10.0"], [logs(0.8), logs(0.8, 0.5), logs(0.8, 0.5, 0.5, 0.5)], 5.5, 0.8, id="nearest-alone"
        ),
        pytest.param(["3", "4"], [logs(1.0), (-math.inf, -1.0)], 3.0, 1.0, id="impossible"),
        pytest.param(
            ["7", "7.5"], [logs(0.6), (math.log(0.6), 0.0, 0.1)], 7.5, 0.6 * math.exp(0.1), id="never-below-0"
        ),
    ],
)
def test_exact_masses(texts, logprobs, mean, mass):
    found = exact(texts, logprobs)
    assert (found.mean, found.mass) == (approx(mean), approx(mass))


def test_the_order_of_the_texts_is_of_no_meaning():
    given_ = {"10.0": logs(0.8, 0.5, 0.5, 0.5), "10": logs(0.8, 0.5), "1": logs(0.8)}
    assert exact(list(given_), list(given_.values())) == exact([*given_][::-1], [*given_.values()][::-1])
    assert exact(list(given_), list(given_.values())).mean == approx(5.5)


def test_variance_and_entropy_are_of_the_values():
    found = exact(["2", "2.0", "4"], [logs(0.25), logs(0.2), logs(0.45)])
    assert found == approx((3.0, 1.0, 0.9, math.log(2)))
    assert spread({5.0: 1.0}) == (5.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    "values", [{}, {3.0: MIN_MASS - 0.01}, {3.0: math.nan}], ids=["nothing", "too-little", "no-number"]
)
def test_too_little_mass_is_no_score_and_says_what_helps(values):
    with pytest.raises(ParseError, match=r"too little.*TransformersJudge.*vLLM"):
        spread(values)


# From the alternatives of sampled tokens

SEVEN = {"7": 0.6, "8": 0.3, "10": 0.1}


@pytest.mark.parametrize(
    ("text", "steps", "want"),
    [
        pytest.param(r"\boxed{7}", ["\\boxed{", ("7", SEVEN), "}"], {7: 0.6, 8: 0.3, 10: 0.1}, id="own-tokens"),
        pytest.param(
            r"\boxed{ 7}",
            ["\\boxed{", (" 7", {" 7": 0.6, "8": 0.2, "\n9": 0.1}), "}"],
            {7: 0.6, 8: 0.2, 9: 0.1},
            id="blanks",
        ),
        pytest.param(r"\boxed{ 7}", ["\\boxed{", ("Ġ7", {"Ġ7": 0.6, "▁8": 0.3}), "}"], {7: 0.6, 8: 0.3}, id="marks"),
        pytest.param(
            r"\boxed{7}",
            ["\\boxed", ("{7", {"{7": 0.5, "{8": 0.4, "9": 0.1}), "}"],
            {7: 0.5, 8: 0.4},
            id="brace-before",
        ),
        pytest.param(
            r"\boxed{7}",
            ["\\boxed{", ("7}", {"7}": 0.5, "8": 0.3, "9},": 0.2})],
            {7: 0.5, 8: 0.3, 9: 0.2},
            id="and-after",
        ),
        pytest.param(
            r"\boxed{7/10}", ["\\boxed{", ("7", SEVEN), "/", "10", "}"], {7: 0.6, 8: 0.3, 10: 0.1}, id="out-of-ten"
        ),
        pytest.param(
            r"\boxed{3, 7}", ["\\boxed{", "3", ",", (" 7", {" 7": 0.5, " 8": 0.5}), "}"], {7: 0.5, 8: 0.5}, id="second"
        ),
        pytest.param(
            r"\boxed{7}",
            ["\\boxed{", ("7", {"7": 0.5, "12": 0.2, "seven": 0.1, "8th": 0.1, "-1": 0.1}), "}"],
            {7: 0.5},
            id="no-scores",
        ),
        pytest.param(
            r"\boxed{10}",
            ["\\boxed{", ("1", {"1": 0.8, "4": 0.2}), ("0", {"0": 0.75, "}": 0.25}), "}"],
            {10: 0.6, 1: 0.2, 4: 0.2},
            id="10-as-two-tokens",
        ),
        pytest.param(
            r"\boxed{7}",
            ["7} \\boxed{7}, <think>", "</think>\\boxed{", ("7", SEVEN), "}", "<|im_end|>"],
            {7: 0.6, 8: 0.3, 10: 0.1},
            id="last-of-equals-before-the-end",
        ),
        pytest.param(
            "é\\boxed{7} 很",
            ["�", "bytes:\\xa9", "\\boxed{", ("7", SEVEN), "}", " �", "�", "<0x88>"],
            {7: 0.6, 8: 0.3, 10: 0.1},
            id="byte-fragments",
        ),
    ],
)
def test_alternatives_are_values(text, steps, want):
    found = of(text, *steps)
    assert found.values == approx(want)
    assert found.unresolved == {}


def test_a_sampled_token_counts_though_it_is_not_among_the_likeliest():
    reply = Reply(
        r"\boxed{7}",
        logprobs=(*tokens("\\boxed{"), TokenLogprob("7", math.log(0.1), {"8": math.log(0.9)}), *tokens("}")),
    )
    assert seen(reply, (7, 8), WHOLE).values == approx({7: 0.1, 8: 0.9})


def test_one_may_still_become_ten_unless_ten_is_a_token():
    digits = of(r"\boxed{7}", "\\boxed{", ("7", {"7": 0.6, "1": 0.4}), "}")
    assert digits == (approx({7: 0.6}), {Beginning(r"\boxed{1", "1"): approx(0.4)})
    merged = of(r"\boxed{7}", "\\boxed{", ("7", {"7": 0.6, "1": 0.3, "10": 0.1}), "}")
    assert merged == (approx({7: 0.6, 1: 0.3, 10: 0.1}), {})


def test_with_decimals_a_digit_is_a_beginning():
    reply = Reply(
        "<score>7.5</score>",
        logprobs=tokens("<score>", ("7", {"7": 0.6, "8": 0.4}), (".", {".": 0.9, "<": 0.1}), "5", "</score>"),
    )
    found = seen(reply, (7, 10), DECIMALS)
    assert found == (approx({7.5: 0.54, 7: 0.06}), {Beginning("<score>8", "8"): approx(0.4)})


def test_a_beginning_has_the_reasoning_before_it():
    reply = Reply(
        r"\boxed{7}", "Hm.", logprobs=tokens("<think>Hm.</think>", "\\boxed{", ("7", {"7": 0.6, " 1": 0.4}), "}")
    )
    (begun,) = seen(reply, (7, 8), WHOLE).unresolved
    assert begun == ("<think>\nHm.\n</think>\n\n\\boxed{ 1", "1")


@pytest.mark.parametrize(
    ("top", "want"),
    [
        pytest.param({"</": 0.5, "0": 0.4, "/": 0.1}, {1: 0.24, 10: 0.16}, id="ends-or-goes-on"),
        pytest.param({"</score>": 1.0}, {1: 0.4}, id="the-whole-end"),
        pytest.param({"<": 0.9, "<critique>": 0.1}, {}, id="begins-anew"),
        pytest.param({"The": 0.5, "**": 0.2, "\n": 0.2, " 0": 0.1}, {}, id="something-else"),
        pytest.param({}, {}, id="nothing"),
    ],
)
def test_what_follows_a_beginning(top, want):
    text = "<critique>x</critique><score>7</score>"
    reply = Reply(text, logprobs=tokens("<critique>x</critique><score>", ("7", {"7": 0.6, "1": 0.4}), "</score>"))
    before = seen(reply, parsing.tagged_span(reply, "score"), WHOLE)
    (begun,) = before.unresolved
    after = followed(before, begun, {token: math.log(p) for token, p in top.items()}, WHOLE, after="</score>")
    assert after.values == approx({7: 0.6, **want})
    assert after.unresolved == {}
    assert before.unresolved, "what was seen before is left as it is"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        pytest.param(Reply(r"\boxed{7}"), "no log-probabilities", id="none"),
        pytest.param(Reply(r"\boxed{7}", logprobs=tokens("\\boxed{", "8", "}")), "not among", id="others"),
        pytest.param(Reply(r"\boxed{7} So be it.", logprobs=tokens("\\boxed{", "7", "}")), "not among", id="cut-off"),
    ],
)
def test_a_number_that_is_not_among_the_tokens(reply, why):
    with pytest.raises(ParseError, match=why):
        score_tokens(reply, (7, 8))


def test_the_tokens_of_a_number():
    reply = Reply(r"7 \boxed{3, 10} 10", logprobs=tokens("7", " \\boxed{3", ",", " 1", "0}", " 10"))
    assert [score_tokens(reply, span) for span in parsing.boxed_spans(reply, 2)] == [range(1, 2), range(3, 5)]


# Both ways, on a model of scores

RANGES = {"whole": WHOLE, "tenths": DECIMALS, "to-100": strings(0, 100, decimals=0)}


@pytest.mark.parametrize("texts", RANGES.values(), ids=RANGES)
@steady
@given(seed=st.integers(0, 10**6), place=st.integers(0, 10**6), lead=st.sampled_from(["", " "]), merged=st.booleans())
def test_what_was_seen_and_followed_is_exact(texts, seed, place, lead, merged):
    own_tokens = (
        [text for text in texts if text.isdigit() and len(text) > 1] if merged and texts is not DECIMALS else []
    )
    model = ScoreModel(texts, seed=seed, lead=lead, merged=own_tokens)
    truth = model.probabilities()
    assert exact(texts, list(map(model.logprobs, texts))) == pytest.approx(spread(truth), abs=1e-6)
    reply = model.reply(texts[place % len(texts)], shown=len(texts))
    found = seen(reply, parsing.tagged_span(reply, "score"), texts)
    begun = {begun.number for begun in found.unresolved}
    decided = {value: p for value, p in truth.items() if not begun & {f"{value:.1f}"[:1], f"{value:.1f}"[:2]}}
    assert {value: found.values.get(value, 0.0) for value in decided} == approx(decided)
    while found.unresolved:
        one = next(iter(found.unresolved))
        top = {token: math.log(p) for token, p in model.next(one.number).items()}
        found = followed(found, one, top, texts, after=CLOSING)
    assert found.values == approx(truth)


SIGNS = ["7", "1", "0", "10", ".", "5", " ", "}", "</", "x", "12", "{7", "", "-", " 7", "99", "\n"]


@steady
@given(st.lists(st.dictionaries(st.sampled_from(SIGNS), st.floats(0.001, 1.0)), min_size=1, max_size=4), st.booleans())
def test_whatever_a_judge_reports_values_are_in_range_and_masses_are_at_most_one(tops, decimals):
    texts = strings(1, 10, decimals=int(decimals))
    score = "7.5" if decimals else "7"
    given_ = []
    for token, top in zip([*score, "}"], [*tops, {}, {}, {}], strict=False):
        weights = {token: 0.5, **top}
        given_.append((token, {text: p / sum(weights.values()) for text, p in weights.items()}))
    reply = Reply(rf"\boxed{{{score}}}", logprobs=tokens("\\boxed{", *given_))
    found = seen(reply, parsing.boxed_spans(reply, 1)[0], texts)
    assert all(1 <= value <= 10 and p >= 0 for value, p in found.values.items())
    assert math.fsum([*found.values.values(), *found.unresolved.values()]) <= 1 + 1e-9
