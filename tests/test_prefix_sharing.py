"""What a batch shares is computed once, and nothing else changes: same numbers and texts as one prompt at a time."""

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="needs the extra `local`")
transformers = pytest.importorskip("transformers", reason="needs the extra `local`")

from grmrewards import FatalJudgeError  # noqa: E402
from grmrewards.judges import cache, decoding  # noqa: E402
from grmrewards.judges import memory as memory_module  # noqa: E402
from grmrewards.judges.network import Network  # noqa: E402
from grmrewards.judges.packing import cut  # noqa: E402
from grmrewards.judges.plain import Plain  # noqa: E402
from grmrewards.judges.prefix import tree  # noqa: E402
from grmrewards.judges.rows import Choice, Row  # noqa: E402
from grmrewards.judges.sharing import Shared  # noqa: E402

WORDS, END = 96, 2
SMALL = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": END,
}
WINDOW = {"sliding_window": 6}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MODELS = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "mistral-windowed": ("Mistral", WINDOW),
    "gemma2-windowed": ("Gemma2", {**WINDOW, "head_dim": 16}),
    "gemma3-windowed": ("Gemma3Text", {**WINDOW, "head_dim": 16}),
    "phi3": ("Phi3", {}),
    "olmo2": ("Olmo2", {}),
    "granite-scaled-logits": ("Granite", {"logits_scaling": 4.0}),
    "cohere-scaled-logits": ("Cohere", {"logit_scale": 0.5}),
    "gpt2-learned-positions": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}),
    "neox": ("GPTNeoX", {}),
    "bloom-alibi": ("Bloom", {"n_layer": 2, "n_head": 4}),
    "mixtral-experts": ("Mixtral", EXPERTS),
    "qwen3-experts": ("Qwen3Moe", EXPERTS),
    "mamba-no-cache-of-keys": ("Mamba", {"state_size": 4}),
}


def model(name):
    kind, options = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SMALL, **options)
    built = {"Gemma3Text": "Gemma3"}.get(kind, kind)
    causal = f"{built}LMHeadModel" if built == "GPT2" else f"{built}ForCausalLM"
    made = getattr(transformers, causal)(config).eval()
    made.generation_config.eos_token_id = None
    return made


def network(made):
    return Network({"model": made, "tokenizer": None}, end=END, pad=0)


def ids(seed, length):
    return torch.randint(3, WORDS, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


QUESTION = ids(0, 24)
ANSWERS = [ids(i, 5 + 4 * i) for i in range(1, 6)]
PROMPTS = [[*QUESTION, *answer] for answer in ANSWERS] + [ids(9, 30), QUESTION[:20]]
PAIRS = [[*QUESTION, *a, 7, *b] for a, b in itertools.permutations(ANSWERS[:4], 2)]
LABELS = ((5,), (6,), (5, 8), (5, 8, 9))


def generated(engine, rows, *, stop=None):
    found = {}
    engine.generate(rows, stop=stop or threading.Event(), deliver=found.__setitem__)
    return [found[i] for i in range(len(rows))] if stop is None else found


def chosen(engine, rows):
    found = {}
    engine.choice_logprobs(rows, stop=threading.Event(), deliver=found.__setitem__)
    return [found[i] for i in range(len(rows))]


def alone(made, prompt, label):
    """The log-probability of each token of a label, by a forward pass of one row."""
    with torch.inference_mode():
        logprobs = torch.log_softmax(made(input_ids=torch.tensor([[*prompt, *label]])).logits[0].float(), dim=-1)
    return [logprobs[len(prompt) - 1 + t, token].item() for t, token in enumerate(label)]


def decoded_alone(made, prompt, n, penalty=1.0):
    """The likeliest token, up to n times or to the end, by forward passes of the whole row."""
    written = list(prompt)
    with torch.inference_mode():
        for _ in range(n):
            logits = made(input_ids=torch.tensor([written])).logits[0, -1]
            for token in set(written) if penalty != 1.0 else ():
                logits[token] = logits[token] * penalty if logits[token] < 0 else logits[token] / penalty
            written.append(int(logits.argmax()))
            if written[-1] == END:
                return written[len(prompt) : -1]
    return written[len(prompt) :]


OF_EACH_KIND = ("llama", "gemma2-windowed", "gpt2-learned-positions")  # the others in the slow leg


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=[] if n in OF_EACH_KIND else pytest.mark.slow) for n in MODELS]
)
def made(request):
    return request.param, model(request.param)


