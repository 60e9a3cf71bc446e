"""`torchcaps export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from torch import Tensor

    from torchcaps.models import Classifier
    from torchcaps.training.run_folder import RunFolder

__all__ = ["Export"]

MOST_IMAGES = 1000  # on which the file is compared with PyTorch


@dataclass
class Export:
    """Write a trained network to a file that runs without torchcaps, compared with PyTorch.

    It takes any number of images at once, and holds the class names and what images it takes.
    """

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, or of a saved model; digits (comes with the package); or owner/name of a
    repository on the Hugging Face Hub."""
    to: Literal["onnx", "pt2"] = "onnx"
    """Format: onnx (for onnxruntime, without torch) or pt2 (torch.export; for torch alone)."""
    out: Path | None = None
    """File to write; default: model.onnx or model.pt2 in the run folder, or here."""

    def run(self) -> None:
        """Write the file, and say where it is and how it compares."""
        from torchcaps.cli.checkpoint import load_checkpoint, run_of_model
        from torchcaps.export import FORMATS, check_path, export_model

        model = load_checkpoint(self.checkpoint)
        run = run_of_model(self.checkpoint)
        path = self.out or (Path() if run is None else run.path) / f"model{FORMATS[self.to]}"
        check_path(path, self.to)  # before data are read for it
        images, why = held_out(model, run)
        compared = export_model(model, path, self.to, images)
        kind = (
            f"images of noise ({why or 'held-out ones were not found'})"
            if images is None
            else "held-out images"
        )
        classes = (
            f"another class for {compared.other_classes}"
            if compared.other_classes
            else "the same classes"
        )
        print(f"{self.to}: {path} ({path.stat().st_size / 1e6:.1f} MB)")
        print(
            f"compared with PyTorch on {compared.images} {kind}: largest difference "
            f"{compared.largest_difference:.1e}, {classes}"
        )


def held_out(model: "Classifier", run: "RunFolder | None") -> "tuple[Tensor | None, str]":
    """Some of the held-out images of the model's data, or None where they cannot be had; and why
    those of its run cannot."""
    import torch

    from torchcaps.explorer import find_held_out

    data, why = find_held_out(model, run, several=True)
    if data is None:
        return None, why
    count = min(MOST_IMAGES, len(data))  # of all classes, which in a folder follow each other
    return data.batch(torch.arange(count) * len(data) // count)[0], why
