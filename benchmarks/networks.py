"""Every network by name: its size, and a training step beside the same step with all votes held.

    python benchmarks/networks.py [--networks em_capsnet deepcaps …] [--batch 8] [--threads 1]

Prints a table as it stands in docs/networks.md. Loss and gradients of a batch for the network's own
image size: processor time, the quickest of three steps in which the two take turns, and memory at
the peak beyond what is held before, gradients included.
"""

import argparse
from functools import partial

import torch

from torchcaps import create_model, list_models
from torchcaps.benchmark.measure import extra_memory, processor_seconds
from torchcaps.models import Classifier
from torchcaps.models.summary import count_parameters
from torchcaps.routing import Routing

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


def measure(name: str, batch: int) -> str:
    """The row of a network."""
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
    cells = [f"`{name}`", f"{count_parameters(model):,}"]
    for backend, found in times.items():
        model.zero_grad(set_to_none=True)
        peak = extra_memory(partial(step, model, images, labels, backend), "cpu")
        memory = "–" if peak is None else f"{peak / MIB:,.0f} MiB"
        cells.append(f"{1000 * min(found):,.0f} ms, {memory}")
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
    for name in options.networks:
        print(measure(name, options.batch), flush=True)


if __name__ == "__main__":
    main()