def test_log_probabilities_are_those_of_one_prompt_at_a_time(made):
    _, judge = made
    rows = [Choice(prompt, LABELS) for prompt in [*PROMPTS, *PAIRS]]
    for row, found in zip(rows, chosen(network(judge), rows), strict=True):
        for label, logprobs in zip(LABELS, found, strict=True):
            assert list(logprobs) == pytest.approx(alone(judge, row.ids, label), abs=1e-4)


def test_greedy_texts_are_those_of_one_prompt_at_a_time(made):
    name, judge = made
    engine = network(judge)
    answers = generated(engine, [Row(prompt, 0, 0.0, 12) for prompt in PROMPTS])
    assert [answer.tokens for answer in answers] == [decoded_alone(judge, prompt, 12) for prompt in PROMPTS]
    assert isinstance(engine._runner, Plain if "mamba" in name else Shared)


# What is asked of one model


@pytest.fixture
def qwen():
    return model("qwen3")


@pytest.fixture
def passes(qwen, monkeypatch):
    """The shape of the ids of each pass of `qwen` from now on."""
    shapes, forward = [], qwen.forward

    def counted(input_ids, **more):
        shapes.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids, **more)

    monkeypatch.setattr(qwen, "forward", counted)
    return shapes


def test_what_prompts_share_is_read_once(qwen, passes):
    engine = network(qwen)
    chosen(engine, [Choice([3, 4], LABELS)])  # tried once
    passes.clear()
    answers = [ids(i, 40) for i in range(8)]
    question = ids(99, 200)
    chosen(engine, [Choice([*question, *a, *b], ((5,), (6,))) for a, b in itertools.permutations(answers, 2)])
    read = sum(rows * columns for rows, columns in passes)
    assert read == 200 + 8 * 40 + 56 * 40, "the question once, each first answer once, each second one seven times"


def test_a_score_that_begins_another_needs_no_pass_of_its_own(qwen, passes):
    engine = network(qwen)
    chosen(engine, [Choice([3, 4], LABELS)])
    passes.clear()
    scores = (*((10 + i,) for i in range(9)), (10, 30))  # "10" is "1" and one token more
    (found,) = chosen(engine, [Choice(QUESTION, scores)])
    assert passes == [(1, len(QUESTION) + 1)]
    for score, logprobs in zip(scores, found, strict=True):
        assert list(logprobs) == pytest.approx(alone(qwen, QUESTION, score), abs=1e-4)


def test_votes_on_one_prompt_read_it_once(qwen, passes):
    engine = network(qwen)
    chosen(engine, [Choice([3, 4], LABELS)])
    passes.clear()
    generated(engine, [Row(ids(1, 100), seed, 1.0, 3) for seed in range(8)])
    assert sum(columns for _, columns in passes) == 100 + 2
    assert passes[-1] == (8, 1)


SAMPLED = [Row(prompt, 10 * i + vote, 1.0, 12) for i, prompt in enumerate(PROMPTS) for vote in range(2)]


def test_a_sample_depends_on_its_seed_alone(qwen):
    together = generated(network(qwen), SAMPLED)
    one_by_one = [generated(network(qwen), [row])[0] for row in SAMPLED]
    assert [answer.tokens for answer in together] == [answer.tokens for answer in one_by_one]
    assert len({tuple(answer.tokens) for answer in together}) > len(PROMPTS), "votes differ"


def test_rows_of_any_temperature_length_and_report_share_a_batch(qwen):
    rows = [Row(PROMPTS[0], 3, 1.0, 9, 2), Row(PROMPTS[1], 0, 0.0, 4), Row(PROMPTS[2], 5, 0.7, 12, 5)]
    found = generated(network(qwen), rows)
    assert found == [generated(network(qwen), [row])[0] for row in rows] or [a.tokens for a in found] == [
        generated(network(qwen), [row])[0].tokens for row in rows
    ]
    assert [len(answer.tokens) <= row.room for answer, row in zip(found, rows, strict=True)] == [True] * 3
    for answer, row in zip(found, rows, strict=True):
        assert len(answer.steps) == (len(answer.tokens) if row.top else 0)
        assert all(len(step.top) == row.top and step.logprob <= max(lp for _, lp in step.top) for step in answer.steps)


