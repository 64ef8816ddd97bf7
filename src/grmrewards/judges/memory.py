"""How many tokens a local judge keeps in memory at once: as many as there is room for, half after each time there was not."""

from __future__ import annotations

import logging

import psutil
import torch

from grmrewards.errors import FatalJudgeError

LOG = logging.getLogger("grmrewards")
SHARE_OF_GPU = 0.4  # of what is free: rows that change places are there twice for a moment, and passes need room, too
SENTENCES = ("can't allocate memory", "out of memory", "bad_alloc", "could not create a memory")
SHARE_OF_RAM = 0.2  # the policy and the rest of the system live there


class Memory:
    """The room for keys and values on one device, in tokens."""

    def __init__(self, device: torch.device, *, bytes_a_token: int) -> None:
        self.device, self.bytes_a_token = device, max(1, bytes_a_token)
        self.most: int | None = None  # tokens, once more did not fit

    def tokens(self) -> int:
        """How many fit now. Never more than half of what did not fit before."""
        fit = max(1, int(_free(self.device) / self.bytes_a_token))
        return fit if self.most is None else min(fit, self.most)

    def shrinks(self, error: BaseException, *, tokens: int, rows: int) -> bool:
        """Take at most half of `tokens` from now on; False where there is nothing to halve, or it is another error.

        The caller raises it then: raised here, its traceback would hold this frame, and this frame the error with all
        that was computed.
        """
        if rows == 1 or not out_of_memory(error):
            return False
        before, self.most = self.most, min(self.most or tokens, max(1, tokens // 2))
        if self.most != before:
            LOG.warning(
                "memory ran out on %s at %d tokens; at most %d at once from now on", self.device, tokens, self.most
            )
        return True


def last_resort(error: BaseException, device: torch.device) -> FatalJudgeError:
    """What to say where a single judgement does not fit."""
    return FatalJudgeError(
        f"memory ran out on {device} over a single judgement ({error}). Take a smaller judge, fewer bits (model_kwargs), a "
        "lower max_new_tokens or shorter responses, or judge with an OpenAIJudge on an endpoint."
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether it is that: CUDA has a class for it, Python another, a CPU's allocator and its libraries sentences."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sentence in str(error) for sentence in SENTENCES)


def give_back(device: torch.device) -> None:
    """Return to the device what torch keeps in reserve for itself."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()


def _free(device: torch.device) -> float:
    """Bytes that a judge may use of what is free."""
    if device.type != "cuda":
        return SHARE_OF_RAM * float(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE_OF_GPU * float(free + reserve)
