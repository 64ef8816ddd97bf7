"""Stands on PATH in the place of a command that needs a network, a GPU or long: it checks what it is told, and ends.

    python commands.py NAME [ARGUMENT ...]

What is wrong is written to standard error, with exit code 1.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable)
SCRIPTS = ("train.py",)  # of the reader's, launched on several pages; files.py has one


OWN_CASES = {"audit": "audit_cases.jsonl", "doctor": "doctor_cases.jsonl"}  # see files.py


def grmrewards(arguments):
    """The real one, on cases that the embedded judge knows, and short. That it did not pass (3) is no fault of the page."""
    command, *options = arguments
    if command in OWN_CASES and not {"--data", "embedded", "--help"} & {*options}:
        options += ["--data", OWN_CASES[command]]
    if command == "demo":
        options += ["--steps", "4"]  # the last one counts
    code = subprocess.run([PYTHON, "-m", "grmrewards", command, *options]).returncode
    return 0 if code == 3 and command in OWN_CASES else code


def pip(arguments):
    """Nothing is installed: our extras and the names of packages are those of pyproject.toml, or known to a reader."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    listed = [re.match(r"[\w.-]+", line)[0] for line in wanted]
    known = {*listed, "grmrewards", "atheris", "bitsandbytes", "llama-cpp-python", "deepspeed", "unsloth_zoo"}
    skip = False
    assert arguments[0] in ("install", "uninstall"), f"pip {arguments[0]}"
    for word in arguments[1:]:
        if skip or word.startswith("-"):
            skip = not skip and word in ("-c", "-r", "--constraint", "--requirement")
            continue
        name, asked = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?(?:[<>=!~].*)?(?:\s*@.*)?", word).groups()
        if name in (".", "grmrewards"):
            assert set((asked or "").split(",")) <= {*extras, ""}, f"no extra of that name: {word}"
        else:
            assert name in known, f"{name} is no package that the project names"
    return 0


def make(arguments):
    """What it would do; the targets are legs of the suite, or write the page."""
    return subprocess.run(["/usr/bin/make", "-n", "-C", ROOT, *arguments], stdout=subprocess.DEVNULL).returncode


def python(arguments):
    """pytest collects, a script of the repository tells its options, code given by -c runs."""
    if arguments[:2] == ["-m", "pytest"]:
        command = [PYTHON, "-m", "pytest", "--collect-only", "-q", *arguments[2:]]
        return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode
    if arguments[:1] in (["-c"], ["-m"]):
        return subprocess.run([PYTHON, *arguments]).returncode
    script, *options = arguments
    return script_with(script, options)


def script_with(script, options):
    """A script that is there and, if it is the repository's, knows these options."""
    if Path(script).exists():  # the reader's own, in the working folder
        compile(Path(script).read_text(encoding="utf-8"), script, "exec")
        return 0
    if any(re.match("-[a-z]{2}", option) for option in options):  # of a fuzzer, which is not installed here
        compile((ROOT / script).read_text(encoding="utf-8"), script, "exec")
        return 0
    command = [PYTHON, ROOT / script, "--help"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    unknown = [word for word in options if word.startswith("-") and not _takes(told, word.partition("=")[0])]
    assert not unknown, f"{script} --help does not name {unknown}"
    return 0


def _takes(told, option):
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told)


VLLM = {  # those of its options that a page may name; add what its documentation has
    "--port",
    "--host",
    "--dtype",
    "--max-model-len",
    "--gpu-memory-utilization",
    "--enable-sleep-mode",
    "--tensor-parallel-size",
    "--data-parallel-size",
    "--enable-prefix-caching",
    "--max-num-seqs",
    "--reasoning-parser",
    "--max-logprobs",
    "--served-model-name",
    "--api-key",
    "--quantization",
    "--trust-remote-code",
    "--chat-template",
    "--generation-config",
    "--enforce-eager",
    "--logprobs-mode",
    "--max-num-batched-tokens",
    "--pipeline-parallel-size",
    "--seed",
    "--default-chat-template-kwargs",
}


