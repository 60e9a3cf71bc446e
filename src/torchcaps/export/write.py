"""From a model to a file that was tried before anybody sees it."""

import copy
import mmap
import os
from pathlib import Path

import torch
from torch import Tensor

from torchcaps.errors import InputError
from torchcaps.export.check import Comparison, compare
from torchcaps.export.metadata import describe, describe_as_text
from torchcaps.export.onnx_file import check_packages, read_onnx, write_onnx
from torchcaps.export.program import export_program
from torchcaps.export.pt2_file import METADATA, read_pt2, write_pt2
from torchcaps.models import Classifier
from torchcaps.storage import atomic_path, expand_user

__all__ = ["FORMATS", "check_path", "export_model", "is_export"]

# Format → how its files' names end.
FORMATS = {"onnx": ".onnx", "pt2": ".pt2"}
# What every file of a format holds, as it stands: a key of its metadata, the name of an extra file.
MARKS = {"onnx": b"torchcaps_version", "pt2": METADATA.encode()}


def export_model(
    model: Classifier,
    path: str | os.PathLike[str],
    to: str = "onnx",
    images: Tensor | None = None,
) -> Comparison:
    """Write a network to a file that runs without this package, for any number of images at once.

    The file is run and compared with PyTorch before it takes its name.

    Args:
        model: any classifier, on any device and in any mode; it stays as it is.
        path: of the file, ending in .onnx or .pt2; written atomically, its folder is made. An
            earlier export is replaced, but no other file.
        to: "onnx" (needs the extra `torchcaps[onnx]`; run by onnxruntime), or "pt2"
            (`torch.export.save`; run by torch).
        images: `[N, C, H, W]` in [0, 1], any floats, on which both are compared; default: 8 of
            noise.

    Returns:
        `Comparison`: on how many images, the largest difference, and how many classes differ (where
        two classes are equally active but for rounding; else the file is refused).

    The file's input is "images" `[batch, C, H, W]`, float32 in [0, 1]; its outputs are "pose",
    "activation" and, with a decoder, "reconstruction". It holds class names, image size, channels,
    input range, standardisation and threshold: in ONNX as metadata, each as JSON; in pt2 as the
    extra file torchcaps.json.

    Raises:
        InputError: an unknown format, a name that ends otherwise, a file there that is no export, a
            package that is missing, a network of which torch can make no program, or a file that
            answers otherwise.

    Example:
        >>> import tempfile
        >>> from torchcaps import create_model
        >>> model = create_model("capsnet", conv_channels=4, primary_types=2, image_size=17)
        >>> export_model(model, f"{tempfile.mkdtemp()}/model.pt2", to="pt2").other_classes
        0
    """
    path = expand_user(path)
    check_path(path, to)
    if to == "onnx":
        check_packages()
    plain = copy.deepcopy(model).to("cpu", torch.float32).eval()
    if images is None or len(images) == 0:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(8, model.channels, *model.image_size, generator=generator)
    if isinstance(images, Tensor) and images.is_floating_point():
        images = images.detach().to("cpu", torch.float32)
    plain.check_images(images)
    program = export_program(plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        if to == "onnx":
            write_onnx(program, temporary, describe_as_text(plain))
            run = read_onnx(temporary)
        else:
            write_pt2(program, temporary, describe(plain))
            run = read_pt2(temporary)
        return compare(run, plain, images)


def check_path(path: Path, to: str) -> None:
    """Raise unless an export of this format may be written here.

    Raises:
        InputError: an unknown format, a name that ends otherwise, a folder, or a file of others.
    """
    if to not in FORMATS:
        raise InputError(f"to must be one of {', '.join(FORMATS)}, got {to!r}")
    if path.suffix != FORMATS[to]:
        raise InputError(f"{path} must end in {FORMATS[to]}, as files of this format do")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file, such as {path / 'model'}{path.suffix}")
    if path.is_file() and not is_export(path, to):
        raise InputError(
            f"{path} is there already and not a file that `torchcaps export` wrote: name another "
            "file, or remove it"
        )


def is_export(path: Path, to: str) -> bool:
    """Whether a file is empty or one that `export_model` wrote, by what it says of itself."""
    if path.stat().st_size == 0:
        return True
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(MARKS[to]) >= 0
