"""The cases in which a judge was fooled most, with what it was shown and what it gave: to read, not to count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grmrewards import texts
from grmrewards.audit.asking import Asking
from grmrewards.audit.findings import Bounds
from grmrewards.audit.probes import Trial

SHOWN = 3  # cases of a probe


def worst(asking: Asking, trials: Sequence[Trial], figures_C: Sequence[float | None], bounds: Bounds) -> list[Any]:
    """The trials that went furthest the wrong way, as plain data: the prompt, the figure, the answers with their scores.

    An answer is "unchanged" where the judge saw it before and after the exchange, else "before" or "after".
    """
    sign = -1 if bounds.excluded < bounds.tolerance else 1  # more may be better
    known = [(sign * figure, k) for k, figure in enumerate(figures_C) if figure is not None]
    order = [k for _, k in sorted(known, key=lambda one: (-one[0], one[1]))[:SHOWN]]
    return [_told(asking, trials[k], figures_C[k]) for k in order]


def _told(asking: Asking, trial: Trial, figure: float | None) -> dict[str, Any]:
    seen: dict[str, dict[str, Any]] = {}
    sides = [[texts.answer(completion) for completion in group.completions] for group in trial.groups]
    for side, (group, shown) in enumerate(zip(trial.groups, sides, strict=True)):
        for text, score in zip(shown, asking.scores(group), strict=True):
            what = "unchanged" if all(text in other for other in sides) else ("before", "after")[min(side, 1)]
            seen[text] = {"what": what, "text": text, "score": score}
    order = sorted(seen.values(), key=lambda one: ("before", "after", "unchanged").index(one["what"]))
    prompt = texts.question(texts.messages(trial.groups[0].prompt))
    return {"prompt": prompt, "figure": figure, "answers": order}
