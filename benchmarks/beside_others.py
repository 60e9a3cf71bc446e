"""A training step beside another busy process: ours and a plain float32 loop, by threads.

    python benchmarks/beside_others.py [--busy 1] [--rounds 20]

Each cell runs in a process of its own, since threads that once spun go on to do so: the network
`capsnet_small` at batch 64, with as many busy processes beside it (endless loops in Python) and as
many threads. Told: the median step in ms, and the slowest of ten. Rows:
benchmarks/results/beside_others.csv.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from torchcaps.benchmark.rows import append_rows
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "beside_others.csv"
BUSY = [sys.executable, "-c", "while True: pass"]


def one_cell(loop: str, threads: int, rounds: int) -> None:
    """Print the seconds of every step as JSON; the process is its own."""
    from torchcaps.training.config import TrainConfig
    from training_speed import noise, our_step, plain_step  # type: ignore[import-not-found]

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            model="capsnet_small", epochs=10**6, validation=0, threads=threads,
            precision="bf16" if loop == "ours, bf16" else "fp32", out=Path(folder) / "run",
        )  # fmt: skip
        data = noise(1024)
        step = plain_step(config, data, "einsum") if loop == "plain" else our_step(config, data)
        times = []
        for number in range(rounds + 3):
            began = time.perf_counter()
            step()
            if number >= 3:
                times.append(time.perf_counter() - began)
    print(json.dumps(times))


def main() -> None:
    """Run all cells in turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        one_cell(args.cell[0], int(args.cell[1]), args.rounds)
        return
    print("| busy processes | loop | threads | median, ms | 90 %, ms |\n|---|---|---|---|---|")
    rows = []
    about = describe_machine()
    for busy in (0, args.busy):
        others = [subprocess.Popen(BUSY) for _ in range(busy)]
        try:
            for loop in ("plain", "ours, fp32", "ours, bf16"):
                for threads in (2, 1):
                    command = [sys.executable, __file__, "--cell", loop, str(threads)]
                    done = subprocess.run(
                        [*command, "--rounds", str(args.rounds)],
                        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
                    )  # fmt: skip
                    times = sorted(1000 * t for t in json.loads(done.stdout.splitlines()[-1]))
                    late = times[int(0.9 * len(times))]
                    middle = statistics.median(times)
                    print(
                        f"| {busy} | {loop} | {threads} | {middle:.0f} | {late:.0f} |", flush=True
                    )
                    rows.append(
                        {
                            "date": datetime.date.today().isoformat(),
                            "busy_processes": busy,
                            "loop": loop,
                            "median_ms": round(middle, 1),
                            "slowest_tenth_ms": round(late, 1),
                            "rounds": len(times),
                            **about,
                            "threads": threads,
                        }
                    )
        finally:
            for other in others:
                other.kill()
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
