"""The fewest tokens that a judge must read, by arithmetic: each text once wherever prompts begin alike.

These are the limits of the speed tables. Lengths are token counts; `words` between them follow `speed_model.Sizes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from speed_model import Sizes


def pairs_one_by_one(sizes: Sizes) -> int:
    """All ordered pairs, each prompt from its first token."""
    others, lengths = len(sizes.responses) - 1, sum(sizes.responses)
    fixed = sizes.prefix + sizes.separator + sizes.tail
    return len(sizes.responses) * others * fixed + 2 * others * lengths


def pairs_as_a_tree(sizes: Sizes) -> int:
    """All ordered pairs: the prefix once, each first response once, each second one after each other first one."""
    others = len(sizes.responses) - 1
    firsts = sum(length + sizes.separator for length in sizes.responses)
    return sizes.prefix + firsts + others * sum(length + sizes.tail for length in sizes.responses)


def against_baseline(sizes: Sizes) -> int:
    """One baseline answer before all responses."""
    return shared(sizes.prefix + sizes.baseline + sizes.separator, [length + sizes.tail for length in sizes.responses])


def judged(sizes: Sizes) -> int:
    """Each response alone after the same prefix."""
    return shared(sizes.prefix, [length + sizes.tail for length in sizes.responses])


def shared(prefix: int, ends: Sequence[int]) -> int:
    """Prompts that share their first `prefix` tokens and nothing else."""
    return prefix + sum(ends)


def written(groups: int, size: int, *, criteria: int, critique: int) -> dict[str, int]:
    """The tokens that a judge writes in a step: criteria in every judgement, once a prompt, or known beforehand."""
    judgements = groups * size
    return {
        "baseline": judgements * (criteria + critique),
        "cold": groups * criteria + judgements * critique,
        "warm": judgements * critique,
    }
