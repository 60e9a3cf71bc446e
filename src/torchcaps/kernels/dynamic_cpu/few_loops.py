"""The loops of the CPU kernel for a few samples, whose vectors hold input capsules.

With one sample, vectors of samples would be empty but for one place. Here a vector holds an entry
of as many input capsules as fill a register. Their votes are formed once a call and kept, x
[blocks, N, R, L], since to read all of W costs more than everything else: W is read once, a block
of L input capsules at a time, and no step is horizontal but the sum over inputs at the very end.

Names as in steps.py and loops.py, but for L input capsules in a block, and N samples: u
[blocks, N, P, L]; what belongs to the output capsules of a sample, a, s, ds [N, R, L], is the same
in all lanes, so that the steps of output capsules serve here too.
"""

import numpy as np

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_columns import (
    load_column,
    load_eight_columns,
    store_column,
    store_eight_columns,
)
from torchcaps.kernels.cpu_vectors import (
    add,
    claim,
    fma,
    load,
    multiply,
    store,
    total,
    zeros,
)
from torchcaps.kernels.dynamic_cpu.steps import (
    MANY,
    add_pose,
    add_squash_backward,
    add_weighted,
    dots,
    scratch,
    softmax,
    softmax_backward,
    votes_backward,
)

__all__ = ["form_few", "pack_few", "route_few", "route_few_backward", "sweep_few"]

CHUNK = 16  # blocks of input capsules in one sum


@compiled
def pack_few(pose, u):
    """u [blocks, N, P, L] ← pose [N, I, P], the missing inputs of the last block zero."""
    L = u.shape[3]
    for k in range(u.shape[0]):
        for n in range(u.shape[1]):
            for m in range(L):
                i = k * L + m
                for p in range(u.shape[2]):
                    u[k, n, p, m] = pose[n, i, p] if i < pose.shape[1] else 0


@compiled
def form_few(lanes, w, u, x, counter, stop):
    """x[k, n, r] = Σ_p w[·, r, p] u[k, n, p], the items blocks k."""
    N, P, L = u.shape[1:]
    R = w.shape[1]
    eights = P - P % 8
    k = claim(counter)
    while k < stop:
        for r in range(R):
            for p in range(0, eights, 8):
                columns = load_eight_columns(lanes, w, k * L, r, p)
                for n in range(N):
                    un, xn = u[k, n], x[k, n]
                    x0 = multiply(columns[0], load(lanes, un, p))
                    x1 = multiply(columns[1], load(lanes, un, p + 1))
                    x0 = fma(columns[2], load(lanes, un, p + 2), x0)
                    x1 = fma(columns[3], load(lanes, un, p + 3), x1)
                    x0 = fma(columns[4], load(lanes, un, p + 4), x0)
                    x1 = fma(columns[5], load(lanes, un, p + 5), x1)
                    x0 = fma(columns[6], load(lanes, un, p + 6), x0)
                    x1 = fma(columns[7], load(lanes, un, p + 7), x1)
                    x0 = add(x0, x1)
                    store(xn, r, x0 if p == 0 else add(x0, load(lanes, xn, r)))
            for p in range(eights, P):
                column = load_column(lanes, w, k * L, r, p)
                for n in range(N):
                    xn = x[k, n]
                    before = zeros(lanes, xn) if p == 0 else load(lanes, xn, r)
                    store(xn, r, fma(column, load(lanes, u[k, n], p), before))
        k = claim(counter)


@compiled
def route_few(lanes, x, uniform, J, leaky, a, s, v, counter, stop):
    """All iterations, the items samples n: a, s [r, N, R, L], v[n] = squash(s^r[n])."""
    blocks, _, R, L = x.shape
    chunks = (blocks + CHUNK - 1) // CHUNK
    last = a.shape[0] - 1
    c, sums, zero = scratch(J, x), scratch(R, x), scratch(R, x).reshape(1, R, L)
    parts = scratch(chunks * R, x).reshape(chunks, 1, R, L)
    zero[:] = 0
    n = claim(counter)
    while n < stop:
        one = slice(n, n + 1)
        a[0, n] = 0
        for t in range(last + 1):
            for chunk in range(chunks):
                begin, end = chunk * CHUNK, min(blocks, (chunk + 1) * CHUNK)
                if t == 0:
                    add_uniform(lanes, x[begin:end, n], uniform, sums)
                else:
                    sums[:] = 0
                    for k in range(begin, end):
                        dots(lanes, x[k, n], a[t, n], None, c, None)
                        softmax(lanes, c, leaky)
                        add_weighted(lanes, c, x[k, n], sums)
                store_totals(lanes, sums, parts[chunk, 0])
            if t < last:
                add_pose(lanes, parts, a[t, one], s[t, one], a[t + 1, one], J, new_counter(), J)
            else:
                add_pose(lanes, parts, zero, s[t, one], v[one], J, new_counter(), J)
        n = claim(counter)


@compiled
def route_few_backward(lanes, x, J, leaky, detach, a, s, dv, ds, counter, stop):
    """ds of all iterations from dv = dv^r, the items samples n; dv is overwritten."""
    blocks, _, R, L = x.shape
    chunks = (blocks + CHUNK - 1) // CHUNK
    last = a.shape[0] - 1
    c, g, sums = scratch(J, x), scratch(J, x), scratch(R, x)
    parts = scratch(chunks * R, x).reshape(chunks, 1, R, L)
    n = claim(counter)
    while n < stop:
        one = slice(n, n + 1)
        ds[:, n] = 0
        add_squash_backward(
            lanes, parts[:0], s[last, one], dv[one], ds[last, one], J, new_counter(), J
        )
        dv[n] = 0  # from here on the sum of dA so far
        for t in range(0 if detach else last, 0, -1):
            for chunk in range(chunks):
                sums[:] = 0
                for k in range(chunk * CHUNK, min(blocks, (chunk + 1) * CHUNK)):
                    dots(lanes, x[k, n], a[t, n], ds[t, n], c, g)
                    softmax(lanes, c, leaky)
                    softmax_backward(lanes, c, g)
                    add_weighted(lanes, g, x[k, n], sums)
                store_totals(lanes, sums, parts[chunk, 0])
            add_squash_backward(
                lanes, parts, s[t - 1, one], dv[one], ds[t - 1, one], J, new_counter(), J
            )
        n = claim(counter)


