"""What the loops of the CPU kernel do with the votes of one input capsule, and with their sums.

Vectors (cpu_vectors.py) hold the same quantity of L samples, or in few_loops.py of L input
capsules.

Names: R = J·D; w weights [R, P] and u pose [P, L] of an input capsule; x its votes û [R, L]; a, s,
ds the A, s, ds [R, L]; c coupling [J, L]; g first dc, then db. Functions of output capsules have
items: the threads of a call share `counter`, and each claims the next of `stop` items until none is
left.
"""

import numpy as np

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_vectors import (
    absolute,
    add,
    claim,
    divide,
    exp,
    fma,
    load,
    maximum,
    multiply,
    nonzero,
    square_root,
    store,
    subtract,
    zeros,
)

__all__ = [
    "FEW",
    "MANY",
    "add_pose",
    "add_squash_backward",
    "add_weighted",
    "dots",
    "form_votes",
    "scratch",
    "softmax",
    "softmax_backward",
    "votes_backward",
]

FEW = 32  # terms of a sum taken one after the other; longer ones would lose digits
MANY = 128  # the same of products, where to begin anew costs more


@compiled
def scratch(rows, like):
    """[rows, L], not initialised, in the dtype of `like` and from the start of a cache line."""
    lanes = like.shape[-1]
    size, line = rows * lanes, 64 // like.itemsize
    memory = np.empty(size + line, like.dtype)
    skip = -(memory.ctypes.data // like.itemsize) % line
    return memory[skip : skip + size].reshape(rows, lanes)


@compiled
def form_votes(lanes, w, u, a, ds, x, c, g):
    """x[r] = Σ_p w[r, p] u[p], and what `dots` gives on the way; without ds (None) no g."""
    R, P = w.shape
    D = R // c.shape[0]
    for j in range(c.shape[0]):
        of_a = of_ds = zeros(lanes, w)
        whole = (j + 1) * D - D % 4
        for r in range(j * D, whole, 4):
            x0 = x1 = x2 = x3 = zeros(lanes, w)
            for p in range(P):
                up = load(lanes, u, p)
                x0 = fma(w[r, p], up, x0)
                x1 = fma(w[r + 1, p], up, x1)
                x2 = fma(w[r + 2, p], up, x2)
                x3 = fma(w[r + 3, p], up, x3)
            store(x, r, x0)
            store(x, r + 1, x1)
            store(x, r + 2, x2)
            store(x, r + 3, x3)
            of_a = add(of_a, dot_of_four(lanes, a, r, x0, x1, x2, x3))
            if ds is not None:
                of_ds = add(of_ds, dot_of_four(lanes, ds, r, x0, x1, x2, x3))
        for r in range(whole, (j + 1) * D):
            x0 = zeros(lanes, w)
            for p in range(P):
                x0 = fma(w[r, p], load(lanes, u, p), x0)
            store(x, r, x0)
            of_a = fma(x0, load(lanes, a, r), of_a)
            if ds is not None:
                of_ds = fma(x0, load(lanes, ds, r), of_ds)
        store(c, j, of_a)
        if ds is not None:
            store(g, j, of_ds)


@compiled
def dot_of_four(lanes, a, r, x0, x1, x2, x3):
    """x0 a[r] + x1 a[r + 1] + x2 a[r + 2] + x3 a[r + 3]"""
    first = fma(x1, load(lanes, a, r + 1), multiply(x0, load(lanes, a, r)))
    second = fma(x3, load(lanes, a, r + 3), multiply(x2, load(lanes, a, r + 2)))
    return add(first, second)


@compiled
def dots(lanes, x, a, ds, c, g):
    """c[j] = Σ_d x[j, d] a[j, d],  g[j] = Σ_d x[j, d] ds[j, d]; without ds (None) no g."""
    D = x.shape[0] // c.shape[0]
    for j in range(c.shape[0]):
        of_a = of_ds = zeros(lanes, x)
        for r in range(j * D, (j + 1) * D):
            xr = load(lanes, x, r)
            of_a = fma(xr, load(lanes, a, r), of_a)
            if ds is not None:
                of_ds = fma(xr, load(lanes, ds, r), of_ds)
        store(c, j, of_a)
        if ds is not None:
            store(g, j, of_ds)


@compiled
def softmax(lanes, c, leaky):
    """c ← softmax of c over the outputs; leaky: with one more logit, 0."""
    top = zeros(lanes, c) if leaky else load(lanes, c, 0)
    for j in range(c.shape[0]):
        top = maximum(top, load(lanes, c, j))
    sum_of_all = exp(subtract(zeros(lanes, c), top)) if leaky else zeros(lanes, c)
    for begin in range(0, c.shape[0], FEW):
        sum_of_few = zeros(lanes, c)
        for j in range(begin, min(c.shape[0], begin + FEW)):
            power = exp(subtract(load(lanes, c, j), top))
            sum_of_few = add(sum_of_few, power)
            store(c, j, power)
        sum_of_all = add(sum_of_all, sum_of_few)
    for j in range(c.shape[0]):
        store(c, j, divide(load(lanes, c, j), sum_of_all))


@compiled
def softmax_backward(lanes, c, g):
    """g ← c (g − Σ_k c_k g_k)"""
    mean = zeros(lanes, c)
    for begin in range(0, c.shape[0], FEW):
        of_few = zeros(lanes, c)
        for j in range(begin, min(c.shape[0], begin + FEW)):
            of_few = fma(load(lanes, c, j), load(lanes, g, j), of_few)
        mean = add(mean, of_few)
    for j in range(c.shape[0]):
        store(g, j, multiply(load(lanes, c, j), subtract(load(lanes, g, j), mean)))


@compiled
def add_weighted(lanes, c, x, s):
    """s[j, d] += c[j] x[j, d]"""
    D = x.shape[0] // c.shape[0]
    for j in range(c.shape[0]):
        cj = load(lanes, c, j)
        for r in range(j * D, (j + 1) * D):
            store(s, r, fma(cj, load(lanes, x, r), load(lanes, s, r)))


@compiled
def votes_backward(lanes, w, u, a, ds, uniform, leaky, detach, x, c, g, dx):
    """dx = uniform · ds^1 + Σ_{t > 1} (c^t ds^t + db^t a^t), of which `detach` keeps c^r ds^r.

    c, g: [r, J, L], room for the c and db of every iteration. x: room for the votes; without w
    (None) it holds them already.
    """
    last = a.shape[0] - 1
    first = max(last, 1) if detach else 1
    if last > 0:
        if w is None:
            dots(lanes, x, a[last], ds[last], c[last], g[last])
        else:
            form_votes(lanes, w, u, a[last], ds[last], x, c[last], g[last])
    for t in range(first, last + 1):
        if t < last:
            dots(lanes, x, a[t], ds[t], c[t], g[t])
        softmax(lanes, c[t], leaky)
        if detach:
            g[t] = 0
        else:
            softmax_backward(lanes, c[t], g[t])
    add_all(lanes, a, ds, uniform, first, c, g, dx)


@compiled
def add_all(lanes, a, ds, uniform, first, c, g, dx):
    """dx = uniform · ds^1 + Σ_{t ≥ first} (c^t ds^t + db^t a^t), from c and g = db of [r, J, L]."""
    # Where detached, ds^1 is zero unless it is the last.
    last = a.shape[0] - 1
    D = dx.shape[0] // c.shape[1]
    for j in range(c.shape[1]):
        whole = (j + 1) * D - D % 4
        for r in range(j * D, whole, 4):
            x0, x1 = load(lanes, ds[0], r), load(lanes, ds[0], r + 1)
            x2, x3 = load(lanes, ds[0], r + 2), load(lanes, ds[0], r + 3)
            x0, x1 = multiply(uniform, x0), multiply(uniform, x1)
            x2, x3 = multiply(uniform, x2), multiply(uniform, x3)
            for t in range(first, last + 1):
                ct, gt = load(lanes, c[t], j), load(lanes, g[t], j)
                at, dst = a[t], ds[t]
                x0 = fma(ct, load(lanes, dst, r), fma(gt, load(lanes, at, r), x0))
                x1 = fma(ct, load(lanes, dst, r + 1), fma(gt, load(lanes, at, r + 1), x1))
                x2 = fma(ct, load(lanes, dst, r + 2), fma(gt, load(lanes, at, r + 2), x2))
                x3 = fma(ct, load(lanes, dst, r + 3), fma(gt, load(lanes, at, r + 3), x3))
            store(dx, r, x0)
            store(dx, r + 1, x1)
            store(dx, r + 2, x2)
            store(dx, r + 3, x3)
        for r in range(whole, (j + 1) * D):
            x0 = multiply(uniform, load(lanes, ds[0], r))
            for t in range(first, last + 1):
                x0 = fma(load(lanes, g[t], j), load(lanes, a[t], r), x0)
                x0 = fma(load(lanes, c[t], j), load(lanes, ds[t], r), x0)
            store(dx, r, x0)


@compiled
def add_pose(lanes, parts, a, s, a_next, J, counter, stop):
    """s = Σ_k parts[k] and a_next = a + squash(s), the items n·J + j.

    squash(s) = s/|s| · (|s| / √(1 + |s|²))², right from 1e-30 to 1e30.
    """
    D = s.shape[1] // J
    item = claim(counter)
    while item < stop:
        n, here = item // J, slice(item % J * D, (item % J + 1) * D)
        sj, aj, out = s[n, here], a[n, here], a_next[n, here]
        for d in range(D):
            store(sj, d, sum_of_parts(lanes, parts[:, n, here], d))
        scale, norm, length, hypotenuse = measure(lanes, sj)
        ratio = divide(length, hypotenuse)
        for d in range(D):
            unit = divide(divide(load(lanes, sj, d), scale), norm)
            store(out, d, fma(multiply(unit, ratio), ratio, load(lanes, aj, d)))
        item = claim(counter)


@compiled
def add_squash_backward(lanes, parts, s, dv, ds, J, counter, stop):
    """dv += Σ_k parts[k] and ds = squash'(s)ᵀ dv, the items n·J + j.

    |v|/|s| across s and 2|s|/(1 + |s|²)² along it; zero at zero.
    """
    D = s.shape[1] // J
    item = claim(counter)
    while item < stop:
        n, here = item // J, slice(item % J * D, (item % J + 1) * D)
        sj, dvj, out = s[n, here], dv[n, here], ds[n, here]
        scale, norm, length, hypotenuse = measure(lanes, sj)
        across = divide(divide(length, hypotenuse), hypotenuse)
        along = divide(divide(multiply(2, across), hypotenuse), hypotenuse)
        shadow = zeros(lanes, s)
        for d in range(D):
            upstream = add(load(lanes, dvj, d), sum_of_parts(lanes, parts[:, n, here], d))
            store(dvj, d, upstream)
            unit = divide(divide(load(lanes, sj, d), scale), norm)
            store(out, d, unit)
            shadow = fma(unit, upstream, shadow)
        for d in range(D):
            parallel = multiply(load(lanes, out, d), shadow)
            rest = multiply(across, subtract(load(lanes, dvj, d), parallel))
            store(out, d, fma(along, parallel, rest))
        item = claim(counter)


@compiled
def sum_of_parts(lanes, parts, row):
    """Σ_k parts[k, row]"""
    sum_of_all = zeros(lanes, parts)
    for begin in range(0, parts.shape[0], FEW):
        sum_of_few = zeros(lanes, parts)
        for k in range(begin, min(parts.shape[0], begin + FEW)):
            sum_of_few = add(sum_of_few, load(lanes, parts[k], row))
        sum_of_all = add(sum_of_all, sum_of_few)
    return sum_of_all


@compiled
def measure(lanes, s):
    """A scale and a norm with |s| = scale · norm, |s|, and √(1 + |s|²), none of which overflows.

    scale and norm are 1 for a zero vector.
    """
    top = zeros(lanes, s)
    for d in range(s.shape[0]):
        top = maximum(top, absolute(load(lanes, s, d)))
    scale = nonzero(top)
    square = zeros(lanes, s)
    for d in range(s.shape[0]):
        x = divide(load(lanes, s, d), scale)
        square = fma(x, x, square)
    norm = nonzero(square_root(square))
    length = multiply(top, norm)
    larger = maximum(length, 1)
    x, y = divide(length, larger), divide(1, larger)
    return scale, norm, length, multiply(larger, square_root(fma(x, x, multiply(y, y))))
