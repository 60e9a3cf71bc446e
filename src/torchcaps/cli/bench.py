"""`torchcaps bench`."""

import datetime
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torchcaps.cli.eval import check_range
from torchcaps.cpu_threads import set_threads
from torchcaps.errors import InputError
from torchcaps.training.config import MOST_THREADS

__all__ = ["Bench"]

A_DAY = 86_400.0

Name = Literal[
    "mnist", "mnist_b1", "mnist_b8", "mnist_b1024", "multimnist", "cifar", "smallnorb", "windows",
    "interests", "interests_mind", "em_conv", "em_classes", "variational", "self_routing",
    "attention", "self_attention", "classes1000",
]  # fmt: skip


@dataclass
class Bench:
    """Measure routing beside the usual ways to write it: time, memory, and the floor."""

    shapes: tuple[Name, ...] = field(default=())
    """Layers to measure; default: all that this device can."""
    budget: float = 20.0
    """Seconds for the rounds of a shape, in each of which all contenders take turns."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to measure; default: the GPU if there is one."""
    threads: int | None = None
    """CPU threads; default: what torch takes, or as many as the container has cores."""
    out: Path | None = None
    """Folder for routing.csv, which grows, and its chart; default: a new one under runs/."""

    def run(self) -> None:
        """Measure, print, and write."""
        import torch

        from torchcaps.benchmark.rows import check_rows
        from torchcaps.benchmark.run import columns_of_rows, measure
        from torchcaps.benchmark.shapes import SHAPES
        from torchcaps.training.progress import watched
        from torchcaps.training.run_folder import describe_machine

        if self.threads is not None:
            check_range("threads", self.threads, MOST_THREADS)
        set_threads(self.threads)
        if not self.budget > 0:
            raise InputError(f"--budget must be more than 0 seconds, got {self.budget:g}")
        if self.budget > A_DAY:
            raise InputError(f"--budget must be at most a day of seconds, got {self.budget:g}")
        device = self._device(torch.cuda.is_available())
        names = self.shapes or [n for n, s in SHAPES.items() if device == "cuda" or not s.gpu_only]
        folder = self._folder()
        machine = describe_machine()
        check_rows(folder / "routing.csv", [*columns_of_rows(), *machine])
        for name in names:
            watch = partial(watched, description=f"measuring {name}")
            measured = measure(SHAPES[name], device=device, budget=self.budget, watch=watch)
            print(as_text(measured), flush=True)
            self._write(folder, [row | machine for row in measured])
        print(f"rows and chart: {folder}")

    def _device(self, there_is_a_gpu: bool) -> str:
        if self.device == "cuda" and not there_is_a_gpu:
            raise InputError("--device cuda: torch sees no GPU here; measure on the cpu")
        return "cuda" if there_is_a_gpu and self.device != "cpu" else "cpu"

    def _folder(self) -> Path:
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = self.out or Path("runs") / f"bench-{now}"
        if os.path.lexists(folder) and not folder.is_dir():
            raise InputError(f"--out {folder} is a file: name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @staticmethod
    def _write(folder: Path, new: list[dict[str, Any]]) -> None:
        from torchcaps.benchmark.chart import draw_chart
        from torchcaps.benchmark.rows import append_rows, read_rows

        path = folder / "routing.csv"
        append_rows(path, new)
        # The chart shows the last measurement of everything on this device.
        latest = {
            (row["shape"], row["direction"], row["contender"]): row
            for row in read_rows(path)
            if row["gpu"] == new[0]["gpu"]
        }
        draw_chart(list(latest.values()), path=folder / "routing.png")


def as_text(rows: list[dict[str, Any]]) -> str:
    """The rows of a shape as a table."""
    first = rows[0]
    sizes = f"{first['B']} × {first['I']}×{first['P']} → {first['J']}×{first['D']}"
    lines = [
        f"\n{first['shape']}: {sizes}, {first['iterations']} iterations; a matrix product runs at "
        f"{first['gflops_matmul']:.0f} GFLOP/s here, a copy at {first['gbytes_copy']:.0f} GB/s"
    ]
    for direction in dict.fromkeys(row["direction"] for row in rows):
        own = [row for row in rows if row["direction"] == direction]
        lines.append(f"  {direction:<18} (floor {own[0]['floor_ms']:.3g} ms)")
        for row in own:
            ratio = row["times_torchcaps"]
            memory = "" if row["extra_mib"] is None else f"{row['extra_mib']:9.1f} MiB"
            lines.append(
                f"    {row['contender']:<16} {row['median_ms']:10.3f} ms "
                f"[{row['q25_ms']:.3f}, {row['q75_ms']:.3f}]"
                f"{'' if ratio is None else f'{ratio:7.2f}×'}{memory}"
                f"   {row['times_floor']:.1f}× floor"
            )
    return "\n".join(lines)
