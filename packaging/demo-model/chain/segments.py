"""Attention over the segments of a batch: rows are gathered into padded sequences (layout.py) and put back.

All functions take and give rows: q [R, H, D], k and v [R, G, D].
"""

import torch
import torch.nn.functional as F

import delta
import dsla
from batch import rows_of
from layout import Gather


def dual_state(q, k, v, log_a, mix, batch):
    """log_a [R, I, G, K]. Returns o [R, H, V]."""
    states = log_a.shape[1]

    def form(q, k, v, log_a, start):
        o, last = dsla.chunked(q, k, v, log_a.movedim(2, 0), mix, start.unflatten(1, (states, -1)).movedim(1, 0))
        return o, last.movedim(0, 1).flatten(1, 2)

    return _from_states(form, batch, states * k.shape[1], q, k, v, log_a)


def delta_rule(q, k, v, log_a, beta, batch):
    """log_a and beta [R, G]. Returns o [R, H, V]."""
    form = lambda q, k, v, log_a, beta, start: delta.chunked(q, k, v, log_a[..., 0], beta[..., 0], start)
    return _from_states(form, batch, k.shape[1], q, k, v, log_a[..., None], beta[..., None])


def _from_states(form, batch, states, q, k, v, *more):
    """`form` from states [B, states, K, V]: zero for a root, its parent's last ones for a child."""
    layout, gather = batch.layout(), Gather(q, k, v, *more)
    zero = q.new_zeros(len(layout.roots), states, k.shape[2], v.shape[2])
    o, last = form(*gather(layout.roots), zero)
    o = o.flatten(0, 1)
    if len(layout.children):
        below, _ = form(*gather(layout.children), last.index_select(0, layout.parents))
        o = torch.cat((o, below.flatten(0, 1)))
    return o.index_select(0, layout.in_segments)


def softmax(q, k, v, batch):
    """Causal softmax attention; a child also sees its whole parent."""
    layout = batch.layout()
    group = q.shape[1] // k.shape[1]
    gather = Gather(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))
    above, below = ([x.transpose(1, 2) for x in gather(index)] for index in (layout.roots, layout.families))
    o = F.scaled_dot_product_attention(*above, is_causal=True).transpose(1, 2).flatten(0, 1)
    if len(layout.children):
        keys, values = (torch.cat(pair, dim=2) for pair in zip(above[1:], below[1:]))
        mask = _families_mask(layout)[:, None]
        children = F.scaled_dot_product_attention(below[0], keys, values, attn_mask=mask)
        o = torch.cat((o, children.transpose(1, 2).flatten(0, 1)))
    return o.index_select(0, layout.in_families)


def entropy(q, k, batch):
    """Of the softmax attention, nats [R, H]."""
    out = q.new_empty(q.shape[:2])
    group = q.shape[1] // k.shape[1]
    for segment in batch.segments:
        own = slice(segment.first_row, segment.first_row + segment.rows)
        past = torch.tensor([*(rows_of(batch.segments[segment.parent]) if segment.parent >= 0 else [])], dtype=int)
        keys = torch.cat((k[past], k[own])).repeat_interleave(group, dim=1)
        scores = torch.einsum("thd,uhd->htu", q[own] * q.shape[-1] ** -0.5, keys)
        hidden = torch.ones(segment.rows, len(past) + segment.rows, dtype=torch.bool, device=q.device).triu(len(past) + 1)
        log_p = scores.masked_fill(hidden, -torch.inf).log_softmax(-1)
        out[own] = -torch.special.xlogy(log_p.exp(), log_p.exp()).sum(-1).T
    return out


def window(q, k, v, batch, width, sinks=0):
    """Softmax attention over the `width` latest tokens, the own included; blocks of `width` see two blocks.

    And over the first `sinks` tokens of the root, where they are further back.
    """
    layout, gather, group = batch.window_layout(width), Gather(q, k, v), q.shape[1] // k.shape[1]
    t, u = torch.arange(width, device=q.device)[:, None] + width, torch.arange(2 * width, device=q.device)[None]
    seen = (u <= t) & (u > t - width)
    first = seen & (u >= width)  # the first block has nothing before it

    def level(index, roots):
        queries, keys, values = (x.unflatten(1, (-1, width)).transpose(2, 3) for x in gather(index))
        keys, values = (  # [B, N, H, 2 W, D]: the block before and the own one
            torch.cat((F.pad(x, (0, 0) * 3 + (1, 0))[:, :-1], x), dim=3).repeat_interleave(group, dim=2).flatten(0, 1)
            for x in (keys, values)
        )
        mask = torch.cat((first[None], seen[None].expand(index.shape[1] // width - 1, -1, -1)))
        mask = mask.repeat(len(index), 1, 1)[:, None]
        if sinks:
            heads = layout.roots.index_select(0, roots)[:, :sinks]
            further = [x.repeat_interleave(group, dim=2).transpose(1, 2) for x in gather(heads)[1:]]  # [B, H, S, D]
            keys, values = (torch.cat((first.repeat_interleave(len(x) // len(first), 0), x), dim=2)
                            for first, x in zip(further, (keys, values)))
            back = positions[index].unflatten(1, (-1, width)).flatten(0, 1)[..., None] - width  # latest token out of sight
            there = (heads < len(q)).repeat_interleave(len(back) // len(heads), 0)[:, None]
            mask = torch.cat((there & (torch.arange(heads.shape[1], device=q.device) <= back), mask[:, 0]), dim=2)[:, None]
        o = F.scaled_dot_product_attention(queries.flatten(0, 1), keys, values, attn_mask=mask)  # [B N, H, W, D]
        return o.transpose(1, 2).flatten(0, 1)

    positions = F.pad(batch.positions, (0, 1))
    every = torch.arange(len(layout.roots), device=q.device)
    levels = [level(layout.roots, every)]
    if len(layout.children):
        levels.append(level(layout.children, batch.layout().parents))
    return torch.cat(levels).index_select(0, layout.places)


def _families_mask(layout):
    """[D, V, T + V]: whether visible. A padded row sees the padded ones before it."""
    tokens, own = layout.roots.shape[1], layout.owners.shape[1]
    parent = torch.arange(tokens, device=layout.roots.device) < layout.root_rows[:, None]
    same = layout.owners[:, :, None] == layout.owners[:, None, :]
    causal = torch.ones(own, own, dtype=torch.bool, device=same.device).tril()
    return torch.cat((parent[:, None].expand(-1, own, -1), same & causal), dim=2)
