"""The gated delta rule with scalar gates (arXiv 2412.06464), one KV head serving a group of query heads.

    S_t = a_t (S_t-1 - beta_t k_t (k_t^T S_t-1)) + beta_t k_t v_t^T        o_t = q_t^T S_t

A token takes from the state what its key finds there, before it adds its own value: a fact that is stated again replaces
the former one. Keys and queries have length 1, so that beta 1 replaces all of it and nothing has to be scaled.

Shapes, B sequences of T tokens: q [B, T, H, K], k [B, T, G, K], v [B, T, G, V], log_a and beta [B, T, G],
state [B, G, K, V], o [B, T, H, V]. H is a multiple of G. A padded token has k = 0, beta = 0 and log a = 0.
"""

import torch
import torch.nn.functional as F

CHUNK = 32


def recurrent(q, k, v, log_a, beta, state):
    """Token by token: the definition. Returns o and the last state."""
    outputs = []
    for t in range(q.shape[1]):
        kept = log_a[:, t].exp()[..., None, None] * state
        found = torch.einsum("bgk,bgkv->bgv", k[:, t], kept)
        state = kept + torch.einsum("bgk,bgv->bgkv", k[:, t], beta[:, t, :, None] * (v[:, t] - found))
        outputs.append(torch.einsum("bgjk,bgkv->bgjv", q[:, t].unflatten(1, (k.shape[2], -1)), state).flatten(1, 2))
    return torch.stack(outputs, dim=1), state


def chunked(q, k, v, log_a, beta, state, chunk=CHUNK):
    """The same by chunks. With b the sum of log a inside the chunk and S the state before it, token t adds k_t u_t^T:

        u_t + beta_t sum_i<t e^(b_t - b_i) (k_t^T k_i) u_i = beta_t (v_t - e^b_t k_t^T S)

    one unit lower triangular system a chunk, solved for all chunks at once and for both parts of the right side. No
    exponent is above 0.
    """
    tokens, groups = q.shape[1], k.shape[2]
    whole = lambda x: F.pad(x, (0, 0) * (x.ndim - 2) + (0, -tokens % chunk)).unflatten(1, (-1, chunk))
    q = whole(q).unflatten(3, (groups, -1)).permute(0, 3, 1, 4, 2, 5)  # [B, G, N, J, C, K]
    k, v = (whole(x).permute(0, 3, 1, 2, 4) for x in (k, v))  # [B, G, N, C, K]
    b, beta = whole(log_a).permute(0, 3, 1, 2).cumsum(-1)[..., None], whole(beta).permute(0, 3, 1, 2)[..., None]

    fade = (b - b.mT).tril().exp()  # [B, G, N, C, C]
    system = beta * fade * (k @ k.mT)  # its diagonal counts as 1, what is above it is not looked at
    right = torch.cat((beta * v, beta * b.exp() * k), dim=-1)
    own, taken = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True).split((v.shape[-1], k.shape[-1]), -1)
    scores = (fade[..., None, :, :] * (q @ k[..., None, :, :].mT)).tril()
    reading, adding, last = q * b.exp()[..., None, :, :], (k * (b[..., -1:, :] - b).exp()).mT, b[..., -1:, :].exp()

    outputs = []
    for n in range(k.shape[2]):
        u = own[:, :, n] - taken[:, :, n] @ state
        outputs.append(reading[:, :, n] @ state[:, :, None] + scores[:, :, n] @ u[:, :, None])  # [B, G, J, C, V]
        state = last[:, :, n] * state + adding[:, :, n] @ u
    out = torch.stack(outputs, dim=1).permute(0, 1, 4, 2, 3, 5)  # [B, N, C, G, J, V]
    return out.flatten(3, 4).flatten(1, 2)[:, :tokens], state
