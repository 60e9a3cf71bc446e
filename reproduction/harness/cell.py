"""A cell of an experiment, one training or computation of it, and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Arrays", "Cell", "Outcome", "Row"]

Row = dict[str, Any]  # JSON values
Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Cell:
    """One training or computation of an experiment, told apart by name and seed.

    Attributes:
        options: those in which its training differs from the experiment's others.
        trial_of: where it tries a learning rate, the name of the cells that are to be trained so.
    """

    name: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    trial_of: str | None = None

    @property
    def network(self) -> str:
        """What is trained."""
        return self.trial_of or self.name

    @property
    def key(self) -> str:
        """The name of its files."""
        return f"{self.name}-seed{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What a cell gave: a flat row, and arrays too large for one."""

    row: Row
    arrays: Arrays = field(default_factory=dict)
