"""Llama in PyTorch: RMSNorm, rotary embedding (half-rotated layout), grouped queries, SwiGLU, tied embeddings.

Module names equal Hugging Face's, so that the state dict is the exported file.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    vocab_size: int = 4096
    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64  # as in the models that people convert; a converted layer's states are head_dim x head_dim
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-5
    rope_theta: float = 100000.0


def rotary_tables(positions, config):
    """cos and sin, each [B, 1, T, head_dim], float32."""
    half = config.head_dim // 2
    frequency = config.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = positions[:, None, :, None].float() * frequency
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def masked_attention(q, k, v, mask):
    """Plain attention: on a CPU, in bf16 and for few tokens, three times faster than the fused one.

    mask: [B, 1, T, S], 0 where visible, a large negative number elsewhere.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return torch.softmax(scores + mask.to(scores.dtype), dim=-1) @ v


class RmsNorm(nn.Module):
    """Computes in float32 and, under autocast, hands on bf16 once instead of once per projection."""

    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        x = F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        q_size = config.num_attention_heads * config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, q_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.o_proj = nn.Linear(q_size, config.hidden_size, bias=False)

    def _heads(self, x):
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)

    def forward(self, x, rotary, causal_length, mask, cache):
        """The first `causal_length` tokens see each other causally, the rest what `mask` allows."""
        q = rotate(self._heads(self.q_proj(x)), *rotary).to(x.dtype)
        k = rotate(self._heads(self.k_proj(x)), *rotary).to(x.dtype)
        v = self._heads(self.v_proj(x))
        if cache is not None:
            k, v = cache.append(self, k, v)
        group = self.config.num_attention_heads // self.config.num_key_value_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        parts, n = [], causal_length
        with torch.autocast("cpu", enabled=False):
            if n > 0:
                parts.append(F.scaled_dot_product_attention(q[:, :, :n], k[:, :, :n], v[:, :, :n], is_causal=True))
            if n < q.shape[2]:
                parts.append(masked_attention(q[:, :, n:], k, v, mask))
        out = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x, rotary, causal_length, mask, cache):
        x = x + self.self_attn(self.input_layernorm(x), rotary, causal_length, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self._initialize()

    def _initialize(self):
        """The embedding starts wide: started small, words of a kind grow alike and cannot be told apart."""
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                depth = 2 * self.config.num_hidden_layers if residual else 1
                nn.init.normal_(weight, std=0.12 if "embed" in name else 0.05 / depth**0.5)

    def forward(self, ids, positions, causal_length, mask=None, cache=None):
        """Normalised hidden states [B, T, hidden]; `logits` turns the wanted ones into scores."""
        rotary = rotary_tables(positions, self.config)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, rotary, causal_length, mask, cache)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight)
