"""The figures as tables, and what has to be so: the points that `--check` holds the stored figures to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sharper_figures import ALL_PAIRS, Figures
from sharper_methods import BUDGETS, MEASURE, VOTES, VOTING
from speed_clock import grid

ONE = "expected, 1 critique"
SAYS = {
    "embedded": "Embedded judge",
    "weak": "Weak judge: a third of the training",
    "doubt": "Judge in doubt: good critiques, noisy scores",
}
HEAD = ("method", "pairs in order, % (seeds)", "against {measure}", "rank", "ties, %", "closer than {near}, %")
COST = ("failed, %", "answers", "looks", "tokens")
MOST_TIES = 0.01
LARGEST_LOSS = -0.01
HALF = 0.5


class Point(NamedTuple):
    """One thing that has to be so, or is hoped for."""

    what: str
    found: str
    due: str
    met: bool
    goal: bool = False  # it fails nothing


# Tables


def family_table(family: str, figures: Figures) -> str:
    """One table a kind of judge."""
    parts = []
    for kind in (kind for kind in SAYS if kind in figures):
        measure = f"{VOTES} votes" if family in VOTING else "all pairs"
        near = "0.005" if family == "gram" else "0.05"
        head = [column.format(measure=measure, near=near) for column in HEAD]
        rows = [_row(name, own) for name, own in figures[kind]["methods"].items()]
        parts.append(f"**{SAYS[kind]}**\n\n{grid([[*head, *COST], *rows])}")
    return "\n\n".join(parts)


def _row(name: str, own: Figures) -> list[str]:
    return [
        name,
        f"{percent(own['accuracy']['mean'])}{_range(own['accuracy']['seeds'])}",
        "" if name in (MEASURE, ALL_PAIRS) else _gap(own["against"]),
        f"{own['rank']['mean']:.3f}",
        percent(own["ties"]["mean"]),
        percent(own["near"]["mean"]),
        percent(own["metrics"].get("parse_failures", 0.0)) if own["metrics"] else "",
        *(_cost(own["asked"], what) for what in ("answers", "looks", "written")),
    ]


def _cost(asked: Figures, what: str) -> str:
    """A response, of the judge; and of the cheap one before it."""
    places = 0 if what == "written" else 1
    own, first = asked["asked"][what], asked["first"]
    if not first[what]:
        return f"{own:.{places}f}"
    return f"{own:.{places}f} + {first[what]:.{places}f} cheap"


def judge_table(figures: Figures) -> str:
    """Where the doubt of each judge lies."""
    rows = [["judge", "family", "entropy of a score, nats", "variance within a critique, %", "sd of a vote", "mass, %"]]
    for kind in SAYS:
        for family in (family for family in VOTING if kind in figures.get(family, {})):
            own = figures[family][kind]["judge"]
            shares = [percent(own.get(name)) for name in ("within_critique", "score_mass")]
            rows.append(
                [kind, family, _number(own.get("score_entropy")), shares[0], _number(own["vote_sd"]), shares[1]]
            )
    return grid(rows)


def extra_table(figures: Figures) -> str:
    """Metrics that only some methods have: the second judge of cascades, circles among comparisons."""
    rows = [["family", "judge", "method", "groups for the second judge, %", "intransitive, %"]]
    for family, kinds in figures.items():
        for kind in (kind for kind in SAYS if kind in kinds):
            for name, own in kinds[kind]["methods"].items():
                told = own["metrics"]
                if "second_judge" in told or "intransitive" in told:
                    shares = [percent(told.get(key)) for key in ("second_judge", "intransitive")]
                    rows.append([family, kind, name, *shares])
    return grid(rows)


def point_table(points: Sequence[Point]) -> str:
    """What has to be so, and what was found."""
    rows = [["point", "found", "due", "met"]]
    rows += [[p.what, p.found, f"{'goal: ' if p.goal else ''}{p.due}", "yes" if p.met else "**no**"] for p in points]
    return grid(rows)


# Points


def points(figures: Figures) -> list[Point]:
    """All of them, for the families and judges that were measured."""
    voting = {family: kinds for family, kinds in figures.items() if family in VOTING}
    return [*_expected(voting), *_adaptive(voting)]


def _expected(voting: Figures) -> Iterator[Point]:
    for family, kinds in voting.items():
        ties = max(kinds[kind]["methods"][ONE]["ties"]["mean"] for kind in SAYS if kind in kinds)
        due = f"at most {percent(MOST_TIES)} %"
        yield Point(f"{family}: ties of the expected score, worst judge", f"{percent(ties)} %", due, ties <= MOST_TIES)
    for family in (family for family in ("irpm", "ipgrm") if "doubt" in voting.get(family, {})):
        gap = voting[family]["doubt"]["methods"][ONE]["against"]
        what = f"{family}: judge in doubt, expected score against {MEASURE}"
        yield Point(what, _gap(gap), "at least 0.0", gap["mean"] >= 0)


def _adaptive(voting: Figures) -> Iterator[Point]:
    for budget in BUDGETS:
        goal = budget != HALF * VOTES
        for family, kinds in voting.items():
            for kind in (kind for kind in SAYS if kind in kinds):
                yield _cheaper(family, kind, kinds[kind]["methods"], budget, goal)
            gap = kinds["adaptive against random"][f"{budget:g}"]
            what = f"{family}: {budget:g} adaptive votes against as many at random, all judges"
            yield Point(what, _gap(gap), "above 0.0, with its interval", gap["interval"][0] > 0, goal)


def _cheaper(family: str, kind: str, own: Figures, budget: float, goal: bool) -> Point:
    adaptive = own[f"adaptive, {budget:g} votes"]
    gap, share = adaptive["against"], adaptive["metrics"]["votes"] / own[MEASURE]["metrics"]["votes"]
    what = f"{family}, {kind}: {budget:g} adaptive votes against {MEASURE}"
    due = f"at least {100 * LARGEST_LOSS:.1f} with at most {100 * budget / VOTES:.0f} % of the votes"
    met = gap["mean"] >= LARGEST_LOSS and round(share, 2) <= budget / VOTES
    return Point(what, f"{_gap(gap)}, {100 * share:.0f} %", due, met, goal)


# Numbers


def percent(value: float | None) -> str:
    """A share with one decimal, without its sign."""
    return "" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _range(values: Sequence[float]) -> str:
    return f" ({percent(min(values))} to {percent(max(values))})" if len(values) > 1 else ""


def _gap(gap: Figures) -> str:
    low, high = (100 * value for value in gap["interval"])
    return f"{100 * gap['mean']:+.1f} [{low:+.1f}, {high:+.1f}]"
