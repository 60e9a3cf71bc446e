"""Windows of a map of capsules: what a kernel sees at each position, and who competes for whom.

A map holds T types of capsules at H×W positions. At each of F_y×F_x output positions a kernel of
K = K_y·K_x cells sees I = T·K of them: they are the input capsules of the output capsules there. So
votes in windows are votes with two more leading axes, `[..., F_y, F_x, I, J, D]`, and what routes
them treats each position like a sample. Only the competition crosses positions: windows overlap,
and a child is seen by several.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.plain_numbers import is_whole
from torchcaps.votes.base import Votes, WrappedVotes, as_votes

__all__ = ["WindowVotes", "Windows", "as_pair"]


class Windows(NamedTuple):
    """Where a kernel sees a map; each field is (y, x).

    Attributes:
        size: of the map, H and W.
        kernel_size, stride, padding: as of a convolution.

    Example:
        >>> windows = Windows((6, 6), kernel_size=(3, 3), stride=(2, 2), padding=(0, 0))
        >>> windows.grid
        (2, 2)
        >>> windows.gather(torch.zeros(8, 6, 6, 16)).shape  # 8 types × 9 cells
        torch.Size([2, 2, 72, 16])
    """

    size: tuple[int, int]
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """F_y and F_x, the output positions along both axes."""
        y, x = (
            (size + 2 * padding - kernel) // stride + 1
            for size, kernel, stride, padding in zip(*self)
        )
        return y, x

    @property
    def cells(self) -> int:
        """K, the positions that a window has."""
        return self.kernel_size[0] * self.kernel_size[1]

    def gather(self, capsules: Tensor) -> Tensor:
        """What each window sees of a map `[..., T, H, W, P]`: `[..., F_y, F_x, T·K, P]`.

        The child of type t in the cell (y, x) has the index (t·K_y + y)·K_x + x, as the weights of
        a convolution have. Outside the map there are zeros.
        """
        *batch, types, height, width, dim = capsules.shape
        count = math.prod(batch)
        images = capsules.reshape(count, types, height, width, dim).movedim(-1, 2).flatten(1, 2)
        columns = F.unfold(images, self.kernel_size, 1, self.padding, self.stride)
        seen: Tensor = columns.unflatten(1, (types, dim, self.cells)).permute(0, 4, 1, 3, 2)
        return seen.reshape(*batch, *self.grid, types * self.cells, dim)

    def inside(self, device: torch.device) -> Tensor:
        """`[F_y, F_x, K]`: whether a cell of a window lies within the map."""
        return self.gather(torch.ones(1, *self.size, 1, device=device)).squeeze(-1) > 0.5


def as_pair(name: str, value: object, *, least: int = 1) -> tuple[int, int]:
    """(y, x) of a whole number, or of two.

    Raises:
        ValueError, TypeError: anything else, or below `least`.

    Example:
        >>> as_pair("stride", 2), as_pair("stride", [2, 1])
        ((2, 2), (2, 1))
    """
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be a whole number or two of them (y, x), got {value!r}")
    for number in pair:
        if not is_whole(number):
            raise TypeError(f"{name} must be an int or two of them (y, x), got {value!r}")
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")
    y, x = map(int, pair)
    return y, x


class Parents(NamedTuple):
    """Which windows see each position of a map: a table in both directions.

    The places are the K cells of the F_y·F_x windows, and one more at the end that is nobody's.
    A position is seen by up to S = ⌈K_y / stride_y⌉·⌈K_x / stride_x⌉ windows.

    Attributes:
        windows: that it is about.
        places: `[N·S]`, for each of N positions the places that show it, and nobody's.
        seats: `[F_y·F_x·K]`, for each place its index in `places`.
    """

    windows: Windows
    places: Tensor
    seats: Tensor

    @classmethod
    def of(cls, windows: Windows, device: torch.device) -> "Parents":
        """The table of these windows.

        Along an axis, cell k of window f lies at position f·stride + k, and is the ⌊k / stride⌋-th
        of the windows that see it. (A stride beyond the kernel leaves positions out: N counts only
        those that are seen.)
        """
        positions, seats, most, counts = [], [], [], []
        for outputs, kernel, stride in zip(windows.grid, windows.kernel_size, windows.stride):
            step = min(stride, kernel)
            f = torch.arange(outputs, device=device).unsqueeze(1)
            k = torch.arange(kernel, device=device)
            positions.append(f * step + k)
            seats.append(k // stride)
            most.append((kernel - 1) // stride + 1)
            counts.append((outputs - 1) * step + kernel)
        position = positions[0][:, None, :, None] * counts[1] + positions[1][None, :, None, :]
        seat = seats[0].unsqueeze(1) * most[1] + seats[1]
        all_seats = (position * (most[0] * most[1]) + seat).flatten()
        nobodys = torch.full(
            (counts[0] * counts[1] * most[0] * most[1],), all_seats.numel(), device=device
        )
        order = torch.arange(all_seats.numel(), device=device)
        return cls(windows, nobodys.scatter(0, all_seats, order), all_seats)

    @property
    def most(self) -> int:
        """S, the windows that may see one position."""
        pairs = zip(self.windows.kernel_size, self.windows.stride)
        y, x = ((kernel - 1) // stride + 1 for kernel, stride in pairs)
        return y * x

    def by_child(self, scores: Tensor) -> Tensor:
        """Scores `[..., F_y, F_x, t·K, J]` as `[..., t, N, S·J]`: all that are one child's."""
        cells = self.windows.cells
        of_types = scores.unflatten(-2, (scores.shape[-2] // cells, cells)).movedim(-3, -5)
        of_places = F.pad(of_types.flatten(-4, -2), (0, 0, 0, 1), value=-torch.inf)
        of_children = of_places.index_select(-2, self.places)
        grouped: Tensor = of_children.unflatten(-2, (-1, self.most)).flatten(-2)
        return grouped

    def by_window(self, values: Tensor) -> Tensor:
        """Values `[..., t, N·S, J]` of the children, back as `[..., F_y, F_x, t·K, J]`."""
        shape = (*self.windows.grid, self.windows.cells)
        of_places = values.index_select(-2, self.seats).unflatten(-2, shape)
        of_windows: Tensor = of_places.movedim(-5, -3).flatten(-3, -2)
        return of_windows


@dataclass(frozen=True)
class WindowVotes(WrappedVotes):
    """Votes in windows of a map, where a child competes over all positions that see it.

    A child shares its coupling of 1 between every type of parent at every position whose window
    holds it, whatever the stride. Votes in windows without this are the votes alone: then a child
    gives 1 to each of the positions, up to ⌈K / stride⌉² in all.

    Made by `WindowVotes.of`.

    Args:
        votes: `[..., F_y, F_x, T·K, J, D]`, in any form; children in the order of
            `Windows.gather`.
        parents: which windows see each position of the map.

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR, §4 (the
    competition between capsules at different positions).

    Example:
        >>> windows = Windows((5, 5), kernel_size=(3, 3), stride=(1, 1), padding=(0, 0))
        >>> votes = WindowVotes.of(torch.zeros(3, 3, 2 * 9, 4, 16), windows)
        >>> coupling = votes.compete(torch.zeros(3, 3, 18, 4))
        >>> coupling[1, 1, 4, 0].item()  # the centre of the map: seen by 9 windows, 4 types each
        0.02777777798473835
    """

    parents: Parents

    @classmethod
    def of(cls, votes: Votes | Tensor, windows: Windows) -> "WindowVotes":
        """Votes of these windows.

        Raises:
            ValueError: votes that are not of these windows.
        """
        votes = as_votes(votes)
        shape, cells = votes.shape, windows.cells
        if len(shape) < 5 or shape[-5:-3] != windows.grid or shape[-3] % cells:
            y, x = windows.grid
            raise ValueError(
                f"votes in windows must be [..., {y}, {x}, a multiple of {cells}, J, D], "
                f"got shape {tuple(shape)}"
            )
        return cls(votes, Parents.of(windows, votes.device))

    @property
    def together(self) -> int:
        """K: a child fills all cells of its type, in one window or another."""
        return self.parents.windows.cells

    def compete(self, scores: Tensor) -> Tensor:
        """The softmax of scores `[..., F_y, F_x, i, J]` over the parents of each child."""
        of_children = torch.softmax(self.parents.by_child(scores), dim=-1)
        return self.parents.by_window(
            of_children.unflatten(-1, (self.parents.most, scores.shape[-1])).flatten(-3, -2)
        )

    def evidence(self, scores: Tensor) -> Tensor:
        """ln Σ exp of scores over the parents of each child, at every window that sees it."""
        of_children = torch.logsumexp(self.parents.by_child(scores), dim=-1, keepdim=True)
        spread = of_children.repeat_interleave(self.parents.most, dim=-2)
        return self.parents.by_window(spread).squeeze(-1)
