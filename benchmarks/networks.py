"""Every network by name: its size, and a training step beside the same step with all votes held.

    python benchmarks/networks.py [--networks em_capsnet deepcaps …] [--batch 8] [--threads 1]

Prints a table as it stands in docs/networks.md; rows: benchmarks/results/networks.csv. Loss and
gradients of a batch for the network's own image size: processor time, the quickest of three steps
in which the two take turns, and memory at the peak beyond what is held before, gradients included.
"""

import argparse
import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from torchcaps import create_model, list_models
from torchcaps.benchmark.measure import extra_memory, processor_seconds
from torchcaps.benchmark.rows import append_rows
from torchcaps.models import Classifier
from torchcaps.models.summary import count_parameters
from torchcaps.routing import Routing
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "networks.csv"
ROUNDS = 3
BACKENDS = ("auto", "reference")
MIB = 2**20


def step(model: Classifier, images: torch.Tensor, labels: torch.Tensor, backend: str) -> None:
    """Loss and gradients, with every routing of the network on one backend."""
    for module in model.modules():
        if isinstance(module, Routing):
            module.backend = backend
    model.zero_grad(set_to_none=True)
    model.loss(model(images, labels), images, labels).total.backward()


def measure(name: str, batch: int) -> list[dict[str, Any]]:
    """The rows of a network: as it is, and, if it routes, with votes held."""
    torch.manual_seed(0)
    model = create_model(name)
    images = torch.rand(batch, model.channels, *model.image_size)
    labels = torch.arange(batch) % model.num_classes
    routed = any(isinstance(module, Routing) for module in model.modules())
    times: dict[str, list[float]] = {backend: [] for backend in BACKENDS[: 1 + routed]}
    for backend in times:
        step(model, images, labels, backend)  # what is compiled or allocated once
    for _ in range(ROUNDS):
        for backend, found in times.items():
            found.append(processor_seconds(partial(step, model, images, labels, backend)))
    rows = []
    for backend, found in times.items():
        model.zero_grad(set_to_none=True)
        peak = extra_memory(partial(step, model, images, labels, backend), "cpu")
        rows.append(
            {
                "network": name,
                "parameters": count_parameters(model),
                "batch_size": batch,
                "backend": backend,
                "processor_ms": round(1000 * min(found), 1),
                "extra_mib": None if peak is None else round(peak / MIB, 1),
            }
        )
    return rows


def line_of(rows: list[dict[str, Any]]) -> str:
    """The line of a network in the table."""
    cells = [f"`{rows[0]['network']}`", f"{rows[0]['parameters']:,}"]
    for row in rows:
        memory = "–" if row["extra_mib"] is None else f"{row['extra_mib']:,.0f} MiB"
        cells.append(f"{row['processor_ms']:,.0f} ms, {memory}")
    return "| " + " | ".join([*cells, *["–"] * (4 - len(cells))]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list_models())
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"| network | parameters | a step of {options.batch} | with votes held |")
    print("|---|--:|--:|--:|")
    about = {"date": datetime.date.today().isoformat(), **describe_machine()}
    for name in options.networks:
        rows = measure(name, options.batch)
        print(line_of(rows), flush=True)
        append_rows(RESULTS, [about | row for row in rows])


if __name__ == "__main__":
    main()
