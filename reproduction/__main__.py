"""`python -m reproduction NAME --scale cpu`, at the root of a checkout."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn

try:
    import scipy  # noqa: F401  the statistics of every report need it
    import tyro

    from torchcaps.cli import exit_after
    from torchcaps.cli.eval import check_range
    from torchcaps.cli.paths import expand_paths
except ModuleNotFoundError as error:
    print(
        f"reproduction: {str(error.name).split('.')[0]} is not installed: call {sys.executable} -m "
        "pip install -c constraints.txt -e '.[train,affnist]' at the root of the checkout",
        file=sys.stderr,
    )
    sys.exit(2)
from torchcaps.cpu_threads import set_threads, wait_briefly
from torchcaps.errors import InputError
from torchcaps.training.config import MOST_THREADS

__all__ = ["Reproduce", "main"]


@dataclass
class Reproduce:
    """Run an experiment of the paper and write its report: data, pictures, figures beside the
    published ones."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """The experiment; --list names all."""
    list: bool = False
    """Say what experiments there are, and what each costs at every scale."""
    scale: Literal["smoke", "cpu", "few", "full", "large", "paper"] = "smoke"
    """smoke (under a minute, digits of the package), cpu (two cores, about an hour), paper (the
    original setup, for a GPU), and where the experiment has them few (few images for so long that a
    network could overfit), full (all images, small networks: hours on two cores) and large (the
    paper's network for a few epochs)."""
    seeds: int | None = None
    """Trainings of each kind; default: as --list says."""
    data: str | None = None
    """As for `torchcaps train`, or cifar10, whose images --data-dir names as train/CLASS and
    test/CLASS; default: as --list says."""
    data_dir: Path | None = None
    """Folder that holds the files of mnist, fashion-mnist or cifar10."""
    threads: int | None = None
    """CPU threads; default: what torch takes, or as many as the container has cores."""
    out: Path | None = None
    """Folder for the results; one that is not finished is gone on with, by several processes at
    once if you start them. Default: one under runs/ that the same command finds again."""

    def run(self) -> None:
        """Compute what is left, and end by printing the main figures and the folder."""
        from reproduction.harness.registry import find_experiment, listing
        from reproduction.harness.run import reproduce

        if self.list:
            print(listing())
            return
        if not self.name:
            raise InputError("name an experiment, or ask for all with --list")
        if self.threads is not None:
            check_range("threads", self.threads, MOST_THREADS)
        set_threads(self.threads)
        folder, figures = reproduce(
            find_experiment(self.name),
            self.scale,
            seeds=self.seeds,
            data=self.data,
            data_dir=self.data_dir,
            out=self.out,
        )
        print("\n".join(figures))
        print(f"report: {folder / 'report.md'}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the experiment that the arguments name, and exit as `torchcaps` does."""

    wait_briefly()

    def command() -> None:
        asked = tyro.cli(Reproduce, prog="python -m reproduction", args=arguments)
        expand_paths(asked)
        asked.run()

    exit_after(command, "reproduction", keep_going=True)


if __name__ == "__main__":
    main()
