"""What `OpenAIJudge` makes of servers that give exact log-probabilities of labels, and of those that do not."""

import asyncio
import logging
import math
import os
import pickle
import random
import threading

import openai
import pytest
from aiohttp import web

from grmrewards import FatalJudgeError, GRAMReward, IRPMReward, Message, OpenAIJudge
from grmrewards.judges import endpoint, label_ids, probe
from servers import Server, choice, completes, fails, hangs

ASK = [Message("user", "Which one?")]
VOCABULARY = {10: "\n\n", 35: "A", 36: "B", 300: " A", 318: " B", **{i: f"word{i}" for i in range(400, 440)}}
STRINGS = {10: "ĊĊ", 300: "ĠA", 318: "ĠB"}
# Twenty words are likelier than B, which the likeliest tokens cannot show.
CHANCES = {35: 0.6, 300: 0.3, 36: 0.001, 318: 0.0004, **{i: 0.002 + i * 1e-6 for i in range(400, 440)}}
EXACT = (0.9, 0.0014)
BOUND = (0.9, 0.002 + 422 * 1e-6)  # the least of the twenty
LABELS = [10, 35, 10, 36, 300, 318]


class VLLM(Server):
    """Answers as vLLM does. What it is told not to know, it ignores; `by_number` is its --return-tokens-as-token-ids."""

    def __init__(self, knows=(label_ids.FIELD, "return_tokens_as_token_ids"), by_number=False):
        super().__init__()
        self.knows, self.by_number = knows, by_number
        self.script, self.tokenize = self.answer, self.tokens

    def tokens(self, body):
        texts = {"tokens": LABELS, "token_strs": [STRINGS.get(i, VOCABULARY[i]) for i in LABELS]}
        assert body["prompt"] == "\n\nA\n\nB A B"
        assert (body["add_special_tokens"], body["return_token_strs"]) == (False, True)
        return web.json_response({"count": len(LABELS), "max_model_len": 64, **texts})

    def answer(self, body):
        asked = body.get(label_ids.FIELD, []) if label_ids.FIELD in self.knows else []
        likeliest = sorted(CHANCES, key=lambda i: -CHANCES[i])
        ids = (
            [likeliest[0], *(i for i in asked if i != likeliest[0])]
            if asked
            else likeliest[: body.get("top_logprobs", 1)]
        )
        rest = random.Random(0).sample(ids[1:], len(ids) - 1)  # they come in no order
        by_number = self.by_number or {"return_tokens_as_token_ids"} <= {*body} & {*self.knows}
        names = {i: f"token_id:{i}" if by_number else VOCABULARY[i] for i in ids}
        top = [{"token": names[i], "logprob": math.log(CHANCES[i]), "bytes": None} for i in [ids[0], *rest]]
        return completes(choice("A", logprobs={"content": [{**top[0], "top_logprobs": top}]}))

    def judgements(self):
        """Requests that judge, and those that only look at the server."""
        looking = (label_ids.ASK["content"], probe.ASK["content"])
        judging = [body for body in self.bodies if body["messages"][0]["content"] not in looking]
        return len(judging), len(self.bodies) + len(self.tokenized) - len(judging)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, caplog):
    for name in [name for name in os.environ if name.startswith("OPENAI_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.005)
    caplog.set_level(logging.INFO, "grmrewards")


@pytest.fixture
def server():
    server = VLLM()
    yield server
    server.stop()


def judge_at(*servers, **arguments):
    return OpenAIJudge("judge", base_url=[server.url for server in servers], api_key="sk-secret", **arguments)


async def choose_many(judge, times=1, labels=("A", "B")):
    """The probabilities of the labels, of several judgements at once. Nobody probes: that is what rewards begin."""
    found = await asyncio.gather(*(judge.choice_logprobs(ASK, labels) for _ in range(times)))
    assert all(one == found[0] for one in found)
    return tuple(math.exp(logprob) for (logprob,) in found[0])


def choose(judge, times=1, labels=("A", "B")):
    return asyncio.run(choose_many(judge, times, labels))


# Where the server gives them


def test_a_label_that_is_not_among_the_likeliest_gets_its_own_probability(server):
    assert choose(judge_at(server)) == pytest.approx(EXACT)
    assert choose(judge_at(server, check_server=False)) == pytest.approx(BOUND)
    told, judged, plain = server.bodies
    assert told[label_ids.FIELD] == judged[label_ids.FIELD] == [35, 36, 300, 318]
    assert {**judged, label_ids.FIELD: None} == {**plain, label_ids.FIELD: None}, "nothing else is asked for"
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-secret"}


def test_it_costs_two_requests_a_process_however_many_judgements_begin_at_once(server):
    judge = judge_at(server)
    for _ in range(3):
        assert choose(judge, times=20) == pytest.approx(EXACT), "the first ones, too, wait for it"
    assert server.judgements() == (3 * 20, 2)


def test_a_reward_and_the_probe_beside_it_look_at_labels_once(server):
    reward = GRAMReward(judge_at(server))
    for _ in range(2):
        (first, second) = reward(prompts=["Q"] * 2, completions=["a", "b"])
        assert first == second == pytest.approx(0.5), "this judge always says A"
    assert len(server.tokenized) == 1
    assert len([body for body in server.bodies if body["messages"] == [label_ids.ASK]]) == 1


def test_tokens_may_be_written_by_their_numbers():
    server = VLLM(by_number=True)
    try:
        assert choose(judge_at(server)) == pytest.approx(EXACT)
    finally:
        server.stop()


def test_other_labels_are_looked_up_until_it_is_enough(server):
    server.tokenize = lambda body: web.json_response({"tokens": [], "token_strs": []})
    judge = judge_at(server)
    for labels in [("A", "B"), ("A", "C"), ("A", "D"), ("A", "E"), ("A", "F")]:
        choose(judge, labels=labels)
    assert server.judgements() == (5, label_ids.TESTS)


# Where it does not


def unnamed(server):
    server.script = lambda body: fails(400) if label_ids.FIELD in body else server.answer(body)


def refused(status):
    def script(server):
        error = {"message": f"extra field {label_ids.FIELD}", "param": label_ids.FIELD}
        server.script = lambda body: fails(status, **error) if label_ids.FIELD in body else server.answer(body)

    return script


def tokenizes(**data):
    return lambda server: setattr(server, "tokenize", lambda body: web.json_response(data))


def answers(**more):
    """The test's answer with other alternatives than were asked for."""

    def script(server):
        wrong = completes(choice("A", logprobs={"content": [{"token": "A", "logprob": -0.1, **more}]}))
        server.script = lambda body: wrong if label_ids.FIELD in body else server.answer(body)

    return script


OTHERS = {
    "no /tokenize": lambda server: setattr(server, "tokenize", None),
    "the field is ignored": lambda server: setattr(server, "knows", ()),
    "only numbers are known": lambda server: setattr(server, "knows", ("return_tokens_as_token_ids",)),
    "refused with 400": refused(400),
    "refused with 422": refused(422),
    "refused without its name": unnamed,
    "breaks with 500": refused(500),
    "/tokenize breaks": lambda server: setattr(server, "tokenize", lambda body: fails(503)),
    "/tokenize is a page": lambda server: setattr(server, "tokenize", lambda body: web.Response(text="<html>")),
    "/tokenize without texts": tokenizes(tokens=LABELS, count=6),
    "/tokenize with other types": tokenizes(tokens=["A", None, 35.0, True], token_strs=["A", "B", "A", "B"]),
    "/tokenize with too few texts": tokenizes(tokens=LABELS, token_strs=["A", "B"]),
    "/tokenize of no object": lambda server: setattr(server, "tokenize", lambda body: web.json_response([1])),
    "a label of two tokens": tokenizes(tokens=[35, 36], token_strs=["A", "Be"]),
    "some tokens are missing": answers(top_logprobs=[{"token": "token_id:35", "logprob": -0.1}]),
    "the likeliest by number, labels among them": answers(
        top_logprobs=[{"token": f"token_id:{i}", "logprob": -3.0} for i in (35, 36, 300, 318, *range(400, 416))]
    ),
    "garbage for alternatives": answers(top_logprobs={"token_id:35": "high"}),
    "no alternatives": answers(top_logprobs=None),
}


@pytest.mark.parametrize("unlike", OTHERS.values(), ids=OTHERS)
def test_other_servers_are_asked_and_read_as_ever(server, caplog, unlike):
    unlike(server)
    judge = judge_at(server)
    for _ in range(3):
        assert choose(judge, times=4) == pytest.approx(BOUND)
    judging, looking = server.judgements()
    assert (judging, looking <= 2) == (12, True)
    assert not any(label_ids.FIELD in body for body in server.bodies if body["messages"] != [label_ids.ASK])
    assert len(caplog.records) <= 1


def test_a_server_that_hangs_over_it_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(label_ids, "LONGEST", 0.05)
    server.tokenize = lambda body: hangs
    judge = judge_at(server)
    for _ in range(3):
        assert choose(judge, times=4) == pytest.approx(BOUND)
    assert server.judgements() == (12, 1)


def test_what_was_not_seen_is_looked_for_again_later(server, monkeypatch):
    good, server.tokenize = server.tokenize, lambda body: fails(503)
    judge = judge_at(server)
    assert choose(judge) == pytest.approx(BOUND)
    server.tokenize = good
    assert choose(judge) == pytest.approx(BOUND), "not at once"
    monkeypatch.setattr(judge._label_ids, "_rests_until", 0.0)
    assert choose(judge) == pytest.approx(EXACT)


def test_a_server_that_refuses_later_costs_no_judgement(server, caplog):
    judge = judge_at(server)
    assert choose(judge) == pytest.approx(EXACT)
    refused(422)(server)
    for _ in range(3):
        assert choose(judge) == pytest.approx(BOUND)
    assert server.judgements() == (1 + 2 + 1 + 1, 2)
    assert ["refuses logprob_token_ids now" in record.message for record in caplog.records] == [True]


def test_a_run_that_cannot_go_on_ends_with_its_own_reason(server):
    judge = judge_at(server)
    choose(judge)
    server.script = lambda body: fails(401)
    with pytest.raises(FatalJudgeError, match="HTTP 401"):
        choose(judge)


def test_of_several_servers_all_must_give_them(server):
    other = VLLM(knows=())
    try:
        judge = judge_at(server, other)
        assert choose(judge, times=8) == pytest.approx(BOUND)
        judging = [body for body in [*server.bodies, *other.bodies] if body["messages"] != [label_ids.ASK]]
        assert [label_ids.FIELD in body for body in judging] == [False] * 8
        assert len(server.tokenized) == len(other.tokenized) == 1
    finally:
        other.stop()


# Budgets, processes, loops


@pytest.mark.parametrize("arguments", [{"max_calls": 1}, {"check_server": False}], ids=str)
def test_no_request_beyond_the_judgements_where_they_are_counted(server, arguments):
    assert choose(judge_at(server, **arguments)) == pytest.approx(BOUND)
    assert server.judgements() == (1, 0)


def test_a_budget_of_tokens_holds(server):
    judge = judge_at(server, max_tokens_total=13)  # each answer counts 12
    choose(judge)
    with pytest.raises(FatalJudgeError, match="max_tokens_total=13"):
        choose(judge)
    assert len(server.bodies) == 2


def test_a_list_of_the_users_own_is_left_alone(server):
    choose(judge_at(server, extra_body={label_ids.FIELD: [35]}))
    assert [body[label_ids.FIELD] for body in server.bodies] == [[35]]
    assert server.judgements() == (1, 0)


def test_a_client_of_the_users_own_is_asked_for_judgements_only(server):
    judge = OpenAIJudge("judge", client=openai.AsyncOpenAI(base_url=server.url, api_key="sk-secret"))
    assert choose(judge) == pytest.approx(BOUND)
    assert server.judgements() == (1, 0)


def test_a_pickled_judge_looks_for_itself(server, monkeypatch):
    monkeypatch.setenv("OF_THIS_JUDGE", "sk-secret")  # pickles carry the name of the variable
    judge = judge_at(server)
    choose(judge)
    other = pickle.loads(pickle.dumps(judge))
    assert choose(other) == pytest.approx(EXACT)
    assert server.judgements() == (2, 4)


def test_a_forked_process_looks_for_itself(server, monkeypatch):
    judge = judge_at(server)
    choose(judge)
    monkeypatch.setattr(judge._label_ids, "_pid", -1)  # as a child finds it
    assert choose(judge) == pytest.approx(EXACT)
    assert server.judgements() == (2, 4)


def test_two_event_loops_may_look_at_the_same_time(server):
    judge, found = judge_at(server), []
    threads = [threading.Thread(target=lambda: found.append(choose(judge, times=8))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [pytest.approx(EXACT)] * 2
    judging, looking = server.judgements()
    assert (judging, looking in (2, 4)) == (16, True)


def test_families_that_read_text_do_not_wait_for_it(server):
    server.tokenize = lambda body: hangs
    server.script = lambda body: completes(choice("<critique>Fine.</critique><score>4</score>"))
    assert IRPMReward(judge_at(server))(prompts=["Q"] * 2, completions=["a", "b"]) == [0.4] * 2


# The report


def test_the_report_says_which_probabilities_come(server):
    found = judge_at(server).probe()
    assert found.label_ids == "exact"
    assert "GRAMReward gets the exact probability" in found.report()
    server.knows = ()
    found = judge_at(server).probe()
    assert found.label_ids == "absent"
    assert "GRAMReward reads labels from the likeliest" in found.report()
