"""`VisionJudge`: a judge on this machine that sees the images of a prompt, on a model of the transformers library.

Batches, threads and seeds are those of `TransformersJudge`; what goes into the model is `sight`, the model `seeing`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.judges import loading
from grmrewards.judges.transformers import TransformersJudge


class VisionJudge(TransformersJudge):
    """A local judge that sees.

    Args:
        model: The name or folder of a model that takes images and text (Qwen-VL, LLaVA, Gemma 3, SmolVLM, ...), or such a
            model, loaded.
        processor: The processor of a loaded model, with a chat template.
        device: Where to put a model that is loaded by name; by default the GPU if there is one.
        dtype: Its number format; by default as stored, but float16 where that is bfloat16 and the GPU has none.
        max_new_tokens: The longest answer, in tokens.
        chat_template_kwargs: Passed to the chat template; by default thinking is off where the template knows it.
        trust_remote_code: Let a model run code that comes with it.
        revision: Which version of a model on the hub.
        model_kwargs: Passed to `from_pretrained`.

    Prompts without images are judged, too. Images are files, pixels or data URLs: nothing is fetched from the network.
    Each judgement reads its whole prompt, images included; nothing is shared between them. The model runs in this process,
    where Unsloth must not have patched it. Raises `ConfigError` for wrong arguments, and for a model that sees nothing.

    >>> judge = VisionJudge("Qwen/Qwen2.5-VL-3B-Instruct", max_new_tokens=512)  # loaded when it is first asked
    """

    exact_choices = True

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        *,
        device: str | None = None,
        dtype: Any = None,
        max_new_tokens: int = 2048,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        arguments.installed("VisionJudge", "torch", "transformers", "PIL", extra="vision")
        if processor is None and hasattr(model, "config"):
            raise ConfigError(
                "processor=None; a loaded model needs its processor: VisionJudge(model, AutoProcessor.from_pretrained(...))."
            )
        if processor is not None and not hasattr(processor, "image_processor"):
            raise ConfigError(
                f"processor={type(processor).__name__}(...); allowed is one with an image_processor, as AutoProcessor loads "
                "it, or None for that of the model's name."
            )
        super().__init__(
            model,
            getattr(processor, "tokenizer", None),
            device=device,
            dtype=dtype,
            max_new_tokens=max_new_tokens,
            chat_template_kwargs=chat_template_kwargs,
            trust_remote_code=trust_remote_code,
            revision=revision,
            model_kwargs=model_kwargs,
            isolate=False,
        )
        self._source.update(processor=processor, tokenizer=None)

    def check_choices(self, choices: Sequence[str]) -> None:
        """As `TransformersJudge.check_choices`."""
        self._with_tokenizer()
        super().check_choices(choices)

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The tokens of this judge's chat format and those that stand for images, which a response must not write."""
        from grmrewards.judges.sight import image_tokens, load_processor

        self._with_tokenizer()
        return tuple(dict.fromkeys((*super().control_tokens, *image_tokens(load_processor(self._source)))))

    def _with_tokenizer(self) -> None:
        """Put the processor's tokenizer where all else looks for one."""
        from grmrewards.judges.sight import load_processor, tokenizer_of

        if self._source["tokenizer"] is None:
            self._source["tokenizer"] = tokenizer_of(load_processor(self._source))

    def _load(self) -> Future[loading.Loaded]:
        with self._gate:
            if self._loading is None or loading.in_vain(self._loading):
                self._loading = Future()
                self._loading.set_running_or_notify_cancel()  # a caller that leaves must not take it from the others
                threading.Thread(target=self._fulfil, args=(self._loading,), name="grmrewards-load").start()
            return self._loading

    def _fulfil(self, loaded: Future[loading.Loaded]) -> None:
        try:
            self._with_tokenizer()
            loaded.set_result(_both_halves(self._source))
        except BaseException as error:
            loaded.set_exception(error)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "_source": {**self._source, "tokenizer": None}}


def _both_halves(source: Mapping[str, Any]) -> loading.Loaded:
    from grmrewards.judges.seeing import SeeingNetwork
    from grmrewards.judges.sight import Sight

    sight = Sight(source)
    return loading.Loaded(sight, SeeingNetwork(source, sight.processor, **sight.special_ids))
