"""In a notebook in which Unsloth has patched the judge's own family, a judge in a process of its own is as it was trained."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tiny

SCRIPT = Path(__file__).with_name("isolated.py")

if importlib.util.find_spec("unsloth") is None:
    pytest.skip("needs Unsloth, which `make test-unsloth` installs", allow_module_level=True)

pytestmark = [pytest.mark.trl, pytest.mark.timeout(600)]


def in_notebook(folder):
    import nbformat
    from nbclient import NotebookClient

    code = f"import sys, json\nsys.path.insert(0, {str(SCRIPT.parent)!r})\nimport isolated\n"
    cell = nbformat.v4.new_code_cell(code + f"print(json.dumps(isolated.logprobs({str(folder)!r}, unsloth=True)))")
    NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=500, kernel_name="python3").execute()
    printed = "".join(output["text"] for output in cell.outputs if output.get("name") == "stdout")
    return json.loads(printed.strip().splitlines()[-1])


def test_it_gives_the_logits_of_an_unpatched_process(tmp_path):
    model, tokenizer = tiny.model_and_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    unpatched, beside = json.loads(done.stdout.strip().splitlines()[-1]), in_notebook(tmp_path)
    assert unpatched["patched"].startswith("transformers.")
    assert beside["patched"].startswith("unsloth"), "or the notebook shows nothing"
    assert beside["logprobs"] == unpatched["logprobs"]
