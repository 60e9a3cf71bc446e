"""What is done to the votes of one input capsule for a block of samples, compiled by Numba.

Samples lie side by side in vectors, as in `dynamic_cpu`. Votes are those of a pose of `rows` rows
and a weight: x[j, row, n] = Σ_m w[j, n, m] u[row, m]; with one row that is W u.

Names: R = J·rows·N, x votes [R, L], u pose [rows·M, L], w weights [J·N, M]. Two kinds of routing
differ in what is scored and summed, by which of the arguments are None:

    products (k, m None):  b_j = Σ_h p_jh x_jh                    s1_jh = Σ c_j x_jh
    Gaussians:             b_j = k_j − Σ_h p_jh d_jh², d = x − m   s0, s1, s2 = Σ c, Σ c d, Σ c d²

The gradients of the sums are e0, e1, e2; c is the coupling, times the activation in sums, and g
first its gradient, then that of b.
"""

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import add, fma, load, multiply, store, subtract, zeros

__all__ = [
    "add_sums",
    "add_weight_gradient",
    "form",
    "pose_gradient",
    "score",
    "score_backward",
    "votes_gradient",
]


@compiled
def form(lanes, w, u, rows, J, x):
    """x[j, row, n] = Σ_m w[j, n, m] u[row, m]"""
    N, M = w.shape[0] // J, w.shape[1]
    fours = N - N % 4
    for j in range(J):
        for row in range(rows):
            of_w, of_x, of_u = j * N, (j * rows + row) * N, row * M
            for n in range(0, fours, 4):
                x0 = x1 = x2 = x3 = zeros(lanes, w)
                for m in range(M):
                    um = load(lanes, u, of_u + m)
                    x0 = fma(w[of_w + n, m], um, x0)
                    x1 = fma(w[of_w + n + 1, m], um, x1)
                    x2 = fma(w[of_w + n + 2, m], um, x2)
                    x3 = fma(w[of_w + n + 3, m], um, x3)
                store(x, of_x + n, x0)
                store(x, of_x + n + 1, x1)
                store(x, of_x + n + 2, x2)
                store(x, of_x + n + 3, x3)
            for n in range(fours, N):
                x0 = zeros(lanes, w)
                for m in range(M):
                    x0 = fma(w[of_w + n, m], load(lanes, u, of_u + m), x0)
                store(x, of_x + n, x0)


@compiled
def score(lanes, x, k, p, m, c):
    """c[j] = the logit b_j of these votes."""
    D = x.shape[0] // c.shape[0]
    for j in range(c.shape[0]):
        even = odd = zeros(lanes, x)
        for r in range(j * D, (j + 1) * D):
            xr = load(lanes, x, r)
            term = multiply(xr, load(lanes, p, r))
            if k is not None:
                xr = subtract(xr, load(lanes, m, r))
                term = multiply(multiply(xr, load(lanes, p, r)), xr)
            if r & 1:
                odd = add(odd, term)
            else:
                even = add(even, term)
        both = add(even, odd)
        store(c, j, both if k is None else subtract(load(lanes, k, j), both))


@compiled
def add_sums(lanes, x, m, c, s0, s1, s2):
    """s0, s1, s2 += the sums of these votes."""
    D = x.shape[0] // c.shape[0]
    for j in range(c.shape[0]):
        cj = load(lanes, c, j)
        if m is not None:
            store(s0, j, add(cj, load(lanes, s0, j)))
        for r in range(j * D, (j + 1) * D):
            d = load(lanes, x, r)
            if m is not None:
                d = subtract(d, load(lanes, m, r))
                cd = multiply(cj, d)
                store(s1, r, add(cd, load(lanes, s1, r)))
                store(s2, r, fma(cd, d, load(lanes, s2, r)))
            else:
                store(s1, r, fma(cj, d, load(lanes, s1, r)))


@compiled
def score_backward(lanes, x, k, p, m, e0, e1, e2, c, g):
    """c[j] = b_j and g[j] = the gradient of the coupling, e0 + Σ_h (e1 + e2 d) d."""
    D = x.shape[0] // c.shape[0]
    for j in range(c.shape[0]):
        of_b = of_e = zeros(lanes, x)
        for r in range(j * D, (j + 1) * D):
            d = load(lanes, x, r)
            if k is None:
                of_b = fma(d, load(lanes, p, r), of_b)
                of_e = fma(d, load(lanes, e1, r), of_e)
            else:
                d = subtract(d, load(lanes, m, r))
                of_b = fma(multiply(d, load(lanes, p, r)), d, of_b)
                of_e = fma(fma(load(lanes, e2, r), d, load(lanes, e1, r)), d, of_e)
        if k is None:
            store(c, j, of_b)
            store(g, j, of_e)
        else:
            store(c, j, subtract(load(lanes, k, j), of_b))
            store(g, j, add(load(lanes, e0, j), of_e))


