"""The files that pages read and do not write: small, of the embedded judge's domain, in the form that each page tells."""

import json
import random

from blocks.commands import SCRIPTS
from grmrewards.judges.embedded import domain, lookalikes

QUESTIONS = [domain.make_question(random.Random(number)).text for number in range(8)]
ANSWERS = ["cat, dog, cow", "plum, apple", "blue, green, red, red", "cat"]
SCRIPT = "print('a script of the reader')\n"


CLOSE = {  # the same items: a pair in which the embedded judge is sometimes right, as SPCT's samples must be
    "prompt": "Name 3 clothes, but not dress.",
    "chosen": "boot, jacket, coat",
    "rejected": "jacket, coat, boot",
}


def preferences(count=8):
    """Rows of HelpSteer3's form: what the pages train judges on."""
    for place, row in enumerate([CLOSE, *lookalikes.rows("preferences", n=count)]):
        better = place % 2
        texts = [row["rejected"], row["chosen"]] if better else [row["chosen"], row["rejected"]]
        context = [{"role": "user", "content": row["prompt"]}]
        strength = 2 if better else -2
        yield {"context": context, "response1": texts[0], "response2": texts[1], "overall_preference": strength}


def answers(shift):
    """What a model of that number answered to each question."""
    return [{"prompt": text, "completion": ANSWERS[(n + shift) % len(ANSWERS)]} for n, text in enumerate(QUESTIONS[:4])]


def asked():
    """Prompts, each with several responses."""
    return [{"prompt": text, "completions": ANSWERS[:2]} for text in QUESTIONS[:2]]


def several():
    """Prompts with their responses, as docs/command_line.md shows them."""
    first = {"prompt": "Name 3 animals.", "completions": ["cat, dog, fox", "cat"]}
    return [first, {"prompt": "Name 2 tools.", "completion": "saw, axe", "reference": "saw, drill"}]


ROWS = {
    "audit_cases.jsonl": lambda: lookalikes.rows("preferences", n=8),
    "doctor_cases.jsonl": asked,
    "questions.jsonl": lambda: [{"prompt": text} for text in QUESTIONS],
    "prompts.jsonl": several,
    "my_answers.jsonl": asked,
    "answers.jsonl": asked,
    "base.jsonl": lambda: answers(0),
    "step200.jsonl": lambda: answers(1),
    "step400.jsonl": lambda: answers(2),
    "judgebench.jsonl": lambda: lookalikes.rows("judgebench", n=4),
    "preferences.jsonl": lambda: lookalikes.rows("preferences", n=4),
    "pairs.jsonl": lambda: lookalikes.rows("preferences", n=4),
}


def write(folder):
    """All of them, into the folder that a page's blocks run in."""
    for name, rows in ROWS.items():
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows()), encoding="utf-8")
    for name in SCRIPTS:
        (folder / name).write_text(SCRIPT, encoding="utf-8")
