"""`AdapterJudge`: the policy's own base weights judge, so that one GPU holds one model.

A policy that is trained by LoRA is a base model with small matrices beside it. With these switched off it is the base
again; with another set switched on it is a judge that was trained before. Both are there for the price of a KV cache.

While it judges, the policy is in use by nobody: the trainer waits for its reward. Whatever is switched for a batch is
switched back before the batch's results go out, also where the batch fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.judges import loading
from grmrewards.judges.transformers import TransformersJudge

LOADED_AS = "grmrewards_judge"  # the name in the policy of an adapter that was given by its folder
UNBOUND = "an AdapterJudge judges with the weights of the policy: call judge.bind(trainer) after the trainer was made."


class AdapterJudge(TransformersJudge):
    """A judge on the base weights of a policy that is trained by LoRA.

    Args:
        tokenizer: The judge's tokenizer, with its chat template; by default the trainer's.
        adapter: A LoRA adapter to judge with: the name of one that the policy has, or the folder or hub name of one, which
            is loaded beside the policy's. None: the bare base model.
        max_new_tokens: The longest answer, in tokens.
        chat_template_kwargs: Passed to the chat template; by default thinking is off where the template knows it.

    TRL makes the LoRA policy when the rewards are there already, so the judge is bound to it afterwards. Weights,
    gradients, requires_grad, active adapters, train or eval mode and random state of the policy are as before after each
    batch. Raises `ConfigError` where the policy has no adapter, where its adapter is merged into the base, and where the
    weights are split over processes (ZeRO-3, FSDP).

    >>> judge = AdapterJudge()
    >>> trainer = GRPOTrainer(..., reward_funcs=[IRPMReward(judge)], peft_config=LoraConfig())  # doctest: +SKIP
    >>> judge.bind(trainer)  # doctest: +SKIP
    """

    def __init__(
        self,
        tokenizer: Any = None,
        *,
        adapter: str | Path | None = None,
        max_new_tokens: int = 2048,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        arguments.installed("AdapterJudge", "torch", "transformers", "peft", extra="local")
        self.adapter = arguments.path("adapter", adapter)
        self.model, self.isolate = "the policy's base", False
        self.max_new_tokens = arguments.whole("max_new_tokens", max_new_tokens)
        self._source = {
            "model": None,
            "tokenizer": tokenizer,
            "device": None,
            "dtype": None,
            "chat_template_kwargs": {"enable_thinking": False, **(chat_template_kwargs or {})},
            "trust_remote_code": False,
            "revision": None,
            "model_kwargs": {},
        }
        self._choices: set[tuple[str, ...]] = set()
        self._start()

    def bind(self, trainer: Any, tokenizer: Any = None) -> AdapterJudge:
        """Judge with the policy of `trainer` (or with a PEFT model and its tokenizer) from now on."""
        is_model = hasattr(trainer, "named_modules")  # a PEFT model has a `model`, too: what it is made of
        policy = trainer if is_model else trainer.accelerator.unwrap_model(trainer.model)
        found = self._source["tokenizer"] or tokenizer or getattr(trainer, "processing_class", None)
        if found is None:
            raise ConfigError("no tokenizer: pass AdapterJudge(tokenizer) or bind(model, tokenizer).")
        base = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
        _refuse_without_adapter(base, policy)
        name = None if self.adapter is None else _adapter_of(policy, str(self.adapter))
        self._source.update(model=base, tokenizer=getattr(found, "tokenizer", found), adapter=name)
        self.model = str(getattr(base.config, "_name_or_path", "") or self.model)
        self._loading = None
        for choices in self._choices:
            self.check_choices(choices)
        return self

    def check_choices(self, choices: Any) -> None:
        """As `TransformersJudge.check_choices`, as soon as there is a tokenizer."""
        self._choices.add(tuple(choices))
        if self._source["tokenizer"] is not None:
            super().check_choices(choices)

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The tokens of this judge's chat format."""
        if self._source["model"] is None:
            raise ConfigError(UNBOUND)
        return super().control_tokens

    def _load(self) -> Future[loading.Loaded]:
        if self._source["model"] is None:
            raise ConfigError(UNBOUND)
        with self._gate:
            if self._loading is None:
                self._loading = loading.done(_beside_the_policy(self._source))
            return self._loading

    def __getstate__(self) -> dict[str, Any]:
        if self._source["model"] is not None:
            raise ConfigError(
                "an AdapterJudge that is bound to a policy cannot be pickled: its weights are the policy's."
            )
        return {**super()._state(), "adapter": self.adapter, "_choices": self._choices}


def _beside_the_policy(source: Mapping[str, Any]) -> loading.Loaded:
    from grmrewards.judges.chat import Chat
    from grmrewards.judges.fingerprint import fingerprint
    from grmrewards.judges.network import Network
    from grmrewards.judges.switching import adapters, switched

    chat = Chat(source)

    class Shared(Network):
        """The base model, with the policy's adapters switched off or the judge's on while it judges."""

        @contextmanager
        def _judging(self) -> Iterator[Any]:
            with switched(self.model, source["adapter"]), super()._judging() as runner:
                yield runner

        def fingerprint(self) -> str:
            """Of what judges alone: the policy's own adapter changes with each step."""
            self._print = self._print or fingerprint(self.model, without=adapters(self.model) - {source["adapter"]})
            return self._print

    return loading.Loaded(chat, Shared(source, **chat.special_ids))


def _refuse_without_adapter(base: Any, policy: Any) -> None:
    from grmrewards.judges.switching import layers

    if next(layers(base), None) is None and base is policy:
        raise ConfigError(
            f"the policy, a {type(policy).__name__}, has no adapter: its own weights are trained, so the judge would change "
            "with each step. Train it by LoRA (peft_config=LoraConfig()), or judge with another model or an endpoint."
        )


def _adapter_of(policy: Any, adapter: str) -> str:
    """The name of the judge's adapter in the policy, which is given it where it has none of this name."""
    if adapter in getattr(policy, "peft_config", {}):
        return adapter
    trained = {name: weight.requires_grad for name, weight in policy.named_parameters()}
    if LOADED_AS not in policy.peft_config:
        policy.load_adapter(adapter, adapter_name=LOADED_AS, is_trainable=False)
    for name, weight in policy.named_parameters():
        weight.requires_grad_(trained.get(name, False))
    return LOADED_AS
