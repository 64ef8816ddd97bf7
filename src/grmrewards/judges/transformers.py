"""`TransformersJudge`: a judge that runs on this machine, on a model of the transformers library.

Requests that wait are run as one batch (`batching`), by a model in this process or in one of its own (`isolated`). It is
used in inference mode, in eval mode (restored afterwards) and without touching the global random state, so that judging
changes nothing in the policy's run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError, ContextOverflow
from grmrewards.judges import loading
from grmrewards.judges.batching import Batcher, Deliver, More
from grmrewards.judges.rows import Answer, Choice, Logprobs, Row
from grmrewards.types import Message, Reply


class TransformersJudge:
    """A local judge.

    Args:
        model: The name or folder of a model or of a LoRA adapter (whose base is loaded, too), or a loaded model.
        tokenizer: The tokenizer of a loaded model.
        device: Where to put a model that is loaded by name; by default the GPU if there is one.
        dtype: Its number format; by default as stored, but float16 where that is bfloat16 and the GPU has none.
        max_new_tokens: The longest answer, in tokens.
        chat_template_kwargs: Passed to the chat template; by default thinking is off where the template knows it.
        trust_remote_code: Let a model run code that comes with it.
        revision: Which version of a model on the hub.
        model_kwargs: Passed to `from_pretrained`, e.g. `{"quantization_config": BitsAndBytesConfig(load_in_4bit=True)}`
            or `{"device_map": "auto"}`.
        isolate: Whether the model runs in a process of its own, which Unsloth's patches of transformers do not reach.
            None: if `unsloth` has been imported by the time the judge is first asked. Needs a model given by name.

    Raises `ConfigError` for wrong arguments, and where Unsloth has patched a model in this process; a model that was
    given as an object cannot be pickled.

    >>> judge = TransformersJudge("Qwen/Qwen3-8B", max_new_tokens=1024)  # loaded when it is first asked
    """

    local = True
    exact_choices = True
    _loading: Future[loading.Loaded] | None
    _gate: threading.Lock  # held for moments
    _lock: threading.Lock  # held for batches
    _open: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Batcher, int]]
    _prints: weakref.WeakKeyDictionary[Batcher, str]  # of the weights, for as long as a call has them

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        device: str | None = None,
        dtype: Any = None,
        max_new_tokens: int = 2048,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        isolate: bool | None = None,
    ) -> None:
        arguments.installed("TransformersJudge", "torch", "transformers", extra="local")
        model, tokenizer = loading.model_and_tokenizer(model, tokenizer)
        self.model = str(model if isinstance(model, str) else getattr(model.config, "_name_or_path", "") or "loaded")
        self.max_new_tokens = arguments.whole("max_new_tokens", max_new_tokens)
        self.isolate = loading.isolation(isolate, model)
        self._source = {
            "model": model,
            "tokenizer": tokenizer,
            "device": arguments.word("device", device),
            "dtype": dtype,
            "chat_template_kwargs": {"enable_thinking": False, **(chat_template_kwargs or {})},
            "trust_remote_code": arguments.one_of("trust_remote_code", trust_remote_code, (True, False)),
            "revision": arguments.word("revision", revision),
            "model_kwargs": dict(model_kwargs or {}),
        }
        self._start()

    @classmethod
    def embedded(cls, *, isolate: bool | None = None) -> TransformersJudge:
        """The small judge that comes with this package: it judges lists of things ("Name 3 animals") and nothing else.

        For demonstrations and tests. Raises `ConfigError` where the default templates are not those it was trained on.
        """
        arguments.installed("TransformersJudge", "torch", "transformers", extra="local")
        import torch

        from grmrewards.judges import embedded

        embedded.check_templates()
        return cls(str(embedded.JUDGE), device="cpu", dtype=torch.float32, max_new_tokens=320, isolate=isolate)

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        top_logprobs: int | None = None,
    ) -> list[Reply]:
        """`n` sampled answers; greedy ones at temperature 0. Raises `ContextOverflow` where the prompt leaves no room."""
        async with self:
            chat, network = await self._loaded()
            ids = chat.encode(messages)
            room = min(max_tokens or self.max_new_tokens, network.window - len(ids))
            if room < 1:
                raise ContextOverflow(f"a prompt of {len(ids)} tokens, where the judge's window holds {network.window}")
            heat = 1.0 if temperature is None else float(temperature)
            rows = [Row(ids, (seed or 0) + i, heat, room, top_logprobs or 0) for i in range(n)]
            replies: list[Reply] = await self._submit_all("generate", rows)
            return replies

    async def choice_logprobs(self, messages: Sequence[Message], choices: Sequence[str]) -> list[tuple[float, ...]]:
        """For each choice, as the next words, the log-probability of each of its tokens over the whole vocabulary."""
        async with self:
            chat, network = await self._loaded()
            ids, labels = chat.choices(messages, choices)
            if len(ids) + max(map(len, labels)) > network.window:
                raise ContextOverflow(f"a prompt of {len(ids)} tokens, where the judge's window holds {network.window}")
            (logprobs,) = await self._submit_all("choices", [Choice(ids, labels)])
            found: Logprobs = logprobs
            return found

    async def identity(self) -> str:
        """All that decides a judgement besides prompt and sampling: the loaded weights, the chat template, the settings.

        Neither the model's name nor its folder counts, so that a judge that was copied keeps its records, and one that was
        trained on in its folder does not. The weights of a model that was given as an object are read again in each call.
        """
        async with self:
            chat, _ = await self._loaded()
            batcher, _ = self._open[asyncio.get_running_loop()]
            if batcher not in self._prints:
                (self._prints[batcher],) = await self._submit_all("fingerprint", [None])
            weights = self._prints[batcher]
        template = json.dumps(chat.tokenizer.chat_template, sort_keys=True).encode()
        parts = {"weights": weights, "chat_template": hashlib.sha256(template).hexdigest()[:32]}
        settings = {"revision": self._source["revision"], "max_new_tokens": self.max_new_tokens}
        parts |= {**settings, "chat_template_kwargs": self._source["chat_template_kwargs"]}
        return f"{type(self).__name__}:{json.dumps(parts, sort_keys=True, default=_kind)}"

    def check_choices(self, choices: Sequence[str]) -> None:
        """Raise `ConfigError` unless each choice is one token, and a different one."""
        from grmrewards.judges.chat import load_tokenizer

        tokenizer = load_tokenizer(self._source)
        labels = [tuple(tokenizer(choice, add_special_tokens=False)["input_ids"]) for choice in choices]
        if any(len(label) != 1 for label in labels) or len(set(labels)) < len(labels):
            raise ConfigError(
                f"the tokenizer of {self.model!r} encodes {list(choices)} as {[list(label) for label in labels]}; each "
                "must be one token of its own. Use another judge, or a family that reads text."
            )

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The tokens of this judge's chat format, which a response must not be able to write."""
        from grmrewards.judges.chat import load_tokenizer, structural_tokens

        return structural_tokens(load_tokenizer(self._source))

    async def __aenter__(self) -> TransformersJudge:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._start()
        batcher, users = self._open.get(loop) or (Batcher(self._run_batch), 0)
        self._open[loop] = (batcher, users + 1)
        return self

    async def __aexit__(self, *error: object) -> None:
        loop = asyncio.get_running_loop()
        batcher, users = self._open[loop]
        self._open[loop] = (batcher, users - 1)
        if users == 1:
            del self._open[loop]
            await batcher.close()
            loading.release(self._loading)

    async def _loaded(self) -> loading.Loaded:
        """The judge, loaded on a thread of its own at first use, and again if its process ended: the event loop goes on."""
        return await asyncio.wrap_future(self._load())

    def _load(self) -> Future[loading.Loaded]:
        """One load for all that wait for it, on whatever event loop."""
        with self._gate:
            if self._loading is None or loading.in_vain(self._loading):
                self._loading = loading.start_loading(self._source, self.isolate)
            return self._loading

    async def _submit_all(self, kind: str, rows: Sequence[Any]) -> list[Any]:
        batcher, _ = self._open[asyncio.get_running_loop()]
        return list(await asyncio.gather(*(batcher.submit(kind, row) for row in rows)))

    def _run_batch(self, kind: str, rows: Sequence[Any], stop: threading.Event, deliver: Deliver, more: More) -> None:
        assert self._loading is not None
        chat, network = self._loading.result()
        with self._lock:  # two event loops share one model
            if kind == "choices":
                network.choice_logprobs(rows, stop=stop, deliver=deliver)
            elif kind == "generate":
                asked = list(rows)

                def joined() -> Sequence[Row]:
                    asked.extend(new := more())
                    return new

                def said(i: int, answer: Answer) -> None:
                    deliver(i, chat.reply(answer, len(asked[i].ids)))

                network.generate(rows, stop=stop, deliver=said, more=joined)
            else:
                for i, weights in enumerate([network.fingerprint()] * len(rows)):
                    deliver(i, weights)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._loading = None
        self._gate, self._lock = threading.Lock(), threading.Lock()
        self._open, self._prints = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._source["model"], str):
            raise ConfigError(
                "a TransformersJudge that was given a loaded model cannot be pickled; give it the model's name or folder."
            )
        return self._state()

    def _state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "max_new_tokens", "isolate", "_source")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()


def _kind(thing: object) -> str:
    """What JSON cannot hold, without the address in its `repr`."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
