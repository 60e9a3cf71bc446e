"""What a run leaves when its last step is done: the held-out accuracy, the model, the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from torchcaps.data import ImageData
from torchcaps.models import Classifier
from torchcaps.storage import write_json
from torchcaps.training import pictures
from torchcaps.training.build import border_brightness
from torchcaps.training.config import TrainConfig
from torchcaps.training.metrics import Evaluation, evaluate
from torchcaps.training.progress import watched
from torchcaps.training.run_folder import RunFolder

__all__ = ["RunResult", "finish"]


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: of the run.
        held_out: what the last epoch's weights answered on the held-out images (None on the other
            processes of a distributed run).
        test: those images (None there too).
    """

    folder: Path
    held_out: Evaluation | None
    test: ImageData | None = None


def finish(
    folder: RunFolder,
    model: Classifier,
    test: ImageData,
    history: Sequence[Mapping[str, Any]],
    config: TrainConfig,
) -> RunResult:
    """Measure on the held-out images, once, and write model, pictures and result.json."""
    watch = partial(watched, description="measuring on the held-out images")
    held_out = evaluate(model, test, watch=watch)  # in float32, as `torchcaps eval` does
    low, high = held_out.interval
    result = {
        "held_out_accuracy": held_out.accuracy,
        "interval_95": [low, high],
        "held_out_images": len(test),
        "held_out_loss": held_out.loss,
        "epochs": config.epochs,
        "seed": config.seed,
        "seconds": round(sum(row["seconds"] for row in history), 1),
    }
    some, _ = test.batch(torch.arange(min(len(test), 1000)))
    model.metadata = {
        "data": test.name,
        "held_out_accuracy": f"{held_out.accuracy:.4f} ({len(test)} images, 95 % interval "
        f"{low:.4f} to {high:.4f}), after the last of {config.epochs} epochs",
        "seed": config.seed,
        "border_brightness": round(border_brightness(some), 4),
    }
    model.save_pretrained(folder.model)
    draw(folder, model, test, held_out, history)
    write_json(folder.result, result)
    return RunResult(folder.path, held_out, test)


def draw(
    folder: RunFolder,
    model: Classifier,
    test: ImageData,
    held_out: Evaluation,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """The pictures of a run folder."""
    names = test.class_names
    path = folder.path
    pictures.draw_learning_curves(history, path=path / "learning_curves.png")
    pictures.draw_confusion(held_out.confusion, names, path=path / "confusion.png")
    worst = torch.tensor(held_out.worst_mistakes(most=24), dtype=torch.int64)
    pictures.draw_mistakes(
        test.batch(worst)[0],
        held_out.labels[worst],
        held_out.predictions[worst],
        held_out.activation[worst].amax(dim=1),
        names,
        total=len(test) - held_out.correct,
        path=path / "mistakes.png",
    )
    present = sorted(set(test.labels.tolist()))  # a class may have no image here
    shown = torch.cat([(test.labels == k).nonzero()[:2, 0] for k in present[:10]])
    images, labels = test.batch(shown)
    device = next(model.parameters()).device
    with torch.no_grad():
        reconstruction = model.eval()(images.to(device)).reconstruction
    if reconstruction is not None:
        pictures.draw_reconstructions(
            images,
            reconstruction.float().cpu(),
            labels,
            held_out.predictions[shown],
            names,
            path=path / "reconstructions.png",
        )
