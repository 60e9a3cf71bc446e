"""How large an experiment is run: its seeds, its images, its training."""

from dataclasses import dataclass
from typing import Any, Literal

from torchcaps.training.config import FIRST_VERSION, TrainConfig

__all__ = [
    "RATES",
    "Scale",
    "ScaleName",
    "default_training",
    "paper_training",
    "published_training",
]

ScaleName = Literal["smoke", "cpu", "few", "full", "large", "paper"]
RATES = (0.001, 0.003, 0.009)  # learning rates that are tried for each network


@dataclass(frozen=True)
class Scale:
    """How large an experiment is run.

    Attributes:
        minutes: what it takes, about: on two cores (`smoke`: on one), for `paper` on a GPU.
        seeds: trainings of each kind.
        training: what all trainings share; None where nothing is trained.
        images: training images that are used, drawn once; None for all of them.
        held_out: the same of the held-out images.
        unused: whether the training images that are not used are looked at in the end, too.
        iterations: the numbers of routing iterations that are compared.
        rates: learning rates that are tried for each network, where they are tuned.
        trial_epochs: epochs of such a trial; None for as many as a training has.
        aside: training images kept aside for the trials, at most a third of all.
        learn_aside: whether they are learnt from, too, once the rates are chosen.
        compared: names of what is compared; empty for all.
        network: what is trained, in words, where it is not what `training` names.
        level: accuracy on images kept aside at which networks are compared, where they are so.
        wanted: what a run at this scale is asked to show, while nobody has made one.
    """

    minutes: float
    seeds: int = 1
    training: TrainConfig | None = None
    images: int | None = None
    held_out: int | None = None
    unused: bool = False
    iterations: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    trial_epochs: int | None = None
    aside: int = 1000
    learn_aside: bool = False
    compared: tuple[str, ...] = ()
    network: str | None = None
    level: float | None = None
    wanted: str = ""

    @property
    def config(self) -> TrainConfig:
        """What all trainings share, where there are any."""
        assert self.training is not None
        return self.training

    @property
    def whose_network(self) -> str:
        """Whether what is trained is the paper's network; nothing where nothing is trained.

        Example:
            >>> Scale(1, training=published_training()).whose_network
            '`capsnet_small`, not the paper’s network'
            >>> Scale(1, training=paper_training()).whose_network
            'the paper’s network'
        """
        if self.training is None:
            return ""
        if self.network is not None:
            return "smaller networks than the paper’s"
        if self.training.model != "capsnet":
            return f"`{self.training.model}`, not the paper’s network"
        if self.training.data != "mnist":
            return f"`capsnet` on {self.training.data}, not the paper’s network"
        return "the paper’s network"


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
    return published_training(**{**shared, **options})


def published_training(**options: Any) -> TrainConfig:
    """The training that the published rows were made with, but for what is given.

    Its options are stated here, so that a new default of the tool does not change an experiment.

    Example:
        >>> published_training().schedule, published_training(model="capsnet").model
        ('exponential', 'capsnet')
    """
    return TrainConfig(**{**FIRST_VERSION, **options})


def default_training(**options: Any) -> TrainConfig:
    """The default training of this package, without a decoder, as it stood when the first rows of
    it were made; but for what is given.

    Example:
        >>> default_training().model, default_training(epochs=3).epochs
        ('image_capsnet', 3)
    """
    stated: dict[str, Any] = {
        "model": "image_capsnet", "reconstruct": False, "batch_size": 64, "learning_rate": 0.003,
        "schedule": "cosine", "warmup": 0.05, "final_learning_rate": 0.01, "clip": 5.0,
        "max_shift": None, "validation": 0.0, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig(**{**stated, **options})
