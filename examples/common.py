"""What the scripts share: reading prompts, and what `--tiny` puts in the place of large models.

With `--tiny` a script runs on a CPU in less than a minute and downloads nothing: the policy and the judge are those inside
the package, and the questions are of their kind. Nothing else in the script changes.
"""

from __future__ import annotations

import json
import random
from argparse import Namespace
from pathlib import Path
from typing import Any

from grmrewards import TransformersJudge
from grmrewards.judges.embedded import POLICY, domain


def prompts(args: Namespace) -> Any:
    """The first `args.prompts` rows of a dataset on the hub or in a .jsonl file, their prompts as chats."""
    from datasets import load_dataset

    name = args.dataset
    source = {"path": "json", "data_files": name} if name.endswith(".jsonl") else {"path": name}
    dataset = load_dataset(**source, split="train")
    if "completion" in dataset.column_names:  # a name that TRL takes for its own
        dataset = dataset.rename_column("completion", "baseline")
    return dataset.select(range(min(args.prompts, len(dataset)))).map(_as_chat)


def _as_chat(row: dict[str, Any]) -> dict[str, Any]:
    text = row["prompt"]
    return {"prompt": [{"role": "user", "content": text}] if isinstance(text, str) else text}


def tiny(args: Namespace) -> TransformersJudge:
    """The embedded judge; `args` now name the embedded policy and a file of eight questions, two a step: four steps."""
    rng = random.Random(0)
    questions = [domain.make_question(rng) for _ in range(8)]
    rows = [{"prompt": q.text, "completion": ", ".join(domain.CATEGORIES[q.category][: q.asked])} for q in questions]
    path = Path(args.output) / "questions.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    args.model, args.dataset, args.prompts_a_step, args.max_completion_length = str(POLICY), str(path), 2, 24
    return TransformersJudge.embedded()
