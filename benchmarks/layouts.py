"""A training step in float32 with the channels last in memory, beside the usual layout.

    python benchmarks/layouts.py [--networks image_capsnet …] [--sides 28 64] [--threads 2]

Rows: benchmarks/results/layouts.csv. Forward, backward and AdamW on a batch in the layout that
each has throughout; medians of steps in which the two take turns. Images of 28 pixels are grey,
larger ones in colour. ONEDNN_MAX_CPU_ISA=AVX2 and ATEN_CPU_CAPABILITY=avx2 in the environment show
what a processor without AVX-512 does; the rows name them.
"""

import argparse
import datetime
import os
import statistics
import time
from pathlib import Path

import torch

from torchcaps import create_model
from torchcaps.benchmark.rows import append_rows
from torchcaps.training.optimizer import adam
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "layouts.csv"
LAYOUTS = {"usual": torch.contiguous_format, "channels last": torch.channels_last}
NETWORKS = ["image_capsnet", "capsnet_small", "capsnet", "efficient_capsnet", "deepcaps"]
ROUNDS = 9


class Step:
    """A training step of a network in one layout."""

    def __init__(self, name: str, side: int, batch: int, layout: torch.memory_format) -> None:
        torch.manual_seed(0)
        channels = 1 if side == 28 else 3
        self.model = create_model(name, image_size=side, channels=channels)
        self.model.to(memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = adam(self.model, 0.001, 0.0)
        self.images = torch.rand(batch, channels, side, side).to(memory_format=layout)
        self.labels = torch.arange(batch) % self.model.num_classes

    def seconds(self) -> float:
        began = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        output = self.model(self.images, self.labels)
        self.model.loss(output, self.images, self.labels).total.backward()
        self.optimizer.step()
        return time.perf_counter() - began


def measure(name: str, side: int, batch: int) -> dict[str, float]:
    """Median seconds of a step by layout."""
    steps = {label: Step(name, side, batch, layout) for label, layout in LAYOUTS.items()}
    for step in steps.values():
        step.seconds()  # what is compiled or allocated once
    times: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(ROUNDS):
        for label, step in steps.items():
            times[label].append(step.seconds())
    return {label: statistics.median(found) for label, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--sides", type=int, nargs="+", default=[28])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    instructions = os.environ.get("ONEDNN_MAX_CPU_ISA", "all")
    about = {"date": datetime.date.today().isoformat(), **describe_machine()}
    for name in options.networks:
        for side in options.sides:
            found = measure(name, side, options.batch)
            usual, last = found.values()
            print(
                f"{name} {side}: {1e3 * usual:.0f} ms, channels last {1e3 * last:.0f} ms",
                flush=True,
            )
            case = {
                "network": name, "side": side, "batch_size": options.batch,
                "threads": options.threads, "instructions": instructions,
            }  # fmt: skip
            rows = [
                {**about, **case, "layout": label, "ms": round(1e3 * seconds, 1)}
                for label, seconds in found.items()
            ]
            append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
