"""The loops of the CPU kernel where all input capsules share W, as interests of recommenders do.

There no vote need be formed: s_j = Σ_i c_ij W_j u_i = W_j y_j with y_j = Σ_i c_ij u_i, and
b_ij = W_j u_i · A_j = u_i · q_j with q_j = W_jᵀ A_j, so that W is used once for an output capsule
in place of once for a vote. Backward, with z_j = W_jᵀ ds_j: dc_ij = u_i · z_j,
dq_j = Σ_i db_ij u_i, dA_j = W_j dq_j, du_i = Σ_t Σ_j (c_ij z_j + db_ij q_j), and
dW_j = Σ_t (ds_j y_jᵀ + A_j dq_jᵀ).

All iterations of one block of samples are done before the next is begun, and input capsules are
taken four at a time, so that what is read of an output capsule serves four.

Names as in steps.py; u, du [I, P, L], with I rounded up to fours; q, y, z, dq [J·P, L].
"""

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import add, claim, fma, load, multiply, store, zeros
from torchcaps.kernels.dynamic_cpu.few_loops import new_counter
from torchcaps.kernels.dynamic_cpu.loops import pose_backward, weight_backward
from torchcaps.kernels.dynamic_cpu.steps import (
    MANY,
    add_pose,
    add_squash_backward,
    scratch,
    softmax,
    softmax_backward,
)

__all__ = ["route_shared", "route_shared_backward"]

CHUNK = 64  # input capsules in one sum
FOUR = 4


@compiled
def route_shared(lanes, w, pose, uniform, J, leaky, a, s, v, counter, stop):
    """All iterations: a, s [r, N, R, L], v [N, R, L] = squash(s^r), the items blocks n."""
    I, P = pose.shape[1:]
    R, L, last = w.shape[0], a.shape[3], a.shape[0] - 1
    u, c = fours(I, P, a), scratch(FOUR * J, a).reshape(FOUR, J, L)
    q, y, part = scratch(J * P, a), scratch(J * P, a), scratch(J * P, a)
    total, zero = scratch(R, a).reshape(1, 1, R, L), scratch(R, a).reshape(1, R, L)
    zero[:] = 0
    n = claim(counter)
    while n < stop:
        one = slice(n, n + 1)
        a[0, n] = 0
        take(pose, n, u)
        for t in range(last + 1):
            if t == 0:
                add_alike(lanes, uniform, u, part, y)
            else:
                apply_transposed(lanes, w, a[t, n], q)
                y[:] = 0
                for begin in range(0, u.shape[0], CHUNK):
                    part[:] = 0
                    for i in range(begin, min(u.shape[0], begin + CHUNK), FOUR):
                        four = u[i : i + FOUR]
                        dots_of_four(lanes, four, q, None, c, None)
                        for k in range(FOUR):
                            softmax(lanes, c[k], leaky)
                        add_four(lanes, c, four, part)
                    add_rows(lanes, part, y)
            apply(lanes, w, y, total[0, 0])
            if t < last:
                add_pose(lanes, total, a[t, one], s[t, one], a[t + 1, one], J, new_counter(), J)
            else:
                add_pose(lanes, total, zero, s[t, one], v[one], J, new_counter(), J)
        n = claim(counter)


