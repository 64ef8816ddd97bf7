r"""Text made harmless: no control token of a chat format and no marker of a template can be read in it.

A backslash is inserted after the first character of each. Insertion, because a deletion could join two halves to a new
token; a visible character, because normalisers of tokenizers drop invisible ones. Ordinary text comes back as it was.

What counts is what a tokenizer or a judge reads, not what was typed: `［ＩＮＳＴ］` is `[INST]` to a normaliser (NFKC), and
`<|іm_end|>` with a Cyrillic `і` is `<|im_end|>` to a reader. So the text is folded first (`folding`), one pattern runs
over the folded text, and where it matches, the backslash goes into the text as it was typed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from itertools import pairwise

from grmrewards import tries
from grmrewards.folding import places_in, read, small

# Chat formats in use, for judges whose tokenizer is out of sight (B2-31). `{i}` is any number.
_WORDS = """
think /think tool_call /tool_call tool_response /tool_response tools /tools arg_key /arg_key arg_value /arg_value
start_of_turn end_of_turn bos eos pad unk mask cls sep s /s sop eop eoh eoa eosys unused{i} extra_id_{i} reserved_{i}
reserved_token_{i} SPECIAL_{i} TOKENS_UNUSED_{i} BOS_TOKEN EOS_TOKEN EOP_TOKEN PAD UNK CLS SEP MASK_TOKEN image
start_of_image end_of_image image_soft_token start_of_audio end_of_audio audio_soft_token IMG_CONTEXT fim_prefix
fim_middle fim_suffix fim_pad file_sep reponame gh_stars issue_start issue_comment issue_closed jupyter_start
jupyter_text jupyter_code jupyter_output empty_output commit_before commit_msg commit_after |turn turn| |channel channel|
|tool tool| |tool_call tool_call| |tool_response tool_response| |image image| |audio audio| seed:bos seed:eos
seed:think /seed:think seed:tool_call /seed:tool_call minimax:tool_call /minimax:tool_call longcat_user
longcat_assistant longcat_system longcat_s role>HUMAN</role role>ASSISTANT</role role>SYSTEM</role role>OBSERVATION</role
<SYS> </SYS>
"""
_NAMES = """
INST /INST AVAILABLE_TOOLS /AVAILABLE_TOOLS TOOL_CALLS TOOL_RESULTS /TOOL_RESULTS TOOL_CONTENT ARGS CALL_ID SYSTEM_PROMPT
/SYSTEM_PROMPT MODEL_SETTINGS /MODEL_SETTINGS THINK /THINK IMG IMG_BREAK IMG_END AUDIO BEGIN_AUDIO PREFIX MIDDLE SUFFIX
control_{i} unused{i} gMASK sMASK CLS SEP MASK PAD UNK BOS EOS EOT |system| |user| |assistant| |tool| |endofturn|
"""
_SIGNS = "<|DSML| </|DSML| ]~b] ]~!b[ [e~[ ]!p~[ ]!d~["
GENERIC = (*(f"<{word}>" for word in _WORDS.split()), *(f"[{name}]" for name in _NAMES.split()), *_SIGNS.split())
_ENDS = "\\n\\r\\x0b\\x0c\\x85\u2028\u2029"  # of lines


def neutralise(
    text: str, *, markers: Sequence[str] = (), control_tokens: Sequence[str] = (), before: str = "", after: str = ""
) -> str:
    r"""`text` with a backslash inside each control token and marker. Text without any comes back unchanged.

    Nothing is completed with the line that it stands in either, of which `before` and `after` are the rest.

    >>> neutralise("ok<|im_end|>")
    'ok<\\|im_end|>'
    """
    return guard(tuple(markers), tuple(control_tokens)).harmless(text, before, after)


def break_labels(text: str, labels: tuple[str, ...]) -> str:
    r"""`text` with those of `labels` that stand at the start of a line broken, however they are typed.

    >>> break_labels("see [tool] below\n [Tool] 42", ("[tool]",))
    'see [tool] below\n [\\Tool] 42'
    """
    return _label_guard(labels).harmless(text) if labels else text


@functools.lru_cache(maxsize=64)
def _label_guard(labels: tuple[str, ...]) -> Guard:
    return Guard(labels, (), known=(), where=rf"(?<![^{_ENDS}])[^\S{_ENDS}]*+(?:\[(?=\[))*+")


@functools.lru_cache(maxsize=64)
def guard(markers: tuple[str, ...], control_tokens: tuple[str, ...]) -> Guard:
    """What makes text harmless for one template and one judge."""
    return Guard(markers, control_tokens)


class Guard:
    """One linear pattern for the first signs of all that must not stand in a text.

    The rest is looked at and not consumed: two of them that overlap are both broken.
    """

    def __init__(
        self, markers: Sequence[str], control_tokens: Sequence[str], *, known: Sequence[str] = GENERIC, where: str = ""
    ) -> None:
        found = tries.patterns(markers, known, control_tokens)
        self._any_case, self._as_typed, self._either = (re.compile(f"{where}(?:{pattern})") for pattern in found)
        self._again = any("\\" in token for token in control_tokens)
        singles = "".join(re.escape(token) for token in control_tokens if _is_single(token))
        self._singles = re.compile(f"[{singles}]") if singles else None

    def harmless(self, text: str, before: str = "", after: str = "") -> str:
        """`text` without a control token or marker, also where the rest of its line would complete one."""
        if self._singles:
            text = self._singles.sub(_escaped, text)
        for _ in range(3 if self._again else 1):  # a token that holds a backslash may be made by inserting one
            whole = before + text + after
            places = self._places(whole)
            if before and places:
                places = self._within(places, before, len(text))
            elif after:
                places = [place for place in places if place <= len(text)]
            if not places:
                break
            text = "\\".join(text[start:end] for start, end in pairwise([0, *places, len(text)]))
        return text

    def _within(self, places: Sequence[int], before: str, length: int) -> list[int]:
        """Places of the whole line as places of the value: what begins before it is broken where it begins."""
        own = set(self._places(before))
        inside = (max(place - len(before), 0) for place in places if place not in own)
        return sorted({place for place in inside if place <= length})

    def _places(self, text: str) -> list[int]:
        """Where a backslash has to stand."""
        low = small(text)
        if not self._either.search(low):
            return []
        places = [match.end() for match in self._any_case.finditer(low)]
        places += [match.end() for match in self._as_typed.finditer(text if text.isascii() else read(text))]
        if not text.isascii():
            places = places_in(text, places)
        return sorted({*places})


def _is_single(token: str) -> bool:
    """Has a token no inside for a backslash, and is no ordinary text? A tokenizer may fill its rows up with "!"."""
    return len(token) == 1 and not token.isascii() and not token.isalnum()


def _escaped(match: re.Match[str]) -> str:
    return rf"\u{ord(match[0]):04x}"
