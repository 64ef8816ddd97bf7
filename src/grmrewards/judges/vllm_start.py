"""How a judge's vLLM is started, in a process of its own: the environment that it finds, its arguments, its files."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from grmrewards.errors import ConfigError

MAX_LOGPROBS = 128  # alternatives of a token, and labels of a choice; vLLM's own limit for labels
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
OURS = {  # what a judge's own arguments and its way of working decide
    "model": "model",
    "tokenizer": "tokenizer",
    "dtype": "dtype",
    "gpu_memory_utilization": "memory",
    "max_model_len": "max_model_len",
    "tensor_parallel_size": "tensor_parallel_size",
    "enable_sleep_mode": "sleep",
    "trust_remote_code": "trust_remote_code",
    "revision": "revision",
}


def stand_alone(environ: MutableMapping[str, str], *, gpus: int, wanted: int) -> None:
    """Take a launch on several ranks out of the environment, and leave one rank of it its own GPU of `gpus`.

    A judge is no part of the trainer's process group, and vLLM, which begins at the first GPU that it sees, would put the
    judges of all ranks there. A judge that wants several GPUs sees all of them. The engine stays in this process, so that
    none outlives the trainer. It sends vLLM's makers no statistics and prints warnings alone, unless the user's
    environment says otherwise.
    """
    visible = [one for one in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    visible = visible or [str(i) for i in range(gpus)]
    if wanted == 1 and gpus > 1:
        environ["CUDA_VISIBLE_DEVICES"] = visible[max(0, int(environ.get("LOCAL_RANK") or 0)) % len(visible)]
    for name in [name for name in environ if name in LAUNCHER or name.startswith(("TORCHELASTIC_", "GROUP_", "ROLE_"))]:
        del environ[name]
    environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


def start(source: Mapping[str, Any]) -> tuple[Any, bool]:
    """A `vllm.LLM`, and whether it can sleep: asked for it, some platforms refuse to start."""
    llm = importlib.import_module("vllm").LLM
    given = engine_arguments(source)
    if not source["sleep"]:
        return llm(**given), False
    try:
        return llm(**given, enable_sleep_mode=True), True
    except ValueError as error:
        if not any(name in str(error).lower() for name in ("sleep mode", "cumem")):
            raise
    return llm(**given), False


def engine_arguments(source: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `vllm.LLM`; what the user set in `engine_kwargs` wins over our own way of working."""
    return {
        "model": source["model"],
        "dtype": source["dtype"],
        "revision": source["revision"],
        "trust_remote_code": source["trust_remote_code"],
        "gpu_memory_utilization": source["memory"],
        "max_model_len": source["max_model_len"],
        "tensor_parallel_size": source["tensor_parallel_size"],
        "enable_prefix_caching": True,
        "max_logprobs": MAX_LOGPROBS,
        "skip_tokenizer_init": source["own_tokenizer"],  # the folder may have none
        **source["engine_kwargs"],
    }


def checked(engine_kwargs: Any) -> dict[str, Any]:
    """`engine_kwargs` if it is a dict of other arguments than a judge's own; `ConfigError` where it is not."""
    if engine_kwargs is not None and not isinstance(engine_kwargs, Mapping):
        raise ConfigError(f"engine_kwargs={engine_kwargs!r}; allowed is a dict of arguments of vllm.LLM, or None.")
    for name in engine_kwargs or ():
        if name in OURS:
            raise ConfigError(f"engine_kwargs holds {name!r}, which is VLLMJudge({OURS[name]}=...): pass it there.")
    return dict(engine_kwargs or {})


def fingerprint(source: Mapping[str, Any], dtype: str) -> str:
    """That of the weights as they lie on disk, with the number format and the settings that they were loaded with.

    Of a folder the contents of its weights and of its configuration count, and its name does not; of a model of the hub
    the commit. Raises `ConfigError` for weights that lie in neither.
    """
    path = Path(source["model"])
    weights = _contents(path) if path.exists() else _commit(source)
    settings = {"weights": weights, "dtype": dtype, "engine_kwargs": source["engine_kwargs"]}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=_kind).encode()).hexdigest()[:32]


def _contents(path: Path) -> dict[str, str]:
    found = {}
    for file in sorted(_files(path)):
        with file.open("rb") as stream:
            found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _files(path: Path) -> Iterator[Path]:
    """The weights in the first form that is there, as vLLM chooses it, and what says how to compute with them."""
    if path.is_file():
        yield path
        return
    yield from next((found for kind in WEIGHTS if (found := list(path.glob(kind)))), [])
    yield from (file for file in path.glob("*config.json") if not file.name.startswith("tokenizer"))


def _commit(source: Mapping[str, Any]) -> str:
    from huggingface_hub import snapshot_download

    where = {"revision": source["revision"], "cache_dir": source["engine_kwargs"].get("download_dir")}
    try:
        folder = snapshot_download(source["model"], **where, local_files_only=True, allow_patterns=["config.json"])
    except Exception as error:
        raise ConfigError(
            f"the weights of {source['model']!r} are neither in a folder of that name nor in the cache of the hub, so "
            "records and cached principles could not be told from those of other weights; give the judge a folder."
        ) from error
    return Path(folder).name


def _kind(thing: object) -> str:
    """What JSON cannot hold, without the address in its `repr`."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
