"""Random numbers that a routing draws while it goes over tiles, drawn again in backward."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Draws"]

State = tuple[Tensor, ...]  # of the generator of the CPU, and of that of a GPU


class Draws:
    """The states of torch's generators at each place of a forward pass.

    A routing of one's own may drop some of its couplings, say; what is formed anew in backward must
    drop the same ones.

    Args:
        device: of the votes.
        known: False where a GPU cannot be asked, as while a graph is captured.

    Example:
        >>> draws = Draws(torch.device("cpu"))
        >>> draws.keep("first")
        >>> first, second = torch.rand(2), torch.rand(2)
        >>> draws.end()
        >>> with draws.again():
        ...     draws.go_to("first")
        ...     torch.equal(torch.rand(2), first)
        True
        >>> torch.equal(torch.rand(2), second)  # what comes afterwards is as if nothing had been
        False
    """

    def __init__(self, device: torch.device, *, known: bool = True) -> None:
        self.gpus = [device] if device.type == "cuda" else []
        self.known = known
        self.states: dict[Hashable, State] = {}
        self.drawn = False  # whether anything was

    def keep(self, place: Hashable) -> None:
        """What is drawn from here on is drawn at this place."""
        if not self.known:
            return
        now, last = self._now(), next(reversed(self.states.values()), None)
        if last is not None and all(map(torch.equal, now, last)):
            now = last  # most draw nothing, and keep nothing more
        self.states[place] = now

    def end(self) -> None:
        """The forward pass is over."""
        self.keep(None)
        self.drawn = len({id(state) for state in self.states.values()}) > 1

    def go_to(self, place: Hashable) -> None:
        """Draw what was drawn there."""
        if self.drawn:
            cpu, *gpus = self.states[place]
            torch.set_rng_state(cpu)
            for device, state in zip(self.gpus, gpus):
                torch.cuda.set_rng_state(state, device)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Backward: the generators are then what they were before."""
        with torch.random.fork_rng(self.gpus, enabled=self.drawn):
            yield

    def _now(self) -> State:
        return (torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.gpus))
