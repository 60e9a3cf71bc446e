"""What an experiment is: scales to run it at, cells to compute, and a report of their rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reproduction.harness.cell import Arrays, Cell, Outcome, Row
from reproduction.harness.scale import Scale, ScaleName
from reproduction.harness.workbench import Workbench

__all__ = ["Experiment", "Finding", "Report", "Results"]


@dataclass(frozen=True)
class Results:
    """All that a report is made from.

    Attributes:
        folder: where pictures go.
        rows: those of the cells, in order, each with its `cell` and `seed` first.
        arrays: the arrays of a row's cell.
        diverged: the keys of cells that have no row, since their loss was not finite.
    """

    folder: Path
    scale: Scale
    rows: Sequence[Row]
    arrays: Callable[[Row], Arrays]
    diverged: Sequence[str] = ()

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
        tuned_by: the column of a row by which learning rates are chosen, an error.
        slim: what the report needs of the arrays of a cell; results that are published keep this.
        check: raises where no training could be made of the data, before any is.
    """

    name: str
    about: str
    scales: Mapping[ScaleName, Scale]
    cells: Callable[[Scale], Sequence[Cell]]
    compute: Callable[[Cell, Workbench], Outcome]
    report: Callable[[Results], Report]
    differs: Callable[[Scale], Sequence[str]]
    tuned_by: str = "test_error"
    slim: Callable[[Arrays], Arrays] = dict
    check: Callable[[Workbench], object] = lambda workbench: None

    @property
    def shows(self) -> str:
        """What it shows, in a line."""
        return self.about.strip().splitlines()[0]

    @property
    def claim(self) -> str:
        """What is claimed, and where."""
        return "\n".join(self.about.strip().splitlines()[1:]).strip()
