"""ConvolvedCaps and DeconvCaps: votes and routing against loops over single cells."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.routing.oracles.deepcaps import route_map
from torchcaps import ConvolvedCaps, DeconvCaps
from torchcaps.layers.convolved import ConvolvedCaps as Layer
from torchcaps.routing import sweep
from torchcaps.votes.convolved import ConvolvedVotes, MapVotes

DOUBLE = torch.float64
T, C, D, P = 3, 2, 4, 5
KINDS: list[dict[str, Any]] = [
    {"routing": "locally_constrained"},
    {"routing": "deepcaps", "competition": "map"},
    {"routing": {"name": "deepcaps", "joint_norm": True}, "competition": "map"},
    {"routing": {"name": "em", "final_lambda": 0.5}, "shared": False, "bias": True},
]


def make(kind: type[Layer] = ConvolvedCaps, **options: Any) -> Layer:
    """A layer in float64, what it learns drawn at random."""
    layer = kind(T, P, C, D, **{"kernel_size": 3, **options}).double().eval()
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return layer


def looped_votes(layer: Layer, pose: Tensor) -> Tensor:
    """V [B, F_y, F_x, T, C, D], cell by cell."""
    height, width = pose.shape[2:4]
    weight = layer.weight.detach().expand(T, -1, -1, -1, -1, -1)
    votes = torch.zeros(layer.votes(pose).shape, dtype=DOUBLE)
    F_y, F_x = votes.shape[1:3]
    (K_y, K_x), (s_y, s_x), (p_y, p_x) = layer.kernel_size, layer.stride, layer.padding
    small = (height, width) if layer.transposed else (F_y, F_x)
    for fy, fx, ky, kx in itertools.product(*map(range, (*small, K_y, K_x))):
        y, x = fy * s_y + ky - p_y, fx * s_x + kx - p_x
        large = (F_y, F_x) if layer.transposed else (height, width)
        if 0 <= y < large[0] and 0 <= x < large[1]:
            seen, to = ((fy, fx), (y, x)) if layer.transposed else ((y, x), (fy, fx))
            for t in range(T):
                product = torch.einsum("cdp,bp->bcd", weight[t, ..., ky, kx], pose[:, t, *seen])
                votes[:, to[0], to[1], t] += product
    return votes if layer.bias is None else votes + layer.bias.detach()


@pytest.mark.parametrize("kind", [ConvolvedCaps, DeconvCaps])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), ((2, 3), 2, (0, 1)), (4, 2, 1), (1, 1, 0)]
)
def test_votes_are_convolutions(
    kind: type[Layer], shared: bool, kernel: Any, stride: int, padding: Any
) -> None:
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "bias": not shared}
    layer = make(kind, shared=shared, **options)
    pose = torch.randn(2, T, 5, 6, P, dtype=DOUBLE)
    votes = layer.votes(pose)
    expected = looped_votes(layer, pose)
    torch.testing.assert_close(votes.materialize(), expected)
    torch.testing.assert_close(votes.select(slice(1, 3)).materialize(), expected[:, :, :, 1:])


@pytest.mark.parametrize("options", KINDS[:3], ids=str)
def test_routing_is_the_oracles(options: dict[str, Any]) -> None:
    layer = make(**options, padding=1)
    pose = torch.randn(2, T, 4, 3, P, dtype=DOUBLE)
    votes = layer.votes(pose)
    trace = layer.routing.trace(votes)
    expected = route_map(
        votes.materialize().detach().numpy(),
        None,
        dict(layer.routing.named_parameters())["bias"].detach().numpy(),
        over_map=layer.competition == "map",
        **layer.routing.options(),
    )
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(trace, name).detach().numpy(), values, atol=1e-12)
    found = layer(pose)
    np.testing.assert_allclose(
        found.pose.detach().numpy(), np.moveaxis(expected["pose"][-1], -2, -4), atol=1e-12
    )
    np.testing.assert_allclose(
        found.activation.detach().numpy(), np.moveaxis(expected["activation"][-1], -1, -3)
    )


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("kind", [ConvolvedCaps, DeconvCaps])
def test_tiles_are_as_all_at_once(
    kind: type[Layer], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "TILE_BYTES", 1)
    layer = make(kind, **options, stride=2, padding=1)
    pose = torch.randn(2, T, 5, 5, P, dtype=DOUBLE, requires_grad=True)
    found = []
    for backend in ("tiles", "reference"):
        layer.routing.backend = backend
        capsules = layer(pose)
        upstream = [torch.linspace(-1, 1, x.numel(), dtype=DOUBLE).view_as(x) for x in capsules]
        wanted = [pose, *layer.parameters()]
        found.append([*capsules, *torch.autograd.grad(list(capsules), wanted, upstream)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_samples_are_independent(options: dict[str, Any]) -> None:
    """In the code of SegCaps votes of different images are mixed."""
    layer = make(**options, padding=1)
    pose = torch.randn(4, T, 4, 4, P, dtype=DOUBLE)
    together = layer(pose)
    nested = layer(pose.unflatten(0, (2, 2)))
    torch.testing.assert_close(nested.pose.flatten(0, 1), together.pose)
    for n in range(4):
        torch.testing.assert_close(layer(pose[n]).pose, together.pose[n])


@pytest.mark.parametrize("stride", [1, 2])
def test_shifts_by_the_stride_shift_the_output(stride: int) -> None:
    layer = make(stride=stride)
    pose = torch.randn(2, T, 9 + stride, 9, P, dtype=DOUBLE)
    torch.testing.assert_close(layer(pose).pose[:, :, 1:], layer(pose[:, :, stride:]).pose)
    grown = make(DeconvCaps, stride=stride)
    expected = grown(pose[:, :, 1:]).pose[:, :, 2:]
    torch.testing.assert_close(grown(pose).pose[:, :, 2 + stride :], expected)


def test_over_a_map_poses_become_shorter_the_larger_it_is() -> None:
    layer = make(routing="deepcaps", competition="map", padding=1)
    torch.nn.init.zeros_(dict(layer.routing.named_parameters())["bias"])
    lengths = [layer(torch.randn(2, T, n, n, P, dtype=DOUBLE)).activation.mean() for n in (2, 4, 8)]
    assert lengths[0] > 3 * lengths[1] > 9 * lengths[2]


def test_one_norm_for_a_map_makes_all_poses_on_it_one_vector() -> None:
    layer = make(**KINDS[2], padding=1)
    found = layer(torch.randn(2, T, 4, 4, P, dtype=DOUBLE)).activation
    assert bool((found.square().sum(dim=(2, 3)) <= 1).all())
    with pytest.raises(ValueError, match="pass MapVotes, as ConvolvedCaps with competition 'map'"):
        layer.routing(torch.randn(2, T, C, D, dtype=DOUBLE))


def test_evidence_over_a_map() -> None:
    scores = torch.randn(2, 3, 4, T, C, dtype=DOUBLE)
    votes = MapVotes(ConvolvedVotes(torch.zeros(2, T, 3, 4, 1), torch.zeros(1, C, 1, 1, 1, 1)))
    of_children = scores.movedim(3, 1).flatten(2).logsumexp(dim=-1)
    expected = of_children[:, None, None].expand(2, 3, 4, T)
    torch.testing.assert_close(votes.evidence(scores), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    for kind in (ConvolvedCaps, DeconvCaps):
        layer = make(kind, routing="locally_constrained", stride=2, kernel_size=2)
        names = [name for name, _ in layer.named_parameters()]

        def run(pose: Tensor, *values: Tensor, layer: Any = layer, names: Any = names) -> Tensor:
            return torch.func.functional_call(layer, dict(zip(names, values)), (pose,)).pose

        pose = torch.randn(1, T, 4, 4, P, dtype=DOUBLE, requires_grad=True)
        assert torch.autograd.gradcheck(run, (pose, *layer.parameters()))


def test_refuses() -> None:
    layer = make()
    with pytest.raises(ValueError, match=r"map of 2×4 capsules, padded by \(0, 0\), is smaller"):
        layer(torch.randn(2, T, 2, 4, P, dtype=DOUBLE))
    with pytest.raises(ValueError, match=r"expected poses \[\.\.\., 3, H, W, 5\]"):
        layer(torch.randn(2, 4, 4, T, P, dtype=DOUBLE))
    with pytest.raises(ValueError, match="competition must be one of position, map, got 'all'"):
        make(competition="all")
    with pytest.raises(TypeError, match="bias must be True or False, got 'no'"):
        make(bias="no")
    votes, mask = layer.votes(torch.randn(1, T, 3, 3, P, dtype=DOUBLE)), torch.ones(1, 1, 1, T) > 0
    with pytest.raises(ValueError, match="take no mask"):
        layer.routing(votes, None, mask)
    with pytest.raises(ValueError, match=r"expected \[3, C, D, 5, K_y, K_x\]"):
        ConvolvedVotes(torch.zeros(1, T, 3, 3, P), torch.zeros(2, C, D, P, 3, 3))
    with pytest.raises(ValueError, match=r"bias must be \[C, D\]"):
        ConvolvedVotes(torch.zeros(T, 3, 3, P), torch.zeros(1, C, D, P, 3, 3), torch.zeros(D))
    assert "3×5 → 2×4, kernel_size=(3, 3)" in repr(layer)
