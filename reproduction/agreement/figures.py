"""The pictures of the experiment `agreement`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from reproduction.agreement.vectors import arrow, plane
from reproduction.harness.cell import Arrays
from reproduction.harness.charts import headline
from torchcaps.training.pictures.style import BLUE, GREEN, INK, WIDTH, WRONG, Path, figure

__all__ = ["draw_capsule", "draw_coupling", "draw_dot_products", "draw_two_capsules"]

Array = npt.NDArray[Any]
ORANGE = "#E69F00"
INPUTS = (GREEN, ORANGE, "#CC79A7")  # of three input capsules
SHADES = LinearSegmentedColormap.from_list("coupling", ["#FFFFFF", BLUE])


def draw_dot_products(angles: Sequence[int], arrays: Arrays, *, path: Path) -> None:
    """Draw a vote beside a pose at each angle, with their scalar product below.

    Args:
        angles: in degrees, from opposed to aligned.
        arrays: `votes` [n, 2] and `products` [n].
        path: the PNG file to write.
    """
    with figure(WIDTH, 2.2, path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(1, len(angles), squeeze=False)[0]
        for axes, angle, vote, product in zip(panels, angles, arrays["votes"], arrays["products"]):
            plane(axes, 1.4, f"{angle}°")
            arrow(axes, (1, 0), BLUE, "v", side=0.2, linewidth=3.5)
            arrow(axes, vote, GREEN, "û", side=-0.2 if angle == 0 else 0.2, linewidth=1.2)
            axes.set_xlabel(f"û · v = {product:+.2f}")
        headline(page, "Similarity of a vote û and a pose v: their scalar product")


def draw_capsule(arrays: Arrays, *, path: Path) -> None:
    """Draw what output capsule 1 computes in the last iteration, from left to right.

    Args:
        arrays: `inputs` [3, 2], `votes` [3, 2, 2], and the routing trace.
        path: the PNG file to write.
    """
    votes, coupling = arrays["votes"][:, 0], arrays["coupling"][-1][:, 0]
    weighted = coupling[:, None] * votes
    total, pose = weighted.sum(0), arrays["pose"][-1][0]
    with figure(WIDTH, 2.75, path=path) as page:
        page.set_layout_engine("constrained")
        first, second, third, fourth = page.subplots(1, 4)
        plane(first, 2.0, "poses u")
        plane(second, 2.0, "votes û = W u")
        plane(third, 2.0, "sum s = Σ c û")
        plane(fourth, 2.0, "pose v = squash(s)")
        start = (0.0, 0.0)
        for i, colour in enumerate(INPUTS):
            arrow(first, arrays["inputs"][i], colour, f"u{i + 1}")
            arrow(
                second,
                votes[i],
                colour,
                f"û{i + 1}",
            )
            arrow(third, weighted[i], colour, start=start)
            start = (start[0] + weighted[i, 0], start[1] + weighted[i, 1])
        arrow(third, total, INK, "s", linewidth=1.2, side=0.4)
        arrow(fourth, pose, BLUE, "v")
        couplings = ", ".join(f"{c:.2f}" for c in coupling)
        third.set_xlabel(f"c = {couplings}", fontsize=9)
        fourth.set_xlabel(f"|s| = {np.hypot(*total):.2f}, |v| = {np.hypot(*pose):.2f}", fontsize=9)
        first.set_xlabel("of three input capsules", fontsize=9)
        second.set_xlabel("for output capsule 1", fontsize=9)
        headline(page, "What one capsule computes (grey: the unit circle)")


def draw_coupling(coupling: Array, *, path: Path) -> None:
    """Draw the coupling coefficients of every iteration as a small table.

    Args:
        coupling: c, [r, I, J].
        path: the PNG file to write.
    """
    iterations, inputs, outputs = coupling.shape
    with figure(WIDTH, 2.4, path=path) as page:
        page.set_layout_engine("constrained")
        panels = page.subplots(1, iterations, sharey=True, squeeze=False)
        for t, axes in enumerate(panels[0]):
            axes.imshow(coupling[t], cmap=SHADES, vmin=0, vmax=1, aspect="auto")
            axes.set_title(f"iteration {t + 1}", fontsize=10, loc="center")
            axes.set_xticks(range(outputs), [f"output {j + 1}" for j in range(outputs)])
            axes.set_yticks(range(inputs), [f"input {i + 1}" for i in range(inputs)])
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            for (i, j), value in np.ndenumerate(coupling[t]):
                colour = "white" if value > 0.6 else INK
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour)
        headline(page, "Coupling c: each row sums to 1, and begins undecided")


def draw_two_capsules(arrays: Arrays, *, path: Path) -> None:
    """Draw the votes for two output capsules with their poses, and the last input's coupling.

    Args:
        arrays: `votes` [I, 2, 2] and the routing trace.
        path: the PNG file to write.
    """
    votes, poses = arrays["votes"], arrays["pose"]
    with figure(WIDTH, 3.1, path=path) as page:
        page.set_layout_engine("constrained")
        first, second, right = page.subplots(1, 3, width_ratios=(1, 1, 1.15))
        for j, (axes, what) in enumerate([(first, "opposed"), (second, "agreed with")]):
            plane(axes, 1.4, f"output capsule {j + 1}: {what}")
            for vote in votes[:-1, j]:
                arrow(axes, vote, "#A6A6A6", linewidth=1.0)
            arrow(axes, votes[-1, j], WRONG if j == 0 else GREEN, "û", side=0.12)
            arrow(axes, poses[-1, j], BLUE, "v", linewidth=2.6, side=-0.24)
            product = float(votes[-1, j] @ poses[-1, j])
            axes.set_xlabel(f"û · v = {product:+.2f}\ngrey: votes of the other inputs", fontsize=9)
        _over_iterations(right, arrays["coupling"][:, -1])
        headline(
            page, "An input capsule turns from the output it opposes to the one it agrees with"
        )


def _over_iterations(axes: Axes, coupling: Array) -> None:
    """c of one input capsule, [r, 2], as lines."""
    steps = np.arange(1, len(coupling) + 1)
    for j, (colour, marker) in enumerate([(WRONG, "s"), (GREEN, "o")]):
        label = f"to output {j + 1}: {coupling[-1, j]:.2f}"
        axes.plot(steps, coupling[:, j], marker=marker, color=colour, label=label)
    axes.set(ylim=(-0.03, 1.03), xlabel="iteration", ylabel="coupling c of the input")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True)
    axes.legend(loc="center right", reverse=True)
