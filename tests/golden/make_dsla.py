"""Makes golden vectors of dual-state linear attention, in float64 and from a closed form.

    python3 make_dsla.py        # the standard library alone; writes dsla/<name>.json

No recurrence and no chunks here: with b_t = sum of log a up to t, every output is the sum over all u <= t of
(q_t . k_u exp(b_t - b_u)) v_u, plus q_t exp(b_t) S_0. Inputs are multiples of 1/1024, so exact in float32.

Shapes as in kernels/dsla/dsla.h: q [T, H, K], k [T, G, K], v [T, G, V], z [T, 2, G, K], bias [2, G, K],
state and final_state [2, G, K, V], o [T, H, V], mix [2, H] = softmax of two random scalars a head.
"""

import json
import math
import pathlib
import random

OUT = pathlib.Path(__file__).parent / "dsla"
TAU, LOWEST = 16.0, -50.0
H, G, K, V = 6, 2, 4, 6


def grid(r, scale):
    return round(r.gauss(0, 1) * scale * 1024) / 1024


def log_gate(z):
    log_sigmoid = min(z, 0.0) - math.log1p(math.exp(-abs(z)))
    return max(log_sigmoid / TAU, LOWEST)


def tensor(r, scale, *shape):
    if not shape:
        return grid(r, scale)
    return [tensor(r, scale, *shape[1:]) for _ in range(shape[0])]


def flat(x):
    return [y for part in x for y in flat(part)] if isinstance(x, list) else [x]


def cumulative(z, bias, i, g):
    """b[t][channel], inclusive."""
    sums, rows = [0.0] * K, []
    for zt in z:
        sums = [s + log_gate(zt[i][g][d] + bias[i][g][d]) for d, s in enumerate(sums)]
        rows.append(sums)
    return rows


def one_state(q, k, v, b, state, t, h, g):
    """q_t^T S_t of one state and query head, from everything before."""
    out = [sum(q[t][h][d] * math.exp(b[t][d]) * state[d][j] for d in range(K)) for j in range(V)]
    for u in range(t + 1):
        score = sum(q[t][h][d] * k[u][g][d] * math.exp(b[t][d] - b[u][d]) for d in range(K))
        out = [o + score * x for o, x in zip(out, v[u][g])]
    return out


def last_state(k, v, b, state, g):
    decays = [[math.exp(b[-1][d] - bu[d]) for d in range(K)] for bu in b]
    return [
        [math.exp(b[-1][d]) * state[d][j] + sum(decays[u][d] * k[u][g][d] * v[u][g][j] for u in range(len(b))) for j in range(V)]
        for d in range(K)
    ]


def make(name, seed, tokens, gate_scale, gate_offset):
    r = random.Random(seed)
    q, k, v = tensor(r, 1, tokens, H, K), tensor(r, 1, tokens, G, K), tensor(r, 1, tokens, G, V)
    z, bias = tensor(r, gate_scale, tokens, 2, G, K), tensor(r, 1, 2, G, K)
    bias = [[[x + gate_offset[i] for x in head] for head in bias[i]] for i in range(2)]
    state, alpha = tensor(r, 1, 2, G, K, V), [[r.gauss(0, 1) for _ in range(H)] for _ in range(2)]
    mix = [[math.exp(a[h]) / (math.exp(alpha[0][h]) + math.exp(alpha[1][h])) for h in range(H)] for a in alpha]
    b = [[cumulative(z, bias, i, g) for g in range(G)] for i in range(2)]
    o = [
        [
            [
                sum(m[h] * x for m, x in zip(mix, both)) / math.sqrt(K)
                for both in zip(*(one_state(q, k, v, b[i][h // (H // G)], state[i][h // (H // G)], t, h, h // (H // G)) for i in range(2)))
            ]
            for h in range(H)
        ]
        for t in range(tokens)
    ]
    final = [[last_state(k, v, b[i][g], state[i][g], g) for g in range(G)] for i in range(2)]
    case = {"tokens": tokens, "n_heads": H, "n_kv": G, "d_k": K, "d_v": V, "mix": flat(mix)}
    inputs = {"q": q, "k": k, "v": v, "z": z, "bias": bias, "state": state}
    case |= {key: flat(value) for key, value in inputs.items()}
    case |= {key: [float(f"{x:.10g}") for x in flat(value)] for key, value in {"o": o, "final_state": final}.items()}
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(case, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    make("one_token", 1, 1, 3, (2, -2))
    make("part_of_a_chunk", 2, 23, 3, (6, -6))
    make("chunk_and_one", 3, 65, 3, (6, -6))
    make("extreme_gates", 4, 34, 400, (0, 0))
