"""Windows of a map: what each sees, and who competes for whom, against loops over single cells."""

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import oracle
from torchcaps import Windows, WindowVotes
from torchcaps.votes import FormedVotes, LinearVotes
from torchcaps.votes.windows import as_pair

DOUBLE = torch.float64
SHAPES = [  # size, kernel, stride, padding
    ((5, 6), (3, 2), (1, 2), (0, 1)),
    ((4, 4), (2, 2), (2, 2), (0, 0)),
    ((7, 5), (3, 3), (2, 2), (1, 1)),
    ((9, 8), (2, 2), (3, 3), (0, 0)),  # a stride beyond the kernel: some capsules are seen by none
    ((7, 6), (4, 3), (3, 1), (0, 2)),
    ((3, 3), (3, 3), (1, 1), (0, 0)),
]
TYPES, PARENTS = 3, 2


def cells(windows: Windows) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """(F_y, F_x, child) of every place, and the (type, y, x) of the map that it shows."""
    (K_y, K_x), (s_y, s_x), (p_y, p_x) = windows[1:]
    return [
        ((fy, fx, (t * K_y + ky) * K_x + kx), (t, fy * s_y + ky - p_y, fx * s_x + kx - p_x))
        for fy, fx, t, ky, kx in itertools.product(
            *map(range, windows.grid), range(TYPES), range(K_y), range(K_x)
        )
    ]


def by_child(windows: Windows, scores: Tensor) -> dict[Any, list[tuple[Any, Tensor]]]:
    """For each capsule of the map the places that show it, with their scores [J]."""
    found = defaultdict(list)
    for place, child in cells(windows):
        found[child].append((place, scores[place]))
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_sees_the_capsules_below_it_and_zeros_beyond_the_border(shape: Any) -> None:
    windows = Windows(*shape)
    height, width = windows.size
    capsules = torch.randn(2, TYPES, height, width, 4, dtype=DOUBLE)
    seen, inside = windows.gather(capsules), windows.inside(capsules.device)
    assert seen.shape == (2, *windows.grid, TYPES * windows.cells, 4)
    for (fy, fx, i), (t, y, x) in cells(windows):
        within = 0 <= y < height and 0 <= x < width
        expected = capsules[:, t, y, x] if within else torch.zeros(2, 4, dtype=DOUBLE)
        assert torch.equal(seen[:, fy, fx, i], expected)
        assert bool(inside[fy, fx, i % windows.cells]) == within


@pytest.mark.parametrize("shape", SHAPES)
def test_a_child_competes_over_all_types_and_positions_that_see_it(shape: Any) -> None:
    windows = Windows(*shape)
    scores = 5 * torch.randn(*windows.grid, TYPES * windows.cells, PARENTS, dtype=DOUBLE)
    votes = WindowVotes.of(scores.unsqueeze(-1), windows)
    coupling, evidence = votes.compete(scores), votes.evidence(scores)
    for places in by_child(windows, scores).values():
        logits = [float(x) for _, of_place in places for x in of_place]
        shares = np.reshape(oracle.softmax(logits, leaky=False), (-1, PARENTS))
        for (place, _), expected in zip(places, shares, strict=True):
            np.testing.assert_allclose(coupling[place].numpy(), expected, rtol=1e-12)
            total = np.log(np.sum(np.exp(logits)))
            np.testing.assert_allclose(float(evidence[place]), total, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_some_types_compete_as_all_do(shape: Any) -> None:
    windows = Windows(*shape)
    children = TYPES * windows.cells
    scores = torch.randn(2, *windows.grid, children, PARENTS, dtype=DOUBLE)
    votes = WindowVotes.of(scores.unsqueeze(-1), windows)
    assert votes.together == windows.cells
    part = slice(windows.cells, children)
    found = votes.select(part).compete(scores[..., part, :])
    torch.testing.assert_close(found, votes.compete(scores)[..., part, :])


def test_competition_has_gradients() -> None:
    windows = Windows((5, 4), (3, 3), (2, 1), (1, 0))
    scores = torch.randn(*windows.grid, 9, 2, dtype=DOUBLE, requires_grad=True)
    votes = WindowVotes.of(scores.detach().unsqueeze(-1), windows)
    assert torch.autograd.gradcheck(votes.compete, scores)
    assert torch.autograd.gradcheck(votes.evidence, scores)


def test_it_is_the_votes_that_it_holds() -> None:
    windows = Windows((3, 3), (2, 2), (1, 1), (0, 0))
    inner = LinearVotes(torch.randn(2, 2, 8, 3), torch.randn(8, 2, 4, 3))
    votes = WindowVotes.of(inner, windows)
    assert votes.shape == (2, 2, 8, 2, 4)
    assert votes.in_pose is inner.pose
    assert not votes.formed
    assert WindowVotes.of(inner.materialize(), windows).formed
    assert torch.equal(votes.materialize(), inner.materialize())
    mask = torch.rand(2, 2, 8) < 0.5
    assert torch.equal(votes.masked(mask).materialize(), inner.masked(mask).materialize())
    assert votes.to(DOUBLE).dtype == DOUBLE


def test_refuses() -> None:
    windows = Windows((3, 3), (2, 2), (1, 1), (0, 0))
    for shape in ((2, 2, 7, 1, 1), (2, 3, 8, 1, 1), (8, 1, 1)):
        with pytest.raises(ValueError, match=r"must be \[\.\.\., 2, 2, a multiple of 4, J, D\]"):
            WindowVotes.of(FormedVotes(torch.zeros(shape)), windows)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        as_pair("stride", 0)
    with pytest.raises(ValueError, match="stride must be a whole number or two of them"):
        as_pair("stride", [1, 2, 3])
    with pytest.raises(TypeError, match=r"stride must be an int or two of them \(y, x\), got 1\.5"):
        as_pair("stride", 1.5)
