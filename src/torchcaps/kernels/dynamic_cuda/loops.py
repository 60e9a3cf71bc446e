"""The loops of the CUDA kernel, compiled by Triton.

A tile holds the votes of BB samples for JB output capsules, all cast by one input capsule. They are
formed anew wherever they are needed, x_bjd = Σ_p W_jdp u_bp, as one product of small matrices:
reading them back would take longer.

The softmax runs over the outputs, the sum over the inputs. A tile that holds all J outputs does
both. Where J is too large for that (`GIVEN`), `sum_over_outputs` goes first and leaves, for every
sample and input, lse = log Σ_k exp b_k and, in backward, Σ_k c_k dc_k. The last sweep always has
them, and so needs no sums over outputs itself.

Names: u, w pose [B, I, P] and weight [I, J, D, P], with strides u_b, U_I, U_P, W_I, W_J, W_D, W_P
(all but the first are constants of a layer, from which the compiler knows how wide a load may be);
x votes û [BB, JB, DP]; a, s, ds the A, s, ds of one iteration, [B, J, D]; c coupling; sums
[2, I, B] the two sums above. A block is BB samples, JB outputs of DP ≥ D components, PB components
of an input pose. Offsets are 64 bits wide: the weights of a thousand classes pass 2^31 elements.
"""

import triton
import triton.language as tl

__all__ = ["finish", "finish_backward", "iterate", "sum_over_outputs", "sweep"]

LARGEST = tl.constexpr(1e6)  # a logit, as in routing/packed.py


@triton.jit
def load_pose(u, b, B, u_b, p0, P, U_P, PB: tl.constexpr, UPCAST: tl.constexpr):
    """[BB, PB] of the poses that one input capsule has, zero beyond."""
    p = (p0 + tl.arange(0, PB)).to(tl.int64)
    inside = (b < B)[:, None] & (p < P)[None, :]
    tile = tl.load(u + b[:, None] * u_b + p[None, :] * U_P, mask=inside, other=0.0)
    return tile.to(tl.float32) if UPCAST else tile


@triton.jit
def columns(JB: tl.constexpr, DP: tl.constexpr):
    """Which output and component the columns of a tile [BB, JB·DP] are.

    Eight components of one output, eight of the next, and so on; then the next eight of each.
    Tensor cores deal out columns to warps by eights, so that one warp gets a whole output.
    """
    column = tl.arange(0, JB * DP)
    NEAR: tl.constexpr = min(8, DP)
    return column // NEAR % JB, column // (NEAR * JB) * NEAR + column % NEAR


