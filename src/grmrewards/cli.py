"""The command line: `grmrewards demo` and `grmrewards probe`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from grmrewards.errors import GRMError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit codes: 0 done, 1 an error of this package (its message is printed), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="grmrewards", description="Generative reward models as rewards for TRL.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train a small policy on a small judge, both in this package, and show it")
    demo.add_argument("--family", choices=["ipgrm", "listwise", "irpm", "gram"], default="ipgrm", help="which reward")
    demo.add_argument("--endpoint", action="store_true", help="put the judge behind an OpenAI-compatible server")
    demo.add_argument("--steps", type=int, default=120, help="training steps (default: 120, about two minutes)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the questions, the training and the judging")
    demo.add_argument("--output", default="demo-output", help="folder for the curve, the table and the record")
    probe = commands.add_parser("probe", help="see what a server accepts and ignores, by a few tiny requests")
    probe.add_argument("--model", required=True, help="the name of the model, as the server knows it")
    probe.add_argument("--base-url", help="such as http://localhost:8000/v1; default: OPENAI_BASE_URL, else OpenAI")
    given = parser.parse_args(arguments)
    try:
        return _demo(given) if given.command == "demo" else _probe(given)
    except GRMError as error:
        print(f"grmrewards: {error}", file=sys.stderr)
        return 1


def _demo(given: argparse.Namespace) -> int:
    from grmrewards import demo

    outcome = demo.run(given.family, seed=given.seed, steps=given.steps, output=given.output, endpoint=given.endpoint)
    for path in outcome.files:
        print(f"written: {path}")
    return 0


def _probe(given: argparse.Namespace) -> int:
    from grmrewards.judges.openai import OpenAIJudge

    print(OpenAIJudge(given.model, base_url=given.base_url).probe().report())
    return 0
