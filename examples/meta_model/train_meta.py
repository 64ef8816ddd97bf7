"""Train a meta reward model for a local judge: one that tells its right votes from its wrong ones (SPCT, section 5.5).

    python examples/meta_model/train_meta.py --judge FOLDER --family irpm --out FOLDER
    python examples/meta_model/train_meta.py --judge FOLDER --family listwise --responses 2 --groups 250 --out FOLDER
    IRPMReward(TransformersJudge(JUDGE), votes=8, vote_filter=MetaRewardModel(OUT, template="judge"))

The judge votes on answers of the embedded domain, whose exact scores are known (`grmrewards.judges.embedded.domain`,
training questions alone). A vote on one response is right where its score is the exact one; a vote on a group where it
puts the response that is best by rule strictly above all others (Eq. 10). The model starts from the judge's own weights
with a new output in place of the vocabulary, and learns by binary cross-entropy. For a task of your own, `label` is the
place to put what you know of it; the prompt of the user's turn is what the judge was shown (--template judge), or the
question and the responses (--template meta).

Prints how well it tells votes apart on questions that were kept back, and how many of the better half are right. Some 75
seconds of one core for a family. A weak judge seldom puts one of four above all others; two responses give labels of
both kinds.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from transformers import AutoModelForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "embedded_judge"))

from training_data import noisy_answer

from grmrewards import IPGRMReward, IRPMReward, ListwiseReward, TransformersJudge
from grmrewards.ballots import Ballot
from grmrewards.judges.embedded.domain import Question, judge_score, make_question, parse_question
from grmrewards.meta import MetaRewardModel
from grmrewards.texts import question as text_of

FAMILIES = {"irpm": IRPMReward, "ipgrm": IPGRMReward, "listwise": ListwiseReward}
KEPT_BACK = 0.2  # of the questions
BATCH = 1600  # tokens, some 32 votes on one response
LONGEST_ANSWER = 320  # tokens of the judge


@dataclass(frozen=True)
class Case:
    """A vote as token ids, what it was about, and whether it is right."""

    ids: list[int]
    question: str
    about: tuple[str, ...]
    right: bool


def main() -> None:
    """Sample, label, train, measure, save."""
    args = parse_arguments()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    ballots = sample(rng, args)
    known = cases(ballots, MetaRewardModel(str(args.judge), template=args.template))
    training, kept_back = split(rng, known)
    told(f"{len(known)} votes, {share(known):.1%} right; {len(kept_back)} kept back")
    model = train(rng, training, args)
    for name, chosen in (("training", training[:500]), ("kept back", kept_back)):
        told(f"{name}: {figures(chosen, ratings(model, chosen))}")
    save(model, args.judge, args.out)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", type=Path, required=True, help="folder of a judge of the embedded domain")
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--template", choices=("judge", "meta"), default="judge", help="the turn of the user")
    parser.add_argument("--groups", type=int, default=150, help="questions, with --responses answers to each")
    parser.add_argument("--responses", type=int, default=4)
    parser.add_argument("--votes", type=int, default=8, help="on each response (listwise: on each group)")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--rate", type=float, default=1e-3, help="the largest step size")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


# Votes and what is known of them


def sample(rng: random.Random, args: argparse.Namespace) -> list[Ballot]:
    """The judge's usable votes, as a filter of votes is shown them."""
    found: list[Ballot] = []

    def collect(ballots: Sequence[Ballot]) -> list[float]:
        found.extend(ballots)
        return [0.0] * len(ballots)

    judge = TransformersJudge(str(args.judge), device="cpu", dtype=torch.float32, max_new_tokens=LONGEST_ANSWER)
    reward = FAMILIES[args.family](judge, votes=args.votes, vote_filter=collect, max_failures=1.0, seed=args.seed)
    drawn = [draw_group(rng, args.responses) for _ in range(args.groups)]
    prompts = [question.text for question, answers in drawn for _ in answers]
    reward(prompts=prompts, completions=[answer for _, answers in drawn for answer in answers])
    return found


def draw_group(rng: random.Random, size: int) -> tuple[Question, list[str]]:
    """A question and answers to it, of which one is best."""
    while True:
        question = make_question(rng)
        answers = [noisy_answer(rng, question) for _ in range(size)]
        scores = sorted(judge_score(question, answer) for answer in answers)
        if all(answers) and (size == 1 or scores[-1] > scores[-2]):
            return question, answers


def cases(ballots: Sequence[Ballot], reader: MetaRewardModel) -> list[Case]:
    """Votes as the model will read them, with their labels."""
    return [
        Case(ids, text_of(ballot.prompt), tuple(sorted(ballot.responses)), label(ballot))
        for ballot, ids in zip(ballots, reader.encode(ballots), strict=True)
    ]


