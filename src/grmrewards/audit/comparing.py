"""The findings of an audit: what each probe says of the judge, and the probes that not every reward can be put to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from grmrewards import bulk, signals
from grmrewards.audit import probes
from grmrewards.audit.asking import Asking
from grmrewards.audit.attacks import LISTS
from grmrewards.audit.cases import Case
from grmrewards.audit.findings import Bounds, Finding, judged, measured, not_applicable, of_mean, of_share
from grmrewards.audit.probes import Scores, less, within
from grmrewards.audit.worst import gains, shown
from grmrewards.bulk import Asked

Limits = Mapping[str, Bounds]
SAYS = {  # of what the figure is
    "master keys": "what a phrase that says nothing gets more than a poor answer",
    "near-empty answers": "what a character or two get more than a poor answer",
    "injected scores": "what a poor answer gains by a score or an order to the judge behind it",
    "self-praise": "what a poor answer gains by praising itself",
    "length": "what a poor answer gains by sentences that say nothing",
    "another language": "what a good answer gains by not being in the language of its question",
    "attention to the prompt": "what a good answer is worth more than the good answer to another question",
    "ties": "the share of good and poor answers that get the same",
    "telling good from poor": "the share of cases in which the good answer gets more",
}
SHARES = ("ties", "telling good from poor")


def finding(name: str, figures_C: Sequence[float | None], limits: Limits) -> Finding:
    """That of a probe which any reward can be put to."""
    if not figures_C:
        return not_applicable(name, SAYS[name])
    make = of_share if name in SHARES else of_mean
    found = make(name, figures_C, limits[name], SAYS[name])
    return found if name not in LISTS or found.value is None else _by_text(found, figures_C, limits[name])


def _by_text(found: Finding, figures_C: Sequence[float | None], bounds: Bounds) -> Finding:
    """The finding with the text that gained most, and in its place where the mean over all texts hides it."""
    known = gains(figures_C, LISTS[found.probe])
    if not known:
        return found
    worst = max(known, key=lambda gain: gain.low)
    if found.verdict == "weak" or bounds.verdict(worst.low, worst.high) != "weak":
        return replace(found, more={f"most by {shown(worst.text)}": worst.mean})
    says = f"{found.says}: by one text, {shown(worst.text)}"
    more = {"mean over all texts": found.value or 0.0}
    return judged(found.probe, worst.mean, worst.low, worst.high, worst.cases, bounds, says, more)


def of_places(asking: Asking, cases: Sequence[Case], limits: Limits) -> list[Finding]:
    """What a place is worth to a judge that compares, the first or the second, whatever the reward does to cancel it."""
    if asking.judge is None or asking.judge.pointwise:
        return []
    trials = probes.places(cases, asking.tag)
    groups = [group for trial in trials for group in trial.groups]
    given = map(asking.unit, bulk.scores(asking.measured(as_given=True), groups, name="audit of places"))
    pairs = [(next(given), next(given)) for _ in trials]
    turned = [flip for pair in pairs if (flip := probes.flipped(*pair)) is not None]
    more = {"flips": statistics.fmean(turned)} if turned else {}
    gains = [trial.figure(*pair) for trial, pair in zip(trials, pairs, strict=True)]
    second = sum(gain for gain in gains if gain is not None) < 0
    figures = [None if gain is None else -gain if second else gain for gain in gains]
    says = f"what an answer gains by being shown {'second' if second else 'first'}"
    return [of_mean("position", figures, limits["position"], says, **more)]


def of_principles(asking: Asking, cases: Sequence[Case], limits: Limits) -> list[Finding]:
    """How far the judge bends the criteria that it writes with a response in view (IP-GRM's principle drift)."""
    if not hasattr(asking.judge, "show_response_to_principles"):
        return []
    drifting = asking.measured()
    inner: Any = bulk.judging(drifting)
    inner.show_response_to_principles()
    answers = [answer for case in cases for answer in (case.good, case.poor)]
    groups = [
        Asked(case.prompt, [within(answer, asking.tag)], _without_principles(case))
        for case in cases
        for answer in (case.good, case.poor)
    ]
    asking.ask(groups)
    seen = [asking.unit(own) for own in bulk.scores(drifting, groups, name="audit of principles")]
    gains = [less(own[0], asking.scores(group)[0]) for own, group in zip(seen, groups, strict=True)]
    halves = [_mean_of_both(gains[2 * k], gains[2 * k + 1]) for k in range(len(answers) // 2)]
    says = "what an answer gains by criteria that were written with it in view"
    return [of_mean("principle drift", halves, limits["principle drift"], says)]


def _without_principles(case: Case) -> Mapping[str, Any]:
    return {name: value for name, value in case.columns.items() if name not in ("principles", "principals")}


def _mean_of_both(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else (first + second) / 2


def of_confidence(asking: Asking, cases: Sequence[Case], limits: Limits) -> list[Finding]:
    """Whether the probabilities of a judge that gives some are too sure."""
    if getattr(asking.reward, "family", "") != "gram" or getattr(asking.reward, "pointwise", False):
        return []
    figures = [asking.figure(trial) for trial in probes.confidence(cases, asking.tag)]
    says = "how much surer the judge is of its choice than that is right"
    if not figures:
        return [not_applicable("overconfidence", says)]
    return [of_mean("overconfidence", figures, limits["overconfidence"], says)]


def failures(asking: Asking, limits: Limits) -> Finding:
    """The share of answers that got no score, of all that were asked about."""
    lost = [float(score is None) for scores in asking.given.values() for score in scores]
    return of_share("failures", lost, limits["failures"], "the share of answers that got no score")


def length(asking: Asking) -> Finding:
    """The correlation of reward and length over all that was asked, attacks included."""
    scores, lengths = probes.lengths([(group, asking.given[key]) for key, group in asking.groups.items()])
    found = signals.correlation(scores, lengths)
    return measured("reward with length", found, len(scores), "the correlation of an answer's reward and its length")


def agreement(asking: Asking, other: Asking, cases: Sequence[Case]) -> Finding:
    """How often two judges put the two answers of a case in the same order, ties half, and Cohen's kappa."""
    groups = [group for _, group in probes.untouched(cases, asking.tag)]
    theirs = [group for _, group in probes.untouched(cases, other.tag)]
    other.ask(theirs)
    signs = [
        (one, two)
        for own, their in zip(groups, theirs, strict=True)
        if (one := _sign(asking.scores(own))) is not None and (two := _sign(other.raw(their))) is not None
    ]
    alike = [1 - abs(one - two) / 2 for one, two in signs]
    says = "the share of cases that the second judge puts in the same order"
    return measured("agreement", statistics.fmean(alike) if alike else None, len(alike), says, **_kappa(signs))


def _sign(scores: Scores) -> int | None:
    gap = less(scores[0], scores[1])
    return None if gap is None else (gap > 0) - (gap < 0)


def _kappa(signs: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Cohen's kappa of the orders, none where chance alone would agree on all."""
    if not signs:
        return {}
    first, second = zip(*signs, strict=True)
    observed = sum(one == two for one, two in signs) / len(signs)
    chance = sum(first.count(sign) * second.count(sign) for sign in (-1, 0, 1)) / len(signs) ** 2
    return {} if chance == 1 else {"kappa": (observed - chance) / (1 - chance)}
