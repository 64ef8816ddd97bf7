"""TRL 1.15 computes the loss of GRPO and its kin by a Triton kernel alone, which no CPU runs: the same in torch.

Other versions have a form for the CPU, and are left as they are. Only the loss is touched, nothing on the way to a reward.
"""

import importlib


def provide(setattr=setattr):
    """Put the loss in its place where this TRL has none for a CPU."""
    utils = importlib.import_module("trl.trainer.utils")
    if hasattr(utils, "_ChunkedLogProbFunction") and not hasattr(utils, "_use_triton"):
        setattr(utils, "_ChunkedLogProbFunction", LogProbs)


class LogProbs:
    @staticmethod
    def apply(hidden, weight, bias, targets, temperature, *_):
        """The log-probability of each target, the entropy, and nothing of what is optional."""
        from torch.nn.functional import linear

        log_probs = (linear(hidden, weight, bias) / temperature).log_softmax(-1)
        chosen = log_probs.gather(-1, targets[:, None])[:, 0]
        return chosen, -(log_probs.exp() * log_probs).sum(-1), None, None, None
