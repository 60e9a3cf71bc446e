"""Images a second of `torchcaps train`, beside a plain eager float32 loop of the same network.

    python benchmarks/training_speed.py [--models capsnet_small capsnet] [--batch-size 64]

Both train the same architecture on batches of MNIST-shaped noise, in one process, taking turns step
by step. The rows — median and quartiles of the time of a step, machine, versions, commit — are
appended to benchmarks/results/training_speed.csv.
"""

import argparse
import datetime
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from torchcaps import create_model
from torchcaps.benchmark.rows import append_rows
from torchcaps.data import ImageData
from torchcaps.data.split import TrainTest
from torchcaps.training.config import TrainConfig
from torchcaps.training.run import Run
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "training_speed.csv"


def noise(images: int) -> TrainTest:
    """Images of MNIST's shape, for training and (unused here) for testing."""
    pixels = torch.randint(0, 256, (images, 1, 28, 28), dtype=torch.uint8)
    data = ImageData(pixels, torch.arange(images) % 10, tuple("0123456789"), "noise")
    return TrainTest(data, data)


def our_step(config: TrainConfig, data: TrainTest) -> Callable[[], None]:
    """A step of the loop behind `torchcaps train`, batches, shifts and running sums included."""
    run = Run(config, data)
    run.prepare()
    return run.do_step


def plain_step(config: TrainConfig, data: TrainTest) -> Callable[[], None]:
    """What one writes without thinking of speed: eager, float32, routing by einsum."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = create_model(config.model).to(device)
    model.classes.routing.backend = "reference"
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    images = (data.train.images.float() / 255).to(device)
    labels = data.train.labels.to(device)

    def step() -> None:
        chosen = torch.randint(len(images), (config.batch_size,), device=device)
        batch, target = images[chosen], labels[chosen]
        output = model(batch, target)
        loss = model.loss(output, batch, target).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, the contenders taking turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(3):
            step()
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - begun)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["capsnet_small", "capsnet"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    machine = describe_machine()
    rows = []
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            data = noise(1024)
            config = TrainConfig(
                model=name,
                batch_size=options.batch_size,
                epochs=10**6,
                validation=0,
                out=Path(folder),
            )
            times = measure(
                {"torchcaps": our_step(config, data), "plain eager fp32": plain_step(config, data)},
                options.rounds,
            )
        median = {loop: statistics.median(values) for loop, values in times.items()}
        for loop, values in times.items():
            low, _, high = statistics.quantiles(values, n=4)
            row = {
                "date": datetime.date.today().isoformat(),
                "model": name,
                "loop": loop,
                "batch_size": options.batch_size,
                "step_ms": round(1e3 * median[loop], 2),
                "step_ms_q25": round(1e3 * low, 2),
                "step_ms_q75": round(1e3 * high, 2),
                "images_per_second": round(options.batch_size / median[loop], 1),
                "times_plain": round(median["plain eager fp32"] / median[loop], 3),
                "rounds": options.rounds,
                **machine,
            }
            rows.append(row)
            print(
                f"{name:14} {loop:17} {row['images_per_second']:8.1f} images/s   "
                f"step {row['step_ms']:.1f} ms [{row['step_ms_q25']:.1f}, {row['step_ms_q75']:.1f}]"
                f"   {row['times_plain']:.2f}× plain"
            )
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
