"""What an experiment is: scales to run it at, cells to compute, and a report of their rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from torchcaps.training.config import TrainConfig

if TYPE_CHECKING:
    from reproduction.harness.workbench import Workbench

__all__ = [
    "Arrays",
    "Cell",
    "Experiment",
    "Finding",
    "Outcome",
    "Report",
    "Results",
    "Row",
    "Scale",
    "paper_training",
]

Row = dict[str, Any]  # JSON values
Arrays = Mapping[str, npt.NDArray[np.generic]]
ScaleName = Literal["smoke", "cpu", "paper"]


@dataclass(frozen=True)
class Cell:
    """One training or computation of an experiment, told apart by name and seed.

    `options` are those in which its training differs from the experiment's others.
    """

    name: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The name of its files."""
        return f"{self.name}-seed{self.seed}"


@dataclass(frozen=True)
class Scale:
    """How large an experiment is run.

    Attributes:
        minutes: what it takes, about: on two cores (`smoke`: on one), for `paper` on a GPU.
        seeds: trainings of each kind.
        training: what all trainings share; None where nothing is trained.
        images: training images that are used, drawn once; None for all of them.
        held_out: the same of the held-out images.
        iterations: the numbers of routing iterations that are compared.
        network: what is trained, in words, where it is not what `training` names.
        level: accuracy on images kept aside at which networks are compared, where they are so.
        wanted: what a run at this scale is asked to show, while nobody has made one.
    """

    minutes: float
    seeds: int = 1
    training: TrainConfig | None = None
    images: int | None = None
    held_out: int | None = None
    iterations: tuple[int, ...] = ()
    network: str | None = None
    level: float | None = None
    wanted: str = ""

    @property
    def config(self) -> TrainConfig:
        """What all trainings share, where there are any."""
        assert self.training is not None
        return self.training


def paper_training(**options: Any) -> TrainConfig:
    """The paper's network and batch, on MNIST, from the learning rate of the authors' code.

    Example:
        >>> config = paper_training(iterations=1)
        >>> config.model, config.batch_size, config.learning_rate, config.iterations
        ('capsnet', 128, 0.001, 1)
    """
    shared = {
        "data": "mnist",
        "model": "capsnet",
        "epochs": 50,
        "batch_size": 128,
        "learning_rate": 0.001,
        "validation": 0.0,
    }
    return TrainConfig(**{**shared, **options})


@dataclass(frozen=True)
class Outcome:
    """What a cell gave: a flat row, and arrays too large for one."""

    row: Row
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """All that a report is made from.

    Attributes:
        folder: where pictures go.
        rows: those of the cells, in order, each with its `cell` and `seed` first.
        arrays: the arrays of a row's cell.
    """

    folder: Path
    scale: Scale
    rows: Sequence[Row]
    arrays: Callable[[Row], Arrays]

    def of(self, cell: str) -> list[Row]:
        """The rows of one kind of cell, by seed."""
        return [row for row in self.rows if row["cell"] == cell]


@dataclass(frozen=True)
class Finding:
    """A claim and what was measured of it, each in a few words: a line of a summary.

    Attributes:
        claim: what is said.
        published: the figure it is said with.
        ours: the same figure as measured, with its spread.
        verdict: how the two stand to each other, by a rule that looks at no result beforehand.
    """

    claim: str
    published: str
    ours: str
    verdict: str


@dataclass(frozen=True)
class Report:
    """What a person is told.

    Attributes:
        figures: the main figures, one a line.
        body: the whole in Markdown; what stands before its first heading is the main result.
        findings: the claims, for a summary of all experiments.
    """

    figures: Sequence[str]
    body: str
    findings: Sequence[Finding] = ()


@dataclass(frozen=True)
class Experiment:
    """An experiment, as its file describes it.

    Attributes:
        name: as on the command line.
        about: the docstring of its file: first what it shows, then what is claimed and where.
        scales: by name.
        cells: all that has to be computed at a scale.
        compute: computes one of them.
        report: makes pictures and text from the rows.
        differs: in what the setup is not that of the original.
        slim: what the report needs of the arrays of a cell; results that are published keep this.
    """

    name: str
    about: str
    scales: Mapping[ScaleName, Scale]
    cells: Callable[[Scale], Sequence[Cell]]
    compute: Callable[[Cell, "Workbench"], Outcome]
    report: Callable[[Results], Report]
    differs: Callable[[Scale], Sequence[str]]
    slim: Callable[[Arrays], Arrays] = dict

    @property
    def shows(self) -> str:
        """What it shows, in a line."""
        return self.about.strip().splitlines()[0]

    @property
    def claim(self) -> str:
        """What is claimed, and where."""
        return "\n".join(self.about.strip().splitlines()[1:]).strip()
