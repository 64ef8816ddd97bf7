"""`GreedyBaselines`: GRAM compares each completion with the policy's own greedy answer, as ReMax does (arXiv 2310.10505).

    baselines = GreedyBaselines(dataset, column="baseline", every=50)
    trainer = GRPOTrainer(
        ...,
        reward_funcs=[GRAMReward(judge, baseline_column="baseline")],
        train_dataset=baselines.dataset,
        callbacks=[baselines],
    )

A reward cannot ask the policy, which may be wrapped, split or asleep while rewards are computed. A dataset can: the trainer
fetches rows between two steps, when the policy is in use by nobody. So an answer is generated when the row that needs it is
fetched, and no row is ever handed on without one. Prompts that training does not come to cost nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from grmrewards import ahead, arguments, ranks
from grmrewards.errors import ConfigError
from grmrewards.greedy import greedy_answers

IMAGES = ("image", "images")  # columns that trainers put into the prompts after they have fetched them
NO_POLICY = (
    "the baselines have no policy to answer yet: pass them to the trainer, GRPOTrainer(..., train_dataset=baselines.dataset, "
    "callbacks=[baselines]), and fetch no rows before it is made."
)
IN_A_WORKER = (
    "the rows with baselines are fetched in another process than the trainer's, where there is no policy to answer; "
    "allowed is dataloader_num_workers=0. Generating takes far longer than fetching: workers would gain nothing."
)


class _Answer(NamedTuple):
    text: str
    step: int  # of the policy that gave it


class GreedyBaselines:
    """A dataset whose rows carry the policy's newest greedy answer, and the trainer's callback that knows the policy.

    Args:
        dataset: A `Dataset` of the datasets library with a column "prompt": texts, or lists of messages.
        column: The name of the new column, for `GRAMReward(judge, baseline_column=...)`.
        every: How many optimizer steps an answer serves. One that is older is written anew when its prompt is next needed.
        max_new_tokens: The longest answer, in tokens; by default the trainer's `max_completion_length`.
        batch_size: How many prompts are answered at once.

    `baselines.dataset` is the dataset for the trainer, `with_answers(other)` another one, for evaluation. Several processes
    share the prompts of a batch among themselves and all get the same answers. The answer is one turn: no tools are called.

    Raises:
        ConfigError: At construction for a wrong argument or dataset; when the trainer is made, for data loaders in other
            processes; when rows are fetched, for weights that are split over processes (ZeRO-3, FSDP), for prompts with
            images, and where the trainer was not given the callback.
    """

    def __new__(cls, *_: Any, **__: Any) -> Any:
        arguments.installed("GreedyBaselines", "torch", "transformers", "datasets", extra="trl")
        from transformers import TrainerCallback  # not at the top: this module is imported without it, too

        if issubclass(cls, TrainerCallback):
            return object.__new__(cls)
        return object.__new__(type(cls.__name__, (cls, TrainerCallback), {"__module__": cls.__module__}))

    def __init__(
        self,
        dataset: Any,
        *,
        column: str = "baseline",
        every: int = 50,
        max_new_tokens: int | None = None,
        batch_size: int = 16,
    ) -> None:
        if arguments.word("column", column) is None:
            raise ConfigError("column=None; allowed is the name of the column that the answers shall be in.")
        self.column = column
        self.every = arguments.whole("every", every)
        self.max_new_tokens = arguments.whole("max_new_tokens", max_new_tokens, optional=True)
        self.batch_size = arguments.whole("batch_size", batch_size)
        self._known: dict[str, _Answer] = {}
        self._policy: tuple[Any, Any, Any] | None = None  # model, tokenizer, the trainer's arguments
        self._state: Any = None
        self.fetches = 1  # how often in a row the trainer fetches a batch: GRPO does for each part that it trains on
        self.dataset = self.with_answers(dataset)

    def with_answers(self, dataset: Any) -> Any:
        """`dataset` with the column of answers. Raises `ConfigError` for one that cannot have it."""
        _check(dataset, self.column)
        rows: Any = _Rows(self, self.column)
        return ahead.transformed(dataset, rows)

    # What the trainer tells

    def on_init_end(self, args: Any, state: Any, control: Any, *, model: Any, processing_class: Any, **_: Any) -> None:
        """The trainer is made: its policy answers from now on."""
        if getattr(args, "dataloader_num_workers", 0):
            raise ConfigError(f"dataloader_num_workers={args.dataloader_num_workers}: {IN_A_WORKER}")
        if ranks.world_size() > 1 and getattr(getattr(args, "accelerator_config", None), "dispatch_batches", None):
            raise ConfigError(
                "dispatch_batches=True: one process alone would fetch the rows while the others, whose share of the "
                "answers it needs, do not; allowed are False and None."
            )
        if self.max_new_tokens is None and getattr(args, "max_completion_length", None) is None:
            raise ConfigError(
                "max_new_tokens=None where the trainer's arguments have no max_completion_length; pass how many tokens an "
                "answer may have."
            )
        self._policy, self._state = (model, processing_class, args), state
        parts, times = (getattr(args, name, None) or 1 for name in ("steps_per_generation", "num_iterations"))
        self.fetches = int(parts * times)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """As `on_init_end`, with the state of this training, whose steps are counted from its own beginning."""
        self.on_init_end(args, state, control, **given)
        self._known.clear()

    # What the dataset asks

    def answers(self, prompts: Sequence[Any], *, renew: bool = True) -> list[str]:
        """The answer to each prompt: the one that is known, or a new one where there is none or, with `renew`, too old a one.

        Where several processes train together, all of them must call it.
        """
        self._bound()
        step = int(self._state.global_step)
        due = {}
        for prompt in prompts:
            known = self._known.get(repr(prompt))
            if known is None or (renew and not 0 <= step - known.step < self.every):
                due[repr(prompt)] = prompt
        for key, text in self._written(due).items():
            self._known[key] = _Answer(text, step)
        return [self._known[repr(prompt)].text for prompt in prompts]

    def _written(self, due: Mapping[str, Any]) -> dict[str, str]:
        """New answers to the prompts that are due on any rank, of which each rank generates its share."""
        everywhere = ranks.on_every_rank("baselines: prompts", lambda: due)
        of_all = {key: prompt for part in everywhere for key, prompt in part.items()}
        if not of_all:
            return {}
        keys = list(of_all)
        own = [keys[i] for i in ranks.shares(keys, ranks.world_size())[ranks.rank()]]

        def generate() -> dict[str, str]:
            return dict(zip(own, self._generated([of_all[key] for key in own]), strict=True))

        parts = ranks.on_every_rank("baselines: answers", generate)
        return {key: text for part in parts for key, text in part.items()}

    def _generated(self, prompts: Sequence[Any]) -> list[str]:
        model, tokenizer, args = self._bound()
        return greedy_answers(
            model,
            tokenizer,
            prompts,
            max_new_tokens=self.max_new_tokens or args.max_completion_length,
            batch_size=self.batch_size,
            chat_template_kwargs=getattr(args, "chat_template_kwargs", None),
            max_prompt_tokens=getattr(args, "max_prompt_length", None),  # older TRL cuts prompts
        )

    def _bound(self) -> tuple[Any, Any, Any]:
        if self._policy is None:
            raise ConfigError(NO_POLICY)
        return self._policy


class _Rows:
    """The transform of a dataset that adds the column of answers. A pickle carries no policy, and says so when it is used."""

    def __init__(self, baselines: GreedyBaselines | None, column: str) -> None:
        self.baselines, self.column = baselines, column
        self.then: Any = None  # the transform that the dataset had before
        self._pid = os.getpid()
        self._last: list[Any] = []
        self._times = 0  # that the last rows were fetched

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """The rows of a batch, column by column, with their answers."""
        if self.baselines is None or self._pid != os.getpid():
            raise ConfigError(IN_A_WORKER)
        rows = batch if self.then is None else self.then(batch)
        _require_prompts(rows)
        prompts = list(rows["prompt"])
        for name in IMAGES:
            if any(value is not None and value != [] for value in rows.get(name, ())):
                raise ConfigError(f"column {name!r} holds images; greedy answers can be had to text alone.")
        return {**rows, self.column: self.baselines.answers(prompts, renew=not self._repeated(prompts))}

    def _repeated(self, prompts: list[Any]) -> bool:
        """Whether the trainer has got these rows and only fetches them again: what it reads of them, it has read."""
        again = prompts == self._last and self.baselines is not None and self._times < self.baselines.fetches
        self._last, self._times = prompts, self._times + 1 if again else 1
        return again

    def __reduce__(self) -> tuple[Any, ...]:
        return _Rows, (None, self.column)


def _check(dataset: Any, column: str) -> None:
    names = getattr(dataset, "column_names", None)
    if not hasattr(dataset, "with_transform"):
        raise ConfigError(
            f"dataset={type(dataset).__name__}; allowed is a Dataset of `datasets`. An IterableDataset is shuffled in a "
            "buffer of a thousand rows: they would all be answered before the first step, and be old when they are used."
        )
    if not isinstance(names, list):
        raise ConfigError(f"dataset={type(dataset).__name__}; allowed is a Dataset, one split of it.")
    if dataset.format["type"] != "custom":  # a transform may make the prompts
        _require_prompts(names)
    if column in names:
        raise ConfigError(f"column={column!r} is in the dataset already; allowed is a name that is not among {names}.")


def _require_prompts(names: Iterable[str]) -> None:
    found = list(names)
    if "prompt" not in found:
        raise ConfigError(f"the dataset has no column 'prompt', which trainers put to their policy; there are {found}.")
