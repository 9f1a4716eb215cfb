"""The losses of the two stages that convert a layer.

    layer-wise   mean over rows and channels of (student - teacher)^2 of the attention's output (or the hidden state)
    chained      CE + align * MSE(hidden, teacher's) + kl * KL(teacher || student)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from batch import NO_LABEL


@dataclass(frozen=True)
class ChainedWeights:
    ce: float = 1.0
    align: float = 0.1
    kl: float = 1.0


def layer_wise(network, converted, layer, batch, target="attention"):
    """`converted` holds the layer itself; the layer's inputs come from the chain below it."""
    with torch.no_grad():
        teacher = network.run(batch, end=layer + 1)
        x = teacher.inputs[layer]
        if any(below < layer for below in converted):
            trace = network.run(batch, converted, end=layer)
            x = trace.hidden[layer - 1]
    student = network.run(batch, converted, first=layer, end=layer + 1, x=x)
    if target == "attention":
        return F.mse_loss(student.attention[layer], teacher.attention[layer])
    return F.mse_loss(student.hidden[layer], teacher.hidden[layer])


def token_losses(logits, teacher_logits, labels, kl_weight):
    """Mean cross entropy over the labelled rows, and mean divergence by `kl_weight`; 0 without any."""
    log_p, log_t = logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    ce = F.nll_loss(log_p, labels, ignore_index=NO_LABEL, reduction="sum") / (labels != NO_LABEL).sum().clamp(min=1)
    rows = (log_t.exp() * (log_t - log_p)).sum(-1)
    return ce, (rows * kl_weight).sum() / kl_weight.sum().clamp(min=1e-30)


def chained(network, converted, layer, batch, weights):
    """Returns the loss and its parts {"ce", "align", "kl"}."""
    with torch.no_grad():
        teacher = network.run(batch)
        x = network.run(batch, converted, end=layer).hidden[layer - 1] if layer else None
    student = network.run(batch, converted, first=layer, x=x)
    rows, last = batch.scored, network.config.layers - 1
    ce, kl = token_losses(
        network.logits(student.hidden[last][rows]),
        network.logits(teacher.hidden[last][rows]),
        batch.labels[rows],
        batch.kl_weight[rows].to(student.hidden[last].dtype),
    )
    parts = {"ce": ce, "align": F.mse_loss(student.hidden[layer], teacher.hidden[layer]), "kl": kl}
    return sum(getattr(weights, name) * part for name, part in parts.items()), parts
