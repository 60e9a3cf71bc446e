"""The loops of the CPU kernel, compiled by Numba.

They work on tiles of 64 input capsules, *innermost*: the votes of a tile, [J·D, 64], stay in the
cache, and logits, softmax and weighted sums run along the 64 without a horizontal step. The tile's
weights stay in the cache over all samples of a thread, which recompute their votes from them in
every iteration: arithmetic is cheaper here than memory.

Names: w, u weights [P, J·D, 64] and poses [P, 64] of a tile; x its votes û [J·D, 64]; a, s, ds the
A, s, ds of one sample, each [J·D]; c coupling [J, 64]; g first dc, then db.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

__all__ = ["LANES", "UNROLL", "iterate", "iterate_backward", "sweep"]

LANES = 64  # input capsules in a tile; fewer, and the compiler unrolls instead of vectorising
UNROLL = 4  # the input dimension is padded to a multiple of it
# Never "nnan" and "ninf": a NaN must come out as a NaN. "reassoc" only where a sum has to be taken
# in another order: it would undo the two-step reduction in `exp`, and most of its digits with it.
FAST = {"contract", "nsz"}
ANY_ORDER = {*FAST, "reassoc"}


def compiled(function: Callable[..., Any], fastmath: set[str] = FAST) -> Callable[..., Any]:
    """Compile when first called, and keep the result on disk where that can be written."""
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(**options)(function)


@intrinsic
def float_of_bits(_: Any, bits: Any) -> Any:
    """The float32 with these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return numba.types.float32(numba.types.int32), generate


@compiled
def exp(x):
    """e^x for x ≤ 0 in float32, in a form that vectorises: 2^k times a polynomial.

    Coefficients of Cephes (Moshier 1989); relative error below 2e-7, and exactly 0 from −87 down.
    """
    vanishes = x < np.float32(-87)
    x = max(x, np.float32(-87))
    k = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    f = x - k * np.float32(0.693359375) + k * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * f + np.float32(1.3981999507e-3)
    p = p * f + np.float32(8.3334519073e-3)
    p = p * f + np.float32(4.1665795894e-2)
    p = p * f + np.float32(1.6666665459e-1)
    p = p * f + np.float32(5.0000001201e-1)
    p = p * f * f + f + np.float32(1)
    power = p * float_of_bits((np.int32(k) + np.int32(127)) << np.int32(23))
    return np.float32(0) if vanishes else power


@compiled
def form_votes(w, u, x):
    """x[jd] = Σ_p w[p, jd] u[p]"""
    for jd in range(x.shape[0]):
        for n in range(LANES):
            x[jd, n] = (
                w[0, jd, n] * u[0, n]
                + w[1, jd, n] * u[1, n]
                + w[2, jd, n] * u[2, n]
                + w[3, jd, n] * u[3, n]
            )
        for p in range(UNROLL, w.shape[0], UNROLL):
            for n in range(LANES):
                x[jd, n] += (
                    w[p, jd, n] * u[p, n]
                    + w[p + 1, jd, n] * u[p + 1, n]
                    + w[p + 2, jd, n] * u[p + 2, n]
                    + w[p + 3, jd, n] * u[p + 3, n]
                )


@compiled
def dot(x, a, out):
    """out[j] = Σ_d x[j, d] a[j, d]"""
    D = a.shape[0] // out.shape[0]
    for j in range(out.shape[0]):
        for n in range(LANES):
            out[j, n] = x[j * D, n] * a[j * D]
        for jd in range(j * D + 1, (j + 1) * D):
            for n in range(LANES):
                out[j, n] += x[jd, n] * a[jd]


@compiled
def softmax(c, leaky, top, total):
    """c ← softmax of c over the outputs; leaky: with one more logit, 0."""
    none_of_them = np.float32(0) if leaky else np.float32(-np.inf)
    for n in range(LANES):
        top[n] = none_of_them
    for j in range(c.shape[0]):
        for n in range(LANES):
            top[n] = max(top[n], c[j, n])
    for n in range(LANES):
        total[n] = exp(-top[n]) if leaky else np.float32(0)
    for j in range(c.shape[0]):
        for n in range(LANES):
            c[j, n] = exp(c[j, n] - top[n])
            total[n] += c[j, n]
    for j in range(c.shape[0]):
        for n in range(LANES):
            c[j, n] /= total[n]