@compiled
def new_counter():
    """Of the items of a loop that is called by one thread alone."""
    return np.zeros(1, np.int64)


@compiled
def add_uniform(lanes, x, uniform, sums):
    """sums[r] = uniform · Σ_k x[k, r]"""
    for r in range(x.shape[1]):
        of_all = zeros(lanes, x)
        for k in range(x.shape[0]):
            of_all = add(of_all, load(lanes, x[k], r))
        store(sums, r, multiply(uniform, of_all))


@compiled
def store_totals(lanes, sums, s):
    """s[r] = the total of sums[r], in all lanes"""
    for r in range(sums.shape[0]):
        store(s, r, add(zeros(lanes, s), total(load(lanes, sums, r))))


@compiled
def sweep_few(lanes, w, u, x, a, ds, uniform, J, leaky, detach, dw, d_pose, counter, stop):
    """d_pose [N, I, P] and dw [I, R, P], the items blocks k; a, ds [r, N, R, L].

    x is overwritten with dû.
    """
    N, P, L = u.shape[1:]
    iterations, R = a.shape[0], w.shape[1]
    c = scratch(iterations * J, u).reshape(iterations, J, L)
    g = scratch(iterations * J, u).reshape(iterations, J, L)
    dx, du = scratch(R, u), scratch(N * P, u).reshape(N, P, L)
    part = scratch(N * P, u).reshape(N, P, L)
    k = claim(counter)
    while k < stop:
        for n in range(N):
            votes_backward(
                lanes, None, None, a[:, n], ds[:, n], uniform, leaky, detach, x[k, n], c, g, dx
            )
            x[k, n] = dx
        du[:] = 0
        # One after the other: with W and dW at once, sixteen lines each would fight for places in
        # the cache.
        for begin in range(0, R, MANY):
            part[:] = 0
            pose_backward_few(lanes, w, x[k], k * L, begin, min(R, begin + MANY), part)
            du += part
        weight_backward_few(lanes, x[k], u[k], k * L, dw)
        for n in range(N):
            for m in range(min(L, d_pose.shape[1] - k * L)):
                for p in range(P):
                    d_pose[n, k * L + m, p] = du[n, p, m]
        k = claim(counter)


@compiled
def pose_backward_few(lanes, w, dx, i, begin, end, du):
    """du[n] += Σ_r w[i:i + L, r] dx[n, r], with r from begin to end"""
    N, P = du.shape[:2]
    eights = P - P % 8
    for r in range(begin, end):
        for p in range(0, eights, 8):
            columns = load_eight_columns(lanes, w, i, r, p)
            for n in range(N):
                dun, dxr = du[n], load(lanes, dx[n], r)
                store(dun, p, fma(columns[0], dxr, load(lanes, dun, p)))
                store(dun, p + 1, fma(columns[1], dxr, load(lanes, dun, p + 1)))
                store(dun, p + 2, fma(columns[2], dxr, load(lanes, dun, p + 2)))
                store(dun, p + 3, fma(columns[3], dxr, load(lanes, dun, p + 3)))
                store(dun, p + 4, fma(columns[4], dxr, load(lanes, dun, p + 4)))
                store(dun, p + 5, fma(columns[5], dxr, load(lanes, dun, p + 5)))
                store(dun, p + 6, fma(columns[6], dxr, load(lanes, dun, p + 6)))
                store(dun, p + 7, fma(columns[7], dxr, load(lanes, dun, p + 7)))
        for p in range(eights, P):
            column = load_column(lanes, w, i, r, p)
            for n in range(N):
                dxr = load(lanes, dx[n], r)
                store(du[n], p, fma(column, dxr, load(lanes, du[n], p)))


@compiled
def weight_backward_few(lanes, dx, u, i, dw):
    """dw[i:i + L, r] = Σ_n dx[n, r] u[n]"""
    N, P = u.shape[:2]
    eights = P - P % 8
    for r in range(dx.shape[1]):
        for p in range(0, eights, 8):
            x0 = x1 = x2 = x3 = x4 = x5 = x6 = x7 = zeros(lanes, dw)
            for n in range(N):
                un, dxr = u[n], load(lanes, dx[n], r)
                x0, x1 = fma(dxr, load(lanes, un, p), x0), fma(dxr, load(lanes, un, p + 1), x1)
                x2, x3 = fma(dxr, load(lanes, un, p + 2), x2), fma(dxr, load(lanes, un, p + 3), x3)
                x4, x5 = fma(dxr, load(lanes, un, p + 4), x4), fma(dxr, load(lanes, un, p + 5), x5)
                x6, x7 = fma(dxr, load(lanes, un, p + 6), x6), fma(dxr, load(lanes, un, p + 7), x7)
            store_eight_columns(dw, i, r, p, (x0, x1, x2, x3, x4, x5, x6, x7))
        for p in range(eights, P):
            x0 = zeros(lanes, dw)
            for n in range(N):
                x0 = fma(load(lanes, dx[n], r), load(lanes, u[n], p), x0)
            store_column(dw, i, r, p, x0)
