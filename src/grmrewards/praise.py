"""Answers that end by grading or praising themselves, and the cap on what they may get. Pure functions.

A policy that is trained on a generative judge learns to append such lines, and judges fall for them (arXiv 2505.18531,
section 4.3; IP-GRM's released worker caps what matches a list of them, methods 1.8). The list is of known forms alone: it
stops the lazy ones. An answer that quotes a grade near its end, such as a film review, matches as well, so it is opt-in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TAIL = 2000  # characters at the end that are looked at

_HEADING = r"(?:overall|final|total|self|my)[ -](?:score|rating|grade|assessment|evaluation)\s{0,3}[:：=]"
_GRADE = r"(?<![\d./])(?:10(?:\.0)?|[89](?:\.\d)?)\s?/\s?10(?:\.0)?(?!\.?\d|/)"
_SCORE = r"\bscore\s{0,3}[:=]\s{0,3}(?:10|9(?:\.\d)?)(?![\d:])"
_OUT_OF = r"\bscores?\s?\((?:out of|on)\b[^()\n]{0,30}\)\s{0,3}[:：]"
_DESERVES = (
    r"\b(?:this|my|the above) (?:answer|response|reply|solution|text|essay|story|poem)\b[^.!?\n]{0,80}"
    r"\b(?:deserves?|merits?|earns?|(?:meets|satisfies|fulfils|fulfills) (?:all|every|each)|flawless|perfect)\b"
)
_CRITERIA_MET = r"\b(?:all|every|each)(?: of the)? criteri(?:a|on)\b[^.!?\n]{0,40}\b(?:met|fulfilled|satisfied)\b"
_CHINESE = r"(?:综合评分|总评|总分|评分|得分|打分|分数|特点总结)(?:（满分\d{1,3}分?）)?\s{0,3}[:：]"
_PRAISE = re.compile("|".join((_HEADING, _GRADE, _SCORE, _OUT_OF, _DESERVES, _CRITERIA_MET, _CHINESE)), re.IGNORECASE)


def praises_itself(response: str, *, tail: int = TAIL) -> bool:
    """Whether the last `tail` characters of a response hold a grade of it, or praise of a known form.

    >>> praises_itself("Paris. This answer meets every criterion and deserves 10/10."), praises_itself("Paris.")
    (True, False)
    """
    return bool(_PRAISE.search(response[-tail:]))


def capped(scores: Sequence[float | None], responses: Sequence[str], cap: float) -> list[float | None]:
    """The scores, but no more than `cap` for responses that praise themselves.

    >>> capped([9.0, 9.0, None], ["Paris.", "Paris. Final Score: 10", "Rome. 10/10"], 3.0)
    [9.0, 3.0, None]
    """
    pairs = zip(scores, responses, strict=True)
    return [s if s is None or not praises_itself(text) else min(float(s), cap) for s, text in pairs]
