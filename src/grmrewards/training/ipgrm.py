"""`decoupled_sft`: what a stronger judge writes, as data to teach IP-GRM's two stages to a smaller one (arXiv 2602.10019).

    teacher = IPGRMReward(OpenAIJudge("Qwen/Qwen3-32B", base_url=URL), log_path="teacher.jsonl", replay=True)
    dataset = decoupled_sft(preferences, teacher, agreeing=True)
    SFTTrainer(model="Qwen/Qwen3-8B", train_dataset=dataset)

One model learns both: principles from the question alone, and a judgement from question, principles and one response. Each
row is one of the two with the very prompt that `IPGRMReward` shows, so that no principle is ever learnt beside a response.
"""

from __future__ import annotations

import logging
import math
import statistics
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grmrewards import arguments, rollouts, texts
from grmrewards.ballots import Ballot
from grmrewards.batch import JUDGING
from grmrewards.bulk import parts
from grmrewards.errors import ConfigError
from grmrewards.prompts import neutralise
from grmrewards.training import preferences
from grmrewards.types import Message

if TYPE_CHECKING:
    from grmrewards.families.ipgrm import IPGRMReward

log = logging.getLogger("grmrewards")
Row = Mapping[str, Any]


def decoupled_sft(
    dataset: Iterable[Row], reward: IPGRMReward, *, agreeing: bool = False, conversational: bool = True
) -> Any:
    """A `datasets.Dataset` for `SFTTrainer`: columns prompt, completion and stage ("principles" or "judgement").

    Args:
        dataset: Preferences in any form that `read_preferences` takes, or rows with prompt and response, completion or
            responses. All rows with one prompt are one question: its principles are written once.
        reward: An `IPGRMReward` with the judge to learn from. Its prompts are those of the rows, all its readable votes
            become rows, and with its `log_path` and `replay=True` a run that was killed goes on without paying twice. It
            says which columns are read (principles, criteria, reference); a `vote_filter` of its own is not asked.
        agreeing: Keep a judgement only where its score stands strictly on the right side of the mean score of every answer
            that is known to be better or worse, and principles only where one of their judgements is kept.
        conversational: TRL's form with messages. False: texts in columns prompt and response, as the published set has them.

    What the judge lost or wrote in another form is left out, with a warning that counts it. Raises `ConfigError` for rows of
    another form, for `agreeing` without preferences, and where nothing is left, and what the reward raises.

    >>> rows = decoupled_sft([{"prompt": "1+1?", "chosen": "2", "rejected": "3"}], teacher)  # doctest: +SKIP
    >>> rows["stage"]  # doctest: +SKIP
    ['principles', 'judgement', 'judgement']
    """
    arguments.installed("decoupled_sft", "datasets", extra="trl")
    from datasets import Dataset

    arguments.one_of("conversational", conversational, (True, False))
    if not hasattr(reward, "principles_template"):
        raise ConfigError(f"reward={reward!r}; allowed is an IPGRMReward, with the judge to learn from.")
    questions = _questions(dataset, reward)
    if arguments.one_of("agreeing", agreeing, (True, False)) and not any(question.pairs for question in questions):
        raise ConfigError("agreeing=True with rows that do not say which answer is better; give preferences.")
    _judge(questions, reward)
    kept = [(question, _agreeing(question) if agreeing else question.ballots) for question in questions]
    rows = [row for question, ballots in kept for row in _rows(question, ballots, reward, conversational)]
    _tell(questions, rows)
    return Dataset.from_list(rows)


@dataclass
class _Question:
    """A prompt with all answers to it, and what the judge wrote about them."""

    prompt: tuple[Message, ...]
    columns: dict[str, Any]
    answers: dict[str, str] = field(default_factory=dict)  # as the judge is shown them, and as they were given
    pairs: set[tuple[str, str]] = field(default_factory=set)  # the better and the worse one, as shown
    principles: str = ""
    ballots: dict[str, list[Ballot]] = field(default_factory=dict)  # by answer as shown

    def add(self, answers: Sequence[str], shown: Sequence[str], *, ranked: bool) -> None:
        """Note answers that have something in them; of two that are `ranked`, the first is the better one."""
        for text, answer in zip(shown, answers, strict=True):
            if text:
                self.answers.setdefault(text, answer)
        if ranked and all(shown) and shown[0] != shown[1]:
            self.pairs.add((shown[0], shown[1]))


# Reading


def _questions(dataset: Iterable[Row], reward: IPGRMReward) -> list[_Question]:
    """The questions of a dataset, with the columns that the reward reads. Raises `ConfigError` with the number of a row."""
    if reward.image_column or reward.prompt_column or reward.group_key:
        raise ConfigError(
            "a reward with image_column, prompt_column or group_key; give one without, and the question as text in prompt."
        )
    names = [name for name in (*reward.columns(), *reward.if_there) if name]
    found: dict[tuple[Message, ...], _Question] = {}
    number = -1
    for number, row in enumerate(dataset):
        try:
            columns = {name: row[name] for name in names if name in row}
            for prompt, answers, ranked in _answered(row):
                question = found.setdefault(preferences.text_only(prompt), _Question(prompt, columns))
                question.add(answers, [_shown(answer, reward) for answer in answers], ranked=ranked)
        except ConfigError as error:
            raise ConfigError(f"row {number} of the dataset: {error}") from error
    questions = [question for question in found.values() if question.answers]
    if not questions:
        raise ConfigError(f"no question with an answer in {number + 1} rows.")
    return questions


