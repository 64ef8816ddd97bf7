"""`grmrewards demo`: TRL's GRPOTrainer improves a small policy on the judgements of a small judge, both in this package.

What is shown is the real path: the policy answers "Name 3 animals, but not cat.", the judge writes principles, critiques
and scores through the same reward classes and prompts that a large judge gets, and an exact rule that never touches the
judge says what the policy has really learnt.
"""

from __future__ import annotations

import random
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grmrewards import arguments, demo_files
from grmrewards.errors import ConfigError
from grmrewards.families.gram import GRAMReward
from grmrewards.families.ipgrm import IPGRMReward
from grmrewards.families.irpm import IRPMReward
from grmrewards.families.listwise import ListwiseReward
from grmrewards.judges.embedded import POLICY, domain
from grmrewards.judges.transformers import TransformersJudge
from grmrewards.reward import Reward
from grmrewards.types import Judge

if TYPE_CHECKING:
    from grmrewards.judges.embedded.domain import Question

GROUP_SIZE, GROUPS_A_STEP = 8, 8
FAMILIES = ("ipgrm", "listwise", "irpm", "gram")
STEPS = 120  # about two minutes of training
QUESTIONS, CHECKED = 400, 200
ANSWER_TOKENS = 24
OWN_JUDGE_TOKENS = 512


@dataclass(frozen=True)
class Outcome:
    """The policy's rule score, 0 to 1, on held-out questions before and after; seconds of training; the files written."""

    family: str
    seed: int
    before: float
    after: float
    seconds: float
    files: tuple[Path, ...]


def run(
    family: str = "ipgrm",
    *,
    seed: int = 0,
    steps: int = STEPS,
    output: str | Path = "demo-output",
    endpoint: bool = False,
    judge: str | Path | None = None,
    report_to: Sequence[str] = (),
) -> Outcome:
    """Train, measure, and write a reward curve, a table of judged examples and the record into `output`.

    `judge` is the folder of another judge of the same domain, such as one that was trained by `examples/judge_training`.
    `report_to`: trackers that TRL writes to, "trackio", "wandb" or "tensorboard".
    Raises `ConfigError` for an unknown family, for missing extras, for a folder that holds no judge, and for a family that
    the demo's server cannot serve.
    """
    arguments.one_of("family", family, FAMILIES)
    arguments.path("judge", judge)
    arguments.installed("the demo", "torch", "trl", "datasets", "matplotlib", extra="trl,report")
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "record.jsonl"
    journal.unlink(missing_ok=True)
    with _judge(family, endpoint, judge) as judging:
        reward = make_reward(family, judging, log_path=journal, seed=seed)
        trainer = make_trainer(reward, seed=seed, steps=steps, folder=folder, report_to=report_to)
        before = rule_score(trainer.model, trainer.processing_class)
        print(f"before training: rule score {before:.3f} (0 to 1, {CHECKED} held-out questions, no judge involved)")
        started = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - started
        after = rule_score(trainer.model, trainer.processing_class)
    print(f"after  training: rule score {after:.3f} ({after - before:+.3f} in {seconds:.0f} s of training)")
    for flag in reward.monitor.flags if reward.monitor else ():
        print(f"the monitor, at step {flag.step}: {flag.message}")
    files = (demo_files.draw(folder, journal, family), demo_files.tabulate(folder, journal), journal)
    return Outcome(family, seed, before, after, seconds, files)


def make_reward(family: str, judge: Judge, **shared: Any) -> Reward:
    """The reward of a family, with numbers of votes and opponents that suit a judge without doubts."""
    shared = {"group_size": GROUP_SIZE, **shared}
    if family == "listwise":
        return ListwiseReward(judge, votes=2, **shared)
    if family == "gram":
        return GRAMReward(judge, opponents=4, **shared)
    return IRPMReward(judge, **shared) if family == "irpm" else IPGRMReward(judge, **shared)