@compiled
def votes_gradient(lanes, x, p, m, e1, e2, c, g, l0, l1, l2):
    """x ← the gradient of the votes; l0, l1, l2 += Σ g, Σ g d, Σ g d²."""
    D = x.shape[0] // c.shape[0]
    for j in range(c.shape[0]):
        cj, gj = load(lanes, c, j), load(lanes, g, j)
        if m is not None:
            store(l0, j, add(gj, load(lanes, l0, j)))
        for r in range(j * D, (j + 1) * D):
            d = load(lanes, x, r)
            if m is not None:
                d = subtract(d, load(lanes, m, r))
                gd = multiply(gj, d)
                store(l1, r, add(gd, load(lanes, l1, r)))
                store(l2, r, fma(gd, d, load(lanes, l2, r)))
                of_sums = fma(multiply(2, load(lanes, e2, r)), d, load(lanes, e1, r))
                of_logits = multiply(multiply(-2, load(lanes, p, r)), gd)
                store(x, r, fma(cj, of_sums, of_logits))
            else:
                store(l1, r, fma(gj, d, load(lanes, l1, r)))
                of_logits = multiply(gj, load(lanes, p, r))
                store(x, r, fma(cj, load(lanes, e1, r), of_logits))


@compiled
def pose_gradient(lanes, w, dx, rows, J, du):
    """du[row, m] = Σ_{j, n} w[j, n, m] dx[j, row, n]"""
    N, M = w.shape[0] // J, w.shape[1]
    fours = M - M % 4
    for row in range(rows):
        for m in range(0, fours, 4):
            u0 = u1 = u2 = u3 = zeros(lanes, w)
            for j in range(J):
                of_w, of_x = j * N, (j * rows + row) * N
                for n in range(N):
                    dxn = load(lanes, dx, of_x + n)
                    u0 = fma(w[of_w + n, m], dxn, u0)
                    u1 = fma(w[of_w + n, m + 1], dxn, u1)
                    u2 = fma(w[of_w + n, m + 2], dxn, u2)
                    u3 = fma(w[of_w + n, m + 3], dxn, u3)
            store(du, row * M + m, u0)
            store(du, row * M + m + 1, u1)
            store(du, row * M + m + 2, u2)
            store(du, row * M + m + 3, u3)
        for m in range(fours, M):
            u0 = zeros(lanes, w)
            for j in range(J):
                for n in range(N):
                    dxn = load(lanes, dx, (j * rows + row) * N + n)
                    u0 = fma(w[j * N + n, m], dxn, u0)
            store(du, row * M + m, u0)


@compiled
def add_weight_gradient(lanes, dx, u, rows, J, M, dw):
    """dw[(j, n)·M + m] += Σ_row dx[j, row, n] u[row, m], the samples apart"""
    N = dw.shape[0] // (J * M)
    fours = M - M % 4
    for j in range(J):
        for n in range(N):
            place = (j * N + n) * M
            for m in range(0, fours, 4):
                x0, x1 = load(lanes, dw, place + m), load(lanes, dw, place + m + 1)
                x2, x3 = load(lanes, dw, place + m + 2), load(lanes, dw, place + m + 3)
                for row in range(rows):
                    dxn, of_u = load(lanes, dx, (j * rows + row) * N + n), row * M + m
                    x0, x1 = (
                        fma(dxn, load(lanes, u, of_u), x0),
                        fma(dxn, load(lanes, u, of_u + 1), x1),
                    )
                    x2 = fma(dxn, load(lanes, u, of_u + 2), x2)
                    x3 = fma(dxn, load(lanes, u, of_u + 3), x3)
                store(dw, place + m, x0)
                store(dw, place + m + 1, x1)
                store(dw, place + m + 2, x2)
                store(dw, place + m + 3, x3)
            for m in range(fours, M):
                x0 = load(lanes, dw, place + m)
                for row in range(rows):
                    dxn = load(lanes, dx, (j * rows + row) * N + n)
                    x0 = fma(dxn, load(lanes, u, row * M + m), x0)
                store(dw, place + m, x0)
