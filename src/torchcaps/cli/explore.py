"""`torchcaps explore`."""

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from torchcaps.cli.streams import one_line
from torchcaps.errors import InputError

__all__ = ["PAGE", "Explore"]

PAGE = "explorer.html"
PAGES = (".html", ".htm")  # suffixes


@dataclass
class Explore:
    """Make a page on which you draw an image and watch a trained network route it, and open it.

    The page is one file with the weights inside: it needs no server, and asks nobody for anything.
    """

    checkpoint: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = None
    """Folder of a run, or of a saved model; owner/name of a repository on the Hugging Face Hub;
    default: digits, the network of the package, with a choice between it and digit-pairs."""
    out: Path | None = None
    """File to write, which ends in .html; default: explorer.html in the run folder, or here."""
    open: bool = True
    """Open the page in your browser, where there is a screen."""

    def run(self) -> None:
        """Write the page, say where, and open it."""
        from torchcaps.cli.checkpoint import load_checkpoint, run_of_model
        from torchcaps.explorer import find_held_out, is_page, write_explorer
        from torchcaps.models import load_model
        from torchcaps.models.folder import PACKAGE, SHIPPED

        run = None if self.checkpoint is None else run_of_model(self.checkpoint)
        path = self.out or (Path() if run is None else run.path) / PAGE
        if path.is_dir():
            raise InputError(f"--out {path} is a folder: name a file, such as {path / PAGE}")
        self._check_out(path)
        name = self.checkpoint
        of_package = name is None or (name == "digits" and not Path(name).exists())
        model = load_model(PACKAGE / SHIPPED["digits"]) if name is None else load_checkpoint(name)
        if path.exists() and not is_page(path):
            whose = "" if self.out is None else "--out "
            raise InputError(
                f"{whose}{path} is there already and not a page of the explorer: name another file "
                "with --out, or remove it"
            )
        pairs = load_model(PACKAGE / SHIPPED["digit-pairs"]) if of_package else None
        images, why = find_held_out(model, run)
        if images is None and why and self.out is None and path.exists():
            raise InputError(
                f"{why}; a page made now would have no images to try, and {path}, which may have "
                "some, would be replaced: see to that first, or name another file with --out"
            )
        write_explorer(model, path, images, pairs=pairs)
        print(one_line(f"explorer: {path}"))
        if images is None:
            print(one_line(f"without held-out images: {why or 'none that fit were found'}"))
        elif why:
            print(one_line(f"held-out images of {images.name}: {why}"))
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
        if inside and real.exists() and real.suffix.lower() not in PAGES:
            raise InputError(f"--out {path} is a file of the model: name another, such as {PAGE}")
        if path.suffix.lower() not in PAGES:  # nd/ is a folder to a person, and no file called nd
            raise InputError(
                f"--out {path} must end in .html, as pages do: write {path.with_suffix('.html')}, "
                f"or for a page in a folder of that name {path / PAGE}"
            )


def has_screen() -> bool:
    """Whether a browser could show itself."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
