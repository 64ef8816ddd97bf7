"""Runs pytest where TRL's GRPOTrainer is the one that Unsloth makes of it, on a CPU.

python tests/with_unsloth/pytest_patched.py <arguments of pytest>
"""

import sys


def main(arguments):
    """The exit status of pytest, or a message where the trainer was not patched."""
    import unsloth_grpo  # beside this script; not for pytest, which looks for doctests in it

    unsloth_grpo.generate_trainer()

    import pytest
    import trl

    if not trl.GRPOTrainer.__name__.startswith("Unsloth"):
        return f"trl.GRPOTrainer is still {trl.GRPOTrainer}"
    return pytest.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
