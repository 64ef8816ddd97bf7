"""Run the notebooks on the small models of the package and store what they show, without what differs from run to run.

    python notebooks/execute.py [NAME ...]      all of them by default; `make notebooks` does this

Standard error, progress bars, times and the runner's metadata are left out of the files. A cell that fails ends it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
ON_CPU = {
    "GRMREWARDS_NOTEBOOK_CPU": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # models this small run fastest on one thread
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
    "TORCHDYNAMO_DISABLE": "1",  # Unsloth would compile, which takes longer than these runs
}


def execute(notebook: Any, folder: str | Path) -> None:
    """Run all cells of `notebook` in a kernel of this Python, in `folder`. Raises `CellExecutionError`."""
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, **ON_CPU})


def tidy(notebook: Any) -> None:
    """Leave in `notebook` what a reader wants to see, and what is the same when it is run again."""
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_noise(output)]


def _is_noise(output: Any) -> bool:
    return output.get("name") == "stderr" or "<progress" in output.get("data", {}).get("text/html", "")


def main(names: list[str]) -> None:
    """Execute the notebooks of these names, or all, and store each with its outputs."""
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder)
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
