"""The likeliest right reasoning of each prompt, to fine-tune a judge on, and the prompts that are hard for it (ReasonGRM).

    sft = select_reasoning(preferences, judge, log_path="paths.jsonl", replay=True)
    SFTTrainer(model="Qwen/Qwen3-8B", args=args, train_dataset=sft)
    rl = hard_examples(preferences, tuned_judge, log_path="hard.jsonl", replay=True)

Of the samples with the right verdict the one with the largest R* = P(R|U) P(A|U,R) is kept: reasoning R that the judge is
likely to write after the prompt U, and that leads it surely to the verdict A (`likelihoods`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from grmrewards import arguments
from grmrewards.errors import ConfigError
from grmrewards.training.path_sampler import PathSampler
from grmrewards.training.verdicts import shown
from grmrewards.types import Judge

SELECTED = ("prompt", "target", "right", "samples")  # what a selection has
HOUR = 3600.0

log = logging.getLogger("grmrewards")


def select_reasoning(
    dataset: Iterable[Mapping[str, Any]],
    judge: Judge,
    *,
    samples: int = 8,
    temperature: float = 1.0,
    think: bool = True,
    max_tokens: int | None = None,
    template: str | Path | None = None,
    both_orders: bool = False,
    min_strength: float | None = None,
    tokenizer: Any = None,
    log_path: str | Path | None = None,
    replay: bool = False,
    batch_size: int = 128,
    deadline: float | None = HOUR,
    keep_failed: bool = False,
    seed: int = 0,
) -> Any:
    """A `datasets.Dataset` for `SFTTrainer`: each prompt with the sampled reasoning of the largest R*, and its verdict.

    Columns: prompt and completion (one message each; the completion is `<think>`, the reasoning, `</think>` and the bare
    verdict), target, validity P(A|U,R), consistency P(R|U) and r_star, their product, each in [0, 1], and how many of the
    samples were right. A sample without a readable verdict counts as wrong, and is not asked for again. Prompts without a
    right sample are left out.

    Args:
        dataset: Preferences in one of the forms of `preferences`.
        judge: Any judge that gives the log-probabilities of what it wrote. Let it think: a `TransformersJudge` or
            `VLLMJudge` does with `chat_template_kwargs={"enable_thinking": True}`.
        samples: For each prompt.
        temperature: Of the sampling; R* is that at 1.
        think: False for a judge without `<think>`: its reasoning is all that stands before the verdict.
        max_tokens: The longest sample; by default the judge's.
        template: The prompt, with {question}, {answer_a} and {answer_b}; by default "reasongrm".
        both_orders: Show each pair in both orders, instead of in one at random.
        min_strength: Weaker preferences are dropped.
        tokenizer: That of the model to be trained. With it, it is checked that its chat template keeps the reasoning.
        log_path: A file that gets one JSON line for each sample.
        replay: Take the samples that are in that file instead of asking again, after a run that was killed.
        batch_size: Prompts that are put to the judge at once.
        deadline: Seconds for each such batch; None: 600 behind an endpoint.
        keep_failed: Keep prompts without a sample to learn from, too; their completion is None.
        seed: Of the orders and of the sampling.

    Raises `ConfigError` for wrong arguments and data, a judge without log-probabilities, one that never comes to the end
    of its reasoning, and where nothing is left; `JudgeOutage` where most samples of a batch cannot be had.

    >>> rows = select_reasoning(preferences, judge, samples=8, log_path="paths.jsonl", replay=True)  # doctest: +SKIP
    """
    arguments.installed("select_reasoning", "datasets", extra="trl")
    from datasets import Dataset

    if tokenizer is not None and think:
        check_keeps_reasoning(tokenizer)
    orders = arguments.one_of("both_orders", both_orders, (True, False))
    pairs = shown(dataset, min_strength=min_strength, both_orders=orders, seed=seed)
    shared: dict[str, Any] = {"template": template, "log_path": log_path, "replay": replay, "deadline": deadline}
    how: dict[str, Any] = {"samples": samples, "temperature": temperature, "think": think, "max_tokens": max_tokens}
    sampler = PathSampler(judge, seed=seed, **how, **shared)
    found = sampler.rows(pairs, arguments.whole("batch_size", batch_size))
    chosen = [row for row in found if keep_failed or row["completion"]]
    told = f"{len(chosen)} of {len(pairs)} prompts: {sampler.told()}"
    log.info("%s keeps %s", sampler.__name__, told)
    if not chosen:
        raise ConfigError(
            f"no sample can be learnt from: {told}. Use a judge that is right more often, or more samples."
        )
    return Dataset.from_list(chosen)


def hard_examples(
    dataset: Any,
    judge: Judge | None = None,
    *,
    least: float | None = None,
    most: float | None = None,
    **sampling: Any,
) -> Any:
    """A `datasets.Dataset` of prompts that a judge gets right sometimes: columns prompt, target, right, samples.

    For the last stage, with `VerdictReward`. Neither the paper's abstract nor its code says how hard examples are found;
    here they are those with a share of right samples other than 0 and 1, since rollouts that are all right or all wrong
    have no advantage in GRPO. Best sampled by the judge that is to be trained on them.

    Args:
        dataset: What `select_reasoning` returned (where nothing that the judge never got right is left, but with
            keep_failed=True), or preferences.
        judge: With preferences: the judge that samples. With the `log_path` of an earlier run and replay=True, none of
            its samples is asked for again.
        least: The smallest share of right samples, inclusive; None: any but 0.
        most: The largest share, inclusive; None: any but 1.
        **sampling: The other arguments of `select_reasoning`.

    Raises `ConfigError` for wrong arguments, and where no prompt is left.

    >>> rows = hard_examples(selection, most=0.5)  # doctest: +SKIP
    """
    low = arguments.number("least", least, least=0.0, most=1.0, optional=True)
    high = arguments.number("most", most, least=low or 0.0, most=1.0, optional=True)
    selected = {*SELECTED} <= {*(getattr(dataset, "column_names", None) or ())}
    if selected == (judge is not None) or (selected and sampling):
        raise ConfigError(
            f"a dataset with the columns {getattr(dataset, 'column_names', None)} and judge={judge!r}; allowed are a selection "
            "of select_reasoning alone, or preferences with a judge and the arguments of select_reasoning."
        )
    sampled = dataset if selected else select_reasoning(dataset, judge, keep_failed=True, **sampling)  # type: ignore[arg-type]

    def hard(row: Mapping[str, Any]) -> bool:
        share = row["right"] / row["samples"]
        above = share > 0 if low is None else share >= low
        return bool(above and (share < 1 if high is None else share <= high))

    kept = [i for i, row in enumerate(sampled.select_columns(list(SELECTED))) if hard(row)]
    if not kept:
        raise ConfigError(f"none of {len(sampled)} prompts is hard by least={least}, most={most}; give other bounds.")
    log.info("hard_examples keeps %d of %d prompts", len(kept), len(sampled))
    return sampled.select(kept).select_columns(list(SELECTED))


def check_keeps_reasoning(tokenizer: Any) -> None:
    """Raise `ConfigError` where a chat template takes the reasoning out of an answer, so that it would not be learnt."""
    said = "<think>\nBecause.\n</think>\n\n[[A]]"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    if "Because." not in text or "</think>" not in text:
        raise ConfigError(
            f"the chat template of this tokenizer makes {text[-60:]!r} of an answer with reasoning: a model would be trained "
            "on the verdict alone. Set tokenizer.chat_template (or chat_template_path in SFTConfig) to one that keeps it, "
            "such as Qwen3's."
        )
