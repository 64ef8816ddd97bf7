"""Principles before they are needed: once a prompt, for a whole dataset or while the policy still generates."""

import asyncio
import pickle
import threading

import pytest

from grmrewards import ConfigError, FatalJudgeError, IPGRMReward, JudgeOutage, Reply, TransportError

datasets = pytest.importorskip("datasets")
PRINCIPLES = "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."
PROMPTS = [f"What is {i} + {i}?" for i in range(6)]


class Endpoint:
    """A judge like one behind an endpoint, that keeps what it was asked, in order; `hold` keeps its principles back."""

    local, model = False, "endpoint"

    def __init__(self, *, fail=None, hold=None):
        self.fail, self.hold = fail, hold
        self.principles, self.judged = [], []
        self.asked = threading.Event()

    async def generate(self, messages, *, n=1, **sampling):
        text = messages[0].content
        if "[The Begin of Response]" in text:
            self.judged.append(text)
            return [Reply(r"Score: \boxed{8}", prompt_tokens=1)] * n
        prompt = next((prompt for prompt in PROMPTS if prompt in text), text)
        self.principles.append(prompt)
        self.asked.set()
        while self.hold is not None and not self.hold.is_set():
            await asyncio.sleep(0.001)
        if self.fail and (error := self.fail(prompt)):
            raise error
        return [Reply(PRINCIPLES, prompt_tokens=1000)] * n

    async def choice_logprobs(self, messages, choices):
        raise NotImplementedError


def as_turns(prompt):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]


ROWS = [{"prompt": prompt, "topic": "sums"} for prompt in PROMPTS]
DATASETS = {
    "rows": lambda: ROWS,
    "prompts": lambda: PROMPTS,
    "a-generator": lambda: (row for row in ROWS),
    "Dataset": lambda: datasets.Dataset.from_list(ROWS),
    "a-column": lambda: datasets.Dataset.from_list(ROWS)["prompt"],
    "IterableDataset": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "each-twice": lambda: ROWS * 2,
}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_prefetched_principles_are_written_once_and_training_never_waits(dataset):
    judge = Endpoint()
    reward = IPGRMReward(judge)
    assert reward.prefetch(dataset()) == 6
    assert sorted(judge.principles) == PROMPTS
    reward(prompts=PROMPTS, completions=["a"] * 6)
    assert len(judge.principles) == 6


def test_prompts_of_several_turns_are_those_of_the_trainer():
    judge = Endpoint()
    reward = IPGRMReward(judge)
    prompts = [as_turns(prompt) for prompt in PROMPTS]
    assert reward.prefetch(datasets.Dataset.from_list([{"prompt": prompt} for prompt in prompts])) == 6
    assert reward.prefetch(prompts) == 6
    reward(prompts=prompts, completions=["a"] * 6)
    assert len(judge.principles) == 6


def test_another_column_holds_the_prompt_where_the_reward_was_told_so():
    judge = Endpoint()
    reward = IPGRMReward(judge, prompt_column="question")
    reward.prefetch([{"prompt": "<rendered>", "question": prompt} for prompt in PROMPTS])
    reward(prompts=["<rendered>"] * 6, completions=["a"] * 6, question=PROMPTS)
    assert sorted(judge.principles) == PROMPTS


def test_principles_that_the_dataset_has_are_not_written():
    judge = Endpoint()
    rows = [{"prompt": prompt, "principles": "Be kind." if i % 2 else None} for i, prompt in enumerate(PROMPTS)]
    assert IPGRMReward(judge).prefetch(rows) == 6
    assert sorted(judge.principles) == PROMPTS[::2]


def test_a_prompt_whose_picture_comes_later_is_left_to_the_reward():
    judge = Endpoint()
    assert IPGRMReward(judge).prefetch([{"prompt": PROMPTS[0], "image": b"..."}, {"prompt": PROMPTS[1]}]) == 1
    assert judge.principles == [PROMPTS[1]]


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(lambda folder: {"cache_dir": folder}, id="in the cache"),
        pytest.param(lambda folder: {"log_path": folder / "record.jsonl", "replay": True}, id="in the record"),
    ],
)
def test_what_an_earlier_run_has_written_is_not_written_again(kept, tmp_path):
    first, second = Endpoint(), Endpoint()
    IPGRMReward(first, **kept(tmp_path)).prefetch(PROMPTS[:3])
    assert IPGRMReward(second, **kept(tmp_path)).prefetch(PROMPTS) == 6
    assert sorted(second.principles) == PROMPTS[3:]


def test_processes_of_one_launcher_begin_at_different_prompts(tmp_path, monkeypatch):
    firsts = []
    for rank in range(3):
        monkeypatch.setenv("WORLD_SIZE", "3")
        monkeypatch.setenv("RANK", str(rank))
        judge = Endpoint()
        IPGRMReward(judge, cache_dir=tmp_path / str(rank)).prefetch(PROMPTS)
        firsts.append(judge.principles[0])
    assert firsts == [PROMPTS[0], PROMPTS[2], PROMPTS[4]]


