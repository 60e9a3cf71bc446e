"""The two sweeps over all votes, forward and backward, compiled by Numba.

The votes are those of F windows of a map (one, for dense capsules), I = T·K input capsules each: T
types at K places of the window. A child of one type at one position of the map may be in several
windows; `places[q, :counts[q]]` are those of position q, as window·K + place, and over all of them
together the child's coupling is a softmax. (Dense: one position, which is in one window.)

Arrays are as in votes.py, of N blocks of samples and all windows: u [N, F, I, rows·M, L],
activation [N, F, I, L], k, s0, e0 [N, F, J, L], p, m, s1, s2, e1, e2 [N, F, R, L]. A sum over input
capsules is made in parts, over `step` types each, so that no chain is long. `constant` is the
coupling, where it is constant: 0 for equal shares of 1, and below 0 for the softmax.
"""

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import claim, fma, load, multiply, store, total, zeros
from torchcaps.kernels.dynamic_cpu.loops import weight_backward
from torchcaps.kernels.dynamic_cpu.steps import scratch, softmax, softmax_backward
from torchcaps.kernels.sweeps_cpu.votes import (
    add_sums,
    add_weight_gradient,
    form,
    pose_gradient,
    score,
    score_backward,
    votes_gradient,
)

__all__ = ["sweep", "sweep_backward"]


