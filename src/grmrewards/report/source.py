"""What a path holds: the record of a run, the folder of an evaluation, or the page of an audit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from grmrewards import arguments, record
from grmrewards.errors import ConfigError

LARGEST = 64 * 2**20  # bytes of a JSON page; a record has no limit
ALLOWED = (
    "allowed are the record of a run (log_path=), a folder with a record.jsonl, the folder of an evaluation (output=), and "
    "the page of an audit (grmrewards audit --write page.json)"
)


@dataclass(frozen=True)
class Source:
    """A path, and what it is. `said` is what the JSON of an audit says."""

    kind: Literal["record", "evaluation", "audit"]
    path: Path
    record: Path | None = None
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What to call the page."""
        names = {"record": "Training run", "evaluation": "Evaluation", "audit": "Audit of a judge"}
        resolved = self.path.resolve()
        name = resolved.parent.name if self.path.name == "record.jsonl" else resolved.name
        return f"{names[self.kind]}: {name}"


def source_of(path: str | Path) -> Source:
    """What a path holds. Raises `ConfigError` for anything else, and for what is not there."""
    found = Path(arguments.path("path", path) or "")
    if path is None or not found.exists():
        raise ConfigError(f"path={str(path)!r} is not there; {ALLOWED}.")
    if found.is_dir():
        return _of_folder(found)
    if _is_record(found):
        return Source("record", found, found)
    said = _json(found)
    if isinstance(said, dict) and "benchmark" in said and (found.parent / "run.json").exists():
        return _of_folder(found.parent)
    if isinstance(said, dict) and isinstance(said.get("findings"), list):
        return Source("audit", found, None, said)
    raise ConfigError(f"path={str(path)!r} holds neither lines of a record nor the findings of an audit; {ALLOWED}.")


def _of_folder(folder: Path) -> Source:
    lines = folder / "record.jsonl"
    kept = lines if lines.exists() else None
    if (folder / "run.json").exists():
        return Source("evaluation", folder, kept)
    if kept is None:
        raise ConfigError(f"path={str(folder)!r} holds neither a run.json nor a record.jsonl; {ALLOWED}.")
    return Source("record", kept, kept)


def _is_record(path: Path) -> bool:
    """Whether one of the first lines is that of a record; an empty file is a record in which nothing stands yet."""
    if not path.stat().st_size:
        return True
    if path.suffix != ".jsonl" and isinstance(said := _json(path), dict) and "type" not in said:
        return False
    first = list(itertools.islice(record.read(path), 100))
    return any("type" in entry for entry in first) or (not first and path.suffix == ".jsonl")  # a kill cut all there is


def _json(path: Path) -> Any:
    """The JSON of a whole file, or None where it is none."""
    if path.stat().st_size > LARGEST:
        return None
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
