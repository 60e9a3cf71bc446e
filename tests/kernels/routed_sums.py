"""What the kernels of sums are tested on: routings with votes of factors, and their gradients."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torchcaps import LinearVotes, create_routing
from torchcaps.routing import Routing
from torchcaps.votes import MatrixVotes, Votes, Windows, WindowVotes

__all__ = [
    "NAMES",
    "Made",
    "activations",
    "assert_as_exact_as_eager",
    "built",
    "linear",
    "matrices",
    "rms",
    "routed",
    "windows",
]

NAMES = ["attention", "em", "self_attention", "self_routing", "variational"]
VotesOf = Callable[..., Votes]
Made = tuple[VotesOf, list[Tensor], tuple[int, int]]


def linear(B: int, I: int, J: int, D: int, P: int) -> Made:
    return LinearVotes, [torch.randn(B, I, P), torch.randn(I, J, D, P) / P**0.5], (J, D)


def matrices(B: int, I: int, J: int, rows: int, M: int, N: int) -> Made:
    factors = [torch.randn(B, I, rows * M), torch.randn(I, J, M, N) / M**0.5]
    return MatrixVotes, factors, (J, rows * N)


def windows(windows: Windows, B: int, T: int, J: int, M: int) -> Made:
    """A child competes over all positions that see it."""
    pose = windows.gather(torch.randn(B, T, *windows.size, M * M))

    def votes_of(pose: Tensor, weight: Tensor) -> Votes:
        return WindowVotes.of(MatrixVotes(pose, weight), windows)

    return votes_of, [pose, torch.randn(windows.cells * T, J, M, M) / M**0.5], (J, M * M)


def built(name: str, made: Made, **options: Any) -> Routing[Any, Any]:
    """A routing in evaluation with parameters that are not those it starts from."""
    (pose, _), (J, D) = made[1], made[2]
    routing = create_routing(name, **options).build(pose.shape[-2], pose.shape[-1], J, D)
    for parameter in routing.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return routing.eval()


def routed(
    routing: Routing[Any, Any],
    made: Made,
    backend: str,
    dtype: torch.dtype,
    activation: Tensor | None = None,
    mask: Tensor | None = None,
) -> list[Tensor]:
    """Poses and activations, and every gradient, in float64."""
    routing.to(dtype).backend = backend
    leaves = [factor.detach().to(dtype).requires_grad_() for factor in made[1]]
    if activation is not None:
        activation = activation.detach().to(dtype).requires_grad_()
    capsules = routing(made[0](*leaves), activation, mask)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros((), dtype=torch.float64, device=made[1][0].device)
    for part in capsules:
        upstream = torch.randn(part.shape, dtype=torch.float64, generator=generator)
        total = total + (part.double() * upstream.to(part.device)).sum()
    given = [] if activation is None else [activation]
    wanted = [*leaves, *given, *routing.parameters()]
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    return [x.detach().double() for x in (*capsules, *gradients) if x is not None]


def activations(made: Made) -> Tensor:
    return torch.rand(made[1][0].shape[:-1])


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def assert_as_exact_as_eager(
    name: str,
    make: Callable[[], Made],
    backend: str,
    draws: int,
    activations_of: Callable[[Made], Tensor | None] = lambda made: None,
) -> None:
    """The error of every result is at most twice that of eager float32, in the median of draws."""
    ratios: dict[int, list[float]] = {}
    for draw in range(draws):
        torch.manual_seed(draw)
        made = make()
        routing = built(name, made).to(made[1][0].device)
        activation = activations_of(made)
        exact = routed(routing, made, "reference", torch.float64, activation)
        eager = routed(routing, made, "reference", torch.float32, activation)
        found = routed(routing, made, backend, torch.float32, activation)
        for place, (true, theirs, ours) in enumerate(zip(exact, eager, found, strict=True)):
            rounding = torch.finfo(torch.float32).eps / 2 * rms(true)
            ratio = rms(ours - true) / max(rms(theirs - true), rounding, 1e-45)
            ratios.setdefault(place, []).append(ratio)
    assert len(ratios) >= 4
    for values in ratios.values():
        assert statistics.median(values) <= 2, ratios
