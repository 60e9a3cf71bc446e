"""Images that stay in their files, read by worker processes while a step before is computed."""

import atexit
import itertools
import os
import signal
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from torchcaps.data.image_files import ImageFiles
from torchcaps.errors import InputError

__all__ = ["ReadAhead", "is_lost_reader"]

MOST_WORKERS = 4  # where nobody says how many: as many read JPEGs as fast as one GPU trains
Pixels = npt.NDArray[np.uint8]


class ReadAhead:
    """The images of one step after the other, from any step on.

    Which images a step has is told by `indices_of` alone, so a run that is continued sees those
    that it would have seen. At most two batches a worker are held.

    Args:
        data: where the images are.
        indices_of: the positions of the images of a step, `[b]`.
        workers: processes that read; 0 reads in this one; None: one a core, up to 4.
    """

    def __init__(
        self, data: ImageFiles, indices_of: Callable[[int], Tensor], workers: int | None
    ) -> None:
        self.data = data
        self.indices_of = indices_of
        self.workers = workers
        self._step = -1
        self._batches: Iterator[tuple[Tensor, Pixels | InputError]] | None = None

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images `[b, C, H, W]` of a step, float32 in [0, 1], and their positions `[b]`.

        Raises:
            InputError: a file cannot be read.
        """
        if self._batches is None or step != self._step:
            self._batches = self._from(step)
        indices, pixels = next(self._batches)
        self._step = step + 1
        if isinstance(pixels, InputError):
            self._batches = None
            raise pixels
        return torch.from_numpy(pixels).float().div_(255), indices

    def close(self) -> None:
        """End the workers."""
        self._batches = None

    def _from(self, step: int) -> Iterator[tuple[Tensor, Pixels | InputError]]:
        workers = min(MOST_WORKERS, os.cpu_count() or 1) if self.workers is None else self.workers
        loader = DataLoader(
            _Reader(self.data),
            sampler=map(self.indices_of, itertools.count(step)),
            batch_size=None,
            collate_fn=_unchanged,  # type: ignore[arg-type]
            num_workers=workers,
            worker_init_fn=_leave_ctrl_c_to_the_run if workers else None,
            # Its own: else it would draw from torch's global generator, which belongs to the step.
            generator=torch.Generator(),
        )
        with _ctrl_c_held_back(), warnings.catch_warnings():
            # Python 3.12 warns of every fork beside threads; what a worker does needs none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            batches = iter(loader)
        if workers:
            # Where the process ends before this object: torch would first wait for 5 seconds.
            atexit.register(_close, weakref.ref(self))
        return batches


def is_lost_reader(error: RuntimeError) -> bool:
    """Whether torch says that a process which reads images has ended.

    Its handler of the signal raises wherever the run is by then, not where images are asked for.

    Example:
        >>> is_lost_reader(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
        True
    """
    return str(error).startswith("DataLoader worker")


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Ctrl-C waits until the end of the block; a process that is forked in it never gets it.

    A worker could be told of it before it has come to `_leave_ctrl_c_to_the_run`.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _close(ahead: "weakref.ref[ReadAhead]") -> None:
    if (found := ahead()) is not None:
        found.close()


class _Reader(Dataset[tuple[Tensor, Pixels | InputError]]):
    """Whole batches by the positions of their images.

    An array travels from a worker through a pipe, where a tensor would take shared memory, of which
    containers have little.
    """

    def __init__(self, data: ImageFiles) -> None:
        self.data = data

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Pixels | InputError]:
        try:
            return indices, np.stack([self.data.read_file(k) for k in indices.tolist()])
        except InputError as error:  # as a value: raised in a worker it would lose its sentence
            return indices, error


def _unchanged(batch: tuple[Tensor, Pixels | InputError]) -> tuple[Tensor, Pixels | InputError]:
    return batch


def _leave_ctrl_c_to_the_run(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the run ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
