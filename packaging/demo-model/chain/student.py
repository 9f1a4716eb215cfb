"""A converted attention layer and what in it differs from the paper's (arXiv 2506.09316)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

import dsla
import segments


@dataclass(frozen=True)
class Variant:
    """y = W_o norm(DSLA(map(rotary(W_q x)), map(rotary(W_k x)), W_v x)), with each part there or not."""

    rotary: bool = False  # the model's rotary embedding on q and k
    feature_map: str = "none"  # one of FEATURE_MAPS, on q and k, after rotary
    output_norm: bool = False  # RMSNorm of each head's output over d_v, one weight [d_v] for all heads
    alpha_per_head: bool = False  # alpha [2, heads] instead of [2]
    window: int = 0  # tokens of exact attention beside the states
    history_bias: float = 0.0  # what c_1 starts from
    recency_bias: float = 0.0  # what c_2 starts from
    states: int = 2  # 1: the history state alone, without mixture
    expand_k: int = 1  # channels of a head's q and k before the map, in head sizes; above 1 not with rotary
    delta: bool = False  # the gated delta rule (delta.py) instead of states that only add; one state
    sinks: int = 0  # first tokens of the document that the window sees too


PAPER = Variant()
TEACHERS = ("q_proj_bias", "k_proj_bias", "v_proj_bias", "o_proj_bias", "q_norm", "k_norm")  # vectors that start as its
DECAYED = ("q_proj", "k_proj", "v_proj", "o_proj", "gk_proj", "gk_proj2", "b_proj")  # matrices under weight decay

FEATURE_MAPS = {
    "none": lambda x: x,
    "softmax": lambda x: x.softmax(dim=-1),
    # Twice as wide (arXiv 2402.04347): a single state of it is as large as two of the others.
    "softmax_pair": lambda x: torch.cat((x.softmax(dim=-1), (-x).softmax(dim=-1)), dim=-1),
}


class DslaLayer(nn.Module):
    """Takes normalised rows [R, hidden], gives the attention's output after o_proj.

    With `expand_k` above 1 a window beside the states sees the first head_dim channels of each head's q and k, which start
    as the teacher's; the others start as random mixtures of these, the same for k and for the q of its group: features of
    them approximate the teacher's softmax (arXiv 2009.14794).
    """

    def __init__(self, config, variant, teacher, seed):
        """`teacher`: the layer's q_proj, k_proj, v_proj, o_proj, with their biases, q_norm and k_norm where it has them."""
        super().__init__()
        self.config, self.variant = config, variant
        if variant.rotary and variant.expand_k > 1:
            raise ValueError(f"expand_k {variant.expand_k}: rotary turns a head's {config.head_dim} channels alone")
        self.key_width = config.head_dim * variant.expand_k
        self.widening = 2 if variant.feature_map == "softmax_pair" else 1  # by the map
        if variant.delta and variant.states > 1:
            raise ValueError("the delta rule has one state")
        like, gates = teacher["q_proj"], config.kv_heads * (1 if variant.delta else self.key_width * self.widening)
        made = {"dtype": like.dtype, "device": like.device}
        random = torch.Generator().manual_seed(seed)
        mixtures = torch.rand(config.kv_heads, 1, self.key_width - config.head_dim, config.head_dim, generator=random)
        mixtures = ((2 * mixtures - 1) * 3**0.5 * config.head_dim**-0.25).to(like)
        for name, weight in teacher.items():
            if name in ("q_proj", "k_proj", "q_proj_bias", "k_proj_bias"):
                heads = weight.reshape(config.kv_heads, -1, config.head_dim, *weight.shape[1:] or (1,))
                weight = torch.cat((heads, mixtures @ heads), dim=2).flatten(0, 2).reshape(-1, *weight.shape[1:])
            self.register_parameter(name, nn.Parameter(weight.clone()))
        self.gk_proj = nn.Parameter(torch.eye(gates, config.hidden, **made))
        self.gk_proj_bias = nn.Parameter(torch.full((gates,), variant.history_bias, **made))
        if variant.states == 2:
            bound = config.hidden**-0.5
            uniform = torch.rand(gates, config.hidden, generator=random).to(like)
            self.gk_proj2 = nn.Parameter((2 * uniform - 1) * bound)
            self.gk_proj2_bias = nn.Parameter(torch.full((gates,), variant.recency_bias, **made))
        if variant.delta:  # beta starts at 1/2
            self.b_proj = nn.Parameter(torch.zeros(config.kv_heads, config.hidden, **made))
            self.b_proj_bias = nn.Parameter(torch.zeros(config.kv_heads, **made))
        elif variant.states > 1:
            shape = (variant.states, config.heads) if variant.alpha_per_head else (variant.states,)
            self.alpha_list = nn.Parameter(torch.zeros(shape, **made))
        if variant.output_norm:
            self.o_norm = nn.Parameter(torch.ones(config.head_dim, **made))
        if variant.window:
            self.state_share = nn.Parameter(torch.zeros(config.heads, **made))
        self.kept = None  # [heads] 1 or 0: the window's part, in training with dropout

    def project(self, name, x, width):
        """Rows [R, heads, width], with the bias and the norm of each config.head_dim channels that the layer has."""
        rows = F.linear(x, getattr(self, f"{name}_proj"), getattr(self, f"{name}_proj_bias", None))
        norm = getattr(self, f"{name}_norm", None)
        if norm is not None:
            rows = F.rms_norm(rows.unflatten(-1, (-1, self.config.head_dim)), norm.shape, norm, self.config.eps).flatten(-2)
        return rows.unflatten(-1, (-1, width))

    def log_gates(self, x):
        """[R, states, kv_heads, channels of the states' keys; 1 by the delta rule]"""
        logits = [F.linear(x, self.gk_proj, self.gk_proj_bias)]
        if self.variant.states == 2:
            logits.append(F.linear(x, self.gk_proj2, self.gk_proj2_bias))
        return dsla.log_gate(torch.stack(logits, dim=1).unflatten(-1, (self.config.kv_heads, -1)))

    def features(self, x):
        """What the states see of q or k [R, heads, key_width], rotated already if the variant says so."""
        mapped = FEATURE_MAPS[self.variant.feature_map](x)
        return F.normalize(mapped, dim=-1) if self.variant.delta else mapped

    def forward(self, x, batch, rotary, log_a=None):
        """`rotary`: the function that turns [R, heads, D]. `log_a`: log_gates(x) where it is known already."""
        v = self.variant
        q, k = (self.project(name, x, self.key_width) for name in ("q", "k"))
        value = self.project("v", x, self.config.head_dim)
        turned_q, turned_k = (rotary(part[..., : self.config.head_dim]) for part in (q, k))
        q, k = (self.features(part) for part in ((turned_q, turned_k) if v.rotary else (q, k)))
        log_a = self.log_gates(x) if log_a is None else log_a
        if v.delta:
            beta = F.linear(x, self.b_proj, self.b_proj_bias).sigmoid()
            o = segments.delta_rule(q, k, value, log_a[:, 0, :, 0], beta, batch)
        else:
            mix = x.new_ones(1, self.config.heads)
            if v.states > 1:
                mix = self.alpha_list.softmax(dim=0).reshape(v.states, -1).expand(-1, self.config.heads)
            o = segments.dual_state(q, k, value, log_a, mix, batch)
        if v.output_norm:
            o = F.rms_norm(o, o.shape[-1:], self.o_norm, self.config.eps)
        if v.window:
            exact = segments.window(turned_q, turned_k, value, batch, v.window, v.sinks)
            if self.kept is not None:
                exact = exact * self.kept[:, None]
            o = exact + self.state_share[:, None] * o
        return F.linear(o.flatten(1), self.o_proj, getattr(self, "o_proj_bias", None))
