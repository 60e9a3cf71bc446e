"""The loops of the CPU kernel over many samples, compiled by Numba.

They take one input capsule and one block of samples at a time. The samples of a block lie side by
side in vectors (cpu_vectors.py), so that votes, logits, softmax and sums need no horizontal step,
weights are read in the layout that they have, and a weight read once serves the whole block. The
votes of an input capsule for a block, [J·D, L], stay in the cache; every iteration forms them anew,
since arithmetic is cheaper here than memory. What is done with them is in steps.py.

Names as there, and: I input capsules, K chunks of them, N blocks of L samples; w weights
[I or 1, R, P], u poses [I, N, P, L]. (A generator of the items of a thread would say it shorter;
Numba's cache breaks them.)
"""

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import add, add_totals, claim, fma, load, store, total, zeros
from torchcaps.kernels.dynamic_cpu.steps import (
    MANY,
    add_weighted,
    form_votes,
    scratch,
    softmax,
    softmax_backward,
    votes_backward,
)

__all__ = ["first_iteration", "iterate", "iterate_backward", "pack", "sweep"]


AT_ONCE = 16  # terms of a sum of votes that is taken without them


@compiled
def pack(pose, u, counter, stop):
    """u [I, N, P, L] ← pose [B, I, P], the missing samples of the last block zero."""
    # Eight input capsules an item, so that whole cache lines of a sample are read.
    I, L = u.shape[0], u.shape[3]
    item = claim(counter)
    while item < stop:
        for n in range(u.shape[1]):
            for m in range(L):
                b = n * L + m
                for i in range(8 * item, min(I, 8 * item + 8)):
                    for p in range(u.shape[2]):
                        u[i, n, p, m] = pose[b, i, p] if b < pose.shape[0] else 0
        item = claim(counter)


