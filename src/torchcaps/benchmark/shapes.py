"""The shapes that routing is measured on: layers of real models."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SHAPES", "Problem", "Shape"]


@dataclass(frozen=True)
class Problem:
    """What a contender is given: factors of the votes, and the gradient that comes back."""

    pose: Tensor
    weight: Tensor
    mask: Tensor | None
    upstream: Tensor
    iterations: int


@dataclass(frozen=True)
class Shape:
    """A routing layer: samples B, input capsules I × P, output capsules J × D.

    `shared`: one weight for all input capsules. `masked`: some input capsules are padding.
    `gpu_only`: hours on a CPU.
    """

    name: str
    model: str
    B: int
    I: int
    J: int
    D: int
    P: int
    iterations: int = 3
    shared: bool = False
    masked: bool = False
    gpu_only: bool = False

    @property
    def votes(self) -> int:
        """Numbers in the votes û."""
        return self.B * self.I * self.J * self.D

    @property
    def weights(self) -> int:
        """Numbers in the weights W."""
        return (1 if self.shared else self.I) * self.J * self.D * self.P

    def draw(self, device: str, dtype: torch.dtype, samples: int | None = None) -> Problem:
        """Random factors, always the same, whose routing does not saturate."""
        generator = torch.Generator().manual_seed(0)
        B = samples or self.B

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        pose = normal(B, self.I, self.P) / self.P**0.5
        weight = normal(1 if self.shared else self.I, self.J, self.D, self.P)
        weight = weight * 3 / (self.I * self.D) ** 0.5
        mask = None
        if self.masked:
            lengths = torch.randint(1, self.I + 1, (B, 1), generator=generator)
            mask = (torch.arange(self.I) < lengths).to(device)
        upstream = normal(B, self.J, self.D)
        pose, weight, upstream = (x.to(device, dtype) for x in (pose, weight, upstream))
        return Problem(pose, weight, mask, upstream, self.iterations)

    def operations(self, backward: bool) -> int:
        """Floating-point operations that cannot be done without, a multiplication and addition two.

        Forward: û once, a weighted sum an iteration, an agreement between two. Backward: the
        gradients of u and W from that of û, and for every iteration but the first the gradients of
        c, A and (twice) û.
        """
        later = self.iterations - 1
        forward = self.votes * (2 * self.P + 2 * self.iterations + 2 * later)
        return forward + (self.votes * (4 * self.P + 2 + 8 * later) if backward else 0)

    def traffic(self, backward: bool, bytes_each: int = 4) -> int:
        """Bytes that must be read or written at least once: factors, poses, and their gradients."""
        inputs = self.B * self.I * self.P + self.weights
        outputs = self.B * self.J * self.D
        numbers = inputs + outputs
        if backward:
            numbers += 2 * inputs + outputs
        return numbers * bytes_each


SHAPES = {
    shape.name: shape
    for shape in [
        Shape("mnist", "class capsules of the paper's MNIST network", 128, 1152, 10, 16, 8),
        Shape("mnist_b1", "the same for one image", 1, 1152, 10, 16, 8),
        Shape("mnist_b1024", "the same for 1,024 images", 1024, 1152, 10, 16, 8),
        Shape("multimnist", "class capsules for 36×36 images", 128, 3200, 10, 16, 8),
        Shape("cifar", "class capsules over 64 types at 4×4 places", 128, 1024, 10, 16, 8),
        Shape("smallnorb", "5 classes over 32 types at 8×8 places", 128, 2048, 5, 16, 8),
        Shape("windows", "3×3 windows of 32 types at 6×6 places", 4608, 288, 32, 16, 16),
        Shape(
            "interests", "4 interests of users from 50 items", 1024, 50, 4, 64, 64,
            shared=True, masked=True,
        ),
        Shape("classes1000", "1,000 classes", 128, 8192, 1000, 16, 16, gpu_only=True),
    ]
}  # fmt: skip
