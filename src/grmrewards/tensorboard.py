"""The best and the worst critique of a call, for TensorBoard.

TRL hands its table of completions, with the critiques in it, to Weights & Biases and to Trackio, and to TensorBoard figures
alone. What writes to TensorBoard is found from what the trainer passed: `log_extra` is a method of the trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grmrewards import texts
from grmrewards.batch import Batch

LONGEST = 4000  # characters of a text that are shown


def tell(name: str, batch: Batch, rewards: Sequence[float | None], log_extra: Any) -> None:
    """Write them where the trainer has a TensorBoard callback, and do nothing elsewhere."""
    writers = _writers(log_extra)
    critiques = batch.notes.get("critique", {})
    ranked = sorted((r, i) for i, r in enumerate(rewards) if r is not None and i in critiques)
    if not writers or not ranked:
        return
    for which, (reward, i) in {"best": ranked[-1], "worst": ranked[0]}.items():
        parts = {"prompt": texts.question(batch.rows[i].prompt), "response": batch.rows[i].response}
        parts |= {kind: "\n\n".join(written[i]) for kind, written in batch.notes.items() if i in written}
        page = f"reward {reward:.3f}\n\n" + "\n\n".join(
            f"**{part}**\n\n{_as_code(text)}" for part, text in parts.items()
        )
        for writer in writers:
            writer.add_text(f"{name}/{which}", page, batch.step)


def _writers(log_extra: Any) -> list[Any]:
    handler = getattr(getattr(log_extra, "__self__", None), "callback_handler", None)
    found = [getattr(callback, "tb_writer", None) for callback in getattr(handler, "callbacks", ())]
    return [writer for writer in found if hasattr(writer, "add_text")]


def _as_code(text: str) -> str:
    """A text that Markdown leaves as it is, whatever a policy wrote."""
    return "\n".join(f"    {line}" for line in text[:LONGEST].splitlines()) or "    (empty)"