def test_a_few_prompts_without_principles_are_a_warning():
    judge = Endpoint(fail=lambda prompt: TransportError("gone") if prompt == PROMPTS[0] else None)
    with pytest.warns(UserWarning, match="1 of 6 prompts got no principles: .*gone"):
        assert IPGRMReward(judge).prefetch(PROMPTS) == 5


def test_many_are_an_outage():
    judge = Endpoint(fail=lambda prompt: TransportError("gone"))
    with pytest.raises(JudgeOutage, match="6 of 6 prompts"):
        IPGRMReward(judge).prefetch(PROMPTS)


def test_what_no_retry_mends_is_raised():
    judge = Endpoint(fail=lambda prompt: FatalJudgeError("key refused"))
    with pytest.raises(FatalJudgeError, match="key refused"):
        IPGRMReward(judge).prefetch(PROMPTS)


def test_a_dataset_without_prompts_is_named():
    with pytest.raises(ConfigError, match=r"'prompt'; there are \['question'\]"):
        IPGRMReward(Endpoint()).prefetch([{"question": "1+1?"}])


def test_nothing_to_prefetch():
    assert IPGRMReward(Endpoint()).prefetch([]) == 0


# Ahead of the policy


def fetched(kind):
    dataset = datasets.Dataset.from_list(ROWS)
    return {"Dataset": dataset, "IterableDataset": dataset.to_iterable_dataset()}[kind]


@pytest.mark.parametrize("kind", ["Dataset", "IterableDataset"])
def test_a_fetched_batch_is_asked_for_before_it_is_judged_and_paid_once(kind):
    hold = threading.Event()
    judge = Endpoint(hold=hold)
    reward = IPGRMReward(judge)
    rows = iter(reward.ahead(fetched(kind)))
    batch = [next(rows) for _ in range(2)]
    assert batch == ROWS[:2], "rows are not changed"
    assert judge.asked.wait(5), "while the policy generates"
    assert judge.judged == []
    threading.Timer(0.05, hold.set).start()  # and are still on their way when the reward is called
    figures = {}
    prompts = [row["prompt"] for row in batch]
    assert reward(prompts=prompts, completions=["a", "b"], log_metric=figures.__setitem__) == [7 / 9] * 2
    assert sorted(set(judge.principles)) == prompts
    assert len(judge.principles) == 2
    reward(prompts=prompts, completions=["a", "b"], log_metric=figures.__setitem__)
    assert len(judge.principles) == 2


def test_what_was_asked_ahead_is_counted_with_the_call_that_uses_it():
    judge = Endpoint()
    reward = IPGRMReward(judge, name="counted")
    assert reward.ahead(fetched("Dataset"))[:6]["prompt"] == PROMPTS
    figures = {}
    while not reward.spent_ahead:  # it has ended
        assert judge.asked.wait(5)
    reward(prompts=PROMPTS, completions=["a"] * 6, log_metric=figures.__setitem__)
    assert figures["counted/calls"] == 12
    assert figures["counted/tokens"] == 6006


def test_a_failure_ahead_is_left_to_the_reward():
    judge = Endpoint(fail=lambda prompt: TransportError("gone") if len(judge.principles) == 1 else None)
    reward = IPGRMReward(judge)
    assert reward.ahead(fetched("Dataset"))[0] == ROWS[0]
    while not reward.spent_ahead:
        assert judge.asked.wait(5)
    assert reward(prompts=PROMPTS[:1], completions=["a"]) == [7 / 9]
    assert len(judge.principles) == 2


def test_a_transform_of_the_datasets_own_still_runs():
    judge = Endpoint()
    reward = IPGRMReward(judge)
    shouted = fetched("Dataset").with_transform(lambda rows: {"prompt": [text.upper() for text in rows["prompt"]]})
    assert reward.ahead(shouted)[0] == {"prompt": PROMPTS[0].upper()}


def test_a_local_judge_is_left_to_the_policys_machine():
    judge = Endpoint()
    judge.local = True
    reward = IPGRMReward(judge)
    assert reward.ahead(fetched("Dataset"))[:2]["prompt"] == PROMPTS[:2]
    assert reward(prompts=PROMPTS[:2], completions=["a"] * 2) == [7 / 9] * 2
    assert len(judge.principles) == 2


def test_a_copy_in_another_process_asks_for_nothing(monkeypatch):
    judge = Endpoint()
    dataset = IPGRMReward(judge).ahead(fetched("Dataset"))
    copied = pickle.loads(pickle.dumps(dataset.format["format_kwargs"]["transform"]))
    assert copied({"prompt": PROMPTS}) == {"prompt": PROMPTS}
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert dataset[0] == ROWS[0]
    assert judge.principles == []


@pytest.mark.parametrize("wrong", [ROWS, "questions.jsonl", None], ids=["list", "path", "none"])
def test_only_datasets_can_be_watched(wrong):
    with pytest.raises(ConfigError, match="dataset="):
        IPGRMReward(Endpoint()).ahead(wrong)


def test_a_dataset_of_tensors_is_named():
    with pytest.raises(ConfigError, match="numpy"):
        IPGRMReward(Endpoint()).ahead(fetched("Dataset").with_format("numpy"))