def test_log_probabilities_of_a_sample_are_those_of_the_model_at_temperature_one(qwen):
    (answer,) = generated(network(qwen), [Row(PROMPTS[0], 3, 0.5, 8, 1)])
    expected = alone(qwen, PROMPTS[0], answer.tokens)
    assert [step.logprob for step in answer.steps] == pytest.approx(expected, abs=1e-4)


def test_the_penalty_of_the_models_own_settings_is_kept(qwen):
    qwen.generation_config.repetition_penalty = 1.5
    engine = network(qwen)
    found = [answer.tokens for answer in generated(engine, [Row(prompt, 0, 0.0, 12) for prompt in PROMPTS])]
    assert isinstance(engine._runner, Shared)
    assert found == [decoded_alone(qwen, prompt, 12, penalty=1.5) for prompt in PROMPTS]


@pytest.mark.slow
def test_settings_that_only_generate_knows_are_left_to_it(qwen, caplog):
    qwen.generation_config.no_repeat_ngram_size = 2
    engine = network(qwen)
    rows = [*SAMPLED, *(Row(prompt, 0, 0.0, 12) for prompt in PROMPTS)]
    found = generated(engine, rows)
    assert isinstance(engine._runner, Plain)
    assert "no_repeat_ngram_size" in caplog.text
    pairs = [list(itertools.pairwise([*row.ids, *a.tokens])) for row, a in zip(rows, found, strict=True)]
    assert all(len(set(new)) == len(new) for new in (p[len(row.ids) - 1 :] for p, row in zip(pairs, rows, strict=True)))
    assert [a.tokens for a in found] == [generated(engine, [row])[0].tokens for row in rows]


def test_a_model_whose_cache_is_not_what_it_seems_is_found_out(qwen, monkeypatch, caplog):
    """Positions that a model counts itself, whatever it is told: right alone, wrong in a batch."""
    forward = qwen.forward
    monkeypatch.setattr(qwen, "forward", lambda input_ids, position_ids=None, **more: forward(input_ids, **more))
    engine = network(qwen)
    rows = [Choice(prompt, LABELS) for prompt in PROMPTS]
    found = chosen(engine, rows)
    assert isinstance(engine._runner, Plain)
    assert "logits off by" in caplog.text
    assert len(found) == len(rows)


def test_logits_that_are_not_numbers_are_never_an_answer(qwen, monkeypatch):
    engine = network(qwen)
    chosen(engine, [Choice([3, 4], LABELS)])
    with torch.no_grad():
        qwen.lm_head.weight.fill_(float("inf"))
    with pytest.raises(FatalJudgeError, match="float16"):
        generated(engine, SAMPLED)


def test_labels_without_a_token_need_no_model(qwen, passes):
    assert chosen(network(qwen), [Choice([3, 4], ((), ()))]) == [[(), ()]]


# Memory


def limited(qwen, monkeypatch, most, error=torch.OutOfMemoryError):
    """A model that runs out of memory beyond `most` tokens in a batch, those in its cache among them."""
    shapes, forward = [], qwen.forward

    def forward_if_it_fits(input_ids, attention_mask=None, **more):
        tokens = input_ids.shape[0] * (input_ids if attention_mask is None else attention_mask).shape[1]
        shapes.append(tokens)
        if tokens > most:
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(input_ids=input_ids, attention_mask=attention_mask, **more)

    monkeypatch.setattr(qwen, "forward", forward_if_it_fits)
    return shapes


