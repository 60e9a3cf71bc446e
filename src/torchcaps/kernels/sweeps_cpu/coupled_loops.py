"""Sums of votes whose coupling is known before, S_j = Σ_i c_ij V_ij, and their derivatives.

No vote need be kept, and in backward none be formed. With z_ij = W_ijᵀ e_j, e = dS:
dc_ij = u_i · z_ij,  du_i = Σ_j c_ij z_ij,  dW_ij = Σ (c_ij e_j) u_iᵀ over the samples.

Arrays are as in loops.py, F = 1: u, du [N, F, I, rows·M, L], c, dc [N, F, I, J, L], e [N, F, R, L],
w, dw [I, J·columns, M], with `columns` components in a row of a vote.
"""

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import claim, fma, load, multiply, store, zeros
from torchcaps.kernels.dynamic_cpu.loops import weight_backward
from torchcaps.kernels.dynamic_cpu.steps import scratch

__all__ = ["add_coupled", "add_coupled_backward"]


@compiled
def add_coupled(lanes, w, u, c, rows, J, step, s, counter, stop):
    """s [parts, N, F, R, L], each of `step` input capsules, the items part·N + n."""
    N, _, I, P, _ = u.shape
    M, columns = P // rows, w.shape[1] // J
    item = claim(counter)
    while item < stop:
        part, n = item // N, item % N
        sums = s[part, n, 0]
        sums[:] = 0
        for i in range(part * step, min(I, (part + 1) * step)):
            wi, ui = w[i], u[n, 0, i]
            for j in range(J):
                cj = load(lanes, c[n, 0, i], j)
                for row in range(rows):
                    of_w, of_s, of_u = j * columns, (j * rows + row) * columns, row * M
                    for d in range(0, columns - columns % 4, 4):
                        x0 = x1 = x2 = x3 = zeros(lanes, w)
                        for m in range(M):
                            um = load(lanes, ui, of_u + m)
                            x0, x1 = fma(wi[of_w + d, m], um, x0), fma(wi[of_w + d + 1, m], um, x1)
                            x2 = fma(wi[of_w + d + 2, m], um, x2)
                            x3 = fma(wi[of_w + d + 3, m], um, x3)
                        r = of_s + d
                        store(sums, r, fma(cj, x0, load(lanes, sums, r)))
                        store(sums, r + 1, fma(cj, x1, load(lanes, sums, r + 1)))
                        store(sums, r + 2, fma(cj, x2, load(lanes, sums, r + 2)))
                        store(sums, r + 3, fma(cj, x3, load(lanes, sums, r + 3)))
                    for d in range(columns - columns % 4, columns):
                        x0 = zeros(lanes, w)
                        for m in range(M):
                            x0 = fma(wi[of_w + d, m], load(lanes, ui, of_u + m), x0)
                        store(sums, of_s + d, fma(cj, x0, load(lanes, sums, of_s + d)))
        item = claim(counter)


@compiled
def add_coupled_backward(lanes, w, u, c, e, rows, J, group, du, dc, dw, counter, stop):
    """The gradients of the factors and of c, the items input capsules.

    The samples are taken `group` blocks at a time, whose c e stay in the cache for dW.
    """
    N, _, _, P, L = u.shape
    M, columns = P // rows, w.shape[1] // J
    left = scratch(group * rows * J * columns, u).reshape(group * rows, J * columns, L)
    right = scratch(group * rows * M, u).reshape(group * rows, M, L)
    i = claim(counter)
    while i < stop:
        dw[i] = 0
        for begin in range(0, N, group):
            end = min(N, begin + group)
            for n in range(begin, end):
                du[n, 0, i] = 0
                for row in range(rows):
                    right[(n - begin) * rows + row] = u[n, 0, i, row * M : (row + 1) * M]
                for j in range(J):
                    cj, of_c = load(lanes, c[n, 0, i], j), zeros(lanes, u)
                    for row in range(rows):
                        ej = e[n, 0, (j * rows + row) * columns : (j * rows + row + 1) * columns]
                        here = slice(row * M, (row + 1) * M)
                        wj = w[i, j * columns : (j + 1) * columns]
                        of_c = add_pose(
                            lanes, wj, ej, u[n, 0, i, here], cj, du[n, 0, i, here], of_c
                        )
                        terms = left[(n - begin) * rows + row]
                        for d in range(columns):
                            store(terms, j * columns + d, multiply(cj, load(lanes, ej, d)))
                    store(dc[n, 0, i], j, of_c)
            terms = slice(0, (end - begin) * rows)
            weight_backward(lanes, left[terms], right[terms], dw[i])
        i = claim(counter)


@compiled
def add_pose(lanes, w, e, u, c, du, of_c):
    """du += c · Wᵀ e; the result is of_c + u · Wᵀ e."""
    columns, M = w.shape
    for m in range(0, M - M % 4, 4):
        z0 = z1 = z2 = z3 = zeros(lanes, w)
        for d in range(columns):
            ed = load(lanes, e, d)
            z0, z1 = fma(w[d, m], ed, z0), fma(w[d, m + 1], ed, z1)
            z2, z3 = fma(w[d, m + 2], ed, z2), fma(w[d, m + 3], ed, z3)
        store(du, m, fma(c, z0, load(lanes, du, m)))
        store(du, m + 1, fma(c, z1, load(lanes, du, m + 1)))
        store(du, m + 2, fma(c, z2, load(lanes, du, m + 2)))
        store(du, m + 3, fma(c, z3, load(lanes, du, m + 3)))
        of_c = fma(load(lanes, u, m), z0, of_c)
        of_c = fma(load(lanes, u, m + 1), z1, of_c)
        of_c = fma(load(lanes, u, m + 2), z2, of_c)
        of_c = fma(load(lanes, u, m + 3), z3, of_c)
    for m in range(M - M % 4, M):
        z0 = zeros(lanes, w)
        for d in range(columns):
            z0 = fma(w[d, m], load(lanes, e, d), z0)
        store(du, m, fma(c, z0, load(lanes, du, m)))
        of_c = fma(load(lanes, u, m), z0, of_c)
    return of_c
