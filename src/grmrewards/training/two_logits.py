"""`TwoLogitTrainer`: fine-tunes a pairwise judge on the logits of its two labels alone (GRAM, arXiv 2506.14175).

    dataset = gram_finetuning(load_dataset("nvidia/HelpSteer3", split="train"), tokenizer=tokenizer)
    TwoLogitTrainer("Qwen/Qwen3-8B", SFTConfig(learning_rate=2e-5, num_train_epochs=2, max_length=2048),
                    train_dataset=dataset).train()

What is trained is what `GRAMReward` reads: softmax over "A" and "B", at the place where the judge's answer begins. Only this
module imports TRL.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import ProcessorMixin
from transformers.modeling_outputs import SequenceClassifierOutput
from trl import SFTTrainer

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.training.gram import LABELS
from grmrewards.training.label_tokens import IGNORED, OneLabel, encoded, label_ids, label_loss

log = logging.getLogger("grmrewards")


class TwoLogitTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's `SFTTrainer` with the cross-entropy over the labels alone, at the first token of the completion.

    Args:
        model: As in `SFTTrainer`.
        args: An `SFTConfig`. Its `max_length` must leave room for a question and two answers (GRAM: 2048; TRL: 1024);
            longer examples are left out, with a warning. Packing, padding-free batches and TRL's own label smoothing are
            refused.
        label_smoothing: The share of the target that is spread over all labels (GRAM: 0.1, from 0.05 to 0.15).
        labels: What the judge is asked to choose from, each one token.
        **others: As in `SFTTrainer`: train_dataset, eval_dataset, processing_class, peft_config, data_collator, ...

    The datasets are those of `gram_finetuning`. Prompts are encoded as `TransformersJudge` encodes them, thinking off unless
    a row's chat_template_kwargs say otherwise. Rows that are tokenized already (input_ids and completion_mask) are taken as
    they are. A step's loss is the mean over its examples, however they are split into micro-batches and processes; a model's
    auxiliary losses are not added. Logged, and in evaluation with the prefix eval_: `label_accuracy`, the share of examples
    whose label has the largest logit, and `label_mass`, the probability of all labels over the whole vocabulary, which an
    endpoint needs not to be tiny. `compute_metrics` is given the labels' logits, shape (examples, labels).

    Raises `ConfigError` for wrong arguments, for labels that are not one token each, and for a completion that is no label.

    >>> trainer = TwoLogitTrainer("Qwen/Qwen3-0.6B", train_dataset=gram_finetuning(preferences))  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        args: Any = None,
        *,
        label_smoothing: float = 0.1,
        labels: Sequence[str] = LABELS,
        **others: Any,
    ) -> None:
        self.smoothing = arguments.number("label_smoothing", label_smoothing, least=0.0, most=0.5)
        self.labels = tuple(labels)
        _check(args, others)
        super().__init__(model, args, **others)
        if self.args.n_gpu > 1:
            raise ConfigError(
                f"{self.args.n_gpu} GPUs in one process; start one process a GPU (accelerate launch), or show it one GPU "
                "(CUDA_VISIBLE_DEVICES=0)."
            )
        tokenizer = _tokenizer(self.processing_class)
        self.label_ids = label_ids(tokenizer, self.labels)
        self.data_collator: Any = OneLabel(self.data_collator, self.label_ids, _namer(tokenizer))
        # Then the trainer counts the targets of a whole step, which are its examples, and leaves dividing to `compute_loss`.
        self.model_accepts_loss_kwargs = True

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *others: Any, **named: Any) -> Any:
        """The rows as the judge will see them; TRL does the rest."""
        tokenizer = _tokenizer(processing_class)
        label_ids(tokenizer, self.labels)
        if "input_ids" not in next(iter(dataset)):
            encode = functools.partial(_numbered, tokenizer=tokenizer, labels=self.labels)
            dataset = dataset.map(encode, with_indices=True)
            dataset = _short_enough(dataset, args.max_length)
        return super()._prepare_dataset(dataset, processing_class, args, *others, **named)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss of a batch, or its share of the mean over the `num_items_in_batch` examples of a whole step."""
        tokens_B, logits_BV = self._at_the_label(model, inputs)
        ids = torch.tensor(self.label_ids, device=tokens_B.device)
        targets_B = (tokens_B[:, None] == ids).int().argmax(dim=1)
        logits_BL = logits_BV[:, ids]
        losses_B = label_loss(logits_BL, targets_B, label_smoothing=self.smoothing)
        self._note(targets_B, logits_BV.detach(), ids)
        loss = losses_B.sum() / (len(losses_B) if num_items_in_batch is None else num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self._processes()  # the number is that of all processes, and gradients are averaged over them
        return (loss, SequenceClassifierOutput(logits=logits_BL)) if return_outputs else loss

    def _at_the_label(self, model: Any, inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The token (B,) that is each example's label, and the logits (B, V) that predict it."""
        labels_BT = inputs["labels"]
        at_B = (labels_BT != IGNORED).int().argmax(dim=1)
        tokens_B = labels_BT.gather(1, at_B[:, None])[:, 0]
        from_the_end_B = at_B - 1 - labels_BT.shape[1]  # virtual tokens of prompt tuning stand before all others
        given = {name: value for name, value in inputs.items() if name != "labels"} | {"use_cache": False}
        if self._keeps_logits:
            kept, columns_B = from_the_end_B.unique(return_inverse=True)
            logits_BTV = model(**given, logits_to_keep=kept).logits
        else:
            columns_B, logits_BTV = from_the_end_B, model(**given).logits
        return tokens_B, logits_BTV[torch.arange(len(tokens_B), device=tokens_B.device), columns_B]

    @functools.cached_property
    def _keeps_logits(self) -> bool:
        """Whether the model can leave out the logits of all other places, which take much memory."""
        inner = self.accelerator.unwrap_model(self.model)
        inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
        return "logits_to_keep" in inspect.signature(inner.forward).parameters

    @torch.no_grad()
    def _note(self, targets_B: torch.Tensor, logits_BV: torch.Tensor, ids: torch.Tensor) -> None:
        """Count into the metrics that TRL logs, which it averages: one entry an example."""
        right = (logits_BV[:, ids].argmax(dim=1) == targets_B).sum()
        mass = logits_BV.float().softmax(dim=1)[:, ids].sum()
        sums = torch.stack([torch.ones_like(mass) * len(targets_B), right.to(mass.dtype), mass])
        examples, hits, total = self.accelerator.gather(sums[None]).sum(dim=0).tolist()
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["label_accuracy"] += [1.0] * round(hits) + [0.0] * round(examples - hits)
        metrics["label_mass"] += [total / examples] * round(examples)

    def _processes(self) -> int:
        together = self.get_tp_size() if hasattr(self, "get_tp_size") else 1  # these see the same batch
        return int(self.accelerator.num_processes // together)


def _check(args: Any, others: dict[str, Any]) -> None:
    """Refuse what would train on something else than the label."""
    if others.get("compute_loss_func") is not None:
        raise ConfigError(
            "compute_loss_func= with a trainer that has a loss of its own; leave it out, or use SFTTrainer."
        )
    for name in ("packing", "eval_packing", "padding_free"):
        if getattr(args, name, None):
            raise ConfigError(f"{name}=True; allowed is False: the label is looked for once in each row of a batch.")
    if getattr(args, "completion_only_loss", None) is False:
        raise ConfigError("completion_only_loss=False; leave it out: the label is the first token of the completion.")
    if getattr(args, "label_smoothing_factor", 0):
        raise ConfigError(
            f"label_smoothing_factor={args.label_smoothing_factor} spreads over the vocabulary; pass label_smoothing= to "
            "the trainer, which spreads over the labels."
        )


def _numbered(row: Any, number: int, *, tokenizer: Any, labels: Sequence[str]) -> dict[str, list[int]]:
    """The row as token ids, or a `ConfigError` that says which one it is."""
    try:
        return encoded(row, tokenizer, labels)
    except ConfigError as error:
        raise ConfigError(f"row {number} of the dataset: {error}") from error


def _short_enough(dataset: Any, max_length: int | None) -> Any:
    """The examples whose label is not cut off. Raises `ConfigError` where none is left."""
    if max_length is None:
        return dataset
    kept = dataset.filter(lambda row: len(row["input_ids"]) <= max_length)
    if not hasattr(dataset, "__len__"):
        return kept
    if len(kept) < len(dataset):
        told = f"{len(dataset) - len(kept)} of {len(dataset)} examples are longer than max_length={max_length} tokens"
        if not len(kept):
            raise ConfigError(f"{told}; raise it in the SFTConfig.")
        log.warning("%s and are left out; raise it in the SFTConfig to train on them.", told)
    return kept


def _tokenizer(processing_class: Any) -> Any:
    return processing_class.tokenizer if isinstance(processing_class, ProcessorMixin) else processing_class


def _namer(tokenizer: Any) -> Any:
    return functools.partial(_name, tokenizer)


def _name(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token]))
