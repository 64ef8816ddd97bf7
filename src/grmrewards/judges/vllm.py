"""`VLLMJudge`: a judge on vLLM's offline engine, on this machine and in a process of its own.

It takes requests as a `TransformersJudge` does: what waits is run as one batch, of which vLLM computes as much at once as
its memory holds. The engine (`vllm_engine`) cannot share a process with TRL's: vLLM's sleep mode can be used once in a
process, and the trainer's launch on several ranks is not the judge's. Its process is started like that of an isolated
`TransformersJudge`, lives between calls, and ends with the trainer's, however that ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError, TransportError
from grmrewards.judges import loading, vllm_start
from grmrewards.judges.isolated import RemoteNetwork
from grmrewards.judges.transformers import TransformersJudge

LOG = logging.getLogger("grmrewards")
AWAKE = (
    "sleep=True, and vLLM has no sleep mode here (it needs a GPU): the judge keeps its memory between calls. sleep=False "
    "says the same without this line."
)


class RemoteVLLM(RemoteNetwork):
    """A `VLLMEngine` in a process of its own."""

    program = "grmrewards.judges.vllm_engine"
    sleeps = True  # until it turns out otherwise

    def rest(self) -> None:
        """Sleep until there is more to do, where vLLM can; it is said once where it cannot."""
        if self.sleeps and not self.lost:
            self.sleeps = self._ask("rest", {})
            if not self.sleeps:
                LOG.warning(AWAKE)


class VLLMJudge(TransformersJudge):
    """A judge on vLLM, beside the policy or on a machine of its own.

    Args:
        model: The name or folder of a model.
        tokenizer: A tokenizer with a chat template; by default the model's.
        memory: The share of the GPU's memory that is the judge's, weights and KV cache: vLLM's `gpu_memory_utilization`.
        max_model_len: The longest prompt with its answer, in tokens. None: the model's own window, for which the memory
            must suffice.
        max_new_tokens: The longest answer, in tokens.
        dtype: The number format of weights and KV cache, "auto" (as stored) by default.
        tensor_parallel_size: On how many GPUs the model is split. With one, each rank of the trainer uses its own.
        sleep: Whether to give the memory back between calls of a reward, as vLLM's sleep mode does: the weights then wait
            in CPU memory. Where the platform has none, that is said once and the judge stays awake.
        chat_template_kwargs: Passed to the chat template; by default thinking is off where the template knows it.
        trust_remote_code: Let a model run code that comes with it.
        revision: Which version of a model on the hub.
        engine_kwargs: Passed to `vllm.LLM`, e.g. `{"quantization": "fp8", "enforce_eager": True}`.

    Raises `ConfigError` for wrong arguments and where vLLM is not installed, `FatalJudgeError` with vLLM's own words where
    it cannot load the model, `TransportError` where its process ended: the next judgement starts another.

    >>> judge = VLLMJudge("Qwen/Qwen3-8B", memory=0.4, max_model_len=8192)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path,
        *,
        tokenizer: Any = None,
        memory: float = 0.3,
        max_model_len: int | None = None,
        max_new_tokens: int = 2048,
        dtype: Any = "auto",
        tensor_parallel_size: int = 1,
        sleep: bool = True,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        engine_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        arguments.installed("VLLMJudge", "vllm", extra="vllm")
        self.model, self.isolate = _name(model), True
        self.max_new_tokens = arguments.whole("max_new_tokens", max_new_tokens)
        self._source = {
            "model": self.model,
            "tokenizer": _with_a_template(tokenizer),
            "own_tokenizer": tokenizer is not None,
            "device": None,
            "dtype": dtype,
            "memory": arguments.number("memory", memory, least=0.01, most=1.0),
            "max_model_len": arguments.whole("max_model_len", max_model_len, optional=True),
            "tensor_parallel_size": arguments.whole("tensor_parallel_size", tensor_parallel_size),
            "sleep": arguments.one_of("sleep", sleep, (True, False)),
            "chat_template_kwargs": {"enable_thinking": False, **(chat_template_kwargs or {})},
            "trust_remote_code": arguments.one_of("trust_remote_code", trust_remote_code, (True, False)),
            "revision": arguments.word("revision", revision),
            "engine_kwargs": vllm_start.checked(engine_kwargs),
        }
        self._start()

    async def __aexit__(self, *error: object) -> None:
        """The last to leave puts it to sleep: the policy's turn has come."""
        await super().__aexit__(*error)
        if self._source["sleep"] and not self._open:
            await asyncio.to_thread(self._rest)

    def _rest(self) -> None:
        ready = self._loading
        if ready is not None and ready.done() and ready.exception() is None:
            engine = ready.result().network
            assert isinstance(engine, RemoteVLLM)
            try:
                with self._lock:  # another event loop may have come meanwhile: its batch wakes the engine again
                    engine.rest()
            except TransportError as error:  # it ended: nothing judged is lost, and its memory is free
                LOG.warning("%s", error)

    def _load(self) -> Future[loading.Loaded]:
        with self._gate:
            if self._loading is None or loading.in_vain(self._loading):
                self._loading = loading.start_loading(self._source, isolate=True, remote=RemoteVLLM)
            return self._loading


def _name(model: Any) -> str:
    if not isinstance(model, (str, os.PathLike)) or not str(model).strip():
        raise ConfigError(
            f"model={type(model).__name__}(...); allowed is the name or folder of a model, which vLLM loads itself."
        )
    return str(model)


def _with_a_template(tokenizer: Any) -> Any:
    if tokenizer is not None and not hasattr(tokenizer, "chat_template"):
        raise ConfigError(
            f"tokenizer={tokenizer!r}; allowed is a tokenizer as AutoTokenizer.from_pretrained gives it, or None."
        )
    return tokenizer
