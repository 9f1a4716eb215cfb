"""AdamW with warm-up, cosine decay and clipping; step by step the C++ trainer's."""

import math

import torch

from network import PROJECTIONS
from student import DECAYED


def learning_rate(step, steps, peak, lowest, warm_up):
    """Of step 0, 1, .. steps - 1."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return lowest + (peak - lowest) * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def clip(parameters, most=1.0):
    """Scales the gradients so that their common norm is at most `most`; returns the norm before."""
    norm = torch.sqrt(sum(p.grad.double().square().sum() for p in parameters))
    if norm > most:
        for p in parameters:
            p.grad *= (most / norm).to(p.dtype)
    return float(norm)


class Optimizer:
    """Of one layer's parameters."""

    def __init__(self, layer, steps, peak, lowest, warm_up, weight_decay=0.01, projection_rate=1.0):
        """`projection_rate`: the learning rate of q, k, v and o relative to the other parameters'."""
        self.parameters = list(layer.parameters())
        self.schedule = (steps, peak, lowest, warm_up)
        groups = [
            {
                "params": [p],
                "weight_decay": weight_decay if name in DECAYED else 0.0,
                "relative_rate": projection_rate if name in PROJECTIONS else 1.0,
            }
            for name, p in layer.named_parameters()
        ]
        self.adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)

    def step(self, number):
        """Returns the gradients' norm before clipping."""
        norm = clip(self.parameters)
        for group in self.adamw.param_groups:
            group["lr"] = group["relative_rate"] * learning_rate(number, *self.schedule)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return norm
