"""The kernels of sums beside tiles and all votes at once: benchmarks/results/sums.csv.

    python benchmarks/sums.py [--device cuda] [--shapes em_conv …] [--out FILE]

Forward, and forward with backward, of the layers of `torchcaps bench` that a kernel of sums takes
(self-routing there is in windows, which it does not), each backend asked for by name. They take
turns in one process; medians, and the peak of memory beyond what is held before a call. On a GPU
they are replayed as a CUDA graph, too, in which no time goes to launching kernels from Python. What
a backend cannot run is said, and left out.
"""

import argparse
import datetime
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from torchcaps.benchmark.contenders import route
from torchcaps.benchmark.measure import captured, extra_memory, seconds
from torchcaps.benchmark.rows import append_rows
from torchcaps.benchmark.shapes import SHAPES, Problem
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "sums.csv"
LAYERS = ["em_classes", "em_conv", "variational", "attention", "self_attention"]
ROUNDS, WARM = 15, 2


def call(problem: Problem, backend: str, backward: bool) -> object:
    """One call, with the gradients of the factors."""
    if not backward:
        with torch.no_grad():
            return route(problem, problem.votes, backend)
    leaves: list[Tensor] = [problem.pose.requires_grad_(), problem.weight.requires_grad_()]
    found = route(problem, problem.votes, backend)
    return torch.autograd.grad(found, leaves, problem.upstream)


def rows_of(name: str, device: str) -> list[dict[str, object]]:
    """A row for each backend and pass."""
    rows: list[dict[str, object]] = []
    problem = SHAPES[name].draw(device, torch.float32)
    for backward in (False, True):
        calls = {}
        for backend in (device, "tiles", "reference"):
            one = partial(call, problem, backend, backward)
            try:
                one()
            except (ValueError, torch.OutOfMemoryError) as error:
                print(f"{name}, {backend}: {str(error).splitlines()[0]}", flush=True)
                continue
            calls[backend] = one
        called = medians(calls, device)
        replayed: dict[str, float] = {}
        if device == "cuda":
            replayed = medians(graphs_of(calls), device)
        for backend, took in called.items():
            memory = extra_memory(calls[backend], device)
            rows.append(
                {
                    "shape": name,
                    "pass": "forward_backward" if backward else "forward",
                    "backend": backend,
                    "kernel": "",  # another state of it than the one of the commit
                    "median_ms": took,
                    "replayed_ms": replayed.get(backend, ""),
                    "extra_mib": "" if memory is None else round(memory / 2**20, 1),
                }
            )
            print(*rows[-1].values(), flush=True)
    return rows


def graphs_of(calls: Mapping[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """Those that can be captured."""
    graphs = {}
    for name, one in calls.items():
        try:
            graphs[name] = captured(one)
        except RuntimeError as error:
            print(f"{name} cannot be captured: {str(error).splitlines()[0]}", flush=True)
    return graphs


def medians(calls: Mapping[str, Callable[[], object]], device: str) -> dict[str, float]:
    """Milliseconds of calls that take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM + ROUNDS):
        for name, one in calls.items():
            took = seconds(one, device)
            if number >= WARM:
                times[name].append(1000 * took)
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=LAYERS, default=LAYERS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    machine = {"date": datetime.date.today().isoformat(), **describe_machine()}
    for shape in given.shapes:
        append_rows(given.out, [row | machine for row in rows_of(shape, given.device)])
