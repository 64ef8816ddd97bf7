"""The rows of a benchmark: from a file, a folder of files, the hub, or the look-alikes of the embedded judge's domain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from grmrewards import json_lines
from grmrewards.errors import ConfigError
from grmrewards.evaluation.items import Benchmark, Row

LOOK_ALIKE = "look-alike"
ENDINGS = (".jsonl", ".json", ".parquet")


def rows(benchmark: Benchmark, data: str | Path | Iterable[Row] | None) -> list[Row]:
    """The rows that `data` says: a path, "look-alike", rows, or None for the hub.

    Rows of a file have its name under "file", which some benchmarks need to tell subsets. Raises `ConfigError` for what is
    not there or has no rows.
    """
    if data is None:
        found = list(_from_hub(benchmark))
    elif data == LOOK_ALIKE:
        from grmrewards.judges.embedded import lookalikes

        found = list(lookalikes.rows(benchmark.name))
    elif isinstance(data, (str, Path)):
        found = list(_from_path(Path(data)))
    else:
        found = list(data)
    if not found:
        raise ConfigError(f"no rows in data={str(data)[:80]!r}; {benchmark.title} needs some.")
    return found


def _from_path(path: Path) -> Iterator[Row]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in ENDINGS)
    if not files:
        raise ConfigError(f"data={str(path)!r}: no such file, or a folder without any {', '.join(ENDINGS)}.")
    for file in files:
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        for row in _read(file):
            yield {"file": name.removesuffix(file.suffix), **row}


def _read(file: Path) -> Iterator[Row]:
    if file.suffix == ".parquet":
        yield from _parquet(file)
        return
    if file.suffix != ".json":
        yield from (row for _, row in json_lines.of_file(file))
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: no JSON: {error}.") from error
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise ConfigError(f"{file}: allowed is a list of objects.")
    yield from found


def _parquet(file: Path) -> Iterator[Row]:
    yield from _datasets(f"{file.name} is parquet").Dataset.from_parquet(str(file))


def _from_hub(benchmark: Benchmark) -> Iterator[Row]:
    if not benchmark.hub:
        raise ConfigError(f"{benchmark.title} is on no hub; pass data= with its file or folder.")
    datasets = _datasets(f"{benchmark.title} comes from the hub")
    for name, split in benchmark.hub:
        try:
            dataset = datasets.load_dataset(name, split=split)
        except Exception as error:  # what the hub's client raises is of many kinds, and all mean this
            raise ConfigError(
                f"{name} (split {split}) cannot be had: {error}. Download it elsewhere, and pass data= with the file."
            ) from error
        for row in dataset:
            yield {"file": name.rpartition("/")[2], **row}


def _datasets(why: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f'{why}, which needs `pip install "grmrewards[trl]"`; or pass data= as JSON lines.'
        ) from error
    return datasets
