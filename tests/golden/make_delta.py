"""Makes golden vectors of the gated delta rule, in float64 and from a closed form.

    python3 make_delta.py       # the standard library alone; writes delta/<name>.json

No recurrence and no chunks here: the whole sequence at once. With b_t = sum of log a up to t, token t adds k_t u_t^T to
the state, and all u are the solution of one unit lower triangular system, by forward substitution:

    u_t + beta_t sum_i<t exp(b_t - b_i) (k_t . k_i) u_i = beta_t (v_t - exp(b_t) k_t^T S_0)
    o_t = exp(b_t) q_t^T S_0 + sum_i<=t exp(b_t - b_i) (q_t . k_i) u_i
    S_T = exp(b_T) S_0 + sum_i exp(b_T - b_i) k_i u_i^T

with q and k divided by their lengths. A case has several pieces, which are sequences of their own: their rows lie one
after the other, each starts from a state of its own. Inputs are multiples of 1/1024, so exact in float32.

Shapes as in kernels/delta/delta_rule.h, R rows in all and P pieces: q [R, H, K], k [R, G, K], v [R, G, V],
z [R, 2, G] (gates, betas), bias [2, G], pieces [P] (their rows), state and final_state [P, G, K, V], o [R, H, V].
"""

import json
import math
import pathlib
import random

OUT = pathlib.Path(__file__).parent / "delta"
TAU, LOWEST, SHORTEST = 16.0, -50.0, 1e-12
H, G, K, V = 6, 2, 4, 6


def grid(r, scale):
    return round(r.gauss(0, 1) * scale * 1024) / 1024


def log_gate(z):
    log_sigmoid = min(z, 0.0) - math.log1p(math.exp(-abs(z)))
    return max(log_sigmoid / TAU, LOWEST)


def sigmoid(w):
    e = math.exp(-abs(w))
    return (1.0 if w >= 0 else e) / (1.0 + e)


def unit(x):
    length = max(math.sqrt(math.fsum(y * y for y in x)), SHORTEST)
    return [y / length for y in x]


def dot(x, y):
    return math.fsum(a * b for a, b in zip(x, y))


def read(x, state):
    """x^T S"""
    return [dot(x, column) for column in zip(*state)]


def tensor(r, scale, *shape):
    if not shape:
        return grid(r, scale)
    return [tensor(r, scale, *shape[1:]) for _ in range(shape[0])]


def flat(x):
    return [y for part in x for y in flat(part)] if isinstance(x, list) else [x]


def added(k, v, b, beta, state):
    """u [T, V], the solution of the system."""
    out = []
    for t, (k_t, v_t, b_t, beta_t) in enumerate(zip(k, v, b, beta)):
        row = [beta_t * math.exp(b_t - b[i]) * dot(k_t, k[i]) for i in range(t)]
        right = [beta_t * (x - math.exp(b_t) * found) for x, found in zip(v_t, read(k_t, state))]
        out.append([x - dot(row, [u[j] for u in out]) for j, x in enumerate(right)])
    return out


def output(q_t, k, u, b, t, state):
    scores = [math.exp(b[t] - b[i]) * dot(q_t, k[i]) for i in range(t + 1)]
    return [math.exp(b[t]) * x + dot(scores, [row[j] for row in u[: t + 1]]) for j, x in enumerate(read(q_t, state))]


def last_state(k, u, b, state):
    fade = [math.exp(b[-1] - b_i) for b_i in b]
    return [
        [math.exp(b[-1]) * state[d][j] + math.fsum(f * k_i[d] * u_i[j] for f, k_i, u_i in zip(fade, k, u)) for j in range(V)]
        for d in range(K)
    ]


def sequence(q, k, v, z, bias, state):
    """o and the last state of one piece."""
    o, final = [[None] * H for _ in q], []
    for g in range(G):
        keys, values = [unit(k_t[g]) for k_t in k], [v_t[g] for v_t in v]
        gates, beta = ([of(z_t[i][g] + bias[i][g]) for z_t in z] for i, of in enumerate((log_gate, sigmoid)))
        b = [math.fsum(gates[: t + 1]) for t in range(len(gates))]
        u = added(keys, values, b, beta, state[g])
        final.append(last_state(keys, u, b, state[g]))
        for h in range(g * H // G, (g + 1) * H // G):
            for t, q_t in enumerate(q):
                o[t][h] = output(unit(q_t[h]), keys, u, b, t, state[g])
    return o, final


def make(name, seed, pieces, scales=(3, 2), offsets=(0, 0), change=lambda q, k, z: None):
    """`pieces`: their rows. `scales` and `offsets`: of the logits of gates and betas. `change`: what to do to the inputs."""
    r, rows = random.Random(seed), sum(pieces)
    q, k, v = tensor(r, 1, rows, H, K), tensor(r, 1, rows, G, K), tensor(r, 1, rows, G, V)
    z = [[tensor(r, scale, G) for scale in scales] for _ in range(rows)]
    bias = [[x + offset for x in tensor(r, 1, G)] for offset in offsets]
    state = [tensor(r, 1, G, K, V) for _ in pieces]
    change(q, k, z)
    o, final, first = [], [], 0
    for size, before in zip(pieces, state):
        own = slice(first, first + size)
        found, last = sequence(q[own], k[own], v[own], z[own], bias, before)
        o, final, first = o + found, final + [last], first + size
    case = {"n_heads": H, "n_kv": G, "d_k": K, "d_v": V, "pieces": list(pieces)}
    inputs = {"q": q, "k": k, "v": v, "z": z, "bias": bias, "state": state}
    case |= {key: flat(value) for key, value in inputs.items()}
    case |= {key: [float(f"{x:.10g}") for x in flat(value)] for key, value in {"o": o, "final_state": final}.items()}
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(case, separators=(",", ":")) + "\n")


def blank(q, k, z):
    """Keys and queries of zeros: such a key neither takes nor adds, such a query reads nothing."""
    for t in range(3, len(k), 5):
        k[t][t % G] = [0.0] * K
        q[t - 1][t % H] = [0.0] * K
    k[-1], q[-1] = [[0.0] * K] * G, [[0.0] * K] * H


def alike(q, k, z):
    """The same three keys again and again, of other lengths: each replaces what its last occurrence left."""
    for t in range(3, len(k)):
        k[t] = [[x * (1, 2, 8)[t % 3] for x in head] for head in k[t % 3]]


if __name__ == "__main__":
    make("one_token", 1, (1,))
    make("parts_of_chunks", 2, (23, 1, 40), offsets=(6, 0))
    make("chunks_and_one", 3, (65, 33), offsets=(6, 0))
    make("extreme_gates", 4, (34, 1), scales=(400, 2))
    make("extreme_betas", 5, (34, 1), scales=(3, 400))
    make("keys_of_zeros", 6, (38, 2), change=blank)
    make("keys_again", 7, (50,), scales=(3, 1), offsets=(8, 3), change=alike)
