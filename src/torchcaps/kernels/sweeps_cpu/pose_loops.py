"""Sums of votes whose coupling comes from poses: S_j = Σ_i c_ij a_i V_ij, as in self-routing.

c_i = softmax_j (w'_ij · u_i + b'_ij) does not look at the votes: none is kept, and in backward none
is formed. With z_ij = W_ijᵀ e_j, e = dS: the gradient of c_ij a_i is u_i · z_ij, and
du_i = Σ_j (c_ij a_i z_ij + db_ij w'_ij),  dW_ij = Σ (c_ij a_i e_j) u_iᵀ over the samples.

Arrays are as in loops.py, F = 1: u, du [N, F, I, rows·M, L], activation [N, F, I, L], mass, of_mass
[N, F, J, L], e [N, F, R, L], w, dw [I, J·columns, M], with `columns` components in a row of a vote;
maps w' [I, J, P'] of the first P' components of a pose, biases b' [I, J].
"""

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import add, claim, fma, load, multiply, store, total, zeros
from torchcaps.kernels.dynamic_cpu.loops import weight_backward
from torchcaps.kernels.dynamic_cpu.steps import scratch, softmax, softmax_backward

__all__ = ["add_by_poses", "add_by_poses_backward"]


@compiled
def add_by_poses(
    lanes, w, u, activation, maps, biases, rows, J, step, mass, s, counter, stop
):  # fmt: skip
    """mass, s [parts, N, F, ·, L], each of `step` input capsules, the items part·N + n."""
    N, _, I, P, _ = u.shape
    M, columns = P // rows, w.shape[1] // J
    c = scratch(J, u)
    item = claim(counter)
    while item < stop:
        part, n = item // N, item % N
        sums, masses = s[part, n, 0], mass[part, n, 0]
        sums[:], masses[:] = 0, 0
        for i in range(part * step, min(I, (part + 1) * step)):
            wi, ui, active = w[i], u[n, 0, i], load(lanes, activation[n, 0], i)
            couple(lanes, maps[i], biases[i], ui, c)
            for j in range(J):
                cj = multiply(active, load(lanes, c, j))
                store(masses, j, add(cj, load(lanes, masses, j)))
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
def couple(lanes, maps, biases, u, c):
    """c ← softmax_j (w'_j · u + b'_j)"""
    for j in range(maps.shape[0]):
        x = zeros(lanes, u)
        for p in range(maps.shape[1]):
            x = fma(maps[j, p], load(lanes, u, p), x)
        store(c, j, add(x, biases[j]))
    softmax(lanes, c, False)


@compiled
def add_by_poses_backward(
    lanes, w, u, activation, maps, biases, of_mass, e, rows, J, group, du, d_activation, dw, d_maps,
    d_biases, counter, stop,
):  # fmt: skip
    """The gradients of all factors, from those of mass and s; the items input capsules.

    The samples are taken `group` blocks at a time, whose c a e stay in the cache for dW.
    """
    N, _, _, P, L = u.shape
    M, columns, parts = P // rows, w.shape[1] // J, maps.shape[2]
    c, of_biases = scratch(J, u), scratch(J, u)
    left = scratch(group * rows * J * columns, u).reshape(group * rows, J * columns, L)
    right = scratch(group * rows * M, u).reshape(group * rows, M, L)
    g, pose = scratch(group * J, u).reshape(group, J, L), scratch(group * parts, u)
    pose = pose.reshape(group, parts, L)
    i = claim(counter)
    while i < stop:
        dw[i], d_maps[i], of_biases[:] = 0, 0, 0
        for begin in range(0, N, group):
            end = min(N, begin + group)
            for n in range(begin, end):
                ui, dui, gn = u[n, 0, i], du[n, 0, i], g[n - begin]
                active, of_activation = load(lanes, activation[n, 0], i), zeros(lanes, u)
                dui[:] = 0
                for row in range(rows):
                    right[(n - begin) * rows + row] = ui[row * M : (row + 1) * M]
                couple(lanes, maps[i], biases[i], ui, c)
                for j in range(J):
                    cj, of_c = multiply(active, load(lanes, c, j)), load(lanes, of_mass[n, 0], j)
                    wj = w[i, j * columns : (j + 1) * columns]
                    for row in range(rows):
                        ej = e[n, 0, (j * rows + row) * columns : (j * rows + row + 1) * columns]
                        here = slice(row * M, (row + 1) * M)
                        of_c = add_pose(lanes, wj, ej, ui[here], cj, dui[here], of_c)
                        terms = left[(n - begin) * rows + row]
                        for d in range(columns):
                            store(terms, j * columns + d, multiply(cj, load(lanes, ej, d)))
                    of_activation = fma(of_c, load(lanes, c, j), of_activation)
                    store(gn, j, multiply(active, of_c))
                store(d_activation[n, 0], i, of_activation)
                softmax_backward(lanes, c, gn)
                pose[n - begin] = ui[:parts]
                for p in range(parts):
                    x = load(lanes, dui, p)
                    for j in range(J):
                        x = fma(maps[i, j, p], load(lanes, gn, j), x)
                    store(dui, p, x)
                for j in range(J):
                    store(of_biases, j, add(load(lanes, gn, j), load(lanes, of_biases, j)))
            terms = slice(0, (end - begin) * rows)
            weight_backward(lanes, left[terms], right[terms], dw[i])
            weight_backward(lanes, g[: end - begin], pose[: end - begin], d_maps[i])
        for j in range(J):
            d_biases[i, j] = total(load(lanes, of_biases, j))
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
