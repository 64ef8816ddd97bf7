"""The lines of a record as rows of numbers: completions, votes and calls, joined. The texts go into `Texts`.

A vote names the rows of its call that it is about, and comes before their completions. A call is told from the next one by
its step, by a row that comes again, or by a vote after a completion: steps may be unknown, and a record may hold the runs
of several rewards, and one run twice after a kill.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from grmrewards import praise, texts
from grmrewards.report.pack import Texts
from grmrewards.report.words import as_text, number

_NAMED = -1  # in place of a prompt's number: the group has a number of its own
_OWN = {
    "v",
    "type",
    "time",
    "name",
    "step",
    "row",
    "group",
    "prompt",
    "response",
    "score",
    "reward",
    "rows",
}  # all else are notes


class Vote(NamedTuple):
    """One answer of a judge; `text`, `reasoning` and `error` are numbers of texts, -1 where there is none."""

    text: int
    reasoning: int
    error: int
    value: Any
    kind: str
    judge: str
    round: int
    tokens: tuple[int, int] | None


class Row(NamedTuple):
    """One completion. Texts are numbers; `notes` are what the judge wrote, by kind, each in one or more texts."""

    name: str
    call: int
    step: int | None
    group: int
    prompt: int
    response: int
    length: int
    score: float | None
    reward: float | None
    praise: bool
    notes: Mapping[str, tuple[int, ...]]
    votes: tuple[int, ...]


class Flag(NamedTuple):
    """What the monitor said of a call."""

    signal: str
    message: str


@dataclass
class Call:
    """One call of a reward: what the record says of it, and what its answers cost."""

    name: str
    step: int | None
    figures: dict[str, float] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    told: bool = False  # by a line of its own
    answers: int = 0
    unread: int = 0  # of the answers
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass
class Run:
    """All that a record says. `reasons` counts why answers could not be used."""

    texts: Texts = field(default_factory=Texts)
    rows: list[Row] = field(default_factory=list)
    votes: list[Vote] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    judges: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)  # lines that are of no known type
    times: list[float] = field(default_factory=list)  # the first and the last


@dataclass
class _Open:
    """The call that a reward's lines belong to now."""

    number: int
    step: int | None
    seen: set[Any] = field(default_factory=set)  # rows whose completions have come
    votes: dict[Any, list[tuple[int, str]]] = field(default_factory=dict)  # by row, with their texts
    groups: dict[tuple[int, Any], int] = field(
        default_factory=dict
    )  # by prompt and row, or by the number in the record


def read(entries: Iterable[Mapping[str, Any]]) -> Run:
    """The run that the entries of a record tell of; what is in none of their forms is counted and left out."""
    reading = _Reading(Run())
    for entry in entries:
        reading.take(entry)
    return reading.run


