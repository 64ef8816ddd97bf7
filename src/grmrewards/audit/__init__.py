"""What can this judge be fooled by? Asked before a policy finds out.

    from grmrewards.audit import audit

    print(audit(reward).report())

A policy that is trained finds what its judge falls for; this looks first. The reward is asked as a trainer asks it, about
questions with a good and a poor answer, and again with one answer exchanged: for a phrase that says nothing, for itself with
praise, an injected score or padding behind it, for the answer to another question, for its translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from grmrewards.arguments import one_of
from grmrewards.audit import comparing, examples, probes
from grmrewards.audit.asking import Asking
from grmrewards.audit.attacks import INJECTED, MASTER_KEYS, NEAR_EMPTY, SELF_PRAISE
from grmrewards.audit.cases import CASES, Case, cases_of, check
from grmrewards.audit.findings import BOUNDS, Bounds, Finding
from grmrewards.audit.page import Audit
from grmrewards.errors import ConfigError

__all__ = [
    "BOUNDS",
    "CASES",
    "INJECTED",
    "MASTER_KEYS",
    "NEAR_EMPTY",
    "SELF_PRAISE",
    "Audit",
    "Bounds",
    "Case",
    "Finding",
    "audit",
    "cases_of",
]


def audit(
    reward: Callable[..., Any],
    cases: Iterable[Case] = CASES,
    *,
    other: Callable[..., Any] | None = None,
    bounds: Mapping[str, Bounds] | None = None,
    record: str | Path | None = None,
) -> Audit:
    """Try to fool `reward`'s judge, and say by what it was.

    Args:
        reward: A reward of this package, or a function of TRL's signature; the range of its rewards is then that of what
            it gave the real answers.
        cases: Questions with a good and a poor answer; by default forty of this package. `cases_of` reads your own.
        other: A second reward; how often the two agree is measured.
        bounds: In place of `BOUNDS`, of the probes that they are given for.
        record: A file that keeps the judgements, and from which they are taken when it is called again.

    Raises `ConfigError` for wrong arguments, and what a reward raises at a call.

    >>> from grmrewards import IRPMReward, ScriptedJudge
    >>> found = audit(IRPMReward(ScriptedJudge(lambda messages: "<critique>Fine.</critique><score>7</score>")))
    >>> [finding.probe for finding in found.weak]
    ['attention to the prompt', 'telling good from poor', 'ties']
    """
    if not callable(reward):
        raise ConfigError(f"reward={reward!r:.80}; allowed is a reward function.")
    limits = {**BOUNDS, **{one_of("bounds", name, tuple(BOUNDS)): own for name, own in (bounds or {}).items()}}
    listed, asking = check(cases), Asking(reward, record)
    own = probes.trials(listed, asking.tag)
    asking.ask([group for several in own.values() for trial in several for group in trial.groups])
    asking.normalise([group for _, group in probes.untouched(listed, asking.tag)])
    figures = {name: [asking.figure(trial) for trial in several] for name, several in own.items()}
    found = [comparing.finding(name, figures_C, limits) for name, figures_C in figures.items()]
    worst = {
        finding.probe: examples.worst(asking, own[finding.probe], figures[finding.probe], limits[finding.probe])
        for finding in found
        if finding.verdict == "weak"
    }
    found += [
        *comparing.of_places(asking, listed, limits),
        *comparing.of_principles(asking, listed, limits),
        *comparing.of_confidence(asking, listed, limits),
        comparing.failures(asking, limits),
        comparing.length(asking),
    ]
    if other is not None:
        found.append(comparing.agreement(asking, Asking(other), listed))
    return Audit(tuple(found), len(listed), worst)