@triton.jit
def by_capsule(x, JB: tl.constexpr, DP: tl.constexpr):
    """[BB, JB·DP] to [BB, JB, DP]."""
    NEAR: tl.constexpr = min(8, DP)
    x = tl.reshape(x, [x.shape[0], DP // NEAR, JB, NEAR])
    return tl.reshape(tl.permute(x, 0, 2, 1, 3), [x.shape[0], JB, DP])


@triton.jit
def by_column(x, JB: tl.constexpr, DP: tl.constexpr):
    """[BB, JB, DP] to [BB, JB·DP]."""
    NEAR: tl.constexpr = min(8, DP)
    x = tl.permute(tl.reshape(x, [x.shape[0], JB, DP // NEAR, NEAR]), 0, 2, 1, 3)
    return tl.reshape(x, [x.shape[0], JB * DP])


@triton.jit
def load_weight(
    w, j0, p0, J, D, P, W_J, W_D, W_P,
    JB: tl.constexpr, DP: tl.constexpr, PB: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """[JB·DP, PB] of the weights that one input capsule has, zero beyond."""
    j, d = columns(JB, DP)
    j, d = (j0 + j).to(tl.int64), d.to(tl.int64)
    p = (p0 + tl.arange(0, PB)).to(tl.int64)
    inside = ((j < J) & (d < D))[:, None] & (p < P)[None, :]
    tile = tl.load(w + (j * W_J + d * W_D)[:, None] + p[None, :] * W_P, mask=inside, other=0.0)
    return tile.to(tl.float32) if UPCAST else tile


@triton.jit
def split(x):
    """x as tensor cores read it, with 10 bits of fraction (rounded, not cut off), and the rest.

    A NaN stays one, in the rest at least. Triton's own "tf32x3" takes twice the instructions.
    """
    bits = (x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000
    high = bits.to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def product(x, y, EXACT: tl.constexpr):
    """The matrix product xy on tensor cores; EXACT: of float32, with about all its digits.

    Tensor cores cut off where they should round; long sums are therefore added up outside of them.
    The rest is not rounded as the number is: that would turn the NaN of CUDA into a zero.
    Reference: Ootomo and Yokota (2022), Recovering single precision accuracy from Tensor Cores.
    """
    if EXACT:
        x_high, x_low = split(x)
        y_high, y_low = split(y)
        z = tl.dot(x_low, y_high, input_precision="tf32")
        z = tl.dot(x_high, y_low, z, input_precision="tf32")
        z = tl.dot(x_high, y_high, z, input_precision="tf32")
    else:
        z = tl.dot(x, y, input_precision="tf32")
    return z


@triton.jit
def form_votes(
    u, w, b, B, u_b, j0, J, D, P, U_P, W_J, W_D, W_P,
    BB: tl.constexpr, JB: tl.constexpr, DP: tl.constexpr, PB: tl.constexpr,
    EXACT: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """x [BB, JB, DP] of one input capsule: x_bjd = Σ_p W_jdp u_bp."""
    x = tl.zeros([BB, JB * DP], tl.float32)
    for p0 in range(0, P, PB):
        pose = load_pose(u, b, B, u_b, p0, P, U_P, PB, UPCAST)
        weight = load_weight(w, j0, p0, J, D, P, W_J, W_D, W_P, JB, DP, PB, UPCAST)
        x += product(pose, tl.trans(weight), EXACT)
    return by_capsule(x, JB, DP)


@triton.jit
def where_capsules_are(b, B, j0, J, D, JB: tl.constexpr, DP: tl.constexpr):
    """Offsets of a tile [BB, JB, DP] in [B, J, D], and which of them are inside."""
    j, d = j0 + tl.arange(0, JB), tl.arange(0, DP)
    inside = (b < B)[:, None, None] & (j < J)[None, :, None] & (d < D)[None, None, :]
    return b[:, None, None] * (J * D) + j[None, :, None] * D + d[None, None, :], inside


@triton.jit
def logits_of(x, a, j0, J, JB: tl.constexpr):
    """b [BB, JB], −∞ beyond the last output."""
    j = j0 + tl.arange(0, JB)
    return tl.where((j < J)[None, :], tl.sum(x * a, axis=2), -float("inf"))


@triton.jit
def coupling_of(logits, lse):
    """c [BB, JB] where another program has found lse.

    The logits there may be others in their last digit, which of logits of 1e30 is more than exp can
    take: no coupling is above 1.
    """
    difference = logits - lse[:, None]  # NaN is to stay one
    return tl.exp(tl.minimum(difference, 0.0, propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def logit_gradient(logits, c, dc, mean):
    """db = c (dc − Σ_k c_k dc_k), [BB, JB].

    Logits so large are constants: c is 0 or 1 there, and what is left is rounding,
    which votes of 1e30 would blow up.
    """
    return tl.where(tl.abs(logits) > LARGEST, 0.0, c * (dc - mean[:, None]))


@triton.jit
def softmax(logits, LEAKY: tl.constexpr):
    """c [BB, JB] of a tile that has all outputs, and lse."""
    top = tl.max(logits, axis=1)
    if LEAKY:  # one more logit, 0
        top = tl.maximum(top, 0.0)
    c = tl.exp(logits - top[:, None])
    total = tl.sum(c, axis=1)
    if LEAKY:
        total += tl.exp(-top)
    return c * (1 / total)[:, None], top + tl.log(total)


@triton.jit
def iterate(
    u, w, a, ds, sums, partial, B, I, inputs, uniform, u_b,
    J: tl.constexpr, D: tl.constexpr, P: tl.constexpr,
    U_I: tl.constexpr, U_P: tl.constexpr, W_I: tl.constexpr,
    W_J: tl.constexpr, W_D: tl.constexpr, W_P: tl.constexpr,
    BB: tl.constexpr, JB: tl.constexpr, DP: tl.constexpr, PB: tl.constexpr,
    EXACT: tl.constexpr, UPCAST: tl.constexpr, LEAKY: tl.constexpr, GIVEN: tl.constexpr,
    UNIFORM: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """Σ_i c_ij û_ij over a chunk of inputs, one addend of s; in backward Σ_i db_ij û_ij, of dA.

    A program has one block of samples and outputs, and `inputs` inputs; those that differ in their
    samples alone follow each other and find the weights in the cache. partial: [chunks, B, J, D].
    """
    program = tl.program_id(0)
    blocks, groups = tl.cdiv(B, BB), tl.cdiv(J, JB)
    b = ((program % blocks) * BB + tl.arange(0, BB)).to(tl.int64)
    j0 = (program // blocks % groups) * JB
    chunk = (program // blocks // groups).to(tl.int64)
    offsets, inside = where_capsules_are(b, B, j0, J, D, JB, DP)
    if not UNIFORM:
        a_tile = tl.load(a + offsets, mask=inside, other=0.0)
    if BACKWARD:
        ds_tile = tl.load(ds + offsets, mask=inside, other=0.0)
    total = tl.zeros([BB, JB, DP], tl.float32)
    for i in range(chunk * inputs, tl.minimum((chunk + 1) * inputs, I)):
        x = form_votes(
            u + i * U_I, w + i * W_I, b, B, u_b, j0, J, D, P, U_P, W_J, W_D, W_P,
            BB, JB, DP, PB, EXACT, UPCAST,
        )  # fmt: skip
        if UNIFORM:
            total += uniform * x
        else:
            logits = logits_of(x, a_tile, j0, J, JB)
            lse_of_b = sums + i * B + b
            if GIVEN:
                lse = tl.load(lse_of_b, mask=b < B, other=0.0)
                c = coupling_of(logits, lse)
            else:
                c, lse = softmax(logits, LEAKY)
            if BACKWARD:
                mean_of_b = lse_of_b + tl.cast(I, tl.int64) * B
                dc = tl.sum(x * ds_tile, axis=2)
                if GIVEN:
                    mean = tl.load(mean_of_b, mask=b < B, other=0.0)
                else:
                    mean = tl.sum(c * dc, axis=1)
                    tl.store(lse_of_b, lse, mask=b < B)
                    tl.store(mean_of_b, mean, mask=b < B)
                c = logit_gradient(logits, c, dc, mean)
            total += c[:, :, None] * x
    tl.store(partial + chunk * B * (J * D) + offsets, total, mask=inside)


@triton.jit
def sum_over_outputs(
    u, w, a, ds, sums, B, I, u_b,
    J: tl.constexpr, D: tl.constexpr, P: tl.constexpr,
    U_I: tl.constexpr, U_P: tl.constexpr, W_I: tl.constexpr,
    W_J: tl.constexpr, W_D: tl.constexpr, W_P: tl.constexpr,
    BB: tl.constexpr, JB: tl.constexpr, DP: tl.constexpr, PB: tl.constexpr,
    EXACT: tl.constexpr, UPCAST: tl.constexpr, LEAKY: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """lse = log Σ_k exp b_k and, in backward, Σ_k c_k dc_k, in one walk over the outputs.

    A program has one block of samples and one input. The largest logit so far is taken out of both
    sums, which are scaled again whenever a larger one is met.
    """
    program = tl.program_id(0)
    blocks = tl.cdiv(B, BB)
    b = ((program % blocks) * BB + tl.arange(0, BB)).to(tl.int64)
    i = (program // blocks).to(tl.int64)
    top = tl.full([BB], 0.0 if LEAKY else -float("inf"), tl.float32)
    total = tl.full([BB], 1.0 if LEAKY else 0.0, tl.float32)
    weighted = tl.zeros([BB], tl.float32)
    for j0 in range(0, J, JB):
        offsets, inside = where_capsules_are(b, B, j0, J, D, JB, DP)
        x = form_votes(
            u + i * U_I, w + i * W_I, b, B, u_b, j0, J, D, P, U_P, W_J, W_D, W_P,
            BB, JB, DP, PB, EXACT, UPCAST,
        )  # fmt: skip
        logits = logits_of(x, tl.load(a + offsets, mask=inside, other=0.0), j0, J, JB)
        higher = tl.maximum(top, tl.max(logits, axis=1))
        shrink, e = tl.exp(top - higher), tl.exp(logits - higher[:, None])
        top, total = higher, total * shrink + tl.sum(e, axis=1)
        if BACKWARD:
            dc = tl.sum(x * tl.load(ds + offsets, mask=inside, other=0.0), axis=2)
            weighted = weighted * shrink + tl.sum(e * dc, axis=1)
    tl.store(sums + i * B + b, top + tl.log(total), mask=b < B)
    if BACKWARD:
        tl.store(sums + (I + i) * B + b, weighted / total, mask=b < B)


@triton.jit
def load_iteration(a, ds, t, B, offsets, inside, J: tl.constexpr, D: tl.constexpr):
    """A and ds of iteration t ≥ 1, counted from 0, for a tile."""
    one = tl.cast(B, tl.int64) * (J * D)
    a_tile = tl.load(a + (t - 1) * one + offsets, mask=inside, other=0.0)
    return a_tile, tl.load(ds + t * one + offsets, mask=inside, other=0.0)


@triton.jit
def vote_gradient(
    x, a_tile, ds_tile, t, sums, i, b, B, I, j0,
    J: tl.constexpr, JB: tl.constexpr, DETACH: tl.constexpr,
):  # fmt: skip
    """c^t ds^t + db^t A^t, [BB, JB, DP]: what iteration t ≥ 1, counted from 0, adds to dû."""
    logits = logits_of(x, a_tile, j0, J, JB)
    lse_of_b = sums + (2 * (t - 1) * tl.cast(I, tl.int64) + i) * B + b
    c = coupling_of(logits, tl.load(lse_of_b, mask=b < B, other=0.0))
    dx = c[:, :, None] * ds_tile
    if not DETACH:
        mean = tl.load(lse_of_b + tl.cast(I, tl.int64) * B, mask=b < B, other=0.0)
        db = logit_gradient(logits, c, tl.sum(x * ds_tile, axis=2), mean)
        dx += db[:, :, None] * a_tile
    return dx


@triton.jit
def sweep(
    u, w, a, ds, sums, du, dw, B, I, inputs, samples, uniform, u_b,
    J: tl.constexpr, D: tl.constexpr, P: tl.constexpr,
    U_I: tl.constexpr, U_P: tl.constexpr, W_I: tl.constexpr,
    W_J: tl.constexpr, W_D: tl.constexpr, W_P: tl.constexpr,
    BB: tl.constexpr, JB: tl.constexpr, DP: tl.constexpr, PB: tl.constexpr, QB: tl.constexpr,
    EXACT: tl.constexpr, UPCAST: tl.constexpr,
    UNIFORM: tl.constexpr, FIRST: tl.constexpr, ITERATIONS: tl.constexpr, DETACH: tl.constexpr,
    WALK: tl.constexpr, CUTS: tl.constexpr, DU: tl.constexpr, DW: tl.constexpr,
    ONE_SUM: tl.constexpr,
):  # fmt: skip
    """dû_ij = Σ_t (c^t_ij ds^t_j + db^t_ij A^t_j), du_i = Σ_j W_ijᵀ dû_ij, dW_ij = Σ_b dû_ij u_iᵀ.

    A program has `inputs` inputs (one, where a tile does not hold all its outputs), `samples`
    samples, WALK outputs (all of them where it writes du) and QB components of the input pose. It
    takes a block of samples through all its inputs, with A and ds of the first iterations in
    registers. du is [B, I, P]; dw is [sums, B / samples, J, D, P]: ONE_SUM for all inputs of a
    program, which registers hold, or one for each input, to which every block of samples adds its
    part in memory.

    a holds A^2 … A^r, ds ds^1 … ds^r, sums those of t = 2 … r. Here t counts from 0; the term of
    t = 0 is there if UNIFORM, the others from FIRST on.
    """
    program = tl.program_id(0)
    depths, parts, walks = tl.cdiv(P, QB), tl.cdiv(B, samples), tl.cdiv(J, WALK)
    p0 = (program % depths) * QB
    part = program // depths % parts
    first_j = (program // depths // parts % walks) * WALK
    chunk = (program // depths // parts // walks).to(tl.int64)
    p = (p0 + tl.arange(0, QB)).to(tl.int64)
    j, d = columns(JB, DP)
    j = (first_j + j).to(tl.int64)
    inside_w = ((j < J) & (d < D))[None, :] & (p < P)[:, None]
    of_one_input = (j * D + d)[None, :] * P + p[:, None]
    # Of half-precision factors the gradient is wider than they are.
    EXACT_GRADIENT: tl.constexpr = EXACT or w.dtype.element_ty != tl.float32
    HELD: tl.constexpr = WALK <= JB  # else no register is left for them
    LOADED: tl.constexpr = 3 if HELD else 1  # the first iteration that is not held
    dw_tile = tl.zeros([QB, JB * DP], tl.float32)
    for b0 in range(part * samples, tl.minimum((part + 1) * samples, B), BB):
        b = (b0 + tl.arange(0, BB)).to(tl.int64)
        inside_u = (b < B)[:, None] & (p < P)[None, :]
        du_tile = tl.zeros([BB, QB], tl.float32)
        for j0 in range(first_j, first_j + WALK, JB):
            offsets, inside = where_capsules_are(b, B, j0, J, D, JB, DP)
            if UNIFORM:
                dx_0 = uniform * tl.load(ds + offsets, mask=inside, other=0.0)
            if FIRST <= 1 and ITERATIONS > 1 and HELD:
                a_1, ds_1 = load_iteration(a, ds, 1, B, offsets, inside, J, D)
            if FIRST <= 2 and ITERATIONS > 2 and HELD:
                a_2, ds_2 = load_iteration(a, ds, 2, B, offsets, inside, J, D)
            for i in range(chunk * inputs, tl.minimum((chunk + 1) * inputs, I)):
                dx = tl.zeros([BB, JB, DP], tl.float32)
                if UNIFORM:
                    dx += dx_0
                if ITERATIONS > 1:
                    x = form_votes(
                        u + i * U_I, w + i * W_I, b, B, u_b, j0, J, D, P, U_P, W_J, W_D, W_P,
                        BB, JB, DP, PB, EXACT, UPCAST,
                    )  # fmt: skip
                if FIRST <= 1 and ITERATIONS > 1 and HELD:
                    dx += vote_gradient(x, a_1, ds_1, 1, sums, i, b, B, I, j0, J, JB, DETACH)
                if FIRST <= 2 and ITERATIONS > 2 and HELD:
                    dx += vote_gradient(x, a_2, ds_2, 2, sums, i, b, B, I, j0, J, JB, DETACH)
                if ITERATIONS > LOADED:  # a loop within this one keeps loads from beginning early
                    for t in range(max(FIRST, LOADED), ITERATIONS):
                        a_t, ds_t = load_iteration(a, ds, t, B, offsets, inside, J, D)
                        dx += vote_gradient(x, a_t, ds_t, t, sums, i, b, B, I, j0, J, JB, DETACH)
                dx = by_column(dx, JB, DP)
                if DU:
                    weight = load_weight(
                        w + i * W_I, j0, p0, J, D, P, W_J, W_D, W_P, JB, DP, QB, True
                    )
                    # In CUTS parts, one a warp: shorter sums, and no warp repeats another's.
                    dx_parts = tl.permute(tl.reshape(dx, [BB, CUTS, JB * DP // CUTS]), 1, 0, 2)
                    weight = tl.reshape(weight, [CUTS, JB * DP // CUTS, QB])
                    du_part = tl.sum(product(dx_parts, weight, EXACT_GRADIENT), axis=0)
                    if WALK > JB:
                        du_tile += du_part
                    else:
                        places = (b[:, None] * I + i) * P + p[None, :]
                        tl.store(du + places, du_part, mask=inside_u)
                if DW:
                    pose = load_pose(u + i * U_I, b, B, u_b, p0, P, U_P, QB, True)
                    dw_part = product(tl.trans(pose), dx, EXACT_GRADIENT)
                    if ONE_SUM:
                        dw_tile += dw_part
                    else:
                        places = dw + (i * parts + part) * (J * D * P) + of_one_input
                        if b0 > part * samples:
                            dw_part += tl.load(places, mask=inside_w, other=0.0)
                        tl.store(places, dw_part, mask=inside_w)
        if DU and WALK > JB:
            tl.store(du + (b[:, None] * I + chunk) * P + p[None, :], du_tile, mask=inside_u)
    if DW and ONE_SUM:
        tl.store(dw + (chunk * parts + part) * (J * D * P) + of_one_input, dw_tile, mask=inside_w)


@triton.jit
def sum_of_chunks(
    partial, rows, N, chunks, D: tl.constexpr,
    ROWS: tl.constexpr, DP: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Σ_chunk of partial [chunks, N, D] in these rows, where they lie in [N, D], and which do."""
    d = tl.arange(0, DP)
    places, inside = rows[:, None] * D + d[None, :], (rows < N)[:, None] & (d < D)[None, :]
    total = tl.zeros([ROWS, DP], tl.float32)
    for first in range(0, chunks, CHUNKS):
        chunk = (first + tl.arange(0, CHUNKS)).to(tl.int64)[:, None, None]
        there = (chunk < chunks) & inside[None, :, :]
        tile = tl.load(partial + chunk * N * D + places[None, :, :], mask=there, other=0.0)
        total += tl.sum(tile, axis=0)
    return total, places, inside


@triton.jit
def direction_and_length(s):
    """s / |s| and |s| of every row; 0 and 0 for zero. Neither over- nor underflows."""
    scale = tl.max(tl.abs(s), axis=1)
    x = tl.div_rn(s, tl.broadcast_to(tl.where(scale == 0, 1.0, scale)[:, None], s.shape))
    norm = tl.sqrt_rn(tl.sum(x * x, axis=1))
    return x / tl.where(norm == 0, 1.0, norm)[:, None], scale * norm


@triton.jit
def parts_of_squash(length):
    """|v| = n²/(1 + n²) and 1/(1 + n²) from n = |s|, by whichever of n and 1/n is at most 1."""
    q = tl.where(length > 1, 1 / tl.maximum(length, 1.0), length)
    larger = 1 / (1 + q * q)
    smaller = q * q * larger
    long = length > 1
    return tl.where(long, larger, smaller), tl.where(long, smaller, larger), q * larger


@triton.jit
def finish(
    partial, a, s, a_next, N, chunks, D: tl.constexpr,
    ROWS: tl.constexpr, DP: tl.constexpr, CHUNKS: tl.constexpr, ALONE: tl.constexpr,
):  # fmt: skip
    """s^t from its addends, A^{t+1} = A^t + squash(s^t); ALONE: without A^t, for t = 1 and r."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    total, places, inside = sum_of_chunks(partial, rows, N, chunks, D, ROWS, DP, CHUNKS)
    tl.store(s + places, total, mask=inside)
    unit, length = direction_and_length(total)
    v_length, _, _ = parts_of_squash(length)
    v = unit * v_length[:, None]
    if not ALONE:
        v += tl.load(a + places, mask=inside, other=0.0)
    tl.store(a_next + places, v, mask=inside)


@triton.jit
def finish_backward(
    partial, dv, s, ds, N, chunks, D: tl.constexpr,
    ROWS: tl.constexpr, DP: tl.constexpr, CHUNKS: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """dv^{t−1} = dv^t + dA^t, from the addends of dA^t, and ds^{t−1} = squash'(s^{t−1})ᵀ dv^{t−1}.

    squash' is |v|/|s| across s and 2|s|/(1 + |s|²)² along it. LAST: what comes in stands alone; so
    the gradient of v^r, and dA^r, to which nothing was added yet.
    """
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    total, places, inside = sum_of_chunks(partial, rows, N, chunks, D, ROWS, DP, CHUNKS)
    if not LAST:
        total += tl.load(dv + places, mask=inside, other=0.0)
    tl.store(dv + places, total, mask=inside)
    unit, length = direction_and_length(tl.load(s + places, mask=inside, other=0.0))
    _, rest, across = parts_of_squash(length)
    parallel = tl.sum(unit * total, axis=1)[:, None] * unit
    along = (2 * across * rest)[:, None]
    across = across[:, None]
    tl.store(ds + places, across * (total - parallel) + along * parallel, mask=inside)
