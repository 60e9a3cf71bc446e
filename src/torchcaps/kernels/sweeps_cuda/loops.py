"""The sweeps over all votes on a GPU, forward and backward, compiled by Triton.

A tile holds the votes of BB samples for JB output capsules, all cast by one input capsule of one
window. They are formed wherever they are needed, x[b, j, row, n] = Σ_m w[j, n, m] u[b, row, m], as
one product of small matrices.

What is scored, coupled and summed is that of `kernels/sums.py`. The softmax of a child is over its
parents in all windows that see it. A tile that holds all J outputs of a child's only window takes
it itself. Otherwise (`GIVEN`) `sum_over_parents` goes first and leaves, for every child of the map
and sample, the largest logit, the sum of exp(logit − largest) and, in backward, Σ c dc. The last
sweep of backward, `factor_gradients`, is always given them.

Names: u [B, F, I, ROWS·M], w [I, J·N, M], activation [B, F, I] (or, `GIVEN_COUPLING`, the coupling
[B, F, I, J]), k, e0 [B, F, J], p, m, e1, e2 [B, F, J, D] with D = ROWS·N, sums [3, children, B],
where the child of type t at position q of Q has the place t·Q + q. A block is BB samples and JB
outputs of RP·NP components, which have ROWS rows and N columns, and MB components m of an input
pose. Numbers are of the dtype of w.
"""

import triton
import triton.language as tl

from torchcaps.kernels.dynamic_cuda.loops import product

__all__ = ["add_up", "factor_gradients", "sum_over_parents"]

CONSTANT, BY_LOGITS, GIVEN_COUPLING = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def components(N: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr):
    """The row, the column and the place in a pose of each of RP·NP components, [1, 1, RP·NP]."""
    h = tl.arange(0, RP * NP)[None, None, :]
    return h // NP, h % NP, h // NP * N + h % NP


@triton.jit
def matrix_product(x, y):
    """xy on tensor cores, with about all digits of its dtype."""
    return tl.dot(x, y, out_dtype=tl.float64) if x.dtype == tl.float64 else product(x, y, True)


@triton.jit
def where_poses_are(
    b0, f, i, m0, B, F, I,
    ROWS: tl.constexpr, M: tl.constexpr, BB: tl.constexpr, RP: tl.constexpr, MB: tl.constexpr,
):  # fmt: skip
    """Offsets [BB·RP, MB] in u of input capsule i of window f; and which are inside."""
    line = tl.arange(0, BB * RP)
    b, row, m = b0 + line // RP, line % RP, m0 + tl.arange(0, MB)
    start = ((b * F + f) * I + i) * (ROWS * M) + row * M
    return start[:, None] + m[None, :], ((b < B) & (row < ROWS))[:, None] & (m < M)[None, :]


@triton.jit
def where_weights_are(
    i, j0, m0,
    J: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
    JB: tl.constexpr, NP: tl.constexpr, MB: tl.constexpr,
):  # fmt: skip
    """Offsets [JB·NP, MB] in w of input capsule i; and which are inside."""
    line = tl.arange(0, JB * NP)
    j, n, m = j0 + line // NP, line % NP, m0 + tl.arange(0, MB)
    start = (i * (J * N) + j * N + n) * M
    return start[:, None] + m[None, :], ((j < J) & (n < N))[:, None] & (m < M)[None, :]


@triton.jit
def form_votes(
    u, w, b0, f, i, j0, B, F, I,
    J: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
    BB: tl.constexpr, JB: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr, MB: tl.constexpr,
):  # fmt: skip
    """x [BB, JB, RP·NP] of input capsule i in window f, zero beyond."""
    x = tl.zeros([BB * RP, JB * NP], w.dtype.element_ty)
    for m0 in range(0, M, MB):
        poses, seen = where_poses_are(b0, f, i, m0, B, F, I, ROWS, M, BB, RP, MB)
        weights, weighed = where_weights_are(i, j0, m0, J, N, M, JB, NP, MB)
        pose = tl.load(u + poses, mask=seen, other=0.0)
        weight = tl.load(w + weights, mask=weighed, other=0.0)
        x += matrix_product(pose, tl.trans(weight))
    return tl.reshape(tl.permute(tl.reshape(x, [BB, RP, JB, NP]), 0, 2, 1, 3), [BB, JB, RP * NP])


