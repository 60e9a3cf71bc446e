"""Where the time of the CPU kernel's two hottest loops goes, part by part.

    python benchmarks/loop_parts.py [--shape mnist] [--rounds 15]

One thread. `iterate` is an iteration forward; `sweep` gives the gradients of poses and weights. A
part is run alone over all input capsules and blocks of samples, with the functions that the loops
call; what it reads is there, but warmer or colder than between the other parts, so that the parts
need not add up to the whole. Beside a part: the multiplications and additions that it cannot do
without, at the rate of a large product of matrices. Prints a table as it stands in README.md here.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numba
import torch

from torchcaps.benchmark.measure import machine_rates, seconds
from torchcaps.benchmark.shapes import SHAPES
from torchcaps.kernels.dynamic_cpu.blocks import CACHE, Blocks
from torchcaps.kernels.dynamic_cpu.loops import pose_backward, weight_backward
from torchcaps.kernels.dynamic_cpu.steps import (
    add_all,
    add_weighted,
    dots,
    form_votes,
    scratch,
    softmax,
    softmax_backward,
)

compiled = numba.njit(nogil=True, error_model="numpy")
ITERATIONS = 3


@compiled
def iterate_parts(lanes, w, u, a, s, J, votes, soft, add):  # type: ignore[no-untyped-def]
    """The chosen parts of `iterate`."""
    x, c = scratch(w.shape[1], u), scratch(J, u)
    x[:], c[:] = 0, 0
    for n in range(u.shape[1]):
        for i in range(u.shape[0]):
            if votes:
                form_votes(lanes, w[i], u[i, n], a[n], None, x, c, None)
            if soft:
                softmax(lanes, c, False)
            if add:
                add_weighted(lanes, c, x, s[n])


@compiled
def sweep_parts(lanes, w, u, a, ds, dw, d_pose, group, J, votes, dot, soft, add, pose, out, weight):  # type: ignore[no-untyped-def]
    """The chosen parts of `sweep`, of three iterations."""
    I, N, P, L = u.shape
    R, r = w.shape[1], a.shape[0]
    x, du = scratch(R, u), scratch(P, u)
    c, g = scratch(r * J, u).reshape(r, J, L), scratch(r * J, u).reshape(r, J, L)
    dx = scratch(group * R, u).reshape(group, R, L)
    x[:], du[:], c[:], g[:], dx[:] = 0, 0, 0, 0, 0
    for begin in range(0, N, group):
        end = min(N, begin + group)
        for i in range(I):
            for n in range(begin, end):
                if votes:
                    form_votes(lanes, w[i], u[i, n], a[-1, n], ds[-1, n], x, c[-1], g[-1])
                if dot:
                    for t in range(1, r - 1):
                        dots(lanes, x, a[t, n], ds[t, n], c[t], g[t])
                if soft:
                    for t in range(1, r):
                        softmax(lanes, c[t], False)
                        softmax_backward(lanes, c[t], g[t])
                if add:
                    add_all(lanes, a[:, n], ds[:, n], 0.1, 1, c, g, dx[n - begin])
                if pose:
                    pose_backward(lanes, w[i], dx[n - begin], du)
                if out:
                    for m in range(n * L, min((n + 1) * L, d_pose.shape[0])):
                        for p in range(P):
                            d_pose[m, i, p] = du[p, m - n * L]
            if weight:
                weight_backward(lanes, dx, u[i, begin:end], dw[i])


def best(call: Callable[[], Any], rounds: int) -> float:
    """The quickest of some calls, after one that is not counted, in seconds."""
    call()
    return min(seconds(call, "cpu") for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="mnist", choices=["mnist", "multimnist", "cifar"])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem = SHAPES[options.shape].draw("cpu", torch.float32)
    blocks = Blocks(problem.pose, problem.weight)
    v, history = blocks.route(ITERATIONS, False)
    ds = blocks.route_backward(torch.randn_like(v), history, False, False)
    a = history[0]
    w, u, J = blocks.w.numpy(), blocks.u.numpy(), blocks.J
    s, dw, d_pose = (torch.zeros_like(t).numpy() for t in (a[0], blocks.w, problem.pose))
    group = max(1, min(blocks.N, CACHE // ((2 * ITERATIONS + 1) * ds[0, 0].nbytes)))
    peak = machine_rates("cpu").operations
    each = problem.pose.shape[0] * problem.pose.shape[1] * blocks.J * blocks.D  # numbers of votes
    P, r = blocks.P, ITERATIONS
    iterate = {
        "votes, and their products with A": 2 * P + 2,
        "softmax": 0,
        "weighted sum": 2,
    }
    sweep = {
        "votes, and their products with A and ds": 2 * P + 4,
        "products of the other iterations": 4 * (r - 2),
        "softmax and its backward": 0,
        "gradient of votes": 4 * (r - 1) + 1,
        "gradient of poses": 2 * P,
        "its transposition": 0,
        "gradient of weights": 2 * P,
    }
    print("| loop | part | ms | at the rate of a product, ms |\n|---|---|--:|--:|")
    for name, parts in (("iterate", iterate), ("sweep", sweep)):
        for chosen in (*parts, "all"):
            flags = [chosen in (part, "all") for part in parts]

            def call(name: str = name, flags: list[bool] = flags) -> None:
                if name == "iterate":
                    iterate_parts(blocks.lanes, w, u, a[1].numpy(), s, J, *flags)
                else:
                    arrays = (w, u, a.numpy(), ds.numpy(), dw, d_pose)
                    sweep_parts(blocks.lanes, *arrays, group, J, *flags)

            needed = sum(parts.values()) if chosen == "all" else parts[chosen]
            floor = f"{1e3 * each * needed / peak:.2f}" if needed else "–"
            print(f"| `{name}` | {chosen} | {1e3 * best(call, options.rounds):.2f} | {floor} |")


if __name__ == "__main__":
    main()
