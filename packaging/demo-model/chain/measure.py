"""How good a chain is: divergence from the teacher, and answers that greedy decoding would give exactly."""

from collections import defaultdict

import torch

import segments
from batch import NO_LABEL


@torch.no_grad()
def compare(network, converted, batches):
    """Over (batch, kinds): {"kl": mean over all rows, "answer kl": over labelled rows, "exact": {kind: share}}.

    Greedy decoding gives an answer exactly if and only if each of its tokens is the likeliest after the ones
    before it, so nothing needs to be decoded.
    """
    sums, exact = defaultdict(float), defaultdict(list)
    last = network.config.layers - 1
    for batch, kinds in batches:
        batch = batch.to(network.weights["norm.weight"].device)
        student = network.run(batch, converted).hidden[last]
        teacher = network.run(batch).hidden[last]
        for rows in torch.arange(len(batch.ids), device=batch.ids.device).split(4096):
            log_p, log_t = (network.logits(h[rows]).log_softmax(-1) for h in (student, teacher))
            kl = (log_t.exp() * (log_t - log_p)).sum(-1)
            labels = batch.labels[rows]
            sums["kl"] += float(kl.sum())
            sums["rows"] += len(rows)
            sums["answer kl"] += float(kl[labels != NO_LABEL].sum())
            sums["answer rows"] += int((labels != NO_LABEL).sum())
            right = (log_p.argmax(-1) == labels) | (labels == NO_LABEL)
            batch_right = right if rows[0] == 0 else torch.cat((batch_right, right))
        for segment, kind in zip(batch.segments, kinds):
            if kind:
                right = bool(batch_right[segment.first_row : segment.first_row + segment.rows].all())
                exact[kind].append(right)
                exact["all" if kind != "summary" else "summaries"].append(right)
    return {
        "kl": sums["kl"] / sums["rows"],
        "answer kl": sums["answer kl"] / max(1, sums["answer rows"]),
        "exact": {kind: sum(found) / len(found) for kind, found in sorted(exact.items())},
        "questions": len(exact["all"]),
    }


@torch.no_grad()
def attention_entropy(network, batches):
    """By layer: entropy of the softmax attention of the last query of every segment and of all queries [heads]."""
    out = defaultdict(list)
    for batch, _ in batches:
        trace, rotary = network.run(batch), network.rotary(batch.positions)
        ends = [s.first_row + s.rows - 1 for s in batch.segments]
        for layer, x in trace.inputs.items():
            normed = network.norm(f"layers.{layer}.input_layernorm.weight", x)
            q, k, _ = network.attention_rows(layer, normed, rotary)
            found = segments.entropy(q, k, batch)
            out[layer].append((found[ends].mean(0), found.mean(0)))
    return {layer: tuple(torch.stack(part).mean(0) for part in zip(*pairs)) for layer, pairs in out.items()}
