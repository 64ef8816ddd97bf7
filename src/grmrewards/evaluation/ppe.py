"""PPE (arXiv 2410.14872): pairs that people judged, and sets of answers of which it is known which are right.

Human preference is the accuracy on pairs that people did not call a tie. On the five sets of answers: accuracy on the sampled
pairs of a right and a wrong one (the mean over prompts of the share that is in order), the area under the ROC curve of
scores that are stretched to [0, 1] within each prompt, and what the highest score of k answers picked at random brings.
A tie counts half (the official script gives it to the second answer of the pair), a lost judgement is left out.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grmrewards.errors import ConfigError
from grmrewards.evaluation.items import (
    Benchmark,
    Figure,
    Item,
    Judged,
    Outcomes,
    Row,
    Rules,
    average,
    decision,
    identified,
    mean,
    scores_of,
    text,
    there,
)

HUMAN = "human preference"
SETS = ("MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus")


class Answers(NamedTuple):
    """Of one prompt: the points on its pairs (None: none counts), stretched scores with whether each answer is right, and
    for k from 1 what the judge's best of k brings, and what that of a judge who knows would.
    """

    accuracy: float | None
    scored: Sequence[tuple[float, bool]]
    curve: Sequence[float]
    ideal: Sequence[float]


def read(rows: Iterable[Row]) -> list[Item]:
    """Rows of the human preference set and of the best-of-k sets; those that people call a tie are left out."""
    items = []
    for key, row in identified(rows, "question_id", within=_set):
        if "winner" not in row:
            items.append(_answers(key, row))
        elif row["winner"] in ("model_a", "model_b"):
            pair = (text(row, "response_1"), text(row, "response_2"))
            language = "English" if row.get("language", "English") == "English" else "other languages"
            better_first = pair if row["winner"] == "model_a" else pair[::-1]
            items.append(Item(key, text(row, "prompt"), better_first, f"{HUMAN} {language}"))
    return items


def _answers(key: str, row: Row) -> Item:
    right = [bool(score) for score in text(row, "scores")]
    responses = tuple(text(row, f"response_{k + 1}") for k in range(len(right)))
    pairs = [[i, j] if right[i] else [j, i] for i, j in text(row, "sampled_conflict_pairs") if right[i] != right[j]]
    facts = {"right": right, "pairs": pairs}
    return Item(key, row["prompt"], responses, _set(row), facts=facts)


def _set(row: Row) -> str:
    """Which set a row belongs to: that of human preference has winners, files of the others say it by their name."""
    if "winner" in row:
        return "human"
    named = str(text(row, "domain", "file")).lower().replace("_", "-")
    found = next((name for name in SETS if name.lower() in named), None)
    if found is None:
        raise ConfigError(f"domain {named!r}; allowed is a name or a file's name with one of {', '.join(SETS)}.")
    return found


def games(item: Item, pointwise: bool) -> list[tuple[int, ...]]:
    """All at once where each is judged alone, else the pairs."""
    if not item.facts:
        return [(0, 1)]
    return [tuple(range(len(item.responses)))] if pointwise else [(i, j) for i, j in item.facts["pairs"]]


def outcome(judged: Sequence[Judged], rules: Rules) -> float | Answers | None:
    """The points of a pair, or what is known of a prompt's answers. Scores count where all were judged alone."""
    (one,) = judged
    facts = one.item.facts
    if not facts:
        return rules.credit(decision(one.games, 0, 1))
    accuracy = mean(rules.credit(decision(one.games, i, j)) for i, j in facts["pairs"])
    scores = scores_of(one.games, len(facts["right"])) if _alone(one) else []
    known = [(score, right) for score, right in zip(scores, facts["right"], strict=False) if score is not None]
    ideal = best_of([(float(is_right), is_right) for _, is_right in known])
    return Answers(accuracy.value if accuracy else None, stretched(known), best_of(known), ideal)


def _alone(one: Judged) -> bool:
    return len(one.games) == 1 and len(one.games[0].places) == len(one.item.responses)


