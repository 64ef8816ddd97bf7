"""What a judge says on labelled prompts, as data: to fine-tune it on (SPCT's rejective sampling), or to train a meta model.

    sft = rejective_samples(preferences, judge, samples=3, hinted=1, log_path="samples.jsonl", replay=True)
    meta = meta_labels(preferences, judge, votes=3, log_path="samples.jsonl", replay=True)  # the same answers, for nothing

Answers are sampled by a `Reward`, so that any judge will do, a bar shows how far it is, and a run that was killed goes on
from its record without paying twice.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards import arguments, texts
from grmrewards.ballots import Ballot
from grmrewards.bulk import parts
from grmrewards.errors import ConfigError, ParseError
from grmrewards.prompts import neutralise, warn_if_trained_with_another
from grmrewards.reward import Reward
from grmrewards.training.spct import is_right, read_scores
from grmrewards.training.spct_data import Case, cases, turns
from grmrewards.training.tokens import control_tokens
from grmrewards.types import Group, Judge, Message, Reply

log = logging.getLogger("grmrewards")
TEMPERATURE = 0.5  # that of the paper


def rejective_samples(
    dataset: Iterable[Mapping[str, Any]],
    judge: Judge,
    *,
    samples: int = 3,
    hinted: int = 0,
    temperature: float = TEMPERATURE,
    max_tokens: int | None = None,
    tokenizer: Any = None,
    template: str | Path | None = None,
    single_template: str | Path | None = None,
    seed: int = 0,
    **shared: Any,
) -> Any:
    """A `datasets.Dataset` of right judgements to fine-tune a judge on (SPCT's rejective fine-tuning, arXiv 2504.02495).

    Wrong and unreadable answers are dropped, and so are prompts on which all answers are right: nothing is to be learnt
    there. Columns: prompt and completion in the conversational form of TRL, hinted, and right, the share of the prompt's
    unhinted answers that are.

    Args:
        dataset: Rows as `spct_rows` takes them.
        judge: The one that is to be trained, or a stronger one.
        samples: Answers a prompt, 2 or more. None is asked for again because it cannot be read: it is a wrong one.
        hinted: So many more, for prompts that are not dropped, by a judge that is told what is right. The row's prompt is the
            one without the hint. Such answers may take short cuts, says the paper.
        temperature: Of the answers.
        max_tokens: Of an answer; by default the judge's own limit.
        tokenizer: That of the model to be trained, if it is another one than the judge: its control tokens are made
            harmless in the prompts, too.
        template: The prompt for several responses; by default that of `ListwiseReward`.
        single_template: The prompt for a single response.
        seed: Of the orders and the answers.
        **shared: Arguments of `Reward`: log_path, replay, deadline (seconds for each 128 prompts), max_failures, name.

    A judge's reasoning is no part of a completion. Raises what `spct_rows` and a `Reward` raise, and `ConfigError` where no
    answer is left.

    >>> rejective_samples(preferences, judge, log_path="samples.jsonl", replay=True)  # doctest: +SKIP
    """
    arguments.installed("rejective_samples", "datasets", extra="trl")
    from datasets import Dataset

    wanted, extra = arguments.whole("samples", samples, least=2), arguments.whole("hinted", hinted, least=0)
    sampler = _Sampler(judge, temperature=temperature, max_tokens=max_tokens, seed=seed, **shared)
    asked = _asked(dataset, judge, tokenizer, template, single_template, seed)
    drawn = sampler.sample([(case.shown, case) for case in asked], wanted)
    right = [_right_ones(case, replies) for case, replies in zip(asked, drawn, strict=True)]
    hard = [i for i, replies in enumerate(drawn) if len(right[i]) < len(replies)]
    told = [(asked[i].hinted(), asked[i]) for i in hard]
    more = sampler.sample(told, extra) if extra else [[] for _ in hard]
    rows, signs = list[dict[str, Any]](), _signs(judge, tokenizer)
    for i, replies in zip(hard, more, strict=True):
        share = len(right[i]) / len(drawn[i])
        rows += _rows(asked[i], right[i], signs, hinted=False, right=share)
        rows += _rows(asked[i], _right_ones(asked[i], replies), signs, hinted=True, right=share)
    _tell(asked, drawn, right, rows)
    return Dataset.from_list(rows)


def meta_labels(
    dataset: Iterable[Mapping[str, Any]],
    judge: Judge,
    *,
    votes: int = 8,
    temperature: float = TEMPERATURE,
    max_tokens: int | None = None,
    tokenizer: Any = None,
    template: str | Path | None = None,
    single_template: str | Path | None = None,
    seed: int = 0,
    **shared: Any,
) -> Any:
    """A `datasets.Dataset` of a judge's votes and whether each is right, to train a `MetaRewardModel` on (section 5.5).

    Columns: prompt, completion and label as in TRL's unpaired preferences (what the judge was shown, what it wrote, whether
    that is right by Eq. 10 or 11), with question, responses and scores, of which `meta_ballot` makes what a meta model
    reads. Votes that cannot be read are left out: a filter of votes never sees them. The arguments and errors are those of
    `rejective_samples`, with `votes` for samples, and with its record nothing is asked for twice.

    >>> rows = meta_labels(preferences, judge, votes=8)  # doctest: +SKIP
    >>> ids = MetaRewardModel(model, template="judge").encode([meta_ballot(row) for row in rows])  # doctest: +SKIP
    """
    arguments.installed("meta_labels", "datasets", extra="trl")
    from datasets import Dataset

    wanted = arguments.whole("votes", votes)
    sampler = _Sampler(judge, temperature=temperature, max_tokens=max_tokens, seed=seed, **shared)
    asked = _asked(dataset, judge, tokenizer, template, single_template, seed)
    drawn = sampler.sample([(case.shown, case) for case in asked], wanted)
    read = [
        (case, reply, _scores(case, reply)) for case, replies in zip(asked, drawn, strict=True) for reply in replies
    ]
    rows = [_labelled(case, reply, scores) for case, reply, scores in read if scores]
    if not rows:
        raise ConfigError(f"none of {len(read)} votes can be read; ask a judge that keeps to the template's format.")
    log.info("meta_labels: %d votes, %d of them right", len(rows), sum(row["label"] for row in rows))
    return Dataset.from_list(rows)


def meta_ballot(row: Mapping[str, Any]) -> Ballot:
    """A row of `meta_labels` as the ballot that `MetaRewardModel.encode` reads."""
    messages = tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"])
    reply = Reply(row["completion"][0]["content"])
    responses, scores = tuple(row["responses"]), tuple(row["scores"])
    return Ballot(texts.messages(row["question"]), responses, messages, reply, scores, tuple(range(len(scores))))


class _Sampler(Reward):
    """Asks a judge each of many prompts several times, each prompt as a group of its own."""

    family = "spct"

    def __init__(self, judge: Judge, *, temperature: float, max_tokens: int | None, **shared: Any) -> None:
        self.temperature = arguments.number("temperature", temperature, least=0.0, most=2.0)
        self.max_tokens = arguments.whole("max_tokens", max_tokens, optional=True)
        self.asked: Sequence[tuple[str, Case]] = ()
        self.count = 1
        self.found: dict[int, list[Reply]] = {}
        super().__init__(judge, group_key="case", template="{question}", **shared)

    def sample(self, asked: Sequence[tuple[str, Case]], count: int) -> list[list[Reply]]:
        """The judge's answers to each prompt; none where they were lost. Raises `JudgeOutage` where too many are."""
        self.asked, self.count, self.found = asked, count, {}
        for part in parts(range(len(asked)), name=self.name):
            shown = ["\n\n".join(asked[i][1].responses) for i in part]
            self(prompts=[asked[i][0] for i in part], completions=shown, case=list(part))
        return [self.found.get(i, []) for i in range(len(asked))]

    async def score(self, group: Group) -> list[float | None]:
        if not group.responses[0]:
            return [0.0]  # whether an empty response would fit: one prompt that is too long shall not end the others
        number = group.columns["case"][0]
        text, case = self.asked[number]
        sampling: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        read = functools.partial(_scores, case)
        votes = await self.ask([Message("user", text)], read, n=self.count, about=(0,), **sampling)
        self.found[number] = [vote.reply for vote in votes if vote.value is not None and vote.reply is not None]
        return [1.0 if self.found[number] else None]