SERVE = {"--host", "--port", "--device", "--dtype", "--trust-remote-code", "--log-level"}


def vllm(arguments):
    """`vllm serve MODEL`, with options that vLLM has."""
    assert arguments[0] == "serve", f"vllm {arguments[0]}"
    assert not arguments[1].startswith("-"), "vllm serve takes the model first"
    unknown = [word for word in arguments if word.startswith("--") and word.partition("=")[0] not in VLLM]
    assert not unknown, f"options that are not among those known of vLLM: {unknown}"
    return 0


def transformers(arguments):
    """`transformers serve FOLDER`, with options that it has; judging is done by the server of server.py."""
    assert arguments[0] == "serve", f"transformers {arguments[0]}"
    assert not arguments[1].startswith("-"), "transformers serve takes the model first"
    unknown = {word.partition("=")[0] for word in arguments[2:] if word.startswith("--")} - SERVE
    assert not unknown, f"options that are not among those known of transformers serve: {unknown}"
    return 0


def trl(arguments):
    """`trl vllm-serve`, with the options that this TRL has for it."""
    assert arguments[0] == "vllm-serve", f"trl {arguments[0]}"
    source = (Path(__import__("trl").__file__).parent / "scripts" / "vllm_serve.py").read_text(encoding="utf-8")
    names = set(re.findall(r"^    (\w+): ", source, re.MULTILINE))
    options = [word.partition("=")[0].removeprefix("--") for word in arguments if word.startswith("--")]
    unknown = [option for option in options if option.replace("-", "_") not in names]
    assert not unknown, f"trl vllm-serve has no {unknown}"
    return 0


def accelerate(arguments):
    """`accelerate launch`, by its own parser, of a script that is there."""
    from accelerate.commands.launch import launch_command_parser

    assert arguments[0] == "launch", f"accelerate {arguments[0]}"
    asked = launch_command_parser().parse_args(arguments[1:])
    assert asked.config_file is None or Path(asked.config_file).exists(), f"no file {asked.config_file}"
    return script_with(asked.training_script, asked.training_script_args)


def torchrun(arguments):
    """The real one, for a script that the page has written; for others, its own parser."""
    from torch.distributed.run import get_args_parser

    asked = get_args_parser().parse_args(arguments)
    if Path(asked.training_script).exists() and asked.training_script not in SCRIPTS:
        return subprocess.run([PYTHON, "-m", "torch.distributed.run", *arguments]).returncode
    return script_with(asked.training_script, asked.training_script_args)


def tensorboard(arguments):
    """It would serve until it is stopped: the folder is there."""
    folder = arguments[arguments.index("--logdir") + 1]
    assert Path(folder).is_dir(), f"no folder {folder}"
    return 0


def nothing(arguments):
    """Asks a machine that is not here (a GPU's state, a queue)."""
    return 0


STAND_INS = {
    **{
        one.__name__: one
        for one in (grmrewards, pip, make, python, transformers, vllm, trl, accelerate, torchrun, tensorboard)
    },
    "python3": python,
    **dict.fromkeys(("nvidia-smi", "sbatch", "srun", "trackio", "wandb"), nothing),
}
REAL = {  # those of the shell
    *(
        "cat",
        "cd",
        "echo",
        "export",
        "curl",
        "mkdir",
        "head",
        "tail",
        "grep",
        "ls",
        "cp",
        "mv",
        "rm",
        "wc",
        "sort",
        "test",
    ),
    *("true", "jq", "cut", "sed"),
}


def write(folder):
    """One executable for each of them, in `folder`."""
    for name in STAND_INS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{Path(__file__)}" {name} "$@"\n', encoding="utf-8")
        path.chmod(0o755)


if __name__ == "__main__":
    try:
        sys.exit(STAND_INS[sys.argv[1]](sys.argv[2:]))
    except AssertionError as wrong:
        sys.exit(f"{sys.argv[1]}: {wrong}")