@triton.jit
def where_outputs_are(
    b, f, j, B, F,
    J: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr,
):  # fmt: skip
    """Offsets of a tile in [B, F, J, D], and of its outputs in [B, F, J]; and which are inside."""
    row, n, d = components(N, RP, NP)
    output = (b[:, None, None] * F + f) * J + j
    there = (b[:, None, None] < B) & (j < J)
    return output * (ROWS * N) + d, there & (row < ROWS) & (n < N), output, there


@triton.jit
def logits_of(d, k, p, j, J: tl.constexpr, GAUSSIAN: tl.constexpr):
    """b [BB, JB, 1], −∞ beyond the last output: p · d, or k − Σ p d²."""
    if GAUSSIAN:
        b = k - tl.sum(d * p * d, axis=2, keep_dims=True)
    else:
        b = tl.sum(d * p, axis=2, keep_dims=True)
    return tl.where(j < J, b, -float("inf"))


@triton.jit
def coupling_of(logits, top, total):
    """c [BB, JB, 1] where another program has found the largest logit and the sum.

    The logits there may be others in their last digit, which of large ones is more than exp can
    take.
    """
    return tl.exp(tl.minimum(logits - top, 0.0, propagate_nan=tl.PropagateNan.ALL)) / total


@triton.jit
def of_coupling(d, e0, e1, e2, GAUSSIAN: tl.constexpr):
    """The gradient of w = c a [BB, JB, 1]: e1 · d, or e0 + Σ (e1 + e2 d) d."""
    if GAUSSIAN:
        return e0 + tl.sum((e1 + e2 * d) * d, axis=2, keep_dims=True)
    return tl.sum(e1 * d, axis=2, keep_dims=True)


