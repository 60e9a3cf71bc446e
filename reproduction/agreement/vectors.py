"""Vectors in the plane, as arrows."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch

from torchcaps.training.pictures.style import INK

__all__ = ["arrow", "plane"]

Vector = Sequence[float]
FAINT = "#D9D9D9"


def plane(axes: Axes, reach: float, title: str, *, circle: bool = True) -> None:
    """Prepare axes for vectors up to `reach`, with the unit circle, which poses do not leave."""
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.axhline(0, color=FAINT, linewidth=0.6)
    axes.axvline(0, color=FAINT, linewidth=0.6)
    if circle:
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=FAINT, linewidth=0.8))
    axes.set_title(title, fontsize=10, loc="center")


def arrow(
    axes: Axes,
    vector: Vector,
    colour: str = INK,
    label: str | None = None,
    *,
    start: Vector = (0.0, 0.0),
    side: float = 0.0,
    **look: Any,
) -> None:
    """Draw `vector` from `start`, and write `label` beyond its tip (`side`: so far to its left)."""
    x, y = (float(value) for value in vector)
    tip = (start[0] + x, start[1] + y)
    options = {"linewidth": 1.8, "mutation_scale": 11, **look}
    axes.add_patch(
        FancyArrowPatch(
            (start[0], start[1]),
            tip,
            arrowstyle="-|>",
            shrinkA=0,
            shrinkB=0,
            color=colour,
            **options,
        )
    )
    if label is not None:
        length = (x * x + y * y) ** 0.5 or 1.0
        beyond = 0.11 * axes.get_xlim()[1]
        at = (
            tip[0] + beyond * x / length - side * y / length,
            tip[1] + beyond * y / length + side * x / length,
        )
        axes.text(*at, label, color=colour, fontsize=9, ha="center", va="center")
