"""Muon (K. Jordan, 2024) for the layers' matrices, AdamW for the embedding and the norms.

With AdamW alone the model was still guessing after 0.9 million tokens of logbooks; with Muon and the same
batches it had begun to look stations up after 0.5 million.
"""

from collections import defaultdict

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)  # Newton-Schulz coefficients: steep at 0, singular values end near 1
ITERATIONS = 5


def orthogonalized(matrices):
    """About U V^T of each matrix's singular value decomposition; matrices: [N, rows, columns], float32."""
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """As torch.optim.Muon with `match_rms_adamw`, but all matrices of a shape at once and in float32.

    PyTorch's own works matrix by matrix in bf16: on a processor without bf16 instructions that took three quarters
    of a short training step.
    """

    def __init__(self, parameters, momentum=0.95, weight_decay=0.05):
        super().__init__(parameters, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alike = defaultdict(list)
            for parameter in group["params"]:
                alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                self._step_shape(group, shape, parameters)

    def _step_shape(self, group, shape, parameters):
        momentum, rate = group["momentum"], group["lr"]
        state = self.state[parameters[0]]
        gradient = torch.stack([parameter.grad for parameter in parameters])
        average = state.setdefault("average", torch.zeros_like(gradient))
        average.lerp_(gradient, 1 - momentum)
        update = orthogonalized(gradient.lerp(average, momentum))
        scale = 0.2 * max(shape) ** 0.5  # the size of an AdamW update
        for parameter, change in zip(parameters, update):
            parameter.mul_(1 - rate * group["weight_decay"]).add_(change, alpha=-rate * scale)


class Optimizer:
    def __init__(self, model):
        inner = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
        known = {id(p) for p in inner}
        outer = [p for p in model.parameters() if id(p) not in known]
        self.parts = [Muon(inner), torch.optim.AdamW(outer, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)]

    def step(self, learning_rate):
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate if part is self.parts[0] else learning_rate / 2
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self):
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states):
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)