@triton.jit
def sum_over_parents(
    u, w, activation, k, p, m, e0, e1, e2, sums, places, counts, B, F, I,
    J: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
    K: tl.constexpr, Q: tl.constexpr, MOST: tl.constexpr,
    BB: tl.constexpr, JB: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr, MB: tl.constexpr,
    GAUSSIAN: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """The sums of a child's softmax, in one walk over its parents in every window that sees it.

    A program has one block of samples and one child. The largest logit so far is taken out of the
    sums, which are scaled again whenever a larger one is met.
    """
    program = tl.program_id(0)
    blocks = tl.cdiv(B, BB)
    b0 = (program % blocks * BB).to(tl.int64)
    b = b0 + tl.arange(0, BB)
    child = (program // blocks).to(tl.int64)
    q, t = child % Q, child // Q
    top = tl.full([BB, 1, 1], -float("inf"), w.dtype.element_ty)
    total = tl.zeros([BB, 1, 1], w.dtype.element_ty)
    weighted = tl.zeros([BB, 1, 1], w.dtype.element_ty)
    for seat in range(tl.load(counts + q).to(tl.int32)):
        place = tl.load(places + q * MOST + seat)
        f, i = place // K, t * K + place % K
        if BACKWARD and GAUSSIAN:
            of_child = activation + (b[:, None, None] * F + f) * I + i
            a = tl.load(of_child, mask=b[:, None, None] < B, other=0.0)
        for first in range(0, J, JB):
            j0 = tl.cast(first, tl.int64)
            j = (j0 + tl.arange(0, JB))[None, :, None]
            offsets, inside, output, there = where_outputs_are(b, f, j, B, F, J, ROWS, N, RP, NP)
            d = form_votes(u, w, b0, f, i, j0, B, F, I, J, ROWS, N, M, BB, JB, RP, NP, MB)
            k_tile = 0.0
            if GAUSSIAN:
                d -= tl.load(m + offsets, mask=inside, other=0.0)
                k_tile = tl.load(k + output, mask=there, other=0.0)
            p_tile = tl.load(p + offsets, mask=inside, other=0.0)
            logits = logits_of(d, k_tile, p_tile, j, J, GAUSSIAN)
            higher = tl.maximum(top, tl.max(logits, axis=1, keep_dims=True))
            shrink, e = tl.exp(top - higher), tl.exp(logits - higher)
            top, total = higher, total * shrink + tl.sum(e, axis=1, keep_dims=True)
            if BACKWARD:
                e1_tile, e0_tile, e2_tile = tl.load(e1 + offsets, mask=inside, other=0.0), 0.0, 0.0
                if GAUSSIAN:
                    e0_tile = tl.load(e0 + output, mask=there, other=0.0)
                    e2_tile = tl.load(e2 + offsets, mask=inside, other=0.0)
                dc = of_coupling(d, e0_tile, e1_tile, e2_tile, GAUSSIAN)
                if GAUSSIAN:
                    dc *= a
                weighted = weighted * shrink + tl.sum(e * dc, axis=1, keep_dims=True)
    samples = b[:, None, None]
    children = tl.num_programs(0) // blocks
    at = sums + child * B + samples
    tl.store(at, top, mask=samples < B)
    tl.store(at + children.to(tl.int64) * B, total, mask=samples < B)
    if BACKWARD:
        tl.store(at + 2 * children.to(tl.int64) * B, weighted / total, mask=samples < B)


@triton.jit
def child_of(positions, f, i, K: tl.constexpr, Q: tl.constexpr):
    """The place of a child of the map that window f sees as its input capsule i."""
    return i // K * Q + tl.load(positions + f * K + i % K)


@triton.jit
def add_up(
    u, w, activation, k, p, m, e0, e1, e2, sums, positions, shares, s0, s1, s2, B, F, I, inputs,
    J: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
    K: tl.constexpr, Q: tl.constexpr,
    BB: tl.constexpr, JB: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr, MB: tl.constexpr,
    GAUSSIAN: tl.constexpr, COUPLING: tl.constexpr, GIVEN: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """Σ w, Σ w d, Σ w d² over a chunk of inputs, with w = c a; in backward with w = db.

    (Products: Σ w x alone.) A program has one block of samples, one of outputs, one window and
    `inputs` inputs. s0 is [chunks, B, F, J], s1 and s2 [chunks, B, F, J, D]. In backward a program
    that takes the softmax itself leaves its sums. shares [F·K] are constant couplings of the places
    of every window.
    """
    program = tl.program_id(0)
    blocks, groups = tl.cdiv(B, BB), tl.cdiv(J, JB)
    b0 = (program % blocks * BB).to(tl.int64)
    j0 = (program // blocks % groups * JB).to(tl.int64)
    b, j = b0 + tl.arange(0, BB), (j0 + tl.arange(0, JB))[None, :, None]
    f = (program // blocks // groups % F).to(tl.int64)
    chunk = (program // blocks // groups // F).to(tl.int64)
    samples = b[:, None, None]
    offsets, inside, output, there = where_outputs_are(b, f, j, B, F, J, ROWS, N, RP, NP)
    total = tl.zeros([BB, JB, RP * NP], w.dtype.element_ty)
    if GAUSSIAN:
        m_tile = tl.load(m + offsets, mask=inside, other=0.0)
        square, mass = tl.zeros_like(total), tl.zeros([BB, JB, 1], w.dtype.element_ty)
    k_tile = 0.0
    if COUPLING == BY_LOGITS:
        p_tile = tl.load(p + offsets, mask=inside, other=0.0)
        if GAUSSIAN:
            k_tile = tl.load(k + output, mask=there, other=0.0)
    e0_tile, e2_tile = 0.0, 0.0
    if BACKWARD:
        e1_tile = tl.load(e1 + offsets, mask=inside, other=0.0)
        if GAUSSIAN:
            e0_tile = tl.load(e0 + output, mask=there, other=0.0)
            e2_tile = tl.load(e2 + offsets, mask=inside, other=0.0)
    children = tl.cast(I // K * Q, tl.int64)  # I may be a constant
    for i in range(chunk * inputs, tl.minimum((chunk + 1) * inputs, I)):
        d = form_votes(u, w, b0, f, i, j0, B, F, I, J, ROWS, N, M, BB, JB, RP, NP, MB)
        if GAUSSIAN:
            d -= m_tile
            of_child = activation + (samples * F + f) * I + i
            a = tl.load(of_child, mask=samples < B, other=0.0)
        if COUPLING == BY_LOGITS:
            logits = logits_of(d, k_tile, p_tile, j, J, GAUSSIAN)
            at = sums + child_of(positions, f, i, K, Q) * B + samples
            if GIVEN:
                top = tl.load(at, mask=samples < B, other=0.0)
                sum_of_e = tl.load(at + children * B, mask=samples < B, other=1.0)
                c = coupling_of(logits, top, sum_of_e)
            else:
                top = tl.max(logits, axis=1, keep_dims=True)
                e = tl.exp(logits - top)
                sum_of_e = tl.sum(e, axis=1, keep_dims=True)
                c = e / sum_of_e
        elif COUPLING == GIVEN_COUPLING:
            of_votes = activation + ((samples * F + f) * I + i) * J + j
            c = tl.load(of_votes, mask=there, other=0.0)
        else:
            c = tl.where(there, tl.load(shares + f * K + i % K), 0.0)
        if BACKWARD:
            dc = of_coupling(d, e0_tile, e1_tile, e2_tile, GAUSSIAN)
            if GAUSSIAN:
                dc *= a
            if GIVEN:
                mean = tl.load(at + 2 * children * B, mask=samples < B, other=0.0)
            else:
                mean = tl.sum(c * dc, axis=1, keep_dims=True)
                tl.store(at, top, mask=samples < B)
                tl.store(at + children * B, sum_of_e, mask=samples < B)
                tl.store(at + 2 * children * B, mean, mask=samples < B)
            weight = c * (dc - mean)
        elif GAUSSIAN:
            weight = c * a
        else:
            weight = c
        weighted = weight * d
        total += weighted
        if GAUSSIAN:
            mass += weight
            square += weighted * d
    of_chunk = chunk * B * F * J
    tl.store(s1 + of_chunk * (ROWS * N) + offsets, total, mask=inside)
    if GAUSSIAN:
        tl.store(s2 + of_chunk * (ROWS * N) + offsets, square, mask=inside)
        tl.store(s0 + of_chunk + output, mass, mask=there)


@triton.jit
def factor_gradients(
    u, w, activation, k, p, m, e0, e1, e2, sums, positions, shares, du, da, dw, B, F, I, pairs,
    J: tl.constexpr, ROWS: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
    K: tl.constexpr, Q: tl.constexpr,
    BB: tl.constexpr, JB: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr, MB: tl.constexpr,
    GAUSSIAN: tl.constexpr, COUPLING: tl.constexpr, THROUGH: tl.constexpr,
    WALK: tl.constexpr, DU: tl.constexpr, DW: tl.constexpr,
):  # fmt: skip
    """The gradients of the factors from dx = c a (e1 + 2 e2 d) − 2 g p d (products: c e1 + g p):
    du = Σ_j wᵀ dx, da = Σ_j c dw (of a given coupling: dw), dw = Σ_{b, f} dx u.

    A program has one input capsule, `pairs` pairs of a block of samples and a window, WALK outputs
    (all of them where it writes du) and MB components m. du is [B, F, I, ROWS·M], da as activation,
    dw [parts, I, J·N, M].
    """
    program = tl.program_id(0)
    depths, walks, blocks = tl.cdiv(M, MB), tl.cdiv(J, WALK), tl.cdiv(B, BB)
    parts = tl.cdiv(blocks * F, pairs)
    m0 = program % depths * MB
    first_j = program // depths % walks * WALK
    part = program // depths // walks % parts
    i = (program // depths // walks // parts).to(tl.int64)
    children = tl.cast(I // K * Q, tl.int64)  # I may be a constant
    of_weight = tl.zeros([JB * NP, MB], w.dtype.element_ty)
    for pair in range(part * pairs, tl.minimum((part + 1) * pairs, blocks * F)):
        b0 = (pair % blocks * BB).to(tl.int64)
        b = b0 + tl.arange(0, BB)
        f = (pair // blocks).to(tl.int64)
        samples = b[:, None, None]
        of_child = (samples * F + f) * I + i
        poses, seen = where_poses_are(b0, f, i, m0, B, F, I, ROWS, M, BB, RP, MB)
        of_pose = tl.zeros([BB * RP, MB], w.dtype.element_ty)
        a, of_a = 1.0, tl.zeros([BB, 1, 1], w.dtype.element_ty)
        if GAUSSIAN:
            a = tl.load(activation + of_child, mask=samples < B, other=0.0)
        if COUPLING == BY_LOGITS:
            at = sums + child_of(positions, f, i, K, Q) * B + samples
            top = tl.load(at, mask=samples < B, other=0.0)
            sum_of_e = tl.load(at + children * B, mask=samples < B, other=1.0)
            if THROUGH:
                mean = tl.load(at + 2 * children * B, mask=samples < B, other=0.0)
        for first in range(first_j, first_j + WALK, JB):
            j0 = tl.cast(first, tl.int64)
            j = (j0 + tl.arange(0, JB))[None, :, None]
            offsets, inside, output, there = where_outputs_are(b, f, j, B, F, J, ROWS, N, RP, NP)
            d = form_votes(u, w, b0, f, i, j0, B, F, I, J, ROWS, N, M, BB, JB, RP, NP, MB)
            k_tile, e0_tile, e2_tile = 0.0, 0.0, 0.0
            e1_tile = tl.load(e1 + offsets, mask=inside, other=0.0)
            if GAUSSIAN:
                d -= tl.load(m + offsets, mask=inside, other=0.0)
                e0_tile = tl.load(e0 + output, mask=there, other=0.0)
                e2_tile = tl.load(e2 + offsets, mask=inside, other=0.0)
            of_c = of_coupling(d, e0_tile, e1_tile, e2_tile, GAUSSIAN)
            if COUPLING == BY_LOGITS:
                p_tile = tl.load(p + offsets, mask=inside, other=0.0)
                if GAUSSIAN:
                    k_tile = tl.load(k + output, mask=there, other=0.0)
                logits = logits_of(d, k_tile, p_tile, j, J, GAUSSIAN)
                c = coupling_of(logits, top, sum_of_e)
            elif COUPLING == GIVEN_COUPLING:
                c = tl.load(activation + of_child * J + j, mask=there, other=0.0)
                if DU:
                    tl.store(da + of_child * J + j, of_c, mask=there & (m0 == 0))
            else:
                c = tl.where(there, tl.load(shares + f * K + i % K), 0.0)
            if GAUSSIAN:
                of_a += tl.sum(c * of_c, axis=1, keep_dims=True)
            dx = c * a * (e1_tile + 2 * e2_tile * d)
            if THROUGH:
                g = c * (a * of_c - mean)
                if GAUSSIAN:
                    dx -= 2 * g * p_tile * d
                else:
                    dx += g * p_tile
            dx = tl.permute(tl.reshape(dx, [BB, JB, RP, NP]), 0, 2, 1, 3)
            dx = tl.reshape(dx, [BB * RP, JB * NP])
            if DU:
                weights, weighed = where_weights_are(i, j0, m0, J, N, M, JB, NP, MB)
                of_pose += matrix_product(dx, tl.load(w + weights, mask=weighed, other=0.0))
            if DW:
                pose = tl.load(u + poses, mask=seen, other=0.0)
                of_weight += matrix_product(tl.trans(dx), pose)
        if DU:
            tl.store(du + poses, of_pose, mask=seen)
            if GAUSSIAN:
                tl.store(da + of_child, of_a, mask=(samples < B) & (m0 == 0))
    if DW:
        weights, weighed = where_weights_are(i, first_j.to(tl.int64), m0, J, N, M, JB, NP, MB)
        tl.store(dw + part.to(tl.int64) * I * (J * N * M) + weights, of_weight, mask=weighed)
