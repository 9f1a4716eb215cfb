"""AdamW with warm-up, cosine decay and clipping; step by step the C++ trainer's."""

import math

import torch

from network import PROJECTIONS
from student import DECAYED, TEACHERS


def learning_rate(step, steps, peak, lowest, warm_up):
    """Of step 0, 1, .. steps - 1."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return lowest + (peak - lowest) * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def clip(parameters, most=1.0):
    """Scales the gradients so that their common norm is at most `most`; returns the norm before, a tensor."""
    gradients = [p.grad for p in parameters]
    norm = torch.stack(torch._foreach_norm([g.double() for g in gradients])).norm()
    torch._foreach_mul_(gradients, (most / norm).clamp(max=1).to(gradients[0].dtype))
    return norm


class Optimizer:
    """Of one layer's parameters."""

    def __init__(self, layer, steps, peak, lowest, warm_up, weight_decay=0.01, projection_rate=1.0):
        """`projection_rate`: the learning rate of what starts as the teacher's (q, k, v, o) relative to the others'."""
        self.parameters = list(layer.parameters())
        self.schedule = (steps, peak, lowest, warm_up)
        groups = {}
        for name, p in layer.named_parameters():
            rate = projection_rate if name in PROJECTIONS + TEACHERS else 1.0
            kind = (weight_decay if name in DECAYED else 0.0, rate)
            groups.setdefault(kind, []).append(p)
        groups = [{"params": g, "weight_decay": decay, "relative_rate": r} for (decay, r), g in groups.items()]
        self.adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, fused=self.parameters[0].is_cuda)

    def step(self, number):
        """Returns the gradients' norm before clipping, a tensor."""
        norm = clip(self.parameters)
        for group in self.adamw.param_groups:
            group["lr"] = group["relative_rate"] * learning_rate(number, *self.schedule)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return norm