def figures(outcomes: Outcomes) -> dict[str, Figure]:
    """Human preference, the five accuracies and their mean, then languages, areas and the curves' ends."""
    human = {name: mean(own) for name, own in outcomes.items() if name.startswith(HUMAN)}
    pooled = mean(itertools.chain.from_iterable(own for name, own in outcomes.items() if name.startswith(HUMAN)))
    sets: dict[str, Sequence[Answers]] = {name: outcomes[name] for name in SETS if outcomes.get(name)}
    accuracy = {name: mean(one.accuracy for one in own) for name, own in sets.items()}
    found = {HUMAN: pooled, **accuracy, "correctness": average(accuracy.values()), **human}
    for name, own in sets.items():
        scored = [one for one in own if one.scored]
        if (area := roc_auc([pair for one in scored for pair in one.scored])) is not None:
            found[f"{name} AUC"] = Figure(area, len(scored))
        if scored:
            found[f"{name} best of k"] = Figure(statistics.fmean(one.curve[-1] for one in scored), len(scored))
            found[f"{name} best-of-k loss"] = Figure(_curve_loss(scored), len(scored))
    return there(found)


def stretched(scored: Sequence[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """The scores of one prompt, from 0 for its lowest to 1 for its highest; all 0 where they are equal."""
    low, high = min((score for score, _ in scored), default=0.0), max((score for score, _ in scored), default=0.0)
    return [((score - low) / (high - low) if high > low else 0.0, right) for score, right in scored]


def roc_auc(scored: Sequence[tuple[float, bool]]) -> float | None:
    """The share of right and wrong answers that are in order, ties half; None where one of the two kinds is missing.

    >>> roc_auc([(0.9, True), (0.4, False), (0.4, True)])
    0.75
    """
    right = sum(is_right for _, is_right in scored)
    if not 0 < right < len(scored):
        return None
    below, points = 0, 0.0
    for _, tied in itertools.groupby(sorted(scored), key=lambda pair: pair[0]):
        kinds = [is_right for _, is_right in tied]
        wrong_here = len(kinds) - sum(kinds)
        points += sum(kinds) * (below + wrong_here / 2)
        below += wrong_here
    return points / (right * (len(scored) - right))


def best_of(scored: Sequence[tuple[float, bool]]) -> list[float]:
    """For k from 1: the chance that the highest score of k answers, drawn without return, is on a right one.

    The expectation of PPE's curve, which draws 100 orders. Equal scores are drawn at random.

    >>> [round(chance, 3) for chance in best_of([(9, True), (5, False), (1, False)])]
    [0.333, 0.667, 1.0]
    """
    n = len(scored)
    ranked = sorted(scored, key=lambda pair: -pair[0])
    worth: list[float] = []  # of each rank, the mean over those that share the score
    for _, tied in itertools.groupby(ranked, key=lambda pair: pair[0]):
        kinds = [is_right for _, is_right in tied]
        worth += [sum(kinds) / len(kinds)] * len(kinds)
    return [
        sum(math.comb(n - 1 - rank, k - 1) * worth[rank] for rank in range(n - k + 1)) / math.comb(n, k)
        for k in range(1, n + 1)
    ]


def _curve_loss(prompts: Sequence[Answers]) -> float:
    """The mean over k of the squared gap between the judge's curve and the ideal one, each the mean over prompts."""
    got = zip(*(one.curve for one in prompts), strict=False)  # as far as all of them go
    ideal = zip(*(one.ideal for one in prompts), strict=False)
    gaps = (statistics.fmean(best) - statistics.fmean(own) for best, own in zip(ideal, got, strict=True))
    return statistics.fmean(gap**2 for gap in gaps)


BENCHMARK = Benchmark(
    name="ppe",
    title="PPE",
    source="arXiv 2410.14872",
    rules=Rules(ties="half", errors="dropped"),
    read=read,
    games=games,
    outcome=outcome,
    figures=figures,
    hub=(
        ("lmarena-ai/PPE-Human-Preference-V1", "test"),
        *((f"lmarena-ai/PPE-{name}-Best-of-K", "train") for name in SETS),
    ),
)
