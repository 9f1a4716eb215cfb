"""Attention over the segments of a batch: rows are gathered into padded sequences and put back.

All functions take and give rows: q [R, H, D], k and v [R, G, D].
"""

import torch
import torch.nn.functional as F

import dsla
from batch import rows_of


def _padded(ranges, nowhere):
    """Row numbers [B, T]; `nowhere` fills up."""
    width = max(len(r) for r in ranges)
    return torch.tensor([list(r) + [nowhere] * (width - len(r)) for r in ranges])


def _gather(x, index):
    """x with one more row, of zeros, at `index`."""
    return torch.cat((x, x.new_zeros(1, *x.shape[1:])))[index]


def dual_state(q, k, v, log_a, mix, batch, recurrence=dsla.chunked):
    """log_a [R, I, G, K]. A child starts from its parent's last state. Returns o [R, H, V]."""
    out = q.new_zeros(len(q), q.shape[1], v.shape[2])
    zero = q.new_zeros(log_a.shape[1], 1, k.shape[1], k.shape[2], v.shape[2])
    roots, children = batch.roots(), batch.children()

    def level(members, start):
        index = _padded([rows_of(batch.segments[i]) for i in members], len(q))
        gates = _gather(log_a, index).movedim(2, 0)
        o, last = recurrence(*(_gather(x, index) for x in (q, k, v)), gates, mix, start)
        real = index < len(q)
        return index[real], o[real], last

    rows, o, last = level(roots, zero.expand(-1, len(roots), -1, -1, -1))
    out = out.index_put((rows,), o)
    if children:
        rows, o, _ = level(children, last[:, [roots.index(batch.segments[i].parent) for i in children]])
        out = out.index_put((rows,), o)
    return out


def softmax(q, k, v, batch):
    """Causal softmax attention; a child also sees its whole parent."""
    out = torch.empty_like(q)
    for root in batch.roots():
        own = slice(batch.segments[root].first_row, batch.segments[root].first_row + batch.segments[root].rows)
        out[own] = F.scaled_dot_product_attention(*_heads(q[own], k[own], v[own]), is_causal=True).transpose(0, 1)
        below = [s for s in batch.segments if s.parent == root]
        if below:
            rows = torch.tensor([row for s in below for row in rows_of(s)])
            mask = _children_mask(below, own.stop - own.start)
            keys, values = (torch.cat((x[own], x[rows])) for x in (k, v))
            o = F.scaled_dot_product_attention(*_heads(q[rows], keys, values), attn_mask=mask)
            out[rows] = o.transpose(0, 1)
    return out


def entropy(q, k, batch):
    """Of the softmax attention, nats [R, H]."""
    out = q.new_empty(q.shape[:2])
    group = q.shape[1] // k.shape[1]
    for segment in batch.segments:
        own = slice(segment.first_row, segment.first_row + segment.rows)
        past = torch.tensor([*(rows_of(batch.segments[segment.parent]) if segment.parent >= 0 else [])], dtype=int)
        keys = torch.cat((k[past], k[own])).repeat_interleave(group, dim=1)
        scores = torch.einsum("thd,uhd->htu", q[own] * q.shape[-1] ** -0.5, keys)
        hidden = torch.ones(segment.rows, len(past) + segment.rows, dtype=torch.bool).triu(len(past) + 1)
        log_p = scores.masked_fill(hidden, -torch.inf).log_softmax(-1)
        out[own] = -torch.special.xlogy(log_p.exp(), log_p.exp()).sum(-1).T
    return out


def window(q, k, v, batch, width):
    """Softmax attention over the `width` latest tokens, the own included; blocks of `width` see two blocks."""
    spans = []  # each segment behind the end of its parent
    for segment in batch.segments:
        above = rows_of(batch.segments[segment.parent])[-width:] if segment.parent >= 0 else range(0)
        spans.append(list(above) + list(rows_of(segment)))
    index = _padded(spans, len(q))
    index = F.pad(index, (0, -index.shape[1] % width), value=len(q))
    group = q.shape[1] // k.shape[1]
    q_blocks = _gather(q, index).unflatten(1, (-1, width)).permute(0, 1, 3, 2, 4)  # [B, N, H, W, D]
    keys, values = (_gather(x, index).unflatten(1, (-1, width)).permute(0, 1, 3, 2, 4) for x in (k, v))
    keys, values = (
        torch.cat((F.pad(x, (0, 0) * 3 + (1, 0))[:, :-1], x), dim=3).repeat_interleave(group, dim=2)
        for x in (keys, values)
    )
    t, u = torch.arange(width)[:, None] + width, torch.arange(2 * width)[None]
    seen = (u <= t) & (u > t - width)
    first = seen & (u >= width)  # the first block has nothing before it
    mask = torch.cat((first[None], seen[None].expand(index.shape[1] // width - 1, -1, -1)))[None, :, None]
    o = F.scaled_dot_product_attention(q_blocks, keys, values, attn_mask=mask)
    o = o.permute(0, 1, 3, 2, 4).flatten(1, 2)
    own = torch.zeros(index.shape, dtype=torch.bool)
    for place, (span, segment) in enumerate(zip(spans, batch.segments)):
        own[place, len(span) - segment.rows : len(span)] = True
    return torch.zeros_like(q).index_put((index[own],), o[own])


def _heads(q, k, v):
    group = q.shape[1] // k.shape[1]
    return (q.transpose(0, 1), *(x.transpose(0, 1).repeat_interleave(group, dim=0) for x in (k, v)))


def _children_mask(segments, parent_rows):
    """[rows, parent_rows + rows]: whether visible."""
    owner = torch.cat([torch.full((s.rows,), i) for i, s in enumerate(segments)])
    own = (owner[:, None] == owner) & torch.ones(len(owner), len(owner), dtype=torch.bool).tril()
    return torch.cat((torch.ones(len(owner), parent_rows, dtype=torch.bool), own), dim=1)
