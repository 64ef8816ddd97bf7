"""The command line: `grmrewards demo`, `grmrewards probe` and `grmrewards doctor`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from grmrewards.errors import GRMError
from grmrewards.types import Judge


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit codes: 0 done, 1 an error of this package (its message is printed), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="grmrewards", description="Generative reward models as rewards for TRL.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train a small policy on a small judge, both in this package, and show it")
    demo.add_argument("--family", choices=["ipgrm", "listwise", "irpm", "gram"], default="ipgrm", help="which reward")
    demo.add_argument("--endpoint", action="store_true", help="put the judge behind an OpenAI-compatible server")
    demo.add_argument("--judge", help="folder of another judge of this domain (examples/judge_training)")
    demo.add_argument("--steps", type=int, default=120, help="training steps (default: 120, about two minutes)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the questions, the training and the judging")
    demo.add_argument("--output", default="demo-output", help="folder for the curve, the table and the record")
    probe = commands.add_parser("probe", help="see what a server accepts and ignores, by a few tiny requests")
    probe.add_argument("--model", required=True, help="the name of the model, as the server knows it")
    probe.add_argument("--base-url", help="such as http://localhost:8000/v1; default: OPENAI_BASE_URL, else OpenAI")
    doctor = commands.add_parser("doctor", help="see whether votes or the expected score would sharpen a judge")
    doctor.add_argument("--model", required=True, help="its name; with --local a name or folder, or 'embedded'")
    doctor.add_argument("--base-url", help="such as http://localhost:8000/v1; default: OPENAI_BASE_URL, else OpenAI")
    doctor.add_argument("--local", action="store_true", help="run the model on this machine, by transformers")
    doctor.add_argument("--family", choices=["ipgrm", "listwise", "irpm"], default="irpm", help="how it judges")
    doctor.add_argument("--votes", type=int, default=8, help="judgements a response (default: 8)")
    doctor.add_argument("--data", help='JSONL with "prompt" and "completions"; default: sixteen answers of our own')
    given = parser.parse_args(arguments)
    try:
        return {"demo": _demo, "probe": _probe, "doctor": _doctor}[given.command](given)
    except GRMError as error:
        print(f"grmrewards: {error}", file=sys.stderr)
        return 1


def _demo(given: argparse.Namespace) -> int:
    from grmrewards import demo

    settings = {"seed": given.seed, "steps": given.steps, "output": given.output}
    outcome = demo.run(given.family, **settings, endpoint=given.endpoint, judge=given.judge)
    for path in outcome.files:
        print(f"written: {path}")
    return 0


def _probe(given: argparse.Namespace) -> int:
    from grmrewards.judges.openai import OpenAIJudge

    print(OpenAIJudge(given.model, base_url=given.base_url).probe().report())
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from grmrewards import doctor
    from grmrewards.judges.openai import OpenAIJudge
    from grmrewards.judges.transformers import TransformersJudge

    judge: Judge
    if given.local:
        judge = TransformersJudge.embedded() if given.model == "embedded" else TransformersJudge(given.model)
    else:
        judge = OpenAIJudge(given.model, base_url=given.base_url)
    cases = doctor.cases_of(given.data) if given.data else doctor.CASES
    print(doctor.diagnose(judge, cases, family=given.family, votes=given.votes).report())
    return 0
