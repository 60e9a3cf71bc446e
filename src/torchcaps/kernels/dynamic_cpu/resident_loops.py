"""The loops of the CPU kernel where the votes of a block of samples fit into a core's cache.

Where all input capsules share W, as interests of recommenders do, and are few, the votes of a block
[I, R, L] are formed once, in room that is used again for the next block, and all iterations of one
block are done before the next is begun. Poses are long there: to form votes anew would cost more
than to read them.

Names as in steps.py and loops.py; x [I, R, L].
"""

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import add_totals, claim, fma, load, store, total, zeros
from torchcaps.kernels.dynamic_cpu.few_loops import new_counter
from torchcaps.kernels.dynamic_cpu.loops import pose_backward
from torchcaps.kernels.dynamic_cpu.steps import (
    add_all,
    add_pose,
    add_squash_backward,
    add_weighted,
    dots,
    scratch,
    softmax,
    softmax_backward,
)

__all__ = ["route_resident", "route_resident_backward"]

CHUNK = 64  # input capsules in one sum


@compiled
def route_resident(lanes, w, pose, uniform, J, leaky, a, s, v, counter, stop):
    """All iterations: a, s [r, N, R, L], v [N, R, L] = squash(s^r), the items blocks n."""
    I, P = pose.shape[1:]
    R, L, last = w.shape[1], a.shape[3], a.shape[0] - 1
    chunks = (I + CHUNK - 1) // CHUNK
    x, u, c = padded(I, R, a), padded(I, P, a), scratch(J, a)
    parts, zero = scratch(chunks * R, a).reshape(chunks, 1, R, L), scratch(R, a).reshape(1, R, L)
    zero[:] = 0
    n = claim(counter)
    while n < stop:
        one = slice(n, n + 1)
        a[0, n] = 0
        take(pose, n, u)
        form(lanes, w[0], u, x)
        for t in range(last + 1):
            parts[:] = 0
            c[:] = uniform
            for i in range(I):
                if t > 0:
                    dots(lanes, x[i], a[t, n], None, c, None)
                    softmax(lanes, c, leaky)
                add_weighted(lanes, c, x[i], parts[i // CHUNK, 0])
            if t < last:
                add_pose(lanes, parts, a[t, one], s[t, one], a[t + 1, one], J, new_counter(), J)
            else:
                add_pose(lanes, parts, zero, s[t, one], v[one], J, new_counter(), J)
        n = claim(counter)


@compiled
def route_resident_backward(
    lanes, w, pose, a, s, dv, uniform, J, leaky, detach, step, dw, d_pose, counter, stop
):
    """d_pose [B, I, P], and dw[k] of `step` blocks, from dv = dv^r, which is overwritten; the
    items k."""
    I, P = pose.shape[1:]
    iterations, N, R, L = a.shape
    chunks, last = (I + CHUNK - 1) // CHUNK, iterations - 1
    x, u, du = padded(I, R, a), padded(I, P, a), scratch(P, a)
    parts = scratch(chunks * R, a).reshape(chunks, 1, R, L)
    ds = scratch(iterations * R, a).reshape(iterations, 1, R, L)
    c = scratch(I * iterations * J, a).reshape(I, iterations, J, L)
    g = scratch(I * iterations * J, a).reshape(I, iterations, J, L)
    k = claim(counter)
    while k < stop:
        dw[k] = 0
        for n in range(k * step, min(N, (k + 1) * step)):
            one = slice(n, n + 1)
            take(pose, n, u)
            form(lanes, w[0], u, x)
            ds[:] = 0
            add_squash_backward(
                lanes, parts[:0], s[last, one], dv[one], ds[last], J, new_counter(), J
            )
            dv[n] = 0  # from here on the sum of dA so far
            for t in range(0 if detach else last, 0, -1):
                parts[:] = 0
                for i in range(I):
                    dots(lanes, x[i], a[t, n], ds[t, 0], c[i, t], g[i, t])
                    softmax(lanes, c[i, t], leaky)
                    softmax_backward(lanes, c[i, t], g[i, t])
                    add_weighted(lanes, g[i, t], x[i], parts[i // CHUNK, 0])
                add_squash_backward(
                    lanes, parts, s[t - 1, one], dv[one], ds[t - 1], J, new_counter(), J
                )
            for i in range(I):
                if detach and last > 0:
                    dots(lanes, x[i], a[last, n], None, c[i, last], None)
                    softmax(lanes, c[i, last], leaky)
                    g[i, last] = 0
                # Of the votes, dû takes the place.
                add_all(
                    lanes,
                    a[:, n],
                    ds[:, 0],
                    uniform,
                    max(last, 1) if detach else 1,
                    c[i],
                    g[i],
                    x[i],
                )
                pose_backward(lanes, w[0], x[i], du)
                for m in range(n * L, min((n + 1) * L, d_pose.shape[0])):
                    for p in range(P):
                        d_pose[m, i, p] = du[p, m - n * L]
            for i in range(0, I, CHUNK):
                weight_backward(lanes, x[i : i + CHUNK], u[i : i + CHUNK], dw[k])
        k = claim(counter)


@compiled
def padded(count, rows, like):
    """[count, rows, L], not initialised, with a line between: the same row of all is read in turn,
    and rows a power of two apart would fight for the same places in the cache."""
    L = like.shape[-1]
    room = scratch(count * (rows + 1), like).reshape(count, rows + 1, L)
    return room[:, :rows]


@compiled
def take(pose, n, u):
    """u [I, P, L] ← pose [n·L:, I, P], missing samples zero."""
    L = u.shape[2]
    for i in range(u.shape[0]):
        for m in range(L):
            for p in range(u.shape[1]):
                u[i, p, m] = pose[n * L + m, i, p] if n * L + m < pose.shape[0] else 0


@compiled
def weight_backward(lanes, dx, u, dw):
    """dw[r, p] += Σ_i dx[i, r] · u[i, p], summed over the samples"""
    R, P = dw.shape
    pairs, eights = R - R % 2, P - P % 8
    for r in range(0, pairs, 2):
        for p in range(0, eights, 8):
            a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = zeros(lanes, dw)
            b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = zeros(lanes, dw)
            for i in range(dx.shape[0]):
                even, odd = load(lanes, dx[i], r), load(lanes, dx[i], r + 1)
                u0, u1 = load(lanes, u[i], p), load(lanes, u[i], p + 1)
                u2, u3 = load(lanes, u[i], p + 2), load(lanes, u[i], p + 3)
                a0, b0 = fma(even, u0, a0), fma(odd, u0, b0)
                a1, b1 = fma(even, u1, a1), fma(odd, u1, b1)
                a2, b2 = fma(even, u2, a2), fma(odd, u2, b2)
                a3, b3 = fma(even, u3, a3), fma(odd, u3, b3)
                u4, u5 = load(lanes, u[i], p + 4), load(lanes, u[i], p + 5)
                u6, u7 = load(lanes, u[i], p + 6), load(lanes, u[i], p + 7)
                a4, b4 = fma(even, u4, a4), fma(odd, u4, b4)
                a5, b5 = fma(even, u5, a5), fma(odd, u5, b5)
                a6, b6 = fma(even, u6, a6), fma(odd, u6, b6)
                a7, b7 = fma(even, u7, a7), fma(odd, u7, b7)
            add_totals(dw, r, p, a0, a1, a2, a3, b0, b1, b2, b3)
            add_totals(dw, r, p + 4, a4, a5, a6, a7, b4, b5, b6, b7)
    for r in range(R):
        for p in range(eights if r < pairs else 0, P):
            x0 = zeros(lanes, dw)
            for i in range(dx.shape[0]):
                x0 = fma(load(lanes, dx[i], r), load(lanes, u[i], p), x0)
            dw[r, p] += total(x0)


@compiled
def form(lanes, w, u, x):
    """x[i, r] = Σ_p w[r, p] u[i, p]"""
    I, P = u.shape[:2]
    R = w.shape[0]
    eights = R - R % 8
    for i in range(I):
        ui, xi = u[i], x[i]
        for r in range(0, eights, 8):
            x0 = x1 = x2 = x3 = x4 = x5 = x6 = x7 = zeros(lanes, w)
            for p in range(P):
                up = load(lanes, ui, p)
                x0, x1 = fma(w[r, p], up, x0), fma(w[r + 1, p], up, x1)
                x2, x3 = fma(w[r + 2, p], up, x2), fma(w[r + 3, p], up, x3)
                x4, x5 = fma(w[r + 4, p], up, x4), fma(w[r + 5, p], up, x5)
                x6, x7 = fma(w[r + 6, p], up, x6), fma(w[r + 7, p], up, x7)
            store(xi, r, x0)
            store(xi, r + 1, x1)
            store(xi, r + 2, x2)
            store(xi, r + 3, x3)
            store(xi, r + 4, x4)
            store(xi, r + 5, x5)
            store(xi, r + 6, x6)
            store(xi, r + 7, x7)
        for r in range(eights, R):
            x0 = zeros(lanes, w)
            for p in range(P):
                x0 = fma(w[r, p], load(lanes, ui, p), x0)
            store(xi, r, x0)