class _Reading:
    """A run while it is read."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.open: dict[str, _Open] = {}
        self.groups = 0

    def take(self, entry: Mapping[str, Any]) -> None:
        takes = {"vote": self._vote, "completion": self._completion, "call": self._call}
        take = takes.get(kind := as_text(entry.get("type")))
        if take is None:
            self.run.unknown[kind or "none"] += 1
            return
        if (time := number(entry.get("time"))) is not None:
            self.run.times = [min([time, *self.run.times[:1]]), max([time, *self.run.times[1:]])]
        step = number(entry.get("step"))
        take(entry, as_text(entry.get("name")) or "reward", None if step is None else int(step))

    def _of(self, name: str, step: int | None, *, new: bool = False) -> _Open:
        """The open call of a reward; a new one where `new`, or where the step is another."""
        found = self.open.get(name)
        if found is None or new or found.step != step:
            found = self.open[name] = _Open(len(self.run.calls), step)
            self.run.calls.append(Call(name, step))
        return found

    def _vote(self, entry: Mapping[str, Any], name: str, step: int | None) -> None:
        rows = entry.get("rows")
        rows = [row for row in rows if isinstance(row, (int, str))] if isinstance(rows, list) else []
        known = self.open.get(name)
        if not rows and (known is None or known.step != step):
            step = known.step if known else step  # principles written ahead, or before the first call
        call = self._of(name, step, new=bool(rows and known and known.seen))
        text, error = as_text(entry.get("text")), as_text(entry.get("error"))
        at = self._count(entry, self.run.calls[call.number], text, error)
        for row in rows:
            call.votes.setdefault(row, []).append((at, "" if error else texts.clean(text)))

    def _count(self, entry: Mapping[str, Any], call: Call, text: str, error: str) -> int:
        """Note a vote, and return its number."""
        run, tokens = self.run, entry.get("tokens")
        pair = [number(one) for one in tokens] if isinstance(tokens, list) and len(tokens) == 2 else []
        spent = None if len(pair) < 2 or None in pair else (int(pair[0] or 0), int(pair[1] or 0))
        judge, kind = as_text(entry.get("judge")), as_text(entry.get("kind"))
        came = entry.get("answered") is not False
        call.answers += came
        call.unread += came and bool(error)
        call.tokens_in += spent[0] if spent else 0
        call.tokens_out += spent[1] if spent else 0
        run.judges[judge] += 1
        if error:
            run.reasons[error.partition(":")[0][:200]] += 1
        said, thought, why = (run.texts.add(t) if t else -1 for t in (text, as_text(entry.get("reasoning")), error))
        value = None if isinstance(entry.get("value"), str) else _finite(entry.get("value"))  # a text is there already
        round_ = int(number(entry.get("round")) or 0)
        run.votes.append(Vote(said, thought, why, value, kind, judge, round_, spent))
        return len(run.votes) - 1

    def _completion(self, entry: Mapping[str, Any], name: str, step: int | None) -> None:
        run, place = self.run, entry.get("row")
        place = place if isinstance(place, (int, str)) else None
        known = self.open.get(name)
        call = self._of(name, step, new=bool(known and place is not None and place in known.seen))
        call.seen.add(place)
        votes = call.votes.pop(place, [])
        prompt, response = as_text(entry.get("prompt")), as_text(entry.get("response"))
        asked = run.texts.add(prompt)
        named = entry.get("group")
        group = self._named(call, named) if isinstance(named, int) else self._group(call, asked, place)
        notes = {key: self._note(as_text(value), votes) for key, value in entry.items() if key not in _OWN and value}
        scores = number(entry.get("score")), number(entry.get("reward"))
        is_praise, ids = praise.praises_itself(response), tuple(at for at, _ in votes)
        told = (asked, run.texts.add(response), len(response), *scores, is_praise, notes, ids)
        run.rows.append(Row(name, call.number, step, group, *told))

    def _named(self, call: _Open, number: int) -> int:
        """The group that a row says it is of."""
        if (_NAMED, number) not in call.groups:
            call.groups[_NAMED, number], self.groups = self.groups, self.groups + 1
        return call.groups[_NAMED, number]

    def _group(self, call: _Open, prompt: int, place: Any) -> int:
        """Of an older record: that of the row beside it with the same prompt, in whichever order processes wrote them."""
        beside = [(prompt, place - 1), (prompt, place + 1)] if isinstance(place, int) else [(prompt, None)]
        known = next((call.groups[one] for one in beside if one in call.groups), None)
        if known is None:
            known, self.groups = self.groups, self.groups + 1
        call.groups[prompt, place if isinstance(place, int) else None] = known
        return known

    def _note(self, text: str, votes: list[tuple[int, str]]) -> tuple[int, ...]:
        """The texts of a note; those of the votes where it is made of them, as critiques are."""
        used = [(at, said) for at, said in votes if said]
        if used and text == "\n\n".join(said for _, said in used):
            return tuple(self.run.votes[at].text for at, _ in used)
        return (self.run.texts.add(text),)

    def _call(self, entry: Mapping[str, Any], name: str, step: int | None) -> None:
        known = self.open.get(name)
        told = known is not None and self.run.calls[known.number].told
        call = self.run.calls[self._of(name, step, new=told).number]
        figures, flags = entry.get("figures"), entry.get("flags")
        call.told = True
        counts = {key: entry.get(key) for key in ("completions", "groups")}
        for key, value in {**counts, **(figures if isinstance(figures, Mapping) else {})}.items():
            if (found := number(value)) is not None:
                call.figures[as_text(key)] = found
        for flag in flags if isinstance(flags, list) else []:
            if isinstance(flag, Mapping):
                call.flags.append(Flag(as_text(flag.get("signal")) or "flag", as_text(flag.get("message"))))


def _finite(value: Any) -> Any:
    """`value` without numbers that JSON has not."""
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value[:64]]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (int, float, bool)) else None if value is None else as_text(value)[:200]
