"""Exported networks beside PyTorch on 1,000 held-out digits: benchmarks/results/exported.csv.

    python benchmarks/exported.py [FOLDER]

Every network and every routing of the registries, small and trained for some seconds (so that no
classes tie), and the network that comes with the package; in batches of 1, 7 and 64.
"""

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchcaps import Classifier, create_model, list_models, list_routings, load_pretrained
from torchcaps.data import ImageData, load_data
from torchcaps.errors import InputError
from torchcaps.export import FORMATS, export_model
from torchcaps.models.registry import takes_argument

RESULTS = Path(__file__).parent / "results"
STEPS, BATCH, RATE = 60, 64, 0.003
SMALL: dict[str, Any] = {
    "image_size": 28, "channels": 1, "conv_channels": 16, "primary_types": 4,
    "decoder_hidden": [64], "stem_channels": [8, 16, 16],
    "types": [4, 4], "hidden": [32],
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "baseline_cnn": {"conv_channels": [8, 8, 8]},
    "self_routing_capsnet": {"types": 4},
    "attention_capsnet": {"types": 4, "widths": [8, 8], "blocks": [1, 1], "dense": [4]},
    "deepcaps": {"types": 4},
    "efficient_capsnet": {"conv_channels": [8, 8, 16]},
}


def trained(name: str, routing: str | None, data: ImageData) -> Classifier:
    """A small network after a few steps."""
    torch.manual_seed(0)
    wanted = SMALL | OWN.get(name, {}) | ({"routing": routing} if routing else {})
    model = create_model(name, **{k: v for k, v in wanted.items() if takes_argument(name, k)})
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for step in range(STEPS):
        images, labels = data.batch(torch.arange(step * BATCH, (step + 1) * BATCH) % len(data))
        optimizer.zero_grad()
        model.loss(model(images, labels), images, labels).total.backward()
        optimizer.step()
    return model.eval()


def compared(label: str, model: Classifier, images: Tensor) -> list[dict[str, object]]:
    """A row for each format."""
    rows: list[dict[str, object]] = []
    for to, suffix in FORMATS.items():
        row: dict[str, object] = {"network": label, "format": to}
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = export_model(model, Path(folder) / f"model{suffix}", to, images)
            row |= found._asdict() | {"reason": ""}
        except InputError as error:
            row |= {"images": 0, "largest_difference": "", "other_classes": "", "reason": error}
        print(row, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Export, compare, and write the rows."""
    torch.set_num_threads(1)
    digits = load_data("mnist5k")
    images, _ = digits.test.batch(torch.arange(1000))
    rows = compared("digits, of the package", load_pretrained("digits"), images)
    other = [name for name in list_models() if name != "capsnet" and not name.endswith("_small")]
    cases: list[tuple[str, str | None]] = [(name, None) for name in other]
    for name, routing in [*cases, *(("capsnet", routing) for routing in list_routings())]:
        label = f"{name}, {routing}" if routing else name
        rows += compared(label, trained(name, routing, digits.train), images)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    with (folder / "exported.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows: {folder / 'exported.csv'}")


if __name__ == "__main__":
    main()