def _asked(
    dataset: Iterable[Mapping[str, Any]],
    judge: Judge,
    tokenizer: Any,
    template: str | Path | None,
    single_template: str | Path | None,
    seed: int,
) -> list[Case]:
    """What the judge is asked, with its own control tokens and those of the model to be trained made harmless."""
    arguments.judge("judge", judge)
    if template is None:
        warn_if_trained_with_another(str(getattr(judge, "model", "")))
    shown: dict[str, Any] = {"template": template, "single_template": single_template, "seed": seed}
    return cases(dataset, control_tokens=_signs(judge, tokenizer), **shown)


def _signs(judge: Judge, tokenizer: Any) -> list[str]:
    return [*getattr(judge, "control_tokens", ()), *control_tokens(tokenizer)]


def _scores(case: Case, reply: Reply) -> list[float]:
    """The scores of an answer; none where it cannot be read, which is an answer, too: it is not asked for again."""
    try:
        return read_scores(reply, len(case.responses))
    except ParseError:
        return []


def _right_ones(case: Case, replies: Sequence[Reply]) -> list[Reply]:
    return [reply for reply in replies if (scores := _scores(case, reply)) and is_right(scores, case.right)]


def _rows(case: Case, replies: Sequence[Reply], signs: Sequence[str], **about: Any) -> list[dict[str, Any]]:
    """Different answers as rows. A control token that an answer quotes of a response must not become one in training."""
    said = dict.fromkeys(neutralise(reply.text, control_tokens=signs) for reply in replies)
    return [{"prompt": turns(case.shown), "completion": turns(text, "assistant"), **about} for text in said]


def _labelled(case: Case, reply: Reply, scores: Sequence[float]) -> dict[str, Any]:
    return {
        "prompt": turns(case.shown),
        "completion": turns(reply.text, "assistant"),
        "label": is_right(scores, case.right),
        "question": [{"role": message.role, "content": message.content} for message in case.prompt],
        "responses": list(case.responses),
        "scores": list(scores),
    }


def _tell(
    asked: Sequence[Case],
    drawn: Sequence[Sequence[Reply]],
    right: Sequence[Sequence[Reply]],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """What became of the prompts. Raises `ConfigError` where nothing is left."""
    lost = sum(not replies for replies in drawn)
    easy = sum(len(own) == len(replies) > 0 for own, replies in zip(right, drawn, strict=True))
    never = sum(not own and bool(replies) for own, replies in zip(right, drawn, strict=True))
    told = f"of {len(asked)} prompts {easy} were too easy (all answers right), {never} never right, {lost} without an answer"
    if not rows:
        raise ConfigError(f"no answer is left: {told}. Give harder or easier prompts, more samples=, or hinted=1.")
    log.info("rejective_samples: %d answers; %s", len(rows), told)
