"""Trackio, Weights & Biases and TensorBoard show a reward's metrics and critiques, with no code beside `report_to`."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.trl, pytest.mark.timeout(240)]

for tracker in ("trackio", "wandb", "tensorboard"):
    pytest.importorskip(tracker, reason="the trackers are in the extra `docs`, which the environment of TRL 1.16 has")

SCRIPT = Path(__file__).with_name("tracked.py")
METRICS = ["watched/at_max", "watched/self_praise", "watched/length_correlation", "watched/tokens", "watched/unscored"]
CRITIQUE = "Vowels. <script>"
FEWER = dict.fromkeys(["http_proxy", "https_proxy"], "http://127.0.0.1:9")  # nothing may leave this machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, **FEWER},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_tensorboard_has_the_metrics_and_the_best_and_worst_critique_of_each_call(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (folder / "out").rglob("events.out.tfevents.*")
    seen = EventAccumulator(str(events))
    seen.Reload()
    assert {f"train/{name}" for name in METRICS} <= set(seen.Tags()["scalars"])
    for which in ("best", "worst"):
        texts = [event.tensor_proto.string_val[0].decode() for event in seen.Tensors(f"watched/{which}/text_summary")]
        assert len(texts) == 3
        assert all(f"    <critique>{CRITIQUE}" in text for text in texts), "as code, which Markdown leaves alone"


def test_trackio_has_the_metrics_and_the_critiques(folder):
    (database,) = (folder / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = [bytes(row).decode() for (row,) in connection.execute("select cast(metrics as blob) from metrics")]
    connection.close()
    assert all(any(name in row for row in rows) for name in METRICS)
    assert any(CRITIQUE in row for row in rows)


def test_weights_and_biases_has_the_metrics_and_the_critiques(folder):
    (run,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert all(name.encode() in run.read_bytes() for name in METRICS)
    tables = [json.loads(path.read_text()) for path in folder.glob("wandb/offline-run-*/files/media/table/*.json")]
    for table in tables:
        column = table["columns"].index("watched/critique")
        assert all(CRITIQUE in row[column] for row in table["data"])
    assert tables


def test_they_cost_nothing_where_they_are_not_used():
    probe = "import sys, grmrewards.reward; print([m for m in ('tensorboard', 'wandb', 'trackio') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.strip() == "[]"