def _answered(row: Row) -> Iterator[tuple[tuple[Message, ...], list[str], bool]]:
    """What a row holds: a prompt, answers, and whether they are two of which the first is better."""
    single = [row[name] for name in ("response", "completion") if row.get(name) is not None]
    given = single[:1] or row.get("responses")
    ranked = row.keys() & {"chosen", "overall_preference"} or {"responses", "scores"} <= row.keys()
    if given is not None and "prompt" in row:
        yield texts.messages(row["prompt"]), [preferences.last_answer(one) for one in given], False
    if ranked:
        for one in preferences.preferences_of(row):
            yield one.prompt, [one.chosen, one.rejected], True
    elif given is None or "prompt" not in row:
        raise ConfigError(
            f"columns {sorted(row)}; allowed are a preference (prompt, chosen and rejected, or those of HelpSteer3), or "
            "prompt and response, completion or responses."
        )


def _shown(answer: str, reward: IPGRMReward) -> str:
    """What the reward makes of an answer before it is judged."""
    return texts.shorten(texts.answer(answer, reward.answer_tag), reward.max_response_chars)


# Judging


def _judge(questions: Sequence[_Question], reward: IPGRMReward) -> None:
    """Have every answer judged, and note principles and ballots with their questions."""
    with _noting({question.prompt: question for question in questions}, reward):
        for part in parts(questions, name=f"{reward.name}: decoupled_sft"):
            asked = [(question, answer) for question in part for answer in question.answers.values()]
            names = {name for question in part for name in question.columns}
            columns: dict[str, Any] = {name: [question.columns.get(name) for question, _ in asked] for name in names}
            prompts = [[{"role": m.role, "content": m.content} for m in question.prompt] for question, _ in asked]
            reward(prompts=prompts, completions=[answer for _, answer in asked], **columns)


@contextmanager
def _noting(by_prompt: Mapping[tuple[Message, ...], _Question], reward: IPGRMReward) -> Iterator[None]:
    """Within it, the usable votes of `reward` are noted, each with the principles that it was given by."""

    def note(ballots: Sequence[Ballot]) -> list[float]:
        judging, question = JUDGING.get(), by_prompt.get(ballots[0].prompt)
        if judging and question:
            (question.principles,) = judging.batch.notes["principles"][judging.rows[0]]
            for ballot in ballots:
                question.ballots.setdefault(ballot.responses[0], []).append(ballot)
        return [0.0] * len(ballots)

    before, reward.vote_filter = reward.vote_filter, note
    try:
        yield
    finally:
        reward.vote_filter = before


# Rows


def _agreeing(question: _Question) -> dict[str, list[Ballot]]:
    """The ballots on the right side of the mean of every answer that is better or worse; none where that is not known."""
    means = {answer: statistics.fmean(b.scores[0] for b in own) for answer, own in question.ballots.items()}
    kept: dict[str, list[Ballot]] = {}
    for answer, ballots in question.ballots.items():
        rivals = [(means.get(worse, math.nan), 1) for better, worse in question.pairs if better == answer]
        rivals += [(means.get(better, math.nan), -1) for better, worse in question.pairs if worse == answer]
        own = [b for b in ballots if rivals and all(side * (b.scores[0] - mean) > 0 for mean, side in rivals)]
        if own:
            kept[answer] = own
    return kept


def _rows(
    question: _Question, ballots: Mapping[str, Sequence[Ballot]], reward: IPGRMReward, conversational: bool
) -> list[dict[str, Any]]:
    """The principles of a question, and then its judgements; equal ones of one answer once."""
    if not ballots:
        return []
    group = rollouts.question_of(question.prompt, {name: (value,) for name, value in question.columns.items()})
    asked = reward.messages(group, template=reward.principles_template, reference=None)
    said = [(asked, question.principles, "principles")]
    for answer in question.answers:
        different = {ballot.reply.text: ballot for ballot in ballots.get(answer, ())}
        said += [(list(ballot.messages), text, "judgement") for text, ballot in different.items()]
    signs = [token for judge in reward.judges() for token in getattr(judge, "control_tokens", ())]
    # A control token that the judge quotes of a response must not become one in training.
    return [_row(asked, neutralise(text, control_tokens=signs), stage, conversational) for asked, text, stage in said]


def _row(asked: Sequence[Message], answer: str, stage: str, conversational: bool) -> dict[str, Any]:
    if not conversational:
        return {"prompt": str(asked[0].content), "response": answer, "stage": stage}
    prompt = [{"role": message.role, "content": message.content} for message in asked]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}], "stage": stage}


def _tell(questions: Sequence[_Question], rows: Sequence[Mapping[str, Any]]) -> None:
    """How much was left out. Raises `ConfigError` where nothing is left."""
    asked = sum(len(question.answers) for question in questions)
    lost = asked - sum(len(question.ballots) for question in questions)
    unruled = sum(not question.ballots for question in questions)
    told = f"{lost} of {asked} answers without a readable judgement, {unruled} of {len(questions)} prompts without any"
    if not rows:
        raise ConfigError(f"decoupled_sft: no judgement is left; {told}. Give another judge, or agreeing=False.")
    if lost:
        warnings.warn(f"decoupled_sft: left out: {told}.", stacklevel=3)
    stages = [row["stage"] for row in rows]
    log.info("decoupled_sft: %d principles, %d judgements", stages.count("principles"), stages.count("judgement"))
