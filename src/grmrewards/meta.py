"""`MetaRewardModel`: a model that rates votes, so that the best of them count (SPCT, arXiv 2504.02495, section 5.5).

    ListwiseReward(judge, votes=8, vote_filter=MetaRewardModel("my/meta-model"))

It reads what a judge read and wrote, and says how likely the vote is to be right: a sequence classifier with one output,
trained by binary cross-entropy on votes that are known to be right or wrong (`examples/meta_model/train_meta.py`).
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grmrewards import arguments, texts
from grmrewards.ballots import Ballot
from grmrewards.errors import ConfigError, FatalJudgeError
from grmrewards.prompts import Template, neutralise
from grmrewards.types import Message


class MetaRewardModel:
    """Rates votes: for each the probability, in [0, 1], that it is right. A `Rate` for `vote_filter=` and `vote_weights=`.

    Args:
        model: The name or folder of a sequence-classification model with one output, or a loaded one.
        tokenizer: The tokenizer of a loaded model, with the chat template that it was trained with.
        device: Where to put a model that is loaded by name; by default the GPU if there is one.
        dtype: Its number format; by default as stored, but float16 where that is bfloat16 and the GPU has none.
        template: The turn of the user, to which the judge's text is the answer. By default "Please score the responses."
            with the question and the responses. "judge": the prompt that the judge had, for a model that was trained so.
            Else a text or the path of a file with the marks {question} and {responses}.
        batch_size: Votes that are rated at once.
        max_length: The longest vote with its prompt, in tokens; by default what the model's window holds.
        trust_remote_code: Let a model run code that comes with it.
        revision: Which version of a model on the hub.
        model_kwargs: Passed to `from_pretrained`.

    It is loaded when it first rates, once, and runs in inference mode; the mode of a loaded one comes back. A vote that is
    too long is not cut, since the rating would be that of another text: it is rated None, which makes it a lost vote.
    Raises `ConfigError` for wrong arguments, a model without exactly one trained output, and where it is to be pickled
    though it was given as an object; `FatalJudgeError` where the model gives no finite number.

    >>> rate = MetaRewardModel("my/meta-model")  # loaded when it is first called
    """

    _model: Any
    _lock: threading.Lock  # several rewards, each with a thread of its own, may share one

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        device: str | None = None,
        dtype: Any = None,
        template: str | Path | None = None,
        batch_size: int = 16,
        max_length: int | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        arguments.installed("MetaRewardModel", "torch", "transformers", extra="local")
        model, tokenizer = _model_and_tokenizer(model, tokenizer)
        self.template = (
            None if template == "judge" else Template(template or "meta", required=("question", "responses"))
        )
        self.batch_size = arguments.whole("batch_size", batch_size)
        self.max_length = arguments.whole("max_length", max_length, optional=True)
        self._source = {
            "model": model,
            "tokenizer": tokenizer,
            "device": arguments.word("device", device),
            "dtype": dtype,
            "trust_remote_code": arguments.one_of("trust_remote_code", trust_remote_code, (True, False)),
            "revision": arguments.word("revision", revision),
            "model_kwargs": dict(model_kwargs or {}),
        }
        self._start()

    def __call__(self, ballots: Sequence[Ballot]) -> list[float | None]:
        """The rating of each ballot; None for one that is longer than the model's window."""
        from grmrewards.judges import classifier

        if self._pid != os.getpid():
            self._start()
        rows = self.encode(ballots)
        with self._lock:
            if self._model is None:
                self._model = classifier.load(self._source)
            fitting = [row for row in rows if len(row) <= self._longest()]
            logits = iter(classifier.logits(self._model, fitting, self._pad(), self.batch_size))
            return [_probability(next(logits)) if len(row) <= self._longest() else None for row in rows]

    def encode(self, ballots: Sequence[Ballot]) -> list[list[int]]:
        """The token ids of each ballot as the model reads them, for training one; the model itself is not loaded."""
        from grmrewards.judges.chat import load_tokenizer, structural_tokens

        tokenizer = load_tokenizer(self._source)
        control_tokens = structural_tokens(tokenizer)
        return [_encode(tokenizer, self._turns(ballot, control_tokens)) for ballot in ballots]

    def _turns(self, ballot: Ballot, control_tokens: Sequence[str]) -> list[Message]:
        """What the user asks, and what the judge wrote; nobody but the chat template writes its control tokens."""
        if self.template is None:
            asked = [Message(m.role, neutralise(_text(m), control_tokens=control_tokens)) for m in ballot.messages]
        else:
            text = self.template.fill(
                control_tokens=control_tokens,
                question=texts.question(ballot.prompt),
                system=texts.system(ballot.prompt),
                responses=ballot.responses,
            )
            asked = [Message("user", text)]
        return [*asked, Message("assistant", neutralise(ballot.reply.text, control_tokens=control_tokens))]

    def _longest(self) -> float:
        """The longest vote that it reads, in tokens."""
        window = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return min((length for length in (self.max_length, window) if length), default=math.inf)

    def _pad(self) -> int:
        """What rows are filled up with. The model looks for the last token that is another one."""
        from grmrewards.judges.chat import load_tokenizer

        tokenizer = load_tokenizer(self._source)
        known = (self._model.config.get_text_config().pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
        pad = next((token for token in known if token is not None), None)
        if pad is None:
            raise ConfigError(f"the tokenizer of {self._source['model']!r} has no pad token; set tokenizer.pad_token.")
        return int(pad)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock, self._model = threading.Lock(), None

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._source["model"], str):
            raise ConfigError(
                "a MetaRewardModel that was given a loaded model cannot be pickled; give it the model's name or folder."
            )
        return {name: getattr(self, name) for name in ("template", "batch_size", "max_length", "_source")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()


def _model_and_tokenizer(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    """A name with or without a tokenizer, or a model with one."""
    if isinstance(model, (str, Path)) and str(model).strip():
        return str(model), tokenizer
    if not callable(model) or not hasattr(model, "config"):
        raise ConfigError(f"model={model!r}; allowed are the name or folder of a model, or a loaded model.")
    if tokenizer is None:
        raise ConfigError("tokenizer=None; a loaded model needs its tokenizer: MetaRewardModel(model, tokenizer).")
    return model, tokenizer


def _text(message: Message) -> str:
    if not isinstance(message.content, str):
        raise ConfigError(
            "a MetaRewardModel with template='judge' reads text alone, and the judge was shown other parts; leave "
            "template= out, so that it reads the question and the responses."
        )
    return message.content


def _encode(tokenizer: Any, turns: Sequence[Message]) -> list[int]:
    chat = [{"role": turn.role, "content": turn.content} for turn in turns]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _probability(logit: float) -> float:
    """The logistic function, which binary cross-entropy trains the output for."""
    if not math.isfinite(logit):
        raise FatalJudgeError(
            f"the meta reward model gave {logit}, and no rating can be made of that; try dtype=torch.float32, and see "
            "that its weights are whole."
        )
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