@compiled
def sweep(
    lanes, w, u, activation, k, p, m, constant, rows, J, K, places, counts, step, s0, s1, s2,
    counter, stop,
):  # fmt: skip
    """s0, s1, s2 [parts, N, F, ·, L], the items part·N + n."""
    N, _, I, _, L = u.shape
    R, most = p.shape[2], places.shape[1]
    x = scratch(most * R, u).reshape(most, R, L)
    c = scratch(most * J, u)
    item = claim(counter)
    while item < stop:
        part, n = item // N, item % N
        s1[part, n] = 0
        if k is not None:
            s0[part, n] = 0
            s2[part, n] = 0
        for q in range(places.shape[0]):
            for t in range(part * step, min(I // K, (part + 1) * step)):
                for seat in range(counts[q]):
                    f, i = places[q, seat] // K, t * K + places[q, seat] % K
                    form(lanes, w[i], u[n, f, i], rows, J, x[seat])
                    if constant < 0:
                        cs = c[seat * J : (seat + 1) * J]
                        if k is None:
                            score(lanes, x[seat], None, p[n, f], None, cs)
                        else:
                            score(lanes, x[seat], k[n, f], p[n, f], m[n, f], cs)
                couple(lanes, constant, c[: counts[q] * J])
                for seat in range(counts[q]):
                    f, i = places[q, seat] // K, t * K + places[q, seat] % K
                    cs = c[seat * J : (seat + 1) * J]
                    if k is None:
                        add_sums(lanes, x[seat], None, cs, None, s1[part, n, f], None)
                    else:
                        times(lanes, cs, load(lanes, activation[n, f], i))
                        add_sums(
                            lanes, x[seat], m[n, f], cs, s0[part, n, f], s1[part, n, f],
                            s2[part, n, f],
                        )  # fmt: skip
        item = claim(counter)


@compiled
def couple(lanes, constant, c):
    """c ← the coupling, from logits unless it is constant."""
    if constant < 0:
        softmax(lanes, c, False)
    else:
        c[:] = constant if constant > 0 else 1 / c.shape[0]


@compiled
def times(lanes, c, factor):
    """c ← factor · c"""
    for j in range(c.shape[0]):
        store(c, j, multiply(factor, load(lanes, c, j)))


@compiled
def sweep_backward(
    lanes, w, u, activation, k, p, m, e0, e1, e2, constant, through, rows, J, K, places, counts,
    step, group, l0, l1, l2, du, d_activation, dw, counter, stop,
):  # fmt: skip
    """The gradients of the factors, and l0, l1, l2 [parts, N, F, ·, L]; the items are the parts.

    Not `through` the coupling: it is constant in backward. dw is [I, J·N, M]. Of dense capsules the
    gradients of the votes of `group` blocks stay in the cache, and each number of dw is added up in
    a register; in windows there would be too many.
    """
    N, _, I, _, L = u.shape
    R, most, M = p.shape[2], places.shape[1], w.shape[2]
    dense, columns = places.shape[0] == 1, w.shape[1]
    left = scratch(group * rows * columns, u).reshape(group * rows, columns, L)
    right = scratch(group * rows * M, u).reshape(group * rows, M, L)
    x = scratch(most * R, u).reshape(most, R, L)
    c, g = scratch(most * J, u), scratch(most * J, u)
    of_w = scratch(K * w.shape[1] * M, u).reshape(K, w.shape[1] * M, L)
    part = claim(counter)
    while part < stop:
        l1[part] = 0
        if k is not None:
            l0[part] = 0
            l2[part] = 0
        for t in range(part * step, min(I // K, (part + 1) * step)):
            if dense:
                dw[t] = 0
            else:
                of_w[:] = 0
            for n in range(N):
                for q in range(places.shape[0]):
                    here = places[q, : counts[q]]
                    for seat in range(len(here)):
                        f, i = here[seat] // K, t * K + here[seat] % K
                        js = slice(seat * J, (seat + 1) * J)
                        form(lanes, w[i], u[n, f, i], rows, J, x[seat])
                        if k is None:
                            score_backward(
                                lanes, x[seat], None, p[n, f], None, None, e1[n, f], None, c[js],
                                g[js],
                            )  # fmt: skip
                        else:
                            score_backward(
                                lanes, x[seat], k[n, f], p[n, f], m[n, f], e0[n, f], e1[n, f],
                                e2[n, f], c[js], g[js],
                            )  # fmt: skip
                    of_child = slice(0, len(here) * J)
                    couple(lanes, constant, c[of_child])
                    if k is not None:
                        for seat in range(len(here)):
                            f, i = here[seat] // K, t * K + here[seat] % K
                            js = slice(seat * J, (seat + 1) * J)
                            store(d_activation[n, f], i, dot(lanes, c[js], g[js]))
                            times(lanes, g[js], load(lanes, activation[n, f], i))
                    if through:
                        softmax_backward(lanes, c[of_child], g[of_child])
                    else:
                        g[of_child] = 0
                    for seat in range(len(here)):
                        f, i = here[seat] // K, t * K + here[seat] % K
                        js = slice(seat * J, (seat + 1) * J)
                        if k is None:
                            votes_gradient(
                                lanes, x[seat], p[n, f], None, e1[n, f], None, c[js], g[js],
                                None, l1[part, n, f], None,
                            )  # fmt: skip
                        else:
                            times(lanes, c[js], load(lanes, activation[n, f], i))
                            votes_gradient(
                                lanes, x[seat], p[n, f], m[n, f], e1[n, f], e2[n, f], c[js],
                                g[js], l0[part, n, f], l1[part, n, f], l2[part, n, f],
                            )  # fmt: skip
                        pose_gradient(lanes, w[i], x[seat], rows, J, du[n, f, i])
                        if dense:
                            of_block = slice(n % group * rows, (n % group + 1) * rows)
                            by_rows(lanes, x[seat], J, left[of_block])
                            by_rows(lanes, u[n, f, i], 1, right[of_block])
                        else:
                            add_weight_gradient(
                                lanes, x[seat], u[n, f, i], rows, J, M, of_w[i - t * K]
                            )
                if dense and (n % group == group - 1 or n == N - 1):
                    terms = slice(0, (n % group + 1) * rows)
                    weight_backward(lanes, left[terms], right[terms], dw[t])
            if not dense:
                for place in range(K):
                    store_totals(lanes, of_w[place], M, dw[t * K + place])
        part = claim(counter)


@compiled
def dot(lanes, c, g):
    """Σ_j c_j g_j"""
    found = zeros(lanes, c)
    for j in range(c.shape[0]):
        found = fma(load(lanes, c, j), load(lanes, g, j), found)
    return found


@compiled
def by_rows(lanes, x, J, rows):
    """rows[row, j·N + n] = x[j, row, n]"""
    count, columns = rows.shape[0], rows.shape[1] // J
    for j in range(J):
        for row in range(count):
            for n in range(columns):
                value = load(lanes, x, (j * count + row) * columns + n)
                store(rows[row], j * columns + n, value)


@compiled
def store_totals(lanes, of_w, M, dw):
    """dw[r, m] = the sum of of_w[r·M + m] over the samples"""
    for r in range(dw.shape[0]):
        for m in range(M):
            dw[r, m] = total(load(lanes, of_w, r * M + m))
