"""`torchcaps reproduce`, which has left the package: it says where the experiments are."""

from dataclasses import dataclass

from torchcaps.errors import InputError

__all__ = ["Reproduce"]


@dataclass
class Reproduce:
    """The experiments of the paper are in the source, not in this package: in a checkout, run
    `python -m reproduction NAME --scale cpu`, or `make reproduce` for all of them."""

    def run(self) -> None:
        """Say so."""
        raise InputError(
            "the experiments are in the source, not in this package: in a checkout, run "
            "`python -m reproduction NAME --scale cpu`, or `make reproduce` for all of them"
        )
