"""A short training that reports to every tracker, without a line of code for any: what a user of `report_to` gets.

python tests/training/tracked.py FOLDER
"""

import os
import sys
from pathlib import Path

import tiny_grpo

from grmrewards import IRPMReward, ScriptedJudge


def reply(messages):
    """The judge that likes vowels, with a critique that should stay a text."""
    return tiny_grpo.reply(messages).replace("Vowels.", "Vowels. <script>alert(1)</script>")


def main(folder):
    """Train three steps; all that trackers leave is in `folder`, and nothing leaves this machine."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "TRACKIO_DIR": str(folder / "trackio")}
    os.environ |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_DISABLE_GIT": "true"}
    reward = IRPMReward(ScriptedJudge(reply), name="watched", group_size=tiny_grpo.GROUP_SIZE)
    trackers = ["trackio", "wandb", "tensorboard"]
    tiny_grpo.train(reward, max_steps=3, output_dir=str(folder / "out"), report_to=trackers, run_name="run")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
