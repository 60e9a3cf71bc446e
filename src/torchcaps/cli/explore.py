"""`torchcaps explore`."""

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from torchcaps.errors import InputError

__all__ = ["PAGE", "Explore"]

PAGE = "explorer.html"


@dataclass
class Explore:
    """Make a page on which you draw an image and watch a trained network route it, and open it.

    The page is one file with the weights inside: it needs no server, and asks nobody for anything.
    """

    checkpoint: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = None
    """Folder of a run, or of a saved model; owner/name of a repository on the Hugging Face Hub;
    default: digits, the network of the package, with a choice between it and digit-pairs."""
    out: Path | None = None
    """File to write; default: explorer.html in the run folder, or here."""
    open: bool = True
    """Open the page in your browser, where there is a screen."""

    def run(self) -> None:
        """Write the page, say where, and open it."""
        from torchcaps.cli.checkpoint import load_checkpoint, run_of_model
        from torchcaps.explorer import held_out_images, write_explorer

        run = None if self.checkpoint is None else run_of_model(self.checkpoint)
        path = self.out or (Path() if run is None else run.path) / PAGE
        if path.is_dir():
            raise InputError(f"--out {path} is a folder: name a file, such as {path / PAGE}")
        self._check_out(path)
        name = self.checkpoint or "digits"
        model = load_checkpoint(name)
        of_package = name == "digits" and not Path(name).exists()  # a folder comes first
        if self.out is not None and path.exists() and not is_page(path):
            raise InputError(
                f"--out {path} is there already and not a page of the explorer: name another file, "
                "or remove it"
            )
        pairs = load_checkpoint("digit-pairs") if of_package else None
        write_explorer(model, path, held_out_images(model, run), pairs=pairs)
        print(f"explorer: {path}")
        if self.open and has_screen():
            webbrowser.open(path.resolve().as_uri())

    def _check_out(self, path: Path) -> None:
        """Raise where the page would replace what is no page: a device, or a file of the model."""
        from torchcaps.storage import check_plain_file

        try:
            real = check_plain_file(path)
        except InputError as error:
            raise InputError(f"--out {error}") from error
        inside = self.checkpoint is not None and real.is_relative_to(
            Path(self.checkpoint).resolve()
        )
        if inside and real.exists() and real.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"--out {path} is a file of the model: name another, such as {PAGE}")


def is_page(path: Path) -> bool:
    """Whether a file is empty or begins as the pages that `torchcaps explore` writes."""
    with path.open("rb") as file:
        start = file.read(4000)
    return not start or (start.startswith(b"<!doctype html>") and b"script-src 'sha256-" in start)


def has_screen() -> bool:
    """Whether a browser could show itself."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
