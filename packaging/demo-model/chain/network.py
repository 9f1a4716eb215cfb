"""A Llama, read from a Hugging Face directory and frozen, with some attention layers converted."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import segments

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Config:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    theta: float

    @staticmethod
    def load(folder):
        c = json.loads((Path(folder) / "config.json").read_text())
        heads = c["num_attention_heads"]
        rope = c.get("rope_parameters") or {}
        scaling = c.get("rope_scaling") or rope
        plain = scaling.get("rope_type", scaling.get("type", "default")) == "default"
        llama = c.get("architectures", ["LlamaForCausalLM"]) == ["LlamaForCausalLM"]
        if not llama or not plain or c.get("attention_bias") or c.get("mlp_bias"):
            raise ValueError(f"{folder}: a Llama without biases and without scaled rotary embeddings is needed")
        return Config(
            layers=c["num_hidden_layers"],
            hidden=c["hidden_size"],
            heads=heads,
            kv_heads=c.get("num_key_value_heads", heads),
            head_dim=c.get("head_dim") or c["hidden_size"] // heads,
            eps=c["rms_norm_eps"],
            theta=c.get("rope_theta") or rope["rope_theta"],
        )


@dataclass
class Trace:
    """What a run left behind, by layer."""

    inputs: dict = field(default_factory=dict)  # hidden state before the block [R, hidden]
    attention: dict = field(default_factory=dict)  # attention's output after o_proj
    hidden: dict = field(default_factory=dict)  # hidden state after the block


class Network:
    def __init__(self, config, weights):
        self.config, self.weights = config, weights

    @staticmethod
    def load(folder, dtype=torch.float32, device="cpu"):
        files = [load_file(f) for f in sorted(Path(folder).glob("*.safetensors"))]
        weights = {name.removeprefix("model."): w.to(device, dtype) for file in files for name, w in file.items()}
        weights.setdefault("lm_head.weight", weights["embed_tokens.weight"])
        return Network(Config.load(folder), weights)

    def projections(self, layer):
        return {name: self.weights[f"layers.{layer}.self_attn.{name}.weight"] for name in PROJECTIONS}

    def rotary(self, positions):
        """The function that turns rows [R, heads, D]; halves are paired."""
        half = self.config.head_dim // 2
        dtype = self.weights["norm.weight"].dtype
        frequency = self.config.theta ** (-torch.arange(half, dtype=torch.float64, device=positions.device) / half)
        angle = positions[:, None, None].double() * frequency
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)

        def turn(x):
            first, second = x[..., :half], x[..., half:]
            return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)

        return turn

    def norm(self, name, x):
        return F.rms_norm(x, x.shape[-1:], self.weights[name], self.config.eps)

    def attention_rows(self, layer, x, rotary):
        """q, k, v of the unconverted layer, for normalised rows."""
        q, k, v = (F.linear(x, self.projections(layer)[name]).unflatten(-1, (-1, self.config.head_dim))
                   for name in PROJECTIONS[:3])
        return rotary(q), rotary(k), v

    def attend(self, layer, x, batch, rotary, converted):
        """The attention's output for the hidden state x."""
        x = self.norm(f"layers.{layer}.input_layernorm.weight", x)
        if layer in converted:
            return converted[layer](x, batch, rotary)
        o = segments.softmax(*self.attention_rows(layer, x, rotary), batch)
        return F.linear(o.flatten(1), self.projections(layer)["o_proj"])

    def feed_forward(self, layer, x):
        weight = {n: self.weights[f"layers.{layer}.mlp.{n}_proj.weight"] for n in ("gate", "up", "down")}
        x = self.norm(f"layers.{layer}.post_attention_layernorm.weight", x)
        return F.linear(F.silu(F.linear(x, weight["gate"])) * F.linear(x, weight["up"]), weight["down"])

    def run(self, batch, converted=None, first=0, end=None, x=None):
        """Layers first .. end - 1, from hidden state x (default: the embedding). Returns the trace."""
        trace, rotary = Trace(), self.rotary(batch.positions)
        x = self.weights["embed_tokens.weight"][batch.ids] if x is None else x
        for layer in range(first, self.config.layers if end is None else end):
            trace.inputs[layer] = x
            trace.attention[layer] = self.attend(layer, x, batch, rotary, converted or {})
            x = x + trace.attention[layer]
            x = trace.hidden[layer] = x + self.feed_forward(layer, x)
        return trace

    def logits(self, hidden):
        """Of rows of the last hidden state."""
        return F.linear(self.norm("norm.weight", hidden), self.weights["lm_head.weight"])
