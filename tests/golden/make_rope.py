"""Makes rope.json: rotary embeddings as config.json may state them, and what Hugging Face transformers makes of each.

    python3 make_rope.py        # with PyPI's torch and transformers

A list of objects:
    config             keys for a config.json of LlamaForCausalLM: of transformers 5, or of 4 with rope_scaling
    frequencies        float32 angles from token to token, one for each pair of a head's channels
    attention_factor   of cosines and sines
"""

import copy
import json
import pathlib

import transformers
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

OUT = pathlib.Path(__file__).parent / "rope"


def case(context=4096, head_dim=64, theta=10000.0, **rope):
    return {"max_position_embeddings": context, "head_dim": head_dim, "rope_parameters": rope | {"rope_theta": theta}}


def old_case(context=4096, head_dim=64, theta=10000.0, **rope):
    return {"max_position_embeddings": context, "head_dim": head_dim, "rope_theta": theta, "rope_scaling": rope or None}


LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CASES = [
    old_case(),
    case(rope_type="default", theta=500000.0, head_dim=20),
    old_case(type="linear", factor=4.0),
    case(rope_type="linear", factor=2.5, theta=1e6),
    old_case(type="dynamic", factor=2.0),
    case(rope_type="dynamic", factor=4),
    # Llama 3.1's and 3.2's.
    case(131072, 128, 500000.0, **LLAMA3, factor=8.0, original_max_position_embeddings=8192),
    old_case(131072, 64, 500000.0, **LLAMA3, factor=32.0, original_max_position_embeddings=8192),
    case(4096, 64, 10000.0, rope_type="llama3", factor=3.0, low_freq_factor=0.5, high_freq_factor=9.0),
    # Qwen 2.5's, as its model card says.
    old_case(32768, 128, 1e6, type="yarn", factor=4.0, original_max_position_embeddings=32768),
    case(131072, 128, 1e6, rope_type="yarn", factor=4.0, original_max_position_embeddings=32768),
    case(65536, 64, 10000.0, rope_type="yarn", factor=16.0, original_max_position_embeddings=4096, beta_fast=24, beta_slow=2),
    case(65536, 96, 10000.0, rope_type="yarn", factor=16.0, original_max_position_embeddings=4096, truncate=False),
    case(65536, 64, 10000.0, rope_type="yarn", factor=16.0, original_max_position_embeddings=4096, attention_factor=0.75),
    # DeepSeek's.
    case(163840, 64, 10000.0, rope_type="yarn", factor=40, original_max_position_embeddings=4096, mscale=0.707, mscale_all_dim=1.0),
    case(163840, 64, 10000.0, rope_type="yarn", factor=40, original_max_position_embeddings=4096, mscale=1.0, mscale_all_dim=0),
    case(8192, 64, 10000.0, rope_type="yarn", factor=None, original_max_position_embeddings=2048),
    case(2048, 8, 100.0, rope_type="yarn", factor=2.0, original_max_position_embeddings=8),
]  # fmt: skip


def made_of(keys):
    config = LlamaConfig(hidden_size=512, num_attention_heads=8, **copy.deepcopy(keys))
    rope = LlamaRotaryEmbedding(config)
    return {
        "config": keys,
        "frequencies": [float(f"{x:.9g}") for x in rope.inv_freq.tolist()],
        "attention_factor": rope.attention_scaling,
    }


def main():
    OUT.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(made_of(keys)) for keys in CASES)
    (OUT / "rope.json").write_text(f"[\n{lines}\n]\n")
    (OUT / "SOURCE.txt").write_text(f"Written by ../make_rope.py with transformers {transformers.__version__}.\n")


if __name__ == "__main__":
    main()
