"""Every error that this package raises.

    GRMError
    ├── ConfigError (ValueError)         an argument, a column or a template is wrong: nothing was judged
    ├── JudgeError                       one judgement could not be had: its row stays unscored
    │   ├── TransportError               no answer came: connection, time-out, overload, rate limit
    │   ├── ParseError (ValueError)      an answer came that cannot be read
    │   └── ContextOverflow              the prompt does not fit into the judge's window
    ├── FatalJudgeError                  no retry mends it: key refused, model unknown, quota used up
    ├── JudgeOutage (RuntimeError)       so many judgements failed that training on would be blind
    └── RewardHacked (RuntimeError)      the policy learns to please its judge, and the monitor was told to stop there

A `JudgeError` is data: `Reward` counts it, leaves the row unscored and goes on. The others reach the trainer and end
the run with a message that says what was given, what is allowed and what to do.
"""


class GRMError(Exception):
    """Root of all errors of this package."""


class ConfigError(GRMError, ValueError):
    """A wrong argument, dataset column or template. Raised at construction where that can be known."""


class JudgeError(GRMError):
    """One judgement could not be had. Never turned into a score."""


class TransportError(JudgeError):
    """No answer came from the judge within its time."""


class ParseError(JudgeError, ValueError):
    """The judge answered, but not in a form that can be read as its verdict."""


class ContextOverflow(JudgeError):
    """The prompt does not fit into the judge's context window."""


class FatalJudgeError(GRMError):
    """The judge refuses for a reason that no retry mends (401, 403, 404, quota used up)."""


class JudgeOutage(GRMError, RuntimeError):
    """The share of unscored completions exceeds `max_failures`."""


class RewardHacked(GRMError, RuntimeError):
    """A signal of reward hacking went off, and `Monitor(stop=True)` ends the run there."""
