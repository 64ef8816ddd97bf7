"""Writes a tiny random llama as a GGUF file for llama.cpp: `python make_gguf.py FILE`. Needs the package `gguf` alone.

The vocabulary is the bytes, as GPT-2 writes them, words that make the end of an answer rare, and the marks of turns of
the chat template, ChatML. Random weights say nothing sensible, which is enough to see what a server does with the fields
of a request.
"""

import sys

try:
    import gguf
    import numpy as np
except ImportError:  # where pytest looks for doctests, and the server has an environment of its own
    gguf = np = None

WIDTH, LAYERS, INNER, HEADS, CONTEXT = 64, 2, 128, 2, 1024
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = [f"Ġw{i}" for i in range(2000)]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokens():
    """One visible character for each byte, as byte-level BPE spells them."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) for byte in visible] + [chr(256 + i) for i in range(len(hidden))]


def add_vocabulary(writer):
    tokens = [*byte_tokens(), "Ġw", *WORDS, *MARKS]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(MARKS)) + [gguf.TokenType.CONTROL] * len(MARKS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["Ġ w"])
    writer.add_bos_token_id(tokens.index(MARKS[0]))
    writer.add_eos_token_id(tokens.index(MARKS[2]))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    return len(tokens)


def add_weights(writer, size):
    rng = np.random.default_rng(0)

    def random(*shape):
        return (rng.standard_normal(shape) * 0.08).astype(np.float32)

    writer.add_tensor("token_embd.weight", random(size, WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", random(size, WIDTH))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(WIDTH, np.float32))
        for matrix in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{matrix}.weight", random(WIDTH, WIDTH))
        for matrix in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{matrix}.weight", random(INNER, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", random(WIDTH, INNER))


def main(path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(0)
    size = add_vocabulary(writer)
    writer.add_vocab_size(size)
    add_weights(writer, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
