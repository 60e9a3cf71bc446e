"""`torchcaps predict`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from torchcaps.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from torchcaps.models import Classifier

__all__ = ["Predict"]

DARK, LIGHT = 0.25, 0.75  # mean brightness of a border that counts as black or white paper


@dataclass
class Predict:
    """Say what images show, and draw what the network sees in them."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of a saved model."""
    images: Annotated[list[Path], tyro.conf.Positional] = field(default_factory=list)
    """Image files: PNG, JPEG, …"""
    invert: Literal["auto", "yes", "no"] = "auto"
    """Swap dark and light: auto does so where the model learned on a dark ground and the image has
    a light one, or the other way round, and says so."""
    out: Path = Path("predictions")
    """Folder for the pictures."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Predict, draw and print."""
        from torchcaps.cli.checkpoint import load_checkpoint

        if not self.images:
            raise InputError("name at least one image after the folder of the model")
        model = load_checkpoint(self.checkpoint)
        read = [self._read(path, model) for path in self.images]  # all, before anything is written
        self.out.mkdir(parents=True, exist_ok=True)
        results: list[dict[str, Any]] = []
        for path, (image, inverted) in zip(self.images, read):
            taken = [result["picture"] for result in results]
            picture = free_name(self.out, path.stem, taken)
            results.append(predict_one(model, path, image, inverted, picture))
        if self.json:
            print(json.dumps(results, indent=2, ensure_ascii=False))
        else:
            print("\n".join(as_text(result) for result in results))

    def _read(self, path: Path, model: "Classifier") -> tuple["Tensor", bool]:
        """(image [C, H, W] in [0, 1] of the model's shape, whether it was inverted)."""
        from torchcaps.data import read_image
        from torchcaps.training.build import border_brightness

        if model.channels not in (1, 3):
            raise InputError(
                f"the model takes images of {model.channels} channels, which no image file holds: "
                "use it from Python"
            )
        image = read_image(path, model.image_size, model.channels).float() / 255
        invert = self.invert == "yes"
        if self.invert == "auto":
            invert = grounds_differ(
                model.metadata.get("border_brightness"), border_brightness(image)
            )
        return (1 - image if invert else image), invert


def free_name(folder: Path, stem: str, taken: list[str]) -> Path:
    """Where to draw: images of one name, from different folders, do not overwrite each other."""
    picture, number = folder / f"{stem}-prediction.png", 1
    while str(picture) in taken:
        number += 1
        picture = folder / f"{stem}-{number}-prediction.png"
    return picture


def grounds_differ(learned: float | None, seen: float) -> bool:
    """Whether the model knows dark paper and the image is on white, or the other way round."""
    if learned is None:
        return False
    return (learned < DARK and seen > LIGHT) or (learned > LIGHT and seen < DARK)


def predict_one(
    model: "Classifier", path: Path, image: "Tensor", inverted: bool, picture: Path
) -> dict[str, Any]:
    """Classify an image and draw it beside its reconstruction."""
    import torch

    from torchcaps.training.pictures import draw_prediction

    with torch.no_grad():
        output = model(image.unsqueeze(0))
    lengths = output.activation[0]
    name = model.class_names[int(lengths.argmax())]
    drawn = None if output.reconstruction is None else output.reconstruction[0]
    title = f"{path.name}: {name}"
    draw_prediction(image, drawn, lengths, model.class_names, path=picture, title=title)
    return {
        "image": str(path),
        "class": name,
        "activation": dict(zip(model.class_names, lengths.tolist())),
        "inverted": inverted,
        "picture": str(picture),
    }


def as_text(result: dict[str, Any]) -> str:
    """A result for a person."""
    ranked = sorted(result["activation"].items(), key=lambda pair: -pair[1])
    lengths = ", ".join(f"{name} {length:.2f}" for name, length in ranked[:4])
    note = "\n  dark and light were swapped (--invert no prevents it)" if result["inverted"] else ""
    return (
        f"{result['image']}: {result['class']}   (lengths: {lengths}){note}\n"
        f"  picture: {result['picture']}"
    )
