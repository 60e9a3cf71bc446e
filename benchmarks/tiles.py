"""Routing by tiles beside the same routing with all votes held, in plain torch.

    python benchmarks/tiles.py [--routings dynamic attention em] [--rounds 7]

For every routing: forward, and forward with backward, on `mnist`, `multimnist` (128 samples) and
`classes1000` cut to 512 input capsules and 32 samples. The two take turns in one process. Memory is
the peak beyond what is held before a call, less what has to come back: the capsules, and backward
the gradients of the factors. Rows are appended to benchmarks/results/tiles.csv.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchcaps import LinearVotes, create_routing
from torchcaps.benchmark.measure import extra_memory, seconds
from torchcaps.benchmark.rows import append_rows
from torchcaps.benchmark.shapes import SHAPES, Problem, Shape
from torchcaps.routing import Routing
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "tiles.csv"
MEASURED = [
    SHAPES["mnist"],
    SHAPES["multimnist"],
    replace(SHAPES["classes1000"], name="classes1000_cut", B=32, I=512),
]
DIRECTIONS = ("forward", "forward+backward")
BACKENDS = ("reference", "tiles")


def route(
    routing: Routing[Any, Any], problem: Problem, backend: str, direction: str
) -> Sequence[Tensor]:
    """One call; what it returns has to be held whatever the backend."""
    routing.backend = backend
    factors = [problem.pose, problem.weight]
    activation = torch.full(problem.pose.shape[:-1], 0.5)
    if direction == "forward":
        with torch.no_grad():
            return routing(LinearVotes(*factors), activation)
    leaves = [factor.detach().requires_grad_() for factor in factors]
    capsules = routing(LinearVotes(*leaves), activation)
    upstream = (problem.upstream, torch.ones_like(capsules.activation))
    return torch.autograd.grad(capsules, leaves, upstream) + capsules


def measure(name: str, shape: Shape, rounds: int) -> list[dict[str, object]]:
    """Rows of a routing on a shape."""
    problem = shape.draw("cpu", torch.float32)
    routing = create_routing(name).build(shape.I, shape.P, shape.J, shape.D)
    calls: dict[tuple[str, str], Callable[[], Sequence[Tensor]]] = {
        (direction, backend): partial(route, routing, problem, backend, direction)
        for direction in DIRECTIONS
        for backend in BACKENDS
    }
    returned = {key: sum(tensor.nbytes for tensor in call()) for key, call in calls.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(rounds):
        for key, call in calls.items():
            time.sleep(0.02)  # in which the last call's threads stop spinning
            times[key].append(seconds(call, "cpu"))
    medians = {key: statistics.median(found) for key, found in times.items()}
    memory = {key: (extra_memory(call, "cpu") or 0) - returned[key] for key, call in calls.items()}
    rows = []
    for (direction, backend), found in times.items():
        low, _, high = statistics.quantiles(found, n=4, method="inclusive")
        dense = (direction, "reference")
        rows.append(
            {
                "date": datetime.date.today().isoformat(),
                "routing": name,
                "shape": shape.name,
                **{axis: getattr(shape, axis) for axis in ("B", "I", "J", "D", "P")},
                "direction": direction,
                "backend": backend,
                "median_ms": round(1e3 * medians[direction, backend], 2),
                "q25_ms": round(1e3 * low, 2),
                "q75_ms": round(1e3 * high, 2),
                "rounds": rounds,
                "extra_mib": round(memory[direction, backend] / 2**20, 2),
                "time_of_reference": round(medians[direction, backend] / medians[dense], 3),
                "memory_of_reference": round(memory[direction, backend] / memory[dense], 4),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--routings", nargs="+", default=["dynamic", "attention", "em"])
    parser.add_argument("--shapes", nargs="+", default=[shape.name for shape in MEASURED])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    machine = describe_machine()
    for shape in MEASURED:
        if shape.name not in options.shapes:
            continue
        for name in options.routings:
            rows = measure(name, shape, options.rounds)
            append_rows(RESULTS, [row | machine for row in rows])
            for row in rows:
                if row["backend"] == "tiles":
                    print(
                        f"{shape.name} {name} {row['direction']}: {row['median_ms']} ms, "
                        f"{row['time_of_reference']} of the time and {row['memory_of_reference']} "
                        "of the memory of the votes held",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
