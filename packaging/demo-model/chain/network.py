"""A Llama, or a model of its graph, read from a Hugging Face directory and frozen, with some attention layers converted."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import segments

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "SmolLM3ForCausalLM")


@dataclass(frozen=True)
class Config:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    theta: float
    windows: tuple = ()  # by layer: tokens that a token sees, 0: all; or empty
    rotary_layers: tuple = ()  # by layer: whether q and k are rotated; or empty: all layers'

    def window(self, layer):
        return self.windows[layer] if self.windows else 0

    def rotates(self, layer):
        return self.rotary_layers[layer] if self.rotary_layers else True

    @staticmethod
    def load(folder):
        c = json.loads((Path(folder) / "config.json").read_text())
        heads = c["num_attention_heads"]
        rope = c.get("rope_parameters") or {}
        scaling = c.get("rope_scaling") or rope
        plain = scaling.get("rope_type", scaling.get("type", "default")) == "default"
        family = c.get("architectures", FAMILIES[:1])[0]
        if family not in FAMILIES or not plain:
            raise ValueError(f"{folder}: one of {', '.join(FAMILIES)} without scaled rotary embeddings is needed")
        layers, window = c["num_hidden_layers"], c.get("sliding_window") or 0
        types = c.get("layer_types") or ["sliding_attention" if family == "MistralForCausalLM" else "full_attention"] * layers
        return Config(
            layers=layers,
            hidden=c["hidden_size"],
            heads=heads,
            kv_heads=c.get("num_key_value_heads", heads),
            head_dim=c.get("head_dim") or c["hidden_size"] // heads,
            eps=c["rms_norm_eps"],
            theta=c.get("rope_theta") or rope["rope_theta"],
            windows=tuple(window if kind == "sliding_attention" else 0 for kind in types),
            rotary_layers=tuple(map(bool, c.get("no_rope_layers") or [])),
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

    def attention_parameters(self, layer):
        """The projections, and of their biases, q_norm and k_norm what the model has, by a converted layer's names."""
        names = {f"{name}_bias": f"{name}.bias" for name in PROJECTIONS} | {n: f"{n}.weight" for n in ("q_norm", "k_norm")}
        found = {name: self.weights.get(f"layers.{layer}.self_attn.{stored}") for name, stored in names.items()}
        return self.projections(layer) | {name: weight for name, weight in found.items() if weight is not None}

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
        parameters = self.attention_parameters(layer)
        q, k, v = (F.linear(x, parameters[name], parameters.get(f"{name}_bias")).unflatten(-1, (-1, self.config.head_dim))
                   for name in PROJECTIONS[:3])
        if "q_norm" in parameters:
            q, k = (F.rms_norm(part, part.shape[-1:], parameters[name], self.config.eps)
                    for part, name in ((q, "q_norm"), (k, "k_norm")))
        return rotary(q), rotary(k), v

    def attend(self, layer, x, batch, rotary, converted):
        """The attention's output for the hidden state x."""
        x = self.norm(f"layers.{layer}.input_layernorm.weight", x)
        if not self.config.rotates(layer):
            rotary = lambda rows: rows  # noqa: E731
        if layer in converted:
            return converted[layer](x, batch, rotary)
        rows, width = self.attention_rows(layer, x, rotary), self.config.window(layer)
        o = segments.window(*rows, batch, width) if width else segments.softmax(*rows, batch)
        parameters = self.attention_parameters(layer)
        return F.linear(o.flatten(1), parameters["o_proj"], parameters.get("o_proj_bias"))

    def feed_forward(self, layer, x):
        def project(name, x):
            name = f"layers.{layer}.mlp.{name}_proj"
            return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

        x = self.norm(f"layers.{layer}.post_attention_layernorm.weight", x)
        return project("down", F.silu(project("gate", x)) * project("up", x))

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
