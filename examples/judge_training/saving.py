"""Writing a trained judge as a folder that `TransformersJudge` loads. Nothing to run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

TOKENIZER_FILES = ("tokenizer", "chat_template", "special_tokens", "vocab", "merges")


def save(model: Any, judge: Path, folder: Path) -> None:
    """The weights, an adapter merged into them, with the tokenizer files of the judge that was trained."""
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    model.save_pretrained(folder)
    for file in judge.glob("*"):
        if file.name.startswith(TOKENIZER_FILES):
            shutil.copy(file, folder / file.name)
