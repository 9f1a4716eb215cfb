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
# Factored exponents stay in e^+-60, which float32 holds; gates that close faster are taken element by element.
STEEPEST = -60.0


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
    """The same by chunks (arXiv 2312.06635); all states share one score matrix."""
    tokens, heads, groups = q.shape[1], q.shape[2], k.shape[2]
    pad = -tokens % chunk
    q, k, v = (F.pad(x, (0, 0, 0, 0, 0, pad)).unflatten(1, (-1, chunk)) for x in (q, k, v))
    log_a = F.pad(log_a, (0, 0, 0, 0, 0, pad)).unflatten(2, (-1, chunk))
    q = q.unflatten(3, (groups, -1)).permute(0, 3, 4, 1, 2, 5) * q.shape[-1] ** -0.5  # [B, G, J, N, C, K]
    k, v = k.permute(0, 3, 1, 2, 4), v.permute(0, 3, 1, 2, 4)  # [B, G, N, C, K]
    b = log_a.permute(0, 1, 4, 2, 3, 5).cumsum(dim=4)  # [I, B, G, N, C, K], inclusive
    mix = mix.unflatten(1, (groups, -1))[:, None, :, :, None, None, None]  # [I, 1, G, J, 1, 1, 1]

    scores = _scores(q, k, b, mix)
    entries, state = _entry_states(k, v, b, state)
    faded = q * mix * b.exp()[:, :, :, None]  # [I, B, G, J, N, C, K]
    out = scores @ v[:, :, None] + (faded @ entries[:, :, :, None]).sum(dim=0)  # [B, G, J, N, C, V]
    out = out.permute(0, 3, 4, 1, 2, 5).flatten(3, 4).flatten(1, 2)
    return out[:, :tokens], state


def _scores(q, k, b, mix):
    """[B, G, J, N, C, C], zero above the diagonal."""
    if b.detach()[..., -1, :].min() > STEEPEST:
        anchor = b[..., b.shape[-2] // 2, None, :]
        left = (q * mix * (b - anchor).exp()[:, :, :, None]).movedim(0, -2).flatten(-2)
        right = (k * (anchor - b).exp()).movedim(0, -2).flatten(-2)
        return (left @ right[:, :, None].transpose(-1, -2)).tril()
    out = 0
    for mix_i, b_i in zip(mix, b):
        decay = (b_i[..., :, None, :] - b_i[..., None, :, :]).clamp(max=0).exp()  # [B, G, N, C, C, K]
        out = out + torch.einsum("bgjntk,bgnuk,bgntuk->bgjntu", q * mix_i, k, decay)
    return out.tril()


def _entry_states(k, v, b, state):
    """The state before each chunk [I, B, G, N, K, V], and the one after the last."""
    added = (k * (b[..., -1:, :] - b).exp()).transpose(-1, -2) @ v
    kept = b[..., -1, :, None].exp()
    entries = []
    for n in range(added.shape[3]):
        entries.append(state)
        state = kept[:, :, :, n] * state + added[:, :, :, n]
    return torch.stack(entries, dim=3), state
