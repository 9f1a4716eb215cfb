"""Makes small random Llama models, and models of Llama's graph, and what Hugging Face transformers computes for them.

    python3 make_tiny_llama.py [NAME...]    # with PyPI's torch and transformers; writes tiny_llama/<name>/, all without names

Each folder is an ordinary model directory plus golden.json:
    prompt_ids   token ids of the prompt
    logits       [len(prompt_ids), vocab_size]: float32 logits after each prompt token
    greedy_ids   the greedy continuation; every step won by a clear margin, so that rounding cannot flip it
Weights are rounded to the stored dtype first; all arithmetic is float32, without a KV cache.
"""

import dataclasses
import json
import pathlib
import shutil
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

OUT = pathlib.Path(__file__).parent / "tiny_llama"
GREEDY_TOKENS = 12
CLEAR_MARGIN = 1e-2


@dataclasses.dataclass
class Shape:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    rope_theta: float
    epsilon: float
    dtype: torch.dtype
    prompt_tokens: int
    shard_bytes: int = 0  # 0: one file
    old_keys: bool = False  # config.json as transformers 4 wrote it
    model_type: str = "llama"
    rope: dict = dataclasses.field(default_factory=lambda: {"rope_type": "default"})
    options: dict = dataclasses.field(default_factory=dict)  # further keys of the configuration


SHAPES = {
    # Six heads share two: an odd group. Head size 8, the smallest.
    "gqa3_f32": Shape(48, 64, 2, 6, 2, 8, 97, False, 10000.0, 1e-5, torch.float32, 48),
    # Heads together wider than the hidden size, and a head size that is no power of two.
    "wide_heads_f16": Shape(40, 72, 2, 4, 2, 20, 101, True, 500000.0, 1e-6, torch.float16, 40),
    # One key/value head for all, head size 64.
    "mqa_bf16": Shape(64, 96, 2, 2, 1, 64, 96, True, 1000000.0, 1e-5, torch.bfloat16, 32),
    # No sharing, several shards with an index, keys of transformers 4.
    "mha_sharded_bf16": Shape(64, 96, 3, 4, 4, 16, 110, False, 10000.0, 1e-5, torch.bfloat16, 37, 60_000, True),
    # Heads together narrower than the hidden size; groups of four; shards in float32.
    "narrow_heads_sharded_f32": Shape(72, 56, 2, 4, 1, 16, 89, False, 25000.0, 1e-4, torch.float32, 24, 90_000),
}


def family(model_type="llama", layers=2, rope=None, old_keys=False, **options):
    """Models that differ in their graph alone."""
    return Shape(
        hidden=32, intermediate=40, layers=layers, heads=4, kv_heads=2, head_dim=16, vocab=61, tied=False,
        rope_theta=10000.0, epsilon=1e-5, dtype=torch.bfloat16, prompt_tokens=40, old_keys=old_keys,
        model_type=model_type, rope=rope or {"rope_type": "default"}, options=options,
    )  # fmt: skip


SHAPES |= {
    "linear_rope": family(rope={"rope_type": "linear", "factor": 3.0}, old_keys=True),
    # Of the context that the file states nothing may change.
    "dynamic_rope": family(rope={"rope_type": "dynamic", "factor": 2.0}),
    "llama3_rope": family(
        rope={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    ),
    "yarn_rope": family(
        rope={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, old_keys=True
    ),
    "biases": family(attention_bias=True, mlp_bias=True),
    # A window shorter than the prompt, in every layer.
    "mistral_window": family("mistral", sliding_window=7),
    "qwen2": family("qwen2", old_keys=True),
    "qwen2_window": family("qwen2", layers=3, use_sliding_window=True, sliding_window=9, max_window_layers=1),
    # Windows where the list of layers says so, whatever their number.
    "qwen2_layer_types": family(
        "qwen2", layers=3, use_sliding_window=True, sliding_window=9, max_window_layers=3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),  # fmt: skip
    "qwen3": family("qwen3"),
    "qwen3_window": family("qwen3", layers=3, use_sliding_window=True, sliding_window=9, max_window_layers=1),
    "qwen3_biases": family("qwen3", attention_bias=True),
    # The second and the fourth layer without rotary embedding.
    "smollm3": family("smollm3", layers=4, no_rope_layer_interval=2, pad_token_id=0, old_keys=True),
    # A window in the layers without rotary embedding, and biases.
    "smollm3_window": family(
        "smollm3", layers=4, no_rope_layer_interval=2, pad_token_id=0, use_sliding_window=True, sliding_window=9
    ),
    "smollm3_biases": family("smollm3", layers=2, pad_token_id=0, attention_bias=True, mlp_bias=True),
}


def make_config(shape):
    return AutoConfig.for_model(
        shape.model_type,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab,
        max_position_embeddings=128,
        rms_norm_eps=shape.epsilon,
        rope_parameters=shape.rope | {"rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tied,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
        **shape.options,
    )


def make_model(shape):
    """Random weights, large enough that attention is far from uniform and every term matters."""
    model = AutoModelForCausalLM.from_config(make_config(shape)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
            elif "bias" in name:
                weight.normal_(0.0, 0.5)
            elif "embed" in name:
                weight.normal_(0.0, 0.7)
            else:
                weight.normal_(0.0, 1.6 / weight.shape[1] ** 0.5)
    return model.to(shape.dtype)


def config_in_old_keys(text):
    config = json.loads(text)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    return json.dumps(config, indent=2) + "\n"


def greedy(model, ids):
    """The continuation of `ids`, cut before the first step that is not won clearly."""
    chosen = []
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([ids + chosen]), use_cache=False).logits[0, -1]
        best, second = torch.topk(logits, 2).values.tolist()
        if best - second < CLEAR_MARGIN:
            break
        chosen.append(int(logits.argmax()))
    return chosen


def golden_vectors(folder, shape):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = [1] + torch.randint(3, shape.vocab, (shape.prompt_tokens - 1,)).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0]
        return {
            "prompt_ids": prompt,
            "greedy_ids": greedy(model, prompt),
            "logits": [[float(f"{value:.7g}") for value in row] for row in logits.tolist()],
        }


def write_folder(name, shape):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    limit = {"max_shard_size": shape.shard_bytes} if shape.shard_bytes else {}
    make_model(shape).save_pretrained(folder, **limit)
    golden = golden_vectors(folder, shape)
    if shape.old_keys:
        config = folder / "config.json"
        config.write_text(config_in_old_keys(config.read_text()))
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()):,} bytes, greedy {golden['greedy_ids']}")


def main():
    for name in sys.argv[1:] or SHAPES:
        torch.manual_seed(sum(name.encode()))
        write_folder(name, SHAPES[name])
        (OUT / name / "SOURCE.txt").write_text(
            "Random weights and their logits, written by ../../make_tiny_llama.py with "
            f"torch {torch.__version__.split('+')[0]} and transformers {transformers.__version__}.\n"
        )


if __name__ == "__main__":
    main()
