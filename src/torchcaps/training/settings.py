"""What a run sets for the whole process: threads, torch's seed, the tracker."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from torchcaps.cpu_threads import set_threads
from torchcaps.training.config import TrainConfig
from torchcaps.training.tracker import check_tracker

__all__ = ["apply_settings", "settings_given_back"]


def apply_settings(config: TrainConfig) -> None:
    """Threads, and whether TensorBoard is there: what holds before anything is built."""
    check_tracker(config.tensorboard)
    set_threads(config.threads)


@contextmanager
def settings_given_back(config: TrainConfig) -> Iterator[None]:
    """Within it a run seeds torch and takes the threads that its config asks for; not beyond.

    The limit of a container stays, where the config asks for nothing.
    """
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        if config.threads is not None:
            torch.set_num_threads(threads)