def rule_score(policy: Any, tokenizer: Any) -> float:
    """The mean rule score of sampled answers to held-out questions: the same questions and noise at every call."""
    asked = questions("heldout_questions", CHECKED, seed=777)
    answers = sampled(policy, tokenizer, [question.text for question in asked])
    return statistics.fmean(domain.rule_score(q, answer) for q, answer in zip(asked, answers, strict=True))


def sampled(policy: Any, tokenizer: Any, texts: list[str], *, seed: int = 0) -> list[str]:
    """The policy's answers to questions, sampled at temperature 1 without touching the global random state."""
    import torch

    chats = [[{"role": "user", "content": text}] for text in texts]
    prompts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    was_training = policy.training
    policy.eval()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        output = policy.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=True, temperature=1.0, top_k=0)
    policy.train(was_training)
    answers: list[str] = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def questions(split: Any, count: int, *, seed: int) -> list[Question]:
    """Random questions of one split."""
    rng = random.Random(seed)
    return [domain.make_question(rng, split) for _ in range(count)]


def make_trainer(
    reward: Reward, *, seed: int, steps: int, folder: Path, policy: str | Path = POLICY, report_to: Sequence[str] = ()
) -> Any:
    """TRL's own trainer, as a user would set it up, on one thread of the CPU; `policy` is a folder with its tokenizer."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(1)  # two threads on models this small wait for each other
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # TRL's and its own affair
    logging.disable_progress_bar()  # of loading weights
    tokenizer = AutoTokenizer.from_pretrained(policy)
    model = AutoModelForCausalLM.from_pretrained(policy).float()
    model.warnings_issued = {}  # TRL 0.22 asks for it
    prompts = [[{"role": "user", "content": q.text}] for q in questions("train", QUESTIONS, seed=5 + seed)]
    config = GRPOConfig(
        output_dir=str(folder / "trainer"),
        seed=seed,
        max_steps=steps,
        per_device_train_batch_size=GROUP_SIZE * GROUPS_A_STEP,
        num_generations=GROUP_SIZE,
        max_completion_length=ANSWER_TOKENS,
        learning_rate=5e-4,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=3,
        beta=0.0,
        temperature=1.0,
        logging_steps=5,
        report_to=list(report_to),
        log_completions=bool(report_to),
        num_completions_to_print=0,  # the trackers have them all
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    dataset = Dataset.from_dict({"prompt": prompts})
    trainer = GRPOTrainer(
        model=model, reward_funcs=[reward], args=config, train_dataset=dataset, processing_class=tokenizer
    )
    _show_reward_in_the_bar(trainer)
    return trainer


def _show_reward_in_the_bar(trainer: Any) -> None:
    """One progress bar with the judge's mean reward, in place of a line of forty figures every few steps."""
    from transformers.trainer_callback import ProgressCallback

    class Bar(ProgressCallback):  # type: ignore[misc]  # transformers has no types
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if self.training_bar is not None and logs and "reward" in logs:
                self.training_bar.set_postfix(reward=f"{float(logs['reward']):.2f}")

    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar)


@contextmanager
def _judge(family: str, endpoint: bool, folder: str | Path | None) -> Iterator[Judge]:
    """The embedded judge or another one, in this process; or it behind a server that lives as long as the demo."""
    if folder is not None:
        yield _own_judge(Path(folder), endpoint)
        return
    if not endpoint:
        yield TransformersJudge.embedded()
        return
    if family == "gram":
        raise ConfigError(
            "GRAM reads the log-probabilities of A and B, and `transformers serve` returns none. Serve the judge with "
            "vLLM or llama.cpp, or run this family without --endpoint."
        )
    from grmrewards.judges.embedded import server

    with server.serve() as judge:
        yield judge


def _own_judge(folder: Path, endpoint: bool) -> Judge:
    if endpoint:
        raise ConfigError(
            f"judge={str(folder)!r} with endpoint=True: the server serves the judge of this package alone."
        )
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"judge={str(folder)!r} holds no model; allowed is the folder of a judge, with its tokenizer."
        )
    import torch

    return TransformersJudge(str(folder), device="cpu", dtype=torch.float32, max_new_tokens=OWN_JUDGE_TOKENS)
