"""`tests/ranks/train_on_ranks.py` with the trainer that Unsloth generates.

torchrun --nproc_per_node=2 tests/with_unsloth/patched_on_ranks.py FOLDER JOB...
"""

import sys
from pathlib import Path


def main(*arguments):
    import unsloth_grpo  # beside this script; not for pytest, which looks for doctests in it

    unsloth_grpo.generate_trainer()  # first: it must be there when TRL is imported
    sys.path.insert(0, str(Path(__file__).parents[1] / "ranks"))
    import train_on_ranks

    train_on_ranks.main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
