"""Makes small GGUF files and what the format's own Python package reads in them.

    python3 make_gguf.py        # with PyPI's gguf, numpy, safetensors, sentencepiece and torch; writes gguf/

    blocks.json       for each quantized type a few random blocks: {"type", "bytes": hex, "values": float32}
    gqa3_f32.gguf     tiny_llama/gqa3_f32 once more, as llama.cpp's converter writes a Llama: its names, sizes turned
                      round, the rows of q and k in its rotary order
    parts-*.gguf      the same in two parts
    qwen2.gguf, qwen3.gguf, llama3_rope.gguf, biases.gguf, smollm3.gguf, mistral_window.gguf    tiny_llama's, as each
                      family is written there; a Mistral is a Llama with a window
    bytes.gguf        the tokenizer of tokenizers/smollm
    stories260K.gguf  stories260K in Q8_0, with its sentencepiece tokenizer
"""

import json
import math
import pathlib

import gguf
import numpy
import sentencepiece
import torch
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).parent
OUT = HERE / "gguf"
BLOCK_TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def random_blocks(random, kind):
    """Any bits are a block; only the scales, 16-bit floats, must be ordinary numbers."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (3, size), dtype=numpy.uint8)
    scales = {"Q6_K": [size - 2], "Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2]}.get(kind.name, [0])
    for at in scales:
        halves = random.normal(0, 0.05, 3).astype(numpy.float16)
        blocks[:, at : at + 2] = halves.view(numpy.uint8).reshape(3, 2)
    return blocks


def write_blocks():
    random = numpy.random.default_rng(7)
    out = []
    for name in BLOCK_TYPES:
        kind = gguf.GGMLQuantizationType[name]
        blocks = random_blocks(random, kind)
        values = gguf.quants.dequantize(blocks.reshape(1, -1), kind)
        out.append({"type": name, "bytes": blocks.tobytes().hex(), "values": [float(v) for v in values.reshape(-1)]})
    (OUT / "blocks.json").write_text(json.dumps(out))


def gguf_name(name):
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        part, ending = rest.rsplit(".", 1)
        return f"blk.{layer}.{PARTS[part]}.{ending}"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight"}[name]


def interleaved(rows, heads):
    """llama.cpp rotates neighbouring channels: each head's halves are taken by turns."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


# What llama.cpp calls the families; it rotates neighbouring channels in those that are True.
FAMILIES = {
    "LlamaForCausalLM": ("llama", True),
    "MistralForCausalLM": ("llama", True),
    "Qwen2ForCausalLM": ("qwen2", False),
    "Qwen3ForCausalLM": ("qwen3", False),
    "SmolLM3ForCausalLM": ("smollm3", True),
}


def llama3_factors(config):
    """The divisors of the frequencies that llama.cpp's converter stores for rope_type "llama3"."""
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    head = config["head_dim"]
    context = rope["original_max_position_embeddings"]
    out = []
    for j in range(head // 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (2 * j / head)
        low, high = context / rope["low_freq_factor"], context / rope["high_freq_factor"]
        if wave < high:
            out.append(1.0)
        elif wave > low:
            out.append(rope["factor"])
        else:
            smooth = (context / wave - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return numpy.array(out, dtype=numpy.float32)


def write_family(path, name):
    folder = HERE / "tiny_llama" / name
    config = json.loads((folder / "config.json").read_text())
    family, _ = FAMILIES[config["architectures"][0]]
    writer = gguf.GGUFWriter(path, family)
    add_shape(writer, config)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_key_length(config["head_dim"])
    if family == "llama" and config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if (config.get("rope_parameters") or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))
    add_tensors(writer, tensors_of(config, load_file(folder / "model.safetensors")))
    finish(writer)


def add_tensors(writer, tensors):
    kind = gguf.GGMLQuantizationType.BF16
    for name, tensor, bf16 in tensors:
        if bf16:
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)


def tensors_of(config, weights):
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    interleaves = FAMILIES[config["architectures"][0]][1]
    for name, tensor in weights.items():
        bf16 = tensor.dtype == torch.bfloat16
        tensor = tensor.float().numpy()
        for part, count in heads.items():
            if part in name and interleaves:
                tensor = interleaved(tensor, count)
        yield gguf_name(name), numpy.ascontiguousarray(tensor), bf16 and tensor.ndim == 2


def add_shape(writer, config):
    heads = config["num_attention_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_parameters", config)["rope_theta"])
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)


def write_model(path, config, tensors, part=None):
    writer = gguf.GGUFWriter(path, "llama")
    if part is None or part[0] == 0:
        add_shape(writer, config)
        writer.add_bos_token_id(config["bos_token_id"])
        writer.add_eos_token_id(config["eos_token_id"])
        writer.add_token_list(["<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(3, config["vocab_size"])])
    if part is not None:
        writer.add_uint16("split.no", part[0])
        writer.add_uint16("split.count", part[1])
    add_tensors(writer, tensors)
    finish(writer)


def write_byte_level(path):
    tokenizer = json.loads((HERE / "tokenizers" / "smollm" / "tokenizer.json").read_text())
    model = tokenizer["model"]
    special = {token["id"]: token for token in tokenizer["added_tokens"]}
    tokens = {id: token for token, id in model["vocab"].items()} | {id: token["content"] for id, token in special.items()}
    kinds = gguf.TokenType
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([tokens[id] for id in sorted(tokens)])
    writer.add_token_types([kinds.CONTROL if special.get(id, {}).get("special") else
                            kinds.USER_DEFINED if id in special else kinds.NORMAL for id in sorted(tokens)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    finish(writer)


def write_stories(path):
    folder = HERE / "stories260K"
    config = json.loads((folder / "config.json").read_text())
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    ids = range(pieces.vocab_size())
    kinds = gguf.TokenType
    writer = gguf.GGUFWriter(path, "llama")
    add_shape(writer, config)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(id) for id in ids])
    writer.add_token_scores([pieces.get_score(id) for id in ids])
    writer.add_token_types([kinds.UNKNOWN if pieces.is_unknown(id) else kinds.CONTROL if pieces.is_control(id) else
                            kinds.BYTE if pieces.is_byte(id) else kinds.NORMAL for id in ids])
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, tensor, _ in tensors_of(config, load_file(folder / "model.safetensors")):
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    OUT.mkdir(exist_ok=True)
    write_byte_level(OUT / "bytes.gguf")
    write_stories(OUT / "stories260K.gguf")
    write_blocks()
    model = HERE / "tiny_llama" / "gqa3_f32"
    config = json.loads((model / "config.json").read_text())
    tensors = list(tensors_of(config, load_file(model / "model.safetensors")))
    write_model(OUT / "gqa3_f32.gguf", config, tensors)
    for name in ["qwen2", "qwen3", "llama3_rope", "biases", "smollm3", "mistral_window"]:
        write_family(OUT / f"{name}.gguf", name)
    half = len(tensors) // 2
    write_model(OUT / "parts-00001-of-00002.gguf", config, tensors[:half], (0, 2))
    write_model(OUT / "parts-00002-of-00002.gguf", config, tensors[half:], (1, 2))


if __name__ == "__main__":
    main()
