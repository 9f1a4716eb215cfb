"""Dual-state linear attention over sequences (arXiv 2506.09316), one KV head serving a group of query heads.

    log a_i,t = max(logsigmoid(z_i,t) / 16, -50)        S_i,t = diag(a_i,t) S_i,t-1 + k_t v_t^T
    o_t = d_k^-1/2 sum_i mix_i q_t^T S_i,t

Shapes, B sequences of T tokens: q [B, T, H, K], k [B, T, G, K], v [B, T, G, V], log_a [I, B, T, G, K],
mix [I, H], state [I, B, G, K, V], o [B, T, H, V]. I is 2, or 1 for a single state; H is a multiple of G. A padded
token has k = 0 and log a = 0. Log-gates, their sums and the states keep the dtype of log_a: float32 or wider.
"""

import torch
import torch.nn.functional as F

TEMPERATURE, LOWEST = 16.0, -50.0
CHUNK = 32
# Factored exponents stay in e^+-80, which float32 holds. Gates that close faster are taken element by element or,
# where that is too slow, have their exponents cut there; such calls are counted.
STEEPEST = -80.0
cut = {"steep": False, "calls": 0}


def log_gate(z):
    return (F.logsigmoid(z) / TEMPERATURE).clamp(min=LOWEST)


def recurrent(q, k, v, log_a, mix, state):
    """Token by token: the definition. Returns o and the last state."""
    group, outputs = q.shape[2] // k.shape[2], []
    for t in range(q.shape[1]):
        state = log_a[:, :, t].exp()[..., None] * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        seen = torch.einsum("ih,ibhkv->bhkv", mix, state.repeat_interleave(group, dim=2))
        outputs.append(q.shape[-1] ** -0.5 * torch.einsum("bhk,bhkv->bhv", q[:, t], seen))
    return torch.stack(outputs, dim=1), state


def chunked(q, k, v, log_a, mix, state, chunk=CHUNK):
    """The same by chunks (arXiv 2312.06635)."""
    tokens, groups, group = q.shape[1], k.shape[2], q.shape[2] // k.shape[2]
    pad = -tokens % chunk
    q, k, v = (F.pad(x, (0, 0, 0, 0, 0, pad)).unflatten(1, (-1, chunk)) for x in (q, k, v))
    log_a = F.pad(log_a, (0, 0, 0, 0, 0, pad)).unflatten(2, (-1, chunk))
    q = (q.unflatten(3, (groups, -1)).permute(0, 3, 1, 4, 2, 5) * q.shape[-1] ** -0.5).contiguous()  # [B, G, N, J, C, K]
    k, v = (x.permute(0, 3, 1, 2, 4) for x in (k, v))  # [B, G, N, C, K]
    b = log_a.permute(0, 1, 4, 2, 3, 5).cumsum(dim=4)  # [I, B, G, N, C, K], inclusive
    mix = mix.unflatten(1, (groups, -1))[:, None, :, None, :, None, None]  # [I, 1, G, 1, J, 1, 1]

    anchor = b[..., chunk // 2, None, :]
    steep = torch.minimum(anchor, b[..., -1:, :] - anchor).detach().min() < STEEPEST
    if cut["steep"]:
        cut["calls"] += steep  # never asked whether: a GPU's answer would have to be waited for
    elif steep:
        return _steep(q, k, v, b, mix, state, tokens)
    rise = (b - anchor).clamp(STEEPEST, -STEEPEST)
    left = (q * rise.exp()[:, :, :, :, None]).flatten(4, 5)  # [I, B, G, N, J C, K]
    right = k * (-rise).exp()  # [I, B, G, N, C, K]
    within = (left @ right.mT).unflatten(-2, (group, chunk)).tril()  # above the diagonal it may be infinite
    scores = (mix * within).sum(dim=0)  # all states share one score matrix
    entries, state = _entry_states((b[..., -1:, :] - anchor).exp().mT * (right.mT @ v), b, state)
    before = (left @ (anchor.exp().mT * entries)).unflatten(-2, (group, chunk))
    return _joined(scores @ v[:, :, :, None] + (mix * before).sum(dim=0), tokens), state


def _joined(out, tokens):
    """[B, G, N, J, C, V] as [B, T, H, V]."""
    return out.permute(0, 2, 4, 1, 3, 5).flatten(3, 4).flatten(1, 2)[:, :tokens]


def _steep(q, k, v, b, mix, state, tokens):
    """For gates that close too fast for factors: the decay between any two tokens, element by element."""
    scores = 0
    for mix_i, b_i in zip(mix, b):
        decay = (b_i[..., :, None, :] - b_i[..., None, :, :]).clamp(max=0).exp()  # [B, G, N, C, C, K]
        scores = scores + torch.einsum("bgnjtk,bgnuk,bgntuk->bgnjtu", q * mix_i, k, decay)
    entries, state = _entry_states((k * (b[..., -1:, :] - b).exp()).mT @ v, b, state)
    before = (q * b.exp()[:, :, :, :, None]) @ entries[:, :, :, :, None]
    return _joined(scores.tril() @ v[:, :, :, None] + (mix * before).sum(dim=0), tokens), state


def _entry_states(added, b, state):
    """The state before each chunk [I, B, G, N, K, V], and the one after the last. `added`: by each chunk, alike.

    All at once, as a lower triangular product over the chunks for each of the K channels.
    """
    after = F.pad(b[..., -1, :].cumsum(dim=-2), (0, 0, 1, 0)).mT  # [I, B, G, K, 1 + N]
    fade = (after[..., :, None] - after[..., None, 1:]).clamp(max=0).exp().tril(-1)  # of what chunk m added, at n > m
    states = (fade @ added.movedim(-2, -3)).movedim(-3, -2) + after.exp().mT[..., None] * state[..., None, :, :]
    return states[..., :-1, :, :], states[..., -1, :, :]
