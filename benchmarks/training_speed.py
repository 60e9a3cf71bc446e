"""Images a second of `torchcaps train`, beside plain eager float32 loops of the same network.

    python benchmarks/training_speed.py [--models capsnet_small capsnet] [--batch-size 64]

All train the same architecture on batches of MNIST-shaped noise, in one process, taking turns step
by step: torchcaps in float32 and bf16, and loops that one writes without thinking of speed, with
einsum and with broadcast routing. The rows — median and quartiles of the time of a step, the share
of it that routing takes, machine, versions, commit — are appended to
benchmarks/results/training_speed.csv.
"""

import argparse
import datetime
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import profile

from torchcaps import Capsules, DynamicRouting, LinearVotes, Votes, create_model
from torchcaps.benchmark.contenders import CONTENDERS
from torchcaps.benchmark.rows import append_rows
from torchcaps.benchmark.shapes import SHAPES, Problem
from torchcaps.data import ImageData
from torchcaps.data.split import TrainTest
from torchcaps.training.build import build_model
from torchcaps.training.config import TrainConfig
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.run import Run
from torchcaps.training.run_folder import describe_machine

ROUTING = {
    f"torchcaps::routing_{device}{part}" for device in ("cpu", "cuda") for part in ("", "_backward")
}
RESULTS = Path(__file__).parent / "results" / "training_speed.csv"


def noise(images: int) -> TrainTest:
    """Images of MNIST's shape, for training and (unused here) for testing."""
    pixels = torch.randint(0, 256, (images, 1, 28, 28), dtype=torch.uint8)
    data = ImageData(pixels, torch.arange(images) % 10, tuple("0123456789"), "noise")
    return TrainTest(data, data)


def our_step(config: TrainConfig, data: TrainTest) -> Callable[[], None]:
    """A step of the loop behind `torchcaps train`, batches, shifts and running sums included."""
    task = ImageClassification.from_config(config, data)
    run = Run(config, task, build_model(config, task.training))
    run.prepare()

    def step() -> None:
        run.do_step()

    return step


def plain_step(config: TrainConfig, data: TrainTest, routing: str) -> Callable[[], None]:
    """What one writes without thinking of speed: eager, float32, routing by einsum or broadcast."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = create_model(config.model).to(device)
    model.set_submodule("classes.routing", PlainRouting(routing))
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


class PlainRouting(DynamicRouting):
    """Dynamic routing as one of the usual ways has it."""

    def __init__(self, name: str) -> None:
        super().__init__(3)
        self.route = CONTENDERS[name]

    def forward(
        self,
        votes: Votes | Tensor,
        activation: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Capsules:
        assert isinstance(votes, LinearVotes)
        pose = self.route(Problem(SHAPES["mnist"], votes.pose, votes.weight, mask, votes.pose))
        return Capsules(pose, pose.norm(dim=-1))


def share_of_routing(step: Callable[[], None]) -> float | None:
    """The part of a step's time that the fused routing ops take, forward and backward."""
    with profile() as profiler:
        begun = time.perf_counter()
        for _ in range(5):
            step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken = 1e6 * (time.perf_counter() - begun)
    routing = [event for event in profiler.key_averages() if event.key in ROUTING]
    spent = sum(max(event.cpu_time_total, event.device_time_total) for event in routing)
    return float(spent / taken) or None  # a captured step shows no ops


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
                model=name, batch_size=options.batch_size, epochs=10**6, validation=0
            )
            ours = {
                f"torchcaps {precision}": our_step(
                    replace(config, precision=precision, out=Path(folder) / precision), data
                )
                for precision in ("fp32", "bf16")
            }
            plain = {
                f"plain eager fp32, {routing}": plain_step(config, data, routing)
                for routing in ("einsum", "broadcast")
            }
            times = measure(ours | plain, options.rounds)
            shares = {loop: share_of_routing(step) for loop, step in ours.items()}
        median = {loop: statistics.median(values) for loop, values in times.items()}
        for loop, values in times.items():
            share = shares.get(loop)
            low, _, high = statistics.quantiles(values, n=4, method="inclusive")
            row = {
                "date": datetime.date.today().isoformat(),
                "model": name,
                "loop": loop,
                "batch_size": options.batch_size,
                "step_ms": round(1e3 * median[loop], 2),
                "step_ms_q25": round(1e3 * low, 2),
                "step_ms_q75": round(1e3 * high, 2),
                "images_per_second": round(options.batch_size / median[loop], 1),
                "times_einsum": round(median["plain eager fp32, einsum"] / median[loop], 3),
                "times_broadcast": round(median["plain eager fp32, broadcast"] / median[loop], 3),
                "routing_share": None if share is None else round(share, 4),
                "rounds": options.rounds,
                **machine,
            }
            rows.append(row)
            said = "" if share is None else f", routing {share:.1%} of it"
            print(
                f"{name:14} {loop:27} {row['images_per_second']:8.1f} images/s   "
                f"step {row['step_ms']:.1f} ms [{row['step_ms_q25']:.1f}, {row['step_ms_q75']:.1f}]"
                f"   {row['times_einsum']:.2f}× einsum, {row['times_broadcast']:.2f}× broadcast"
                f"{said}"
            )
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
