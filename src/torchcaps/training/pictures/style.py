"""How every picture looks: the colours, matplotlib's settings, and the figure that has them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from torchcaps.storage import atomic_path
from torchcaps.training.pictures.text import families

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "NOT_A_NUMBER",
    "PAD",
    "QUIET",
    "WIDTH",
    "WRONG",
    "Path",
    "figure",
]

Path = str | os.PathLike[str]

# Okabe and Ito's colours: told apart with every common kind of colour blindness.
BLUE, VERMILLION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
INK, QUIET, LINE = "#333333", "#767676", "#D9D9D9"
WRONG = VERMILLION
NOT_A_NUMBER = PINK

WIDTH = 8.0  # inches: 1200 pixels, so that 10 points stay readable when shown 900 pixels wide
PAD = 0.09  # inches, left and right of what the layout engine places

STYLE: dict[str, Any] = {
    "figure.dpi": 150,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "figure.constrained_layout.w_pad": PAD,
    "figure.constrained_layout.h_pad": 0.07,
}


@contextmanager
def figure(width: float, height: float, *, path: Path) -> Iterator[Figure]:
    """A figure of so many inches, written to `path` when all went well; the style holds inside."""
    with style.context(["default", {**STYLE, "font.family": families()}]):
        page = Figure(figsize=(width, height))
        FigureCanvasAgg(page)
        yield page
        with atomic_path(path) as temporary:
            page.savefig(temporary, format="png", metadata={"Software": None})
