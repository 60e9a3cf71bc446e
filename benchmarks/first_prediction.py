"""From the start of a process to its first prediction, and one image's latency after it.

    python benchmarks/first_prediction.py [--rounds 5]

The network that comes with the package, one thread: in Python, with compiled loops in the cache and
without, and its ONNX file in onnxruntime. Every round is a process of its own, the contenders take
turns. Rows: benchmarks/results/first_prediction.csv.
"""

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from torchcaps import load_pretrained
from torchcaps.benchmark.rows import append_rows
from torchcaps.export import export_model
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "first_prediction.csv"
IN_PYTHON = """
import torch, torchcaps
torch.set_num_threads(1)
network = torchcaps.load_pretrained("digits").eval()
images = torch.rand(1, 1, 28, 28)
def predict():
    with torch.no_grad():
        return network(images).activation.argmax()
"""
IN_ONNXRUNTIME = """
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("model.onnx", options)
images = numpy.random.rand(1, 1, 28, 28).astype("float32")
def predict():
    return session.run(["activation"], {"images": images})[0].argmax()
"""
THEN = """
import time
predict()
print(time.time())
seconds = []
for _ in range(200):
    began = time.perf_counter()
    predict()
    seconds.append(time.perf_counter() - began)
print(sorted(seconds)[100])
"""


def once(code: str, folder: Path, **environment: str) -> tuple[float, float]:
    """Seconds to the first prediction, and to a later one."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", code + THEN],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, later = map(float, done.stdout.split())
    return first - began, later


def main() -> None:
    """Let all take turns, and add their rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = torch.rand(8, 1, 28, 28)
        export_model(load_pretrained("digits"), folder / "model.onnx", "onnx", images)
        once(IN_PYTHON, folder)  # fills the cache
        for number in range(rounds):
            for label, seconds in (
                ("Python", once(IN_PYTHON, folder)),
                (
                    "Python, nothing compiled yet",
                    once(IN_PYTHON, folder, NUMBA_CACHE_DIR=str(folder / f"cache{number}")),
                ),
                ("onnxruntime", once(IN_ONNXRUNTIME, folder)),
            ):
                found.setdefault(label, []).append(seconds)
    rows = []
    for label, times in found.items():
        first, later = (statistics.median(column) for column in zip(*times))
        rows.append(
            {
                "date": datetime.date.today().isoformat(),
                "in": label,
                "first_prediction_s": round(first, 2),
                "slowest_first_s": round(max(column[0] for column in times), 2),
                "later_prediction_ms": round(1000 * later, 2),
                "rounds": rounds,
                **describe_machine(),
            }
        )
        print(f"{label:30} first {first:5.2f} s, then {1000 * later:.2f} ms an image")
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
