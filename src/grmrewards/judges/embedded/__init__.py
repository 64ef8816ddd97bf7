"""The embedded judge: half a million parameters, inside the package, for trying a set-up out without any download.

    JUDGE      folder of a judge that knows all five default templates, in one narrow domain (see `domain`)
    POLICY     folder of a policy that answers in the same domain, badly enough to have something to learn

Both load with `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained`. The judge was trained on the
default templates to the letter: an edited template is a language it has never seen, which `check_templates` reports.
"""

from __future__ import annotations

import json
from pathlib import Path

from grmrewards.errors import ConfigError
from grmrewards.prompts import Template

JUDGE = Path(__file__).with_name("judge")
POLICY = Path(__file__).with_name("policy")


def check_templates() -> None:
    """Raise `ConfigError` if a default template is no longer the one that the embedded judge was trained on."""
    card = json.loads((JUDGE / "card.json").read_text(encoding="utf-8"))
    edited = [name for name, digest in card["templates"].items() if Template(name).digest != digest]
    if edited:
        raise ConfigError(
            f"default template {', '.join(edited)} was edited: the embedded judge knows only the text that it was "
            "trained on. Retrain it with `python examples/embedded_judge/train.py`, or leave the default template as "
            "it was and pass your own as template= to other judges only."
        )


__all__ = ["JUDGE", "POLICY", "check_templates"]