@compiled
def route_shared_backward(
    lanes, w, pose, a, s, dv, uniform, J, leaky, detach, step, dw, d_pose, counter, stop
):
    """d_pose [B, I, P], and dw[k] of `step` blocks, from dv = dv^r, which is overwritten; the
    items k."""
    I, P = pose.shape[1:]
    r, N, R, L = a.shape
    D, last = R // J, r - 1
    u, du = fours(I, P, a), fours(I, P, a)
    c, g = scratch(FOUR * J, a).reshape(FOUR, J, L), scratch(FOUR * J, a).reshape(FOUR, J, L)
    q, z = scratch(J * P, a), scratch(J * P, a)
    part, of_g = scratch(J * P, a), scratch(J * P, a)
    da, ds = scratch(R, a).reshape(1, 1, R, L), scratch(R, a).reshape(1, R, L)
    # dW is a sum of r products ds yᵀ and r products A dqᵀ.
    left = scratch(2 * r * R, a).reshape(2 * r, R, L)
    right = scratch(2 * r * J * P, a).reshape(2 * r, J * P, L)
    k = claim(counter)
    while k < stop:
        dw[k] = 0
        for n in range(k * step, min(N, (k + 1) * step)):
            one = slice(n, n + 1)
            take(pose, n, u)
            du[:], left[:], right[:] = 0, 0, 0
            add_squash_backward(lanes, da[:0], s[last, one], dv[one], ds, J, new_counter(), J)
            dv[n] = 0  # from here on the sum of dA so far
            for t in range(last, last - 1 if detach else -1, -1):
                apply_transposed(lanes, w, ds[0], z)
                left[t] = ds[0]
                y, dq = right[t], right[r + t]
                if t == 0:
                    add_alike(lanes, uniform, u, part, y)
                    add_to_all(lanes, uniform, z, du)
                    break
                apply_transposed(lanes, w, a[t, n], q)
                for begin in range(0, u.shape[0], CHUNK):
                    part[:], of_g[:] = 0, 0
                    for i in range(begin, min(u.shape[0], begin + CHUNK), FOUR):
                        four = u[i : i + FOUR]
                        dots_of_four(lanes, four, q, z, c, g)
                        for m in range(FOUR):
                            softmax(lanes, c[m], leaky)
                            if not detach:
                                softmax_backward(lanes, c[m], g[m])
                        add_four(lanes, c, four, part)
                        add_to_four(lanes, c, z, du[i : i + FOUR])
                        if not detach:
                            add_four(lanes, g, four, of_g)
                            add_to_four(lanes, g, q, du[i : i + FOUR])
                    add_rows(lanes, part, y)
                    add_rows(lanes, of_g, dq)
                if not detach:
                    left[r + t] = a[t, n]
                    apply(lanes, w, dq, da[0, 0])
                    add_squash_backward(lanes, da, s[t - 1, one], dv[one], ds, J, new_counter(), J)
            for m in range(n * L, min((n + 1) * L, d_pose.shape[0])):
                for i in range(I):
                    for p in range(P):
                        d_pose[m, i, p] = du[i, p, m - n * L]
            for j in range(J):
                rows, columns = slice(j * D, (j + 1) * D), slice(j * P, (j + 1) * P)
                weight_backward(lanes, left[:, rows], right[:, columns], dw[k, rows])
        k = claim(counter)


