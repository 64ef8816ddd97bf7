"""Runs pytest where TRL's GRPOTrainer is the one that Unsloth makes of it, on a CPU.

    python tests/with_unsloth/pytest_patched.py <arguments of pytest>

Unsloth imports without a GPU where UNSLOTH_ALLOW_CPU=1, but leaves the trainers as they are while it is set. So it is set
for the import and unset for the patching: what runs then is the code that Unsloth generates, with nothing replaced in it.
"""

import os
import sys
import tempfile


def main(arguments):
    """The exit status of pytest, or a message where the trainer was not patched."""
    os.environ["UNSLOTH_COMPILE_LOCATION"] = tempfile.mkdtemp()  # where the generated code goes: not the working folder
    os.environ["UNSLOTH_ALLOW_CPU"] = "1"
    import unsloth  # noqa: F401  # before TRL, as Unsloth demands

    os.environ["UNSLOTH_ALLOW_CPU"] = "0"
    from unsloth.models import rl

    rl._patch_trl_rl_trainers("grpo_trainer")

    import pytest
    import trl

    if not trl.GRPOTrainer.__name__.startswith("Unsloth"):
        return f"trl.GRPOTrainer is still {trl.GRPOTrainer}"
    return pytest.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
