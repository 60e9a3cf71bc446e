"""Collect finished runs into benchmarks/results/accuracy.csv.

    python benchmarks/accuracy.py runs/…  runs/…

A row a run: what was trained on what, the accuracy on the held-out images after the last epoch with
its 95 % interval, the time, machine, versions and commit, all read from the run's own files.
"""

import json
import statistics
import sys
from csv import DictReader
from pathlib import Path

from torchcaps.benchmark.rows import append_rows

RESULTS = Path(__file__).parent / "results" / "accuracy.csv"


def row(folder: Path) -> dict[str, object]:
    """What a run folder says of itself."""
    config, run, result, model = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("config.json", "run.json", "result.json", "model/config.json")
    )
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        speed = statistics.median(float(line["images_per_second"]) for line in DictReader(file))
    return {
        "data": run["data"]["name"],
        "model": config["model"],
        "decoder": model.get("reconstruct"),  # empty: the network has none
        "epochs": result["epochs"],
        "batch_size": config["batch_size"],
        "learning_rate": config["learning_rate"],
        "weight_decay": config["weight_decay"],
        "seed": config["seed"],
        "precision": run["precision"],
        "training_images": run["data"]["train"],
        "validation": config["validation"],
        "held_out_images": result["held_out_images"],
        "held_out_accuracy": result["held_out_accuracy"],
        "interval_low": round(result["interval_95"][0], 5),
        "interval_high": round(result["interval_95"][1], 5),
        "seconds": result["seconds"],
        "images_per_second": speed,
        **run["machine"],
    }


if __name__ == "__main__":
    append_rows(RESULTS, [row(Path(name)) for name in sys.argv[1:]])
