"""Routing on a GPU as a captured graph: benchmarks/results/cuda_graph.csv.

    python benchmarks/cuda_graph.py [--shapes mnist …] [--out FILE]

Forward, and forward with backward, of the layers of `torchcaps bench`: called as a layer calls it,
and replayed as a CUDA graph, in which no time goes to launching kernels from Python. Medians of 200
of each, timed by events, the two taking turns.
"""

import argparse
import datetime
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from torchcaps.benchmark.measure import captured
from torchcaps.benchmark.rows import append_rows
from torchcaps.benchmark.run import call_contender
from torchcaps.benchmark.shapes import SHAPES
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "cuda_graph.csv"
LAYERS = ["mnist_b1", "mnist_b8", "mnist", "mnist_b1024", "multimnist", "cifar", "smallnorb"]
ROUNDS, WARM = 200, 5
Call = Callable[[], object]


def microseconds(call: Call) -> float:
    """How long the GPU takes from the first kernel of a call to its last."""
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun.record()
    call()
    ended.record()
    torch.cuda.synchronize()
    return 1000 * float(begun.elapsed_time(ended))


def rows_of(name: str) -> list[dict[str, object]]:
    """A row for each contender and pass."""
    rows: list[dict[str, object]] = []
    for backward in (False, True):
        problem = SHAPES[name].draw("cuda", torch.float32)
        calls = {}
        for contender in ("torchcaps", "einsum"):
            call: Call = partial(call_contender, contender, problem, backward)
            calls[contender] = (call, captured(call))
        times: dict[str, tuple[list[float], list[float]]] = {each: ([], []) for each in calls}
        for number in range(WARM + ROUNDS):
            for contender, pair in calls.items():
                for call, found in zip(pair, times[contender]):
                    took = microseconds(call)
                    if number >= WARM:
                        found.append(took)
        for contender, (called, replayed) in times.items():
            rows.append(
                {
                    "shape": name,
                    "pass": "forward_backward" if backward else "forward",
                    "contender": contender,
                    "called_us": round(statistics.median(called), 1),
                    "replayed_us": round(statistics.median(replayed), 1),
                }
            )
            print(*rows[-1].values(), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=LAYERS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    machine = {"date": datetime.date.today().isoformat(), **describe_machine()}
    for shape in given.shapes:
        append_rows(given.out, [row | machine for row in rows_of(shape)])
