"""How time and memory grow with samples, input capsules, output capsules and iterations.

    python benchmarks/scaling.py [--rounds 5]

One of B, I, J and r grows at a time, from a layer of 64 samples, 1152 × 8 → 10 × 16, r = 3, forward
and backward; ours beside eager einsum, which take turns in one process. What is printed is the
exponent between each two neighbours: k where a quantity grows as the axis to the power of k.
Memory is the peak beyond what is held before a call, gradients included. Rows are appended to
benchmarks/results/scaling.csv, and drawn on logarithmic axes in scaling.png.
"""

import argparse
import datetime
import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.ticker import FuncFormatter

from torchcaps.benchmark.chart import COLOURS, LABELS
from torchcaps.benchmark.measure import extra_memory, machine_rates, seconds
from torchcaps.benchmark.rows import append_rows
from torchcaps.benchmark.run import REST, SHORT, call_contender
from torchcaps.benchmark.shapes import SHAPES, Shape
from torchcaps.cpu_threads import set_threads
from torchcaps.training.pictures.style import WIDTH, figure
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results"
BASE = replace(SHAPES["mnist"], B=64)
GROWS = {
    "B": (1, 4, 16, 64, 256),
    "I": (72, 288, 1152, 4608),
    "J": (2, 8, 32, 128),
    "iterations": (1, 2, 4, 8, 16),
}
NAMES = {
    "B": "samples B",
    "I": "input capsules I",
    "J": "output capsules J",
    "iterations": "iterations r",
}
CONTENDERS = ("einsum", "torchcaps")
QUANTITIES = {"median_ms": "time, ms", "extra_mib": "extra memory, MiB"}
Rows = Sequence[Mapping[str, Any]]


def measure(axis: str, shape: Shape, rounds: int) -> list[dict[str, Any]]:
    """A row a contender."""
    problem = shape.draw("cpu", torch.float32)
    rates = machine_rates("cpu")
    calls = {name: partial(call_contender, name, problem, True) for name in CONTENDERS}
    once = {name: min(seconds(call, "cpu") for _ in range(2)) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(REST)
            times[name].append(seconds(call, "cpu", math.ceil(SHORT / once[name])))
    floor = 1e3 * rates.floor(shape.operations(True), shape.traffic(True))
    return [
        {
            "date": datetime.date.today().isoformat(),
            "axis": axis,
            **{name: getattr(shape, name) for name in GROWS},
            "contender": name,
            "median_ms": round(1e3 * statistics.median(times[name]), 4),
            "rounds": rounds,
            "extra_mib": round((extra_memory(call, "cpu") or 0) / 2**20, 3),
            "floor_ms": round(floor, 4),
        }
        for name, call in calls.items()
    ]


def exponents(rows: Rows, axis: str, quantity: str) -> list[float]:
    """Between each two neighbours; NaN where a quantity was too small to be measured."""
    found = []
    for one, next_one in itertools.pairwise(rows):
        low, high = one[quantity], next_one[quantity]
        ratio = math.log(high / low) if low > 0 and high > 0 else math.nan
        found.append(ratio / math.log(next_one[axis] / one[axis]))
    return found


def draw(rows: Rows, path: Path) -> None:
    """A panel an axis and quantity."""
    with figure(WIDTH, 5.2, path=path) as page:
        page.set_layout_engine("constrained")
        grid = page.subplots(len(QUANTITIES), len(GROWS), sharey="row", sharex="col")
        for lines, (quantity, words) in zip(grid, QUANTITIES.items()):
            for axes, axis in zip(lines, GROWS):
                for name in CONTENDERS:
                    own = [r for r in rows if r["axis"] == axis and r["contender"] == name]
                    line = {"color": COLOURS[name], "marker": "o", "label": LABELS[name]}
                    axes.loglog([r[axis] for r in own], [r[quantity] for r in own], **line)
                axes.set_xticks(GROWS[axis], [str(value) for value in GROWS[axis]], rotation=45)
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.minorticks_off()
                axes.grid(visible=True)
                if quantity == list(QUANTITIES)[-1]:
                    axes.set_xlabel(NAMES[axis])
            lines[0].set_ylabel(words)
        handles, labels = grid[0][0].get_legend_handles_labels()
        page.legend(handles, labels, loc="outside upper left", ncols=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    set_threads()
    machine, rows = describe_machine(), []
    for axis, values in GROWS.items():
        of_axis = []
        for value in values:
            larger: dict[str, Any] = {axis: value}
            of_axis += measure(axis, replace(BASE, **larger), rounds)
        rows += of_axis
        for name, (quantity, words) in itertools.product(CONTENDERS, QUANTITIES.items()):
            own = [row for row in of_axis if row["contender"] == name]
            numbers = ", ".join(f"{row[quantity]:g}" for row in own)
            powers = ", ".join(f"{one:.2f}" for one in exponents(own, axis, quantity))
            print(f"{axis} = {values}: {name}, {words}: {numbers}; exponents {powers}", flush=True)
    append_rows(RESULTS / "scaling.csv", [row | machine for row in rows])
    draw(rows, RESULTS / "scaling.png")


if __name__ == "__main__":
    main()
