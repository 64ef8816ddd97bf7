"""Whether a model's keys and values can be shared between rows and moved about: tried on the model itself, not believed.

Two short rows that share a beginning are read together from a tree and each alone by the model's own means. Where the
logits agree, all batches of the model are run that way. Where they do not, or the model keeps something else than keys and
values, it runs by `plain`, and the log says so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache, cache_utils

from grmrewards.errors import GRMError
from grmrewards.judges import patches
from grmrewards.judges.cache import Layout
from grmrewards.judges.decoding import Decoding
from grmrewards.judges.memory import Memory, out_of_memory
from grmrewards.judges.passes import Passes
from grmrewards.judges.plain import Plain
from grmrewards.judges.reading import Reading
from grmrewards.judges.rows import Answer, More, Row, no_more

LOG = logging.getLogger("grmrewards")
WINDOWED = {"full_attention", "sliding_attention"}  # both are masks over columns
CLOSE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the logits' own size
NEAR = 0.1  # in fewer bits; a cache that is wrong is off by 1
# Settings of generation that change what is sampled, and that only transformers' `generate` knows.
FOREIGN = [
    "num_beams",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "min_length",
    "min_new_tokens",
    "guidance_scale",
]


class Shared:
    """A model whose prompts are read as a tree and whose rows decode together."""

    def __init__(self, passes: Passes, memory: Memory, *, penalty: float) -> None:
        self.passes, self.memory, self.penalty = passes, memory, penalty

    def ends(self, rows: Sequence[Sequence[int]], stop: threading.Event) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Rows by number, with the logits of what comes next, [vocabulary]."""
        reading = Reading(self.passes, self.memory, rows, stop, keep=False)
        return ((ending, logits) for _, ending, logits in reading.ends())

    def generate(
        self,
        rows: Sequence[Row],
        *,
        stops: Collection[int],
        stop: threading.Event,
        deliver: Callable[[int, Answer], None],
        more: More = no_more,
    ) -> None:
        """Deliver the answer of each row, and of those that come meanwhile, unless `stop` is set before."""
        decoding = Decoding(
            self.passes, self.memory, stops=stops, penalty=self.penalty, stop=stop, deliver=deliver, more=more
        )
        decoding.run(rows)


def runner(model: Any, *, pad: int) -> Shared | Plain:
    """How a model is run. Inside inference mode."""
    vocabulary, reason = patches.vocabulary(model), _unfit(model)
    if not reason:
        try:
            passes, off = _tried(model, vocabulary, pad)
            allowed = CLOSE.get(model.dtype, NEAR)
            if off <= allowed:
                penalty = float(model.generation_config.repetition_penalty or 1.0)
                memory = Memory(passes.device, bytes_a_token=passes.layout.bytes_a_token)
                return Shared(passes, memory, penalty=penalty)
            reason = f"logits off by {off:.1e} of their size, {allowed:g} allowed"
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, LookupError) as error:
            if out_of_memory(error) or isinstance(error, GRMError):
                raise
            reason = f"{type(error).__name__}: {error}"  # its code wants another kind of cache
    LOG.warning("%s: each prompt is read for itself, nothing is shared (%s)", type(model).__name__, reason)
    return Plain(model, Memory(model.device, bytes_a_token=_bytes_a_token(model)), vocabulary=vocabulary, pad=pad)


def _unfit(model: Any) -> str:
    config, settings = model.config.get_text_config(), model.generation_config
    foreign = [name for name in FOREIGN if getattr(settings, name, None) not in (None, 0, 1, 1.0, [])]
    kinds = set(getattr(config, "layer_types", None) or ()) - WINDOWED
    if not hasattr(cache_utils, "DynamicLayer"):
        return "this version of transformers keeps all layers in one list"
    if foreign:
        return f"its generation_config sets {', '.join(foreign)}"
    if kinds or getattr(config, "is_encoder_decoder", False) or getattr(config, "num_kv_shared_layers", 0):
        return f"layers of the kinds {sorted(kinds) or ['encoder, or shared']}"
    return ""


def _tried(model: Any, vocabulary: int, pad: int) -> tuple[Passes, float]:
    """Its passes, and how far the logits of a tree are from those of each row alone, in units of the latter's size."""
    shared = [(7 * i + 3) % vocabulary for i in range(12)]
    rows = [[*shared, *((5 * i + k) % vocabulary for i in range(4 * k))] for k in (1, 2, 3)]
    alone, cache = [], DynamicCache()
    for row in rows:
        cache = DynamicCache()
        ids = torch.tensor([row], device=model.device)
        alone.append(
            model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0, -1]
        )  # a trainer may say not to
    passes = Passes(model, Layout(cache), vocabulary=vocabulary, pad=pad)
    reading = Reading(passes, Memory(model.device, bytes_a_token=1), rows, threading.Event(), keep=False, least=1)
    together = {ending[0]: logits for _, ending, logits in reading.ends()}
    off = [(together[i] - one.float()).norm() / one.float().norm() for i, one in enumerate(alone)]
    return passes, float(max(off))


def _bytes_a_token(model: Any) -> int:
    """At most so many, if all heads had keys and values of their own."""
    config = model.config.get_text_config()
    return int(2 * config.num_hidden_layers * config.hidden_size * model.dtype.itemsize)