@compiled
def softmax_backward(c, g, total):
    """g ← c (g − Σ_k c_k g_k)"""
    for n in range(LANES):
        total[n] = np.float32(0)
    for j in range(c.shape[0]):
        for n in range(LANES):
            total[n] += c[j, n] * g[j, n]
    for j in range(c.shape[0]):
        for n in range(LANES):
            g[j, n] = c[j, n] * (g[j, n] - total[n])


@partial(compiled, fastmath=ANY_ORDER)
def add_weighted_sum(c, x, s):
    """s[j, d] += Σ_n c[j, n] x[j, d, n]"""
    D = s.shape[0] // c.shape[0]
    for j in range(c.shape[0]):
        for jd in range(j * D, (j + 1) * D):
            total = np.float32(0)
            for n in range(LANES):
                total += c[j, n] * x[jd, n]
            s[jd] += total


@compiled
def iterate(w, u, a, s, J, leaky, start, stop):
    """One iteration for the samples from start to stop: s += Σ_i softmax(û · a) û."""
    x = np.empty((w.shape[2], LANES), np.float32)
    c = np.empty((J, LANES), np.float32)
    top, total = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for k in range(w.shape[0]):
        for b in range(start, stop):
            form_votes(w[k], u[b, k], x)
            dot(x, a[b], c)
            softmax(c, leaky, top, total)
            add_weighted_sum(c, x, s[b])


@compiled
def iterate_backward(w, u, a, ds, da, J, leaky, start, stop):
    """One iteration back for the samples from start to stop: da += Σ_i db û."""
    x = np.empty((w.shape[2], LANES), np.float32)
    c, g = np.empty((J, LANES), np.float32), np.empty((J, LANES), np.float32)
    top, total = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for k in range(w.shape[0]):
        for b in range(start, stop):
            form_votes(w[k], u[b, k], x)
            dot(x, a[b], c)
            softmax(c, leaky, top, total)
            dot(x, ds[b], g)
            softmax_backward(c, g, total)
            add_weighted_sum(g, x, da[b])


@compiled
def sweep(w, u, a, ds, first, uniform, dw, du, J, leaky, detach, start, stop):
    """dW and du of the tiles from start to stop, given a and ds of all iterations.

    `first` is the iteration to begin with: the last where earlier ones are detached.
    """
    JD = w.shape[2]
    D = JD // J
    x, dx = np.empty((JD, LANES), np.float32), np.empty((JD, LANES), np.float32)
    c, g = np.empty((J, LANES), np.float32), np.empty((J, LANES), np.float32)
    top, total = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for k in range(start, stop):
        for b in range(u.shape[0]):
            for jd in range(JD):
                of_first = uniform * ds[0, b, jd] if first == 0 else np.float32(0)
                for n in range(LANES):
                    dx[jd, n] = of_first
            if a.shape[0] > 1:
                form_votes(w[k], u[b, k], x)
            for t in range(max(first, 1), a.shape[0]):
                dot(x, a[t, b], c)
                softmax(c, leaky, top, total)
                if detach:
                    g[:] = 0
                else:
                    dot(x, ds[t, b], g)
                    softmax_backward(c, g, total)
                for j in range(J):
                    for jd in range(j * D, (j + 1) * D):
                        along_c, along_b = ds[t, b, jd], a[t, b, jd]
                        for n in range(LANES):
                            dx[jd, n] += c[j, n] * along_c + g[j, n] * along_b
            add_to_factors(w[k], u[b, k], dx, dw[k], du[b, k])


@compiled
def add_to_factors(w, u, dx, dw, du):
    """du[p] = Σ_jd w[p, jd] dx[jd];  dw[p, jd] += dx[jd] u[p]"""
    for p in range(w.shape[0]):
        for n in range(LANES):
            du[p, n] = 0
        for jd in range(w.shape[1]):
            for n in range(LANES):
                du[p, n] += w[p, jd, n] * dx[jd, n]
                dw[p, jd, n] += u[p, n] * dx[jd, n]