@compiled
def fours(count, rows, like):
    """[count, rows, L] not initialised, count rounded up to fours, with a line between: the same
    row of four is read at once, and rows a power of two apart would fight for the same places in
    the cache."""
    L, count = like.shape[-1], -(-count // FOUR) * FOUR
    room = scratch(count * (rows + 1), like).reshape(count, rows + 1, L)
    return room[:, :rows]


@compiled
def take(pose, n, u):
    """u [I, P, L] ← pose [n·L:, I, P], missing samples and input capsules zero."""
    L, (B, I, _) = u.shape[2], pose.shape
    for i in range(u.shape[0]):
        for m in range(L):
            b = n * L + m
            for p in range(u.shape[1]):
                u[i, p, m] = pose[b, i, p] if b < B and i < I else 0


@compiled
def dots_of_four(lanes, u, q, z, c, g):
    """c[k, j] = Σ_p u[k, p] q[j, p],  g[k, j] = Σ_p u[k, p] z[j, p]; without z (None) no g."""
    P = u.shape[1]
    ua, ub, uc, ud = u[0], u[1], u[2], u[3]
    for j in range(c.shape[1]):
        qa = qb = qc = qd = za = zb = zc = zd = zeros(lanes, q)
        for begin in range(0, P, MANY):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros(lanes, q)
            for p in range(begin, min(P, begin + MANY)):
                u0, u1, u2, u3 = (
                    load(lanes, ua, p),
                    load(lanes, ub, p),
                    load(lanes, uc, p),
                    load(lanes, ud, p),
                )
                of_q = load(lanes, q, j * P + p)
                a0, a1 = fma(u0, of_q, a0), fma(u1, of_q, a1)
                a2, a3 = fma(u2, of_q, a2), fma(u3, of_q, a3)
                if z is not None:
                    of_z = load(lanes, z, j * P + p)
                    b0, b1 = fma(u0, of_z, b0), fma(u1, of_z, b1)
                    b2, b3 = fma(u2, of_z, b2), fma(u3, of_z, b3)
            qa, qb, qc, qd = add(qa, a0), add(qb, a1), add(qc, a2), add(qd, a3)
            if z is not None:
                za, zb, zc, zd = add(za, b0), add(zb, b1), add(zc, b2), add(zd, b3)
        store(c[0], j, qa)
        store(c[1], j, qb)
        store(c[2], j, qc)
        store(c[3], j, qd)
        if z is not None:
            store(g[0], j, za)
            store(g[1], j, zb)
            store(g[2], j, zc)
            store(g[3], j, zd)


@compiled
def add_four(lanes, c, u, y):
    """y[j, p] += Σ_k c[k, j] u[k, p]"""
    P = u.shape[1]
    ua, ub, uc, ud = u[0], u[1], u[2], u[3]
    for j in range(c.shape[1]):
        c0, c1, c2, c3 = (
            load(lanes, c[0], j),
            load(lanes, c[1], j),
            load(lanes, c[2], j),
            load(lanes, c[3], j),
        )
        for p in range(P):
            first = fma(c1, load(lanes, ub, p), multiply(c0, load(lanes, ua, p)))
            second = fma(c3, load(lanes, ud, p), multiply(c2, load(lanes, uc, p)))
            store(y, j * P + p, add(load(lanes, y, j * P + p), add(first, second)))


@compiled
def add_to_four(lanes, c, z, du):
    """du[k, p] += Σ_j c[k, j] z[j, p]"""
    J, P = c.shape[1], du.shape[1]
    da, db, dc, dd = du[0], du[1], du[2], du[3]
    for p in range(P):
        x0, x1, x2, x3 = (
            load(lanes, da, p),
            load(lanes, db, p),
            load(lanes, dc, p),
            load(lanes, dd, p),
        )
        for j in range(J):
            of_z = load(lanes, z, j * P + p)
            x0, x1 = fma(load(lanes, c[0], j), of_z, x0), fma(load(lanes, c[1], j), of_z, x1)
            x2, x3 = fma(load(lanes, c[2], j), of_z, x2), fma(load(lanes, c[3], j), of_z, x3)
        store(da, p, x0)
        store(db, p, x1)
        store(dc, p, x2)
        store(dd, p, x3)


@compiled
def add_rows(lanes, part, y):
    """y += part"""
    for row in range(y.shape[0]):
        store(y, row, add(load(lanes, y, row), load(lanes, part, row)))


@compiled
def add_alike(lanes, uniform, u, part, y):
    """y[j, p] = uniform · Σ_i u[i, p] for every j; part: room for a sum."""
    P = u.shape[1]
    for p in range(P):
        sum_of_all = zeros(lanes, y)
        for begin in range(0, u.shape[0], CHUNK):
            sum_of_chunk = zeros(lanes, y)
            for i in range(begin, min(u.shape[0], begin + CHUNK)):
                sum_of_chunk = add(sum_of_chunk, load(lanes, u[i], p))
            sum_of_all = add(sum_of_all, sum_of_chunk)
        store(part, p, multiply(uniform, sum_of_all))
    for row in range(y.shape[0]):
        store(y, row, load(lanes, part, row % P))


@compiled
def add_to_all(lanes, uniform, z, du):
    """du[i, p] += uniform · Σ_j z[j, p] for every i"""
    P = du.shape[1]
    for p in range(P):
        sum_of_all = zeros(lanes, z)
        for row in range(p, z.shape[0], P):
            sum_of_all = add(sum_of_all, load(lanes, z, row))
        sum_of_all = multiply(uniform, sum_of_all)
        for i in range(du.shape[0]):
            store(du[i], p, add(load(lanes, du[i], p), sum_of_all))


@compiled
def apply(lanes, w, y, s):
    """s[j, d] = Σ_p w[j, d, p] y[j, p]"""
    R, P = w.shape
    J = y.shape[0] // P
    D = R // J
    for j in range(J):
        whole = (j + 1) * D - D % 4
        for r in range(j * D, whole, 4):
            s0 = s1 = s2 = s3 = zeros(lanes, y)
            for begin in range(0, P, MANY):
                x0 = x1 = x2 = x3 = zeros(lanes, y)
                for p in range(begin, min(P, begin + MANY)):
                    yp = load(lanes, y, j * P + p)
                    x0, x1 = fma(w[r, p], yp, x0), fma(w[r + 1, p], yp, x1)
                    x2, x3 = fma(w[r + 2, p], yp, x2), fma(w[r + 3, p], yp, x3)
                s0, s1, s2, s3 = add(s0, x0), add(s1, x1), add(s2, x2), add(s3, x3)
            store(s, r, s0)
            store(s, r + 1, s1)
            store(s, r + 2, s2)
            store(s, r + 3, s3)
        for r in range(whole, (j + 1) * D):
            s0 = zeros(lanes, y)
            for begin in range(0, P, MANY):
                x0 = zeros(lanes, y)
                for p in range(begin, min(P, begin + MANY)):
                    x0 = fma(w[r, p], load(lanes, y, j * P + p), x0)
                s0 = add(s0, x0)
            store(s, r, s0)


@compiled
def apply_transposed(lanes, w, a, q):
    """q[j, p] = Σ_d w[j, d, p] a[j, d]"""
    R, P = w.shape
    J = q.shape[0] // P
    D = R // J
    for j in range(J):
        rows = slice(j * D, (j + 1) * D)
        pose_backward(lanes, w[rows], a[rows], q[j * P : (j + 1) * P])
