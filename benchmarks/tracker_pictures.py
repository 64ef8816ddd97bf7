"""The pictures of docs/watching.md: what TensorBoard and Trackio show of a training, in headless Chromium.

    python benchmarks/tracker_pictures.py                 # trains the demo once, about two minutes; needs the extra `docs`

Weights & Biases has no picture: its pages are on its own servers. What it gets is tested in tests/training/test_trackers.py.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import chromium

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SIZE = {"width": 1200, "height": 760}
REWARD = "ipgrm"


def main() -> None:
    """Train, serve, look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=80)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder, steps)
        with chromium() as browser:
            page = browser.new_page(viewport=SIZE)
            with tensorboard(folder) as address:
                look_at_tensorboard(page, address)
            with trackio(folder) as address:
                look_at_trackio(page, address)


def train(folder: Path, steps: int) -> None:
    """The demo, with both trackers."""
    tracked = {"TRACKIO_DIR": str(folder / "trackio")}
    command = [sys.executable, "-m", "grmrewards", "demo", "--family", REWARD, "--steps", str(steps)]
    command += ["--output", str(folder / "out"), "--report-to", "trackio", "--report-to", "tensorboard"]
    subprocess.run(command, check=True, env={**os.environ, **tracked}, cwd=folder)
    (runs,) = (folder / "out" / "trainer" / "runs").iterdir()  # named after the day and the machine
    runs.rename(runs.with_name("demo"))


def look_at_tensorboard(page: Any, address: str) -> None:
    """The reward's metrics, and the best and worst critiques."""
    page.goto(f"{address}/?tagFilter={REWARD}/#timeseries")
    page.wait_for_timeout(4000)
    page.get_by_role("button", name="Settings").click()  # away with that pane
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "tensorboard-metrics.png")
    page.goto(f"{address}/#text")
    page.reload()
    page.get_by_label(re.compile("Filter tags")).fill(REWARD)
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "tensorboard-critiques.png")


def look_at_trackio(page: Any, address: str) -> None:
    """The same, where the critiques are a column of TRL's table."""
    page.goto(address)
    page.get_by_placeholder(re.compile("loss")).fill(
        f"{REWARD}/(at_max|self_praise|response_length|unscored|ties|calls)"
    )
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "trackio-metrics.png")
    page.get_by_text("Media & Tables").click()
    page.wait_for_timeout(4000)
    page.screenshot(path=PICTURES / "trackio-critiques.png")


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """Its server on the training's events."""
    port = free_port()
    command = [_beside("tensorboard"), "--logdir", "out/trainer/runs", "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, folder, f"127.0.0.1:{port}"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def trackio(folder: Path) -> Iterator[str]:
    """Its dashboard, which opens the browser that BROWSER names."""
    port = free_port()
    settings = {"TRACKIO_DIR": str(folder / "trackio"), "GRADIO_SERVER_PORT": str(port), "BROWSER": "true"}
    with serving([_beside("trackio"), "show"], folder, r"http://127\.0\.0\.1:\d+", **settings) as said:
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found is not None
        yield found[0]


@contextmanager
def serving(command: list[str], folder: Path, up: str, **settings: str) -> Iterator[str]:
    """A server that ends with the block; what it said until it said `up`."""
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **settings}
        )
        try:
            deadline = time.monotonic() + 60
            while not re.search(up, said := log.read_text()):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} is not up: {said}")
                time.sleep(0.2)
            time.sleep(2)
            yield said
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _beside(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    main()
