"""Kinds of input: each lays files into a folder and gives the arguments of a command."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from tests.fuzz.mutate import mutate_bytes, mutate_json, odd_text, with_header
from tests.small_runs import tiny_config, tiny_data, write_npz
from torchcaps.training.loop import train

__all__ = ["KINDS", "Base", "make_base"]

Arguments = list[str]
Kind = Callable[[Random, Path, "Base"], Arguments]
NETWORK = {"conv_channels": 4, "primary_types": 2, "decoder_hidden": [8]}
FORMATS = ("png", "jpeg", "bmp", "gif", "tiff", "webp")
MODES = ("L", "RGB", "RGBA", "P", "1", "LA", "I;16", "CMYK", "F")


@dataclass(frozen=True)
class Base:
    """What is whole: the data and a finished run on it."""

    data: Path
    run: Path


def make_base(folder: Path) -> Base:
    """Lay them into a folder."""
    folder.mkdir(parents=True)
    data = write_npz(folder / "tiny.npz", tiny_data(30))
    config = tiny_config(
        folder / "run", data=str(data), model="capsnet", model_options=NETWORK, precision="fp32"
    )
    train(config)
    return Base(data, folder / "run")


def one_step(base: Base) -> Arguments:
    """The options of a small training."""
    return [
        *["--epochs", "1", "--model", "capsnet", "--model-options", json.dumps(NETWORK)],
        *["--threads", "1", "--precision", "fp32"],
    ]


# --- configs and run folders
def config_file(draw: Random, here: Path, base: Base) -> Arguments:
    """`train --config`."""
    (here / "c.json").write_bytes(mutate_json(draw, (base.run / "config.json").read_text()))
    return ["train", "--config", "c.json"]


def run_folder(draw: Random, here: Path, base: Base) -> Arguments:
    """`train --resume` and `eval` of a run of which one file was changed."""
    run = Path(shutil.copytree(base.run, here / "run"))
    if draw.random() < 0.6:
        for path in [run / "result.json", *run.glob("checkpoints/*10.*")]:
            path.unlink()
    path = draw.choice([p for p in sorted(run.rglob("*.*")) if p.suffix in {".json", ".csv"}])
    path.write_bytes(mutate_json(draw, path.read_text()) if path.suffix == ".json" else b"\xff")
    if draw.random() < 0.3:
        return ["eval", "run", "--json"]
    return ["train", "--resume", "run"]


def checkpoint(draw: Random, here: Path, base: Base) -> Arguments:
    """`train --resume` of changed checkpoints."""
    run = Path(shutil.copytree(base.run, here / "run"))
    path = draw.choice(sorted(run.glob("checkpoints/*")))
    content = path.read_bytes()
    if path.suffix == ".json":
        path.write_bytes(mutate_json(draw, content.decode()))
    else:
        path.write_bytes(draw.choice((mutate_bytes, with_header))(draw, content))
    if draw.random() < 0.2:
        path.rename(path.with_name(f"step-{draw.choice((0, 9, 10**8, 10**30)):08d}{path.suffix}"))
    return ["train", "--resume", draw.choice(["run", f"run/checkpoints/{path.name}"])]


# --- models
def model_config(draw: Random, here: Path, base: Base) -> Arguments:
    """A model folder with another config.json."""
    model = Path(shutil.copytree(base.run / "model", here / "model"))
    text = (model / "config.json").read_text()
    (model / "config.json").write_bytes(mutate_json(draw, text))
    return use_model(draw, here, base)


def model_weights(draw: Random, here: Path, base: Base) -> Arguments:
    """A model folder with another model.safetensors."""
    model = Path(shutil.copytree(base.run / "model", here / "model"))
    path = model / "model.safetensors"
    path.write_bytes(draw.choice((mutate_bytes, with_header))(draw, path.read_bytes()))
    return use_model(draw, here, base)


def use_model(draw: Random, here: Path, base: Base) -> Arguments:
    write_image(draw, here / "a.png", "png", "L")
    return draw.choice(
        [
            ["eval", "model", "--data", str(base.data), "--json"],
            ["predict", "model", "a.png", "--json", "--pictures", "no"],
            ["explore", "model", "--no-open", "--out", "page.html"],
            ["train", "--init", "model", "--data", str(base.data), "--epochs", "1"],
        ]
    )


# --- data
def use_data(draw: Random, base: Base, *data: str) -> Arguments:
    if draw.random() < 0.5:
        return ["eval", str(base.run), "--json", "--data", *data]
    return ["train", *one_step(base), "--data", *data]


def archive(draw: Random, here: Path, base: Base) -> Arguments:
    """An .npz: bytes changed, or arrays of any shape and type."""
    path = here / "a.npz"
    if draw.random() < 0.5:
        path.write_bytes(mutate_bytes(draw, base.data.read_bytes()))
        return use_data(draw, base, "a.npz")
    with np.load(base.data) as file:
        arrays = dict(file)
    name = draw.choice(list(arrays))
    arrays[name] = odd_array(draw, arrays[name])
    if draw.random() < 0.2:
        del arrays[draw.choice(list(arrays))]
    np.savez(path, **arrays)
    return use_data(draw, base, "a.npz")


def odd_array(draw: Random, array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> object:
    """The array in another type or shape, with other values."""
    kind = draw.randrange(5)
    if kind == 0:
        kinds = ("f4", "f2", "f8", "i1", "i8", "u8", "?", "c8", "U3", "S2", ">i4", ">f4", "M8[s]")
        with np.errstate(all="ignore"), suppress(ValueError):  # words that are no numbers
            return array.astype(np.dtype(draw.choice(kinds)), copy=True)
        return array
    if kind == 1:
        return np.zeros([draw.choice((0, 1, 2, 3, 17)) for _ in range(draw.randint(0, 5))], "u1")
    if kind == 2:
        return array[: draw.randint(0, len(array))]
    if kind == 3 and array.dtype.kind in "ui":
        floats = array.astype(draw.choice(("f4", "f8")))
        floats.flat[0] = draw.choice((np.nan, np.inf, -np.inf, -1, 1e30, 256, 0.5))
        return floats
    labels = array.astype("i8") if array.dtype.kind in "ui" else np.zeros(3, "i8")
    labels.flat[0] = draw.choice((-1, 10**6, 10**9, 2**62, 255))
    return labels


def idx(draw: Random, here: Path, base: Base) -> Arguments:
    """The four files of MNIST, one of them changed."""
    (here / "mnist").mkdir()
    for part in ("train", "t10k"):
        images = struct.pack(">4I", 2051, 20, 28, 28) + bytes(20 * 784)
        labels = struct.pack(">2I", 2049, 20) + bytes(k % 10 for k in range(20))
        (here / f"mnist/{part}-images-idx3-ubyte").write_bytes(images)
        (here / f"mnist/{part}-labels-idx1-ubyte").write_bytes(labels)
    path = draw.choice(sorted((here / "mnist").iterdir()))
    path.write_bytes(mutate_bytes(draw, path.read_bytes()))
    return use_data(draw, base, "mnist", "--data-dir", ".")


def write_image(draw: Random, path: Path, kind: str, mode: str) -> None:
    """Noise as an image file; as a grey one where the format has no such mode."""
    size = draw.choice(((17, 17), (17, 17), (1, 1), (40, 3), (200, 100)))
    pixels = Image.frombytes("L", size, draw.randbytes(size[0] * size[1]))
    try:
        pixels.convert(mode).save(path, format=kind)
    except (OSError, ValueError):
        pixels.save(path, format=kind)


def image(draw: Random, here: Path, base: Base) -> Arguments:
    """An image file of any format and mode, whole or changed."""
    kind = draw.choice(FORMATS)
    path = here / f"a.{draw.choice([*FORMATS, kind, kind, 'jpg'])}"
    write_image(draw, path, kind, draw.choice(MODES))
    if draw.random() < 0.8:
        path.write_bytes(mutate_bytes(draw, path.read_bytes()))
    invert = draw.choice(("auto", "yes", "no"))
    return ["predict", str(base.run), path.name, "--json", "--pictures", "no", "--invert", invert]


def class_folders(draw: Random, here: Path, base: Base) -> Arguments:
    """A folder of class folders, with something in it that is no image, or called otherwise."""
    names = ["ant", "bee", "cow"]
    root = here / "data"
    for name in names[: draw.choice((1, 2, 3, 3, 3))]:
        (root / name).mkdir(parents=True)
        for number in range(4):
            Image.frombytes("L", (17, 17), draw.randbytes(289)).save(root / name / f"{number}.png")
    for _ in range(draw.randint(1, 2)):
        spoil_folders(draw, root)
    return use_data(draw, base, "data")


def spoil_folders(draw: Random, root: Path) -> None:
    """Rename, add, link or change something."""
    folders = [path for path in sorted(root.rglob("*")) if path.is_dir()]
    place, kind = draw.choice(folders), draw.randrange(7)
    name = odd_name(draw)
    if kind == 0:
        if not place.with_name(name).exists():
            place.rename(place.with_name(name))
    elif kind == 1:
        if not os.path.lexists(place / name):
            (place / name).mkdir()
    elif kind == 2:
        if not os.path.lexists(place / name):
            os.symlink(draw.choice((".", "..", "/", "gone", "/dev/zero", str(root))), place / name)
    elif kind == 3:
        if not os.path.lexists(place / f"{name[:100]}.png"):
            os.mkfifo(place / f"{name[:100]}.png")
    elif kind == 4:
        write_image(draw, place / "9.png", draw.choice(FORMATS), draw.choice(MODES))
    elif kind == 5:
        (place / f"{name[:100]}.png").write_bytes(draw.randbytes(draw.choice((0, 1, 100))))
    else:
        with suppress(FileExistsError, NotADirectoryError):
            (place / "train" / name).mkdir(parents=True)


def odd_name(draw: Random) -> str:
    """A name that no file of its folder has."""
    names = (
        "new\nline", "\x1b[31mred", os.fsdecode(b"\xff\xfe"), "x" * 250, ".hidden", "train", "test",
        "é", " ", "-", "--data", "Thumbs.db", "日本", "*", "[a]", "\\", "a\tb",
    )  # fmt: skip
    return draw.choice(names)


def path_names(draw: Random, here: Path, base: Base) -> Arguments:
    """Images, tables, pages and folders whose names are odd."""
    name = odd_name(draw)
    write_image(draw, here / f"{name[:200]}.png", "png", "L")
    out = draw.choice([odd_text(draw), odd_name(draw), f"{name[:200]}.png", str(base.run)])
    return draw.choice(
        [
            ["predict", str(base.run), f"./{name[:200]}.png", "--out", out],
            ["predict", str(base.run), f"./{name[:200]}.png", "--to", out],
            ["predict", str(base.run), ".", "--to", f"{out[:200]}.csv"],
            ["predict", str(base.run), out],
            ["predict", out, "a.png"],
            ["eval", out],
            ["explore", "--no-open", "--out", out],
            ["explore", out, "--no-open"],
            ["export", str(base.run), "--to", "pt2", "--out", out],
            ["train", *one_step(base), "--data", str(base.data), "--out", out],
            ["train", "--resume", out],
            ["train", "--config", out],
            ["train", *one_step(base), "--data", out],
            ["train", *one_step(base), "--data", str(base.data), "--init", out],
            ["bench", "--shapes", "mnist_b1", "--out", out],
        ]
    )


KINDS: dict[str, Kind] = {
    "config of --config": config_file,
    "files of a run": run_folder,
    "checkpoints": checkpoint,
    "config of a model": model_config,
    "weights of a model": model_weights,
    "npz": archive,
    "idx": idx,
    "image": image,
    "class folders": class_folders,
    "names of paths": path_names,
}