def label(ballot: Ballot) -> bool:
    """Whether a vote is right: the exact score, or among several responses the best one strictly ahead (SPCT Eq. 10)."""
    question = parse_question(text_of(ballot.prompt))
    assert question is not None
    exact = [judge_score(question, response) for response in ballot.responses]
    if len(exact) == 1:
        return ballot.scores[0] == exact[0]
    best = exact.index(max(exact))
    return all(ballot.scores[best] > score for i, score in enumerate(ballot.scores) if i != best)


def split(rng: random.Random, known: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """For training and to measure on; votes on one question are all on one side."""
    questions = sorted({case.question for case in known})
    rng.shuffle(questions)
    kept = set(questions[: max(1, int(KEPT_BACK * len(questions)))])
    training = [case for case in known if case.question not in kept]
    rng.shuffle(training)
    return training, [case for case in known if case.question in kept]


# The model


def train(rng: random.Random, training: Sequence[Case], args: argparse.Namespace) -> Any:
    """The judge's weights with one output, by AdamW on binary cross-entropy."""
    model = AutoModelForSequenceClassification.from_pretrained(args.judge, num_labels=1).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=args.steps, pct_start=0.1)
    size = votes_at_once(training)
    for step in range(1, args.steps + 1):
        batch = rng.sample(training, min(size, len(training)))
        loss = binary_cross_entropy_with_logits(logits(model, batch), torch.tensor([float(c.right) for c in batch]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            told(f"step {step}  loss {loss.item():.3f}")
    return model.eval()


def votes_at_once(known: Sequence[Case]) -> int:
    """How many votes of usual length make a batch, so that a step costs the same in every family."""
    return max(1, BATCH * len(known) // sum(len(case.ids) for case in known))


def logits(model: Any, batch: Sequence[Case]) -> torch.Tensor:
    """One number a vote; rows are filled up on the right."""
    longest, filler = max(len(case.ids) for case in batch), model.config.pad_token_id
    rows = [pad(torch.tensor(case.ids), (0, longest - len(case.ids)), value=filler) for case in batch]
    masks = [pad(torch.ones(len(case.ids), dtype=torch.long), (0, longest - len(case.ids))) for case in batch]
    found: torch.Tensor = model(input_ids=torch.stack(rows), attention_mask=torch.stack(masks)).logits
    return found[:, 0]


@torch.no_grad()
def ratings(model: Any, chosen: Sequence[Case]) -> list[float]:
    """The model's number for each vote."""
    size = votes_at_once(chosen)
    parts = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    return [number for part in parts for number in logits(model, part).tolist()]


def save(model: Any, judge: Path, folder: Path) -> None:
    """The model, with the judge's own tokenizer files."""
    model.save_pretrained(folder)
    for file in judge.glob("*"):
        if file.name.startswith(("tokenizer", "chat_template", "special_tokens", "vocab", "merges")):
            shutil.copy(file, folder / file.name)


# Figures


def figures(chosen: Sequence[Case], rated: Sequence[float]) -> str:
    """Accuracy, AUC, and the share of right votes before and after the filter."""
    accuracy = sum((r > 0) == case.right for case, r in zip(chosen, rated, strict=True)) / len(chosen)
    half, most = (share(better_half(chosen, by)) for by in (rated, [float(case.right) for case in chosen]))
    return (
        f"accuracy {accuracy:.3f} (always the usual answer: {max(share(chosen), 1 - share(chosen)):.3f}), "
        f"AUC {auc(chosen, rated):.3f}, right {share(chosen):.1%} of all votes and {half:.1%} of the better half "
        f"(at best {most:.1%})"
    )


def share(chosen: Sequence[Case]) -> float:
    """That of the right ones."""
    return sum(case.right for case in chosen) / len(chosen)


def auc(chosen: Sequence[Case], rated: Sequence[float]) -> float:
    """The probability that a right vote is rated above a wrong one, ties counting half; NaN where one kind is missing."""
    right = [r for case, r in zip(chosen, rated, strict=True) if case.right]
    wrong = [r for case, r in zip(chosen, rated, strict=True) if not case.right]
    won = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong)
    return won / (len(right) * len(wrong)) if right and wrong else float("nan")


def better_half(chosen: Sequence[Case], rated: Sequence[float]) -> list[Case]:
    """Of the votes on each response (listwise: each group) the half that is rated higher, as `vote_filter=` keeps it."""
    about: dict[Any, list[tuple[float, int]]] = {}
    for i, (case, r) in enumerate(zip(chosen, rated, strict=True)):
        about.setdefault((case.question, case.about), []).append((-r, i))
    return [chosen[i] for votes in about.values() for _, i in sorted(votes)[: max(1, len(votes) // 2)]]


def told(text: str) -> None:
    """Print with the processor time so far."""
    print(f"{time.process_time():.0f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