@pytest.mark.parametrize("most", [70, 150, 400])
def test_running_out_of_memory_loses_no_judgement(qwen, monkeypatch, most, caplog):
    expected = generated(network(qwen), SAMPLED)
    shapes = limited(qwen, monkeypatch, most)
    engine = network(qwen)
    found = generated(engine, SAMPLED)
    assert max(shapes) > most
    assert [answer.tokens for answer in found] == [answer.tokens for answer in expected]
    assert "at most" in caplog.text


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError], ids=lambda kind: kind.__name__)
def test_running_out_of_memory_loses_no_comparison(qwen, monkeypatch, error):
    rows = [Choice(pair, ((5,), (6,))) for pair in PAIRS]
    expected = chosen(network(qwen), rows)
    shapes = limited(qwen, monkeypatch, 100, error)
    for row, found in zip(expected, chosen(network(qwen), rows), strict=True):
        assert list(itertools.chain(*found)) == pytest.approx(list(itertools.chain(*row)), abs=1e-5)
    assert max(shapes) > 100


@pytest.mark.slow
def test_what_did_not_fit_is_not_tried_again(qwen, monkeypatch):
    shapes = limited(qwen, monkeypatch, 150)
    engine = network(qwen)
    generated(engine, SAMPLED)
    shapes.clear()
    generated(engine, SAMPLED)
    assert max(shapes) <= 150


def test_what_a_failed_batch_has_kept_of_some_rows_is_not_counted_twice(qwen, monkeypatch):
    expected = generated(network(qwen), SAMPLED)
    kept, failed = cache.Buffer.segment, []

    def fails_once(self, row, start, end):
        if row == 1 and not failed:
            failed.append(row)
            raise torch.OutOfMemoryError
        return kept(self, row, start, end)

    engine = network(qwen)
    chosen(engine, [Choice([3, 4], LABELS)])
    monkeypatch.setattr(cache.Buffer, "segment", fails_once)
    assert generated(engine, SAMPLED) == expected
    assert failed


def test_one_row_that_does_not_fit_alone_says_what_to_do(qwen, monkeypatch):
    limited(qwen, monkeypatch, 40)
    with pytest.raises(FatalJudgeError, match=r"single judgement.*max_new_tokens"):
        generated(network(qwen), [Row(ids(1, 50), 0, 0.0, 4)])


def test_another_error_of_the_model_is_not_taken_for_it(qwen, monkeypatch):
    engine = network(qwen)
    chosen(engine, [Choice([3, 4], LABELS)])
    monkeypatch.setattr(qwen, "forward", lambda **_: (_ for _ in ()).throw(RuntimeError("device-side assert")))
    with pytest.raises(RuntimeError, match="device-side assert"):
        generated(engine, SAMPLED)


