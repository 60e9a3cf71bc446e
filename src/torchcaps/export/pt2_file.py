"""Programs of torch.export in a file, which torch alone can load."""

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchcaps.export.metadata import as_json

__all__ = ["METADATA", "read_pt2", "write_pt2"]

METADATA = "torchcaps.json"  # a text in the file, beside the program


def write_pt2(
    program: torch.export.ExportedProgram, path: Path, metadata: Mapping[str, Any]
) -> None:
    """Write a program of `export_program` with these JSON values beside it."""
    content = io.BytesIO()  # where a disk is full, torch's own writer takes the process with it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        torch.export.save(program, content, extra_files={METADATA: as_json(metadata)})
    path.write_bytes(content.getbuffer())


def read_pt2(path: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function that runs a file on images `[B, C, H, W]`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run: Callable[[Tensor], dict[str, Tensor]] = torch.export.load(path).module()
    return run
