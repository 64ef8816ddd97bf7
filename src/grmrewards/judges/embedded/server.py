"""The embedded judge behind a real OpenAI-compatible server on loopback (`transformers serve`), for the demo and tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grmrewards.errors import ConfigError
from grmrewards.judges.embedded import JUDGE, check_templates
from grmrewards.judges.openai import OpenAIJudge

START_SECONDS = 120.0
MAX_TOKENS = 512


@contextmanager
def serve() -> Iterator[OpenAIJudge]:
    """A judge that asks a server process of its own, which ends with the block."""
    check_templates()
    command = Path(sys.executable).with_name("transformers")
    if not command.exists():
        raise ConfigError("no server to start: pip install 'transformers[serving]'.")
    port = _free_port()
    arguments = [
        "serve",
        str(JUDGE),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
        "--dtype",
        "float32",
    ]
    process = subprocess.Popen([command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _wait_until_up(process, port)
        yield OpenAIJudge(str(JUDGE), base_url=f"http://127.0.0.1:{port}/v1", max_tokens=MAX_TOKENS, max_concurrency=8)
    finally:
        process.terminate()
        process.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _, errors = process.communicate()
            raise ConfigError(f"`transformers serve` ended at once: {errors.strip()[-400:]}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ConfigError(f"`transformers serve` was not up after {START_SECONDS:.0f} s.")
