"""Five chat formats as real tokenizers, made here: ChatML, Llama 3, Gemma, DeepSeek, Mistral. Nothing is downloaded."""

from dataclasses import dataclass, field
from typing import Any

HEADER = "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llama3": "{{ bos_token }}{% for m in messages %}" + HEADER + "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "gemma": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "deepseek": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<｜User｜>{{ m['content'] }}"
    "{% elif m['role'] == 'assistant' %}<｜Assistant｜>{{ m['content'] }}{{ eos_token }}{% else %}{{ m['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}",
    "mistral": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST]{{ m['content'] }}[/INST]"
    "{% elif m['role'] == 'system' %}[SYSTEM_PROMPT]{{ m['content'] }}[/SYSTEM_PROMPT]{% else %}{{ m['content'] }}"
    "{{ eos_token }}{% endif %}{% endfor %}",
}
SPECIAL = {
    "chatml": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama3": [
        *[
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
        ],
        *["<|python_tag|>", "<|finetune_right_pad_id|>", *(f"<|reserved_special_token_{i}|>" for i in range(248))],
    ],
    "gemma": ["<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"],
    "deepseek": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"],
    "mistral": [
        *["<s>", "</s>", "<unk>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"],
        *[
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
            "[SYSTEM_PROMPT]",
            "[/SYSTEM_PROMPT]",
            "[TOOL_CONTENT]",
            "[ARGS]",
            "[IMG]",
        ],
        *["[CALL_ID]", "[THINK]", "[/THINK]", "[PREFIX]", "[SUFFIX]", "[MIDDLE]"],
        *(f"[control_{i}]" for i in range(8, 60)),
    ],
}
STRUCTURAL = {  # not flagged as special, and still of the format
    "chatml": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
    "gemma": [f"<unused{i}>" for i in range(99)],
    "deepseek": ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"],
}
TEXT = {  # added, and ordinary text
    "gemma": [
        "<table>",
        "</table>",
        "<td>",
        "</td>",
        "<h1>",
        "<br>",
        "<strong>",
        "</strong>",
        "\n\n",
        "\n\n\n",
        "▁▁",
        "▁▁▁▁",
    ],
    "chatml": ["    ", "\t\t"],
}


@dataclass
class Format:
    """A tokenizer, its control tokens, and how many of each it sees in a prompt."""

    name: str
    tokenizer: Any
    control: list[str]
    ids: frozenset[int] = field(init=False)

    def __post_init__(self):
        self.ids = frozenset(self.tokenizer.convert_tokens_to_ids(self.control))

    def seen(self, content):
        """The control tokens of a prompt of one turn, as a judge's model gets them."""
        turns = [{"role": "user", "content": content}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return sorted(i for i in self.tokenizer(text, add_special_tokens=False)["input_ids"] if i in self.ids)


def make(name):
    """The format called `name`. DeepSeek's here normalises all it can, its control tokens included."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    base = _metaspace() if name == "gemma" else _byte_level(normalise=name == "deepseek")
    special, structural = SPECIAL[name], STRUCTURAL.get(name, [])
    flags = {"normalized": name == "deepseek"}
    base.add_special_tokens([AddedToken(token, special=True, **flags) for token in special])
    base.add_tokens([AddedToken(token, **flags) for token in structural])
    base.add_tokens([AddedToken(token, normalized=False) for token in TEXT.get(name, [])])
    ends = {"llama3": 5, "chatml": 2}.get(name, 1)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, bos_token=special[0], eos_token=special[ends])
    tokenizer.chat_template = TEMPLATES[name]
    return Format(name, tokenizer, [*special, *structural])


def _byte_level(*, normalise):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(sorted(alphabet))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if normalise:
        unseen = normalizers.Replace(Regex("[\u00ad\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]"), "")
        steps = [unseen, normalizers.NFKC(), normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
        tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    return tokenizer


def _metaspace():
    from tokenizers import Tokenizer, models, normalizers

    signs = [*(f"<0x{i:02X}>" for i in range(256)), *map(chr, range(33, 127)), "▁"]
    tokenizer = Tokenizer(models.BPE({sign: i for i, sign in enumerate(signs)}, [], byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    return tokenizer
