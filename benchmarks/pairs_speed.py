"""Pairs of digits and transformed digits that are made a second.

    python benchmarks/pairs_speed.py [--threads 1] [--batch-size 128]

Pairs as a training step takes them (`MultiMNIST.batch`: drawn, shifted, overlaid, as float32, each
digit by itself too), and digits transformed as a whole data set (`affine_images`), from the digits
that come with the package. Rows — median and quartiles over the rounds, machine, versions, commit —
are appended to benchmarks/results/pairs_speed.csv.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from torchcaps.benchmark.rows import append_rows
from torchcaps.data import MultiMNIST, affine_images, load_data
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "pairs_speed.csv"


def rates(make: Callable[[int], int], rounds: int) -> list[float]:
    """Items a second in each round; `make` makes some and says how many."""
    make(0)
    found = []
    for number in range(1, rounds + 1):
        begun = time.perf_counter()
        count = make(number)
        found.append(count / (time.perf_counter() - begun))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    digits = load_data("mnist5k").train
    pairs, steps = MultiMNIST(digits), 50
    size: int = options.batch_size

    def make_pairs(number: int) -> int:
        for step in range(steps * number, steps * (number + 1)):
            pairs.batch(step * size, size)
        return steps * size

    def transform(number: int) -> int:
        return len(affine_images(digits, seed=number))

    rows = []
    for name, make in {"MultiMNIST.batch": make_pairs, "affine_images": transform}.items():
        found = rates(make, options.rounds)
        low, _, high = statistics.quantiles(found, n=4, method="inclusive")
        rows.append(
            {
                "date": datetime.date.today().isoformat(),
                "made_by": name,
                "batch_size": size if make is make_pairs else None,
                "images_per_second": round(statistics.median(found)),
                "q25": round(low),
                "q75": round(high),
                "rounds": options.rounds,
                **describe_machine(),
            }
        )
        print(f"{name:17} {rows[-1]['images_per_second']:8,} a second [{low:,.0f}, {high:,.0f}]")
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
