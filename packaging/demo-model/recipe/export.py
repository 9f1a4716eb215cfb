"""Writes a checkpoint as a Hugging Face directory: config.json, model.safetensors (bf16), tokenizer.json."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from corpus import BOS, EOS
from model import Config


def hf_config(config):
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    weights = torch.load(args.checkpoint, weights_only=True)["model"]
    weights = {f"model.{name}": w.to(torch.bfloat16).contiguous() for name, w in weights.items()}
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(hf_config(Config()), indent=2) + "\n")
    shutil.copyfile(args.tokenizer, args.out / "tokenizer.json")


if __name__ == "__main__":
    main()
