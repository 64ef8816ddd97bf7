"""Looking at a judge: the requests of `grmrewards doctor`, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grmrewards import arguments
from grmrewards.doctor import local
from grmrewards.doctor.advice import Where, advise
from grmrewards.doctor.cases import CASES
from grmrewards.doctor.diagnosis import FAMILIES, Case, diagnosis, make, tell, units
from grmrewards.doctor.findings import Findings
from grmrewards.doctor.local import LocalModel
from grmrewards.doctor.speed import Price, speed_of
from grmrewards.families.listwise import ListwiseReward
from grmrewards.judges.capabilities import Capabilities
from grmrewards.judges.openai import MAX_TOKENS, OpenAIJudge
from grmrewards.judges.transformers import TransformersJudge
from grmrewards.voted import VotedReward


def examine(
    judge: OpenAIJudge | TransformersJudge,
    cases: Sequence[Case] = CASES,
    *,
    where: Where,
    family: str = "irpm",
    votes: int = 8,
    max_tokens: int | None = None,
    max_concurrency: int | None = None,
    price: Price | None = None,
    prompts_per_step: int | None = None,
    generations: int | None = None,
) -> Findings:
    """See what a judge can do, have it judge `cases`, and say what to use.

    Costs two judgements alone and `votes` for each response (listwise: for each prompt), and an endpoint its probe.
    `where`, `max_tokens` and `max_concurrency` are how the judge was given, for the options to use. Raises what a reward
    raises at a call.
    """
    arguments.whole("votes", votes, least=2)
    can = judge.probe() if isinstance(judge, OpenAIJudge) else local.look(judge, where.model)
    settings: dict[str, Any] = {"family": family, "template": where.template}
    if where.local:
        settings["temperature"] = where.temperature  # an endpoint's judge has it already
    score = "expected" if shows_scores(can, family) else "sampled"
    alone = _alone(make(judge, votes=1, **settings), cases)
    told = tell(make(judge, votes=votes, score=score, **settings), cases)
    found = diagnosis(told, votes * units(cases, family))
    fast = speed_of(told.answers, alone=alone, seconds=told.figures["seconds"], prompts=len(cases))
    options = advise(
        found,
        fast,
        family=family,
        limit=_limit(judge),
        max_tokens=max_tokens,
        max_concurrency=max_concurrency,
        at_once=judge.max_concurrency if isinstance(judge, OpenAIJudge) else None,
        samples=not (isinstance(can, Capabilities) and can.samples is False),
    )
    return Findings(where, can, found, fast, options, price, prompts_per_step, generations)


def _alone(reward: VotedReward, cases: Sequence[Case]) -> float:
    """The seconds of one judgement alone: the second, since the first loads, connects and writes principles."""
    prompt, responses = cases[0]
    whole = isinstance(reward, ListwiseReward)
    tell(reward, [(prompt, responses if whole else responses[:1])])
    told = tell(reward, [(prompt, responses if whole else responses[-1:])])
    return told.figures["seconds"] / max(1, len(told.answers))  # more than one where it could not be read


def shows_scores(can: Capabilities | LocalModel, family: str) -> bool:
    """Whether probabilities of scores can be had of a judge that can do this.

    Behind an endpoint a number with decimals is gone on with, token by token, which a server may refuse.
    """
    if isinstance(can, LocalModel):
        return True
    whole_numbers = FAMILIES[family].decimals == 0
    return can.logprobs not in ("absent", "refused") and (whole_numbers or can.continues != "refused")


def _limit(judge: OpenAIJudge | TransformersJudge) -> int:
    return (judge.max_tokens or MAX_TOKENS) if isinstance(judge, OpenAIJudge) else judge.max_new_tokens
