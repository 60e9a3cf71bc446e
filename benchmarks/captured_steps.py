"""A training step on a GPU, launched kernel by kernel, and captured once and replayed.

    python benchmarks/captured_steps.py [--models capsnet em_capsnet_small …] [--batch-size 64]

For every network of the catalogue a step of `torchcaps train`, batches of MNIST- or CIFAR-shaped
noise included. Rows — milliseconds a step, and why a step could not be captured — are appended to
benchmarks/results/captured_steps.csv. Needs an NVIDIA GPU.
"""

import argparse
import datetime
import tempfile
import time
from pathlib import Path

import torch

from torchcaps.benchmark.rows import append_rows
from torchcaps.data import ImageData
from torchcaps.data.split import TrainTest
from torchcaps.models import list_models
from torchcaps.training.build import build_model
from torchcaps.training.captured_update import CapturedUpdate
from torchcaps.training.config import TrainConfig
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.run import Run
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "captured_steps.csv"
COLOUR = ("attention_capsnet", "attention_capsnet_small", "self_routing_capsnet")
WARM, STEPS = 8, 40


def noise(channels: int, size: int) -> TrainTest:
    """Images for training, and (unused here) for testing."""
    pixels = torch.randint(0, 256, (1024, channels, size, size), dtype=torch.uint8)
    data = ImageData(pixels, torch.arange(1024) % 10, tuple("0123456789"), "noise")
    return TrainTest(data, data)


def prepared(model: str, batch_size: int, captured: bool, folder: Path) -> Run:
    """A run before its first step."""
    config = TrainConfig(
        model=model, batch_size=batch_size, epochs=10**6, validation=0, out=folder / "run"
    )
    data = noise(3, 32) if model in COLOUR else noise(1, 28)
    task = ImageClassification.from_config(config, data)
    if not captured:
        task.repeats = lambda model: False  # type: ignore[method-assign]
    run = Run(config, task, build_model(config, task.training))
    run.prepare()
    run.wrapped.train()
    return run


def milliseconds(run: Run) -> float:
    """Of one of many steps."""
    for _ in range(WARM):
        run.do_step()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(STEPS):
        run.do_step()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begun) / STEPS


def row_of(model: str, batch_size: int) -> dict[str, object]:
    """Both ways of a network."""
    with tempfile.TemporaryDirectory() as folder:
        eager = milliseconds(prepared(model, batch_size, False, Path(folder)))
        run = prepared(model, batch_size, True, Path(folder))
        replayed = milliseconds(run)
    refused = run.update.refused if isinstance(run.update, CapturedUpdate) else "not tried"
    return {
        "model": model,
        "batch_size": batch_size,
        "eager_ms": round(eager, 2),
        "captured_ms": round(replayed, 2),
        "refused": refused,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list_models(), default=list_models())
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("a step is captured on an NVIDIA GPU alone, and torch sees none")
    machine = {"date": datetime.date.today().isoformat(), **describe_machine()}
    for name in given.models:
        found = row_of(name, given.batch_size)
        print(*found.values(), flush=True)
        append_rows(RESULTS, [found | machine])
