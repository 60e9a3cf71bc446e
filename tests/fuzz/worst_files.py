"""The worst files of at most 10 KB that are known: how much memory and time a command takes.

    python -m tests.fuzz.worst_files

Prints the table of docs/security.md, the slowest first: peak memory and time of the whole command,
and what it answers. A command that needs no file at all stands at the end, for comparison.
"""

import io
import json
import os
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import torchcaps

# Not from torchcaps.explorer, which loads torch: a process is told to need what began it needs.
SHIPPED = Path(torchcaps.__file__).parent / "explorer" / "shipped"
MOST = 10 * 1024


def model_with(folder: Path, **changes: object) -> list[str]:
    """The shipped network with another config."""
    shutil.copytree(SHIPPED, folder / "model")
    path = folder / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, separators=(",", ":")))
    return ["eval", str(folder / "model"), "--data", "mnist5k"]


def weights_that_claim(folder: Path) -> list[str]:
    arguments = model_with(folder)
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    content = struct.pack("<Q", len(header)) + header.encode()
    (folder / "model" / "model.safetensors").write_bytes(content)
    return arguments


def archive_that_claims(folder: Path) -> list[str]:
    head = io.BytesIO()
    shape = (10**6, 1000, 1000)
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return archive(folder, head.getvalue())


def archive_of_zeros(folder: Path) -> list[str]:
    whole = io.BytesIO()
    np.save(whole, np.zeros((9000, 28, 28), np.uint8))
    return archive(folder, whole.getvalue())


def archive(folder: Path, images: bytes) -> list[str]:
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", images)
        labels = io.BytesIO()
        np.save(labels, np.arange(9000, dtype=np.uint8) % 2)
        file.writestr("labels.npy", labels.getvalue())
    return ["eval", str(SHIPPED), "--data", str(folder / "a.npz")]


def picture(folder: Path, side: int) -> list[str]:
    Image.new("1", (side, side)).save(folder / "a.png", optimize=True)
    return ["predict", str(SHIPPED), str(folder / "a.png"), "--to", str(folder / "a.csv")]


def config(folder: Path, text: str) -> list[str]:
    (folder / "c.json").write_text(text)
    return ["train", "--config", str(folder / "c.json")]


def digits_that_claim(folder: Path) -> list[str]:
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, 2**31 - 1, 28, 28)
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 2**31 - 1))
    return ["train", "--data", "mnist", "--data-dir", str(folder)]


FILES: dict[str, Callable[[Path], list[str]]] = {
    "`config.json` of a model with 3·10⁸ classes": lambda at: model_with(at, num_classes=3 * 10**8),
    "of a model for images of 10⁵×10⁵": lambda at: model_with(at, image_size=[10**5, 10**5]),
    "with a class name of 9,000 characters": lambda at: model_with(
        at, class_names=[*"012345678", "9" * 9000]
    ),
    "weights whose header claims 4 TiB": weights_that_claim,
    "`.npz` that claims 10⁶ images of 1000×1000": archive_that_claims,
    "`.npz` of 9,000 images, all zeros (7 MB)": archive_of_zeros,
    "PNG of 8,000×8,000, one bit": lambda at: picture(at, 8000),
    "`--config` of 5,000 nested lists": lambda at: config(at, "[" * 5000 + "]" * 5000),
    "`--config` with a number of 9,000 digits": lambda at: config(
        at, '{"epochs": ' + "9" * 9000 + "}"
    ),
    "idx files that claim 2³¹ images": digits_that_claim,
    "(no file: `torchcaps info`)": lambda at: ["info"],
}


def measure(make: Callable[[Path], list[str]]) -> tuple[float, float, str]:
    """(seconds, MiB at the peak, what is said last)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = make(folder)
        small = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size <= MOST]
        assert small or arguments == ["info"], "the file is larger than 10 KB"
        log = folder / "log"
        start = time.perf_counter()
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "torchcaps", *arguments],
            os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - start
        last = log.read_text(errors="replace").strip().splitlines()[-1].replace(name, "…")
        code = os.waitstatus_to_exitcode(status)
        return seconds, usage.ru_maxrss / 1024, f"{code}: {last}"


if __name__ == "__main__":
    print("| file | time | memory | exit code, and the last line |\n|---|--:|--:|---|")
    rows = {name: measure(make) for name, make in FILES.items()}
    for name, (seconds, peak, said) in sorted(rows.items(), key=lambda row: -row[1][1]):
        print(f"| {name} | {seconds:.1f} s | {peak:,.0f} MiB | {said[:150]} |")