@compiled
def first_iteration(lanes, w, u, uniform, step, s, counter, stop):
    """s[k, n] = uniform · Σ_i W_i u_i, the items k·N + n.

    k counts chunks of `step` input capsules.
    """
    I, N, P, _ = u.shape
    own = 1 if w.shape[0] > 1 else 0
    few = max(1, AT_ONCE // P)
    item = claim(counter)
    while item < stop:
        k, n = item // N, item % N
        s[k, n] = 0
        end = min(I, (k + 1) * step)
        for begin in range(k * step, end, few):
            inputs = slice(begin, min(end, begin + few))
            add_votes(lanes, w[inputs] if own else w, u[inputs, n], uniform, s[k, n])
        item = claim(counter)


@compiled
def add_votes(lanes, w, u, uniform, s):
    """s[r] += uniform · Σ_i Σ_p w[i, r, p] u[i, p]"""
    I, P = u.shape[:2]
    R = w.shape[1]
    own = 1 if w.shape[0] > 1 else 0
    for r in range(0, R - R % 8, 8):
        x0 = x1 = x2 = x3 = x4 = x5 = x6 = x7 = zeros(lanes, w)
        for i in range(I):
            wi = w[own * i]
            for p in range(P):
                up = load(lanes, u[i], p)
                x0 = fma(wi[r, p], up, x0)
                x1 = fma(wi[r + 1, p], up, x1)
                x2 = fma(wi[r + 2, p], up, x2)
                x3 = fma(wi[r + 3, p], up, x3)
                x4 = fma(wi[r + 4, p], up, x4)
                x5 = fma(wi[r + 5, p], up, x5)
                x6 = fma(wi[r + 6, p], up, x6)
                x7 = fma(wi[r + 7, p], up, x7)
        store(s, r, fma(uniform, x0, load(lanes, s, r)))
        store(s, r + 1, fma(uniform, x1, load(lanes, s, r + 1)))
        store(s, r + 2, fma(uniform, x2, load(lanes, s, r + 2)))
        store(s, r + 3, fma(uniform, x3, load(lanes, s, r + 3)))
        store(s, r + 4, fma(uniform, x4, load(lanes, s, r + 4)))
        store(s, r + 5, fma(uniform, x5, load(lanes, s, r + 5)))
        store(s, r + 6, fma(uniform, x6, load(lanes, s, r + 6)))
        store(s, r + 7, fma(uniform, x7, load(lanes, s, r + 7)))
    for r in range(R - R % 8, R):
        x0 = zeros(lanes, w)
        for i in range(I):
            wi = w[own * i]
            for p in range(P):
                x0 = fma(wi[r, p], load(lanes, u[i], p), x0)
        store(s, r, fma(uniform, x0, load(lanes, s, r)))


@compiled
def iterate(lanes, w, u, a, J, leaky, step, s, counter, stop):
    """s[k, n] = Σ_i softmax(û_i · a) û_i, the items k·N + n."""
    I, N = u.shape[:2]
    own = 1 if w.shape[0] > 1 else 0
    x, c = scratch(w.shape[1], u), scratch(J, u)
    item = claim(counter)
    while item < stop:
        k, n = item // N, item % N
        s[k, n] = 0
        for i in range(k * step, min(I, (k + 1) * step)):
            form_votes(lanes, w[own * i], u[i, n], a[n], None, x, c, None)
            softmax(lanes, c, leaky)
            add_weighted(lanes, c, x, s[k, n])
        item = claim(counter)


@compiled
def iterate_backward(lanes, w, u, a, ds, J, leaky, step, da, counter, stop):
    """da[k, n] = Σ_i db_i û_i, the items k·N + n."""
    I, N = u.shape[:2]
    own = 1 if w.shape[0] > 1 else 0
    x, c, g = scratch(w.shape[1], u), scratch(J, u), scratch(J, u)
    item = claim(counter)
    while item < stop:
        k, n = item // N, item % N
        da[k, n] = 0
        for i in range(k * step, min(I, (k + 1) * step)):
            form_votes(lanes, w[own * i], u[i, n], a[n], ds[n], x, c, g)
            softmax(lanes, c, leaky)
            softmax_backward(lanes, c, g)
            add_weighted(lanes, g, x, da[k, n])
        item = claim(counter)


@compiled
def sweep(lanes, w, u, a, ds, uniform, J, leaky, detach, group, many, dw, d_pose, counter, stop):
    """d_pose [B, I, P] and dw [I, R, P] = dû_i u_iᵀ, the items `many` input capsules.

    a, ds [r, N, R, L] are of all iterations. The samples are taken `group` blocks at a time, so
    that their a and ds, and their dû of one input capsule, stay in the cache.
    """
    I, N, P, L = u.shape
    R = w.shape[1]
    own = 1 if w.shape[0] > 1 else 0
    r = a.shape[0]
    x, du = scratch(R, u), scratch(P, u)
    c, g = scratch(r * J, u).reshape(r, J, L), scratch(r * J, u).reshape(r, J, L)
    dx = scratch(group * R, u).reshape(group, R, L)
    item = claim(counter)
    while item < stop:
        inputs = range(item * many, min(I, (item + 1) * many))
        for i in inputs:
            dw[i] = 0
        for begin in range(0, N, group):
            end = min(N, begin + group)
            for i in inputs:
                wi = w[own * i]
                for n in range(begin, end):
                    votes_backward(
                        lanes, wi, u[i, n], a[:, n], ds[:, n], uniform, leaky, detach, x, c, g,
                        dx[n - begin],
                    )  # fmt: skip
                    pose_backward(lanes, wi, dx[n - begin], du)
                    for m in range(n * L, min((n + 1) * L, d_pose.shape[0])):
                        for p in range(P):
                            d_pose[m, i, p] = du[p, m - n * L]
                weight_backward(lanes, dx, u[i, begin:end], dw[i])
        item = claim(counter)


@compiled
def pose_backward(lanes, w, dx, du):
    """du[p] = Σ_r w[r, p] dx[r]"""
    R, P = w.shape
    for p in range(0, P - P % 4, 4):
        s0 = s1 = s2 = s3 = zeros(lanes, w)
        for begin in range(0, R, MANY):
            u0 = u1 = u2 = u3 = zeros(lanes, w)
            for r in range(begin, min(R, begin + MANY)):
                dxr = load(lanes, dx, r)
                u0 = fma(w[r, p], dxr, u0)
                u1 = fma(w[r, p + 1], dxr, u1)
                u2 = fma(w[r, p + 2], dxr, u2)
                u3 = fma(w[r, p + 3], dxr, u3)
            s0, s1, s2, s3 = add(s0, u0), add(s1, u1), add(s2, u2), add(s3, u3)
        store(du, p, s0)
        store(du, p + 1, s1)
        store(du, p + 2, s2)
        store(du, p + 3, s3)
    for p in range(P - P % 4, P):
        s0 = zeros(lanes, w)
        for begin in range(0, R, MANY):
            u0 = zeros(lanes, w)
            for r in range(begin, min(R, begin + MANY)):
                u0 = fma(w[r, p], load(lanes, dx, r), u0)
            s0 = add(s0, u0)
        store(du, p, s0)


@compiled
def weight_backward(lanes, dx, u, dw):
    """dw[r, p] += Σ_n dx[n, r] · u[n, p], summed over the samples of every block n"""
    R, P = dw.shape
    pairs, fours = R - R % 2, P - P % 4
    for r in range(0, pairs, 2):
        for p in range(0, fours, 4):
            x0 = x1 = x2 = x3 = x4 = x5 = x6 = x7 = zeros(lanes, dw)
            for n in range(u.shape[0]):
                even, odd = load(lanes, dx[n], r), load(lanes, dx[n], r + 1)
                u0, u1 = load(lanes, u[n], p), load(lanes, u[n], p + 1)
                u2, u3 = load(lanes, u[n], p + 2), load(lanes, u[n], p + 3)
                x0, x4 = fma(even, u0, x0), fma(odd, u0, x4)
                x1, x5 = fma(even, u1, x1), fma(odd, u1, x5)
                x2, x6 = fma(even, u2, x2), fma(odd, u2, x6)
                x3, x7 = fma(even, u3, x3), fma(odd, u3, x7)
            add_totals(dw, r, p, x0, x1, x2, x3, x4, x5, x6, x7)
    for r in range(R):
        for p in range(fours if r < pairs else 0, P):
            x0 = zeros(lanes, dw)
            for n in range(u.shape[0]):
                x0 = fma(load(lanes, dx[n], r), load(lanes, u[n], p), x0)
            dw[r, p] += total(x0)