OUT_OF_MEMORY = """
import resource
import torch
import test_prefix_sharing as tests
from grmrewards.judges.memory import Memory

torch.set_num_threads(1)
Memory.tokens = lambda self: self.most or 10**9  # as if there were room without end
rows = [tests.Row(tests.ids(i, 300), i, 1.0, 60) for i in range(400)]
engine = tests.network(tests.model("qwen3"))
tests.generated(engine, rows[:1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 48 * 2**20, resource.RLIM_INFINITY))
found = tests.generated(engine, rows)
print(len(found), engine._runner.memory.most, [answer.tokens for answer in found[::57]])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_a_process_that_really_runs_out_of_memory_loses_no_judgement(qwen):
    run = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    answered, most, some = run.stdout.split(" ", 2)
    assert int(answered) == 400
    assert 3_000 < int(most) < 70_000, "as much at once as there is room for, about"
    rows = [Row(ids(i, 300), i, 1.0, 60) for i in range(0, 400, 57)]
    assert json.loads(some) == [answer.tokens for answer in generated(network(qwen), rows)]


@pytest.mark.parametrize("room", [pytest.param(45, marks=pytest.mark.slow), 90])
def test_rows_that_wait_join_when_others_have_ended(qwen, monkeypatch, room):
    expected = generated(network(qwen), SAMPLED)
    monkeypatch.setattr(memory_module.Memory, "tokens", lambda self: room)
    assert generated(network(qwen), SAMPLED) == expected


def test_rows_that_grow_beyond_the_memory_wait_until_there_is_room(qwen, monkeypatch):
    """On a CPU nothing says that memory runs out: the process is killed."""
    expected = generated(network(qwen), SAMPLED)
    shapes = limited(qwen, monkeypatch, 10**9)
    monkeypatch.setattr(memory_module.Memory, "tokens", lambda self: 300)
    monkeypatch.setattr(decoding, "USUAL", 1)
    monkeypatch.setattr(decoding, "COLUMNS", 2)
    assert generated(network(qwen), SAMPLED) == expected
    slack = 2 * 300 // min(map(len, PROMPTS))  # the columns until it is looked at again
    assert 200 < max(shapes) <= 300 + slack


def test_ended_rows_leave_the_batch(qwen, passes):
    engine = network(qwen)
    rows = [Row(prompt, 0, 1.0, room) for prompt, room in zip(PROMPTS, [2, 2, 2, 2, 2, 2, 30], strict=True)]
    generated(engine, rows)
    assert passes[-1] == (1, 1)
    assert sum(shape[0] for shape in passes[-20:]) == 20


def coming(qwen, after, later):
    """The answers to one long row and to `later`, which come after so many passes of the model, and the number of passes."""
    engine, found, passes = network(qwen), {}, []
    chosen(engine, [Choice([3, 4], LABELS)])
    forward, left = qwen.forward, [list(later)]
    qwen.forward = lambda **inputs: passes.append(1) or forward(**inputs)

    def more():
        return left.pop() if left and len(passes) >= after else []

    first = Row(PROMPTS[0], 1, 1.0, 60)
    engine.generate([first], stop=threading.Event(), deliver=found.__setitem__, more=more)
    qwen.forward = forward
    return found, len(passes)


@pytest.mark.slow
def test_rows_that_come_meanwhile_decode_beside_those_that_run(qwen):
    later = [Row(prompt, i, 1.0, 30) for i, prompt in enumerate(PROMPTS)]
    found, passes = coming(qwen, 10, later)
    alone_ = [generated(network(qwen), [row])[0].tokens for row in [Row(PROMPTS[0], 1, 1.0, 60), *later]]
    assert [found[i].tokens for i in range(len(found))] == alone_
    assert passes < 60 + 10, "not one after the other"


def test_answers_come_one_by_one_and_stopping_keeps_those_that_came(qwen):
    stop, found = threading.Event(), {}

    def deliver(i, answer):
        found[i] = answer
        stop.set()

    rows = [Row(prompt, 0, 1.0, room) for prompt, room in zip(PROMPTS, [3, 50, 50, 50, 50, 50, 50], strict=True)]
    network(qwen).generate(rows, stop=stop, deliver=deliver)
    assert list(found) == [0]


# The tree, and the cuts

steady = settings(deadline=None, derandomize=True)
ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12)


@steady
@given(ROWS, st.integers(1, 12))
def test_the_tree_holds_every_row_from_its_first_id_to_its_last(rows, least):
    found = {}
    for node in tree(rows, least=least).walk():
        ids_ = [i for one in node.line() for i in rows[one.row][one.start : one.end]]
        assert ids_ == rows[node.row][: node.end]
        assert not node.rows or node.end == len(ids_)
        found |= dict.fromkeys(node.rows, ids_)
    assert found == dict(enumerate(rows))


@steady
@given(ROWS, st.integers(1, 12))
def test_a_stretch_of_its_own_saves_enough(rows, least):
    for node in tree(rows, least=least).walk():
        if node.parent is not None and node.children:
            assert len(node) * (len(node.children) + bool(node.rows) - 1) >= least


@steady
@given(ROWS)
def test_without_a_least_saving_nothing_is_read_twice(rows):
    read = sum(len(node) for node in tree(rows).walk())
    assert read == len({tuple(row[: i + 1]) for row in rows for i in range(len(row))})


@steady
@given(st.lists(st.integers(1, 60), max_size=9), st.integers(0, 80), st.integers(1, 200))
def test_no_way_to_cut_costs_less(lengths, overhead, limit):
    def cost(batches):
        return sum(len(b) * max(lengths[i] for i in b) + overhead for b in batches)

    found = cut(lengths, overhead=overhead, limit=limit)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= limit for b in found)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for ends in itertools.product([False, True], repeat=max(0, len(order) - 1)):
        batches, batch = [], order[:1]
        for end, row in zip(ends, order[1:], strict=True):
            if end:
                batches, batch = [*batches, batch], []
            batch = [*batch, row]
        batches = [*batches, batch] if batch else batches
        if all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= limit for b in batches):
            assert cost(found) <= cost(batches)
