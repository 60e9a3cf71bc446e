"""The shapes that routing is measured on: layers of real models."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchcaps.votes import LinearVotes, MatrixVotes, SharedVotes, Votes, Windows, WindowVotes
from torchcaps.votes.interests import InterestVotes

__all__ = ["SHAPES", "Problem", "Shape"]


@dataclass(frozen=True)
class Problem:
    """What a contender is given: the layer, factors of the votes, and the gradient that comes back.

    The poses are `[B, I, P]`, or, in windows, a map `[B, T, H, W, P]`; activations likewise.
    `logits`: where routing starts, of interests that would else be alike.
    """

    shape: "Shape"
    pose: Tensor
    weight: Tensor
    mask: Tensor | None
    upstream: Tensor
    activation: Tensor | None = None
    logits: Tensor | None = None

    @property
    def iterations(self) -> int:
        return self.shape.iterations

    @property
    def votes(self) -> Votes:
        """The votes, as their factors."""
        windows, pose = self.shape.windows, self.pose
        form = MatrixVotes if self.shape.matrices else LinearVotes
        if self.shape.one_map:
            shared = SharedVotes(pose @ self.weight[0, 0].mT, self.shape.J)
            return InterestVotes(shared, self.logits)
        if windows is None:
            return form(pose, self.weight)
        votes = form(windows.gather(pose), self.weight)
        return WindowVotes.of(votes, windows) if self.shape.competes_everywhere else votes

    @property
    def input_activation(self) -> Tensor | None:
        """The activations of the input capsules, `[..., I]` as the votes have them."""
        windows = self.shape.windows
        if windows is None or self.activation is None:
            return self.activation
        return windows.gather(self.activation.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class Shape:
    """A routing layer: samples B, input capsules I × P, output capsules J × D.

    `shared`: one weight for all input capsules. `masked`: some input capsules are padding.
    `gpu_only`: hours on a CPU. `routing`: by name. `matrices`: poses are matrices. `windows`: of a
    map, in each of which I input capsules are routed to J; a child competes over all of them, or in
    self-routing in one at a time.
    `one_map`: and one weight for all output capsules too.
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
    routing: str = "dynamic"
    matrices: bool = False
    windows: Windows | None = None
    one_map: bool = False

    @property
    def competes_everywhere(self) -> bool:
        """Whether a child competes over all windows that it lies in."""
        return self.windows is not None and self.routing != "self_routing"

    @property
    def places(self) -> int:
        """Windows of a sample."""
        return 1 if self.windows is None else math.prod(self.windows.grid)

    @property
    def votes(self) -> int:
        """Numbers in the votes û."""
        return self.B * self.places * self.I * self.J * self.D

    @property
    def products(self) -> int:
        """Multiplications for one number of a vote."""
        return math.isqrt(self.P) if self.matrices else self.P

    @property
    def weights(self) -> int:
        """Numbers in the weights W."""
        own = (1 if self.shared else self.I) * (1 if self.one_map else self.J)
        return own * (self.P if self.matrices else self.D * self.P)

    def draw(self, device: str, dtype: torch.dtype, samples: int | None = None) -> Problem:
        """Random factors, always the same, whose routing does not saturate."""
        generator = torch.Generator().manual_seed(0)
        B = samples or self.B

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        children: tuple[int, ...] = (self.I,)
        if self.windows is not None:
            children = (self.I // self.windows.cells, *self.windows.size)
        pose = normal(B, *children, self.P) / self.P**0.5
        inputs, outputs = 1 if self.shared else self.I, 1 if self.one_map else self.J
        side = math.isqrt(self.P)
        matrix = (side, side) if self.matrices else (self.D, self.P)
        weight = normal(inputs, outputs, *matrix)
        if self.routing == "dynamic":
            weight = weight * 3 / (self.I * self.D) ** 0.5
        mask = None
        if self.masked:
            lengths = torch.randint(1, self.I + 1, (B, 1), generator=generator)
            mask = (torch.arange(self.I) < lengths).to(device)
        grid = () if self.windows is None else self.windows.grid
        upstream = normal(B, *grid, self.J, self.D)
        pose, weight, upstream = (x.to(device, dtype) for x in (pose, weight, upstream))
        activation = None
        if self.routing in (*GAUSSIAN, "self_routing"):
            activation = torch.rand(B, *children, generator=generator).to(device, dtype)
        logits = normal(self.I, self.J).to(device, dtype) if self.one_map else None
        return Problem(self, pose, weight, mask, upstream, activation, logits)

    def operations(self, backward: bool) -> int:
        """Floating-point operations that cannot be done without, a multiplication and addition two.

        Forward: û once, a weighted sum an iteration, an agreement between two. Backward: the
        gradients of u and W from that of û, and for every iteration but the first the gradients of
        c, A and (twice) û. Where parents are Gaussians, squares are scored and summed up too. One
        map is used once for all output capsules. Where the input capsules share W, it is applied to
        sums of poses in the place of votes, if that takes less.
        """
        later = self.iterations - 1
        formed = self.votes // self.J if self.one_map else self.votes
        routed = self.votes * (2 if self.routing in GAUSSIAN else 1)
        forward = 2 * self.products * formed + routed * (2 * self.iterations + 2 * later)
        both = forward + 4 * self.products * formed + routed * (2 + 8 * later)
        counted = both if backward else forward
        return min(counted, self.operations_on_poses(backward)) if self.shared else counted

    def operations_on_poses(self, backward: bool) -> int:
        """The same where W is shared: y_j = Σ_i c_ij u_i (in the first iteration for all parents at
        once), s_j = W_j y_j, and between two iterations W_jᵀ A_j and its agreement with u_i.

        Backward: for every iteration but the first the gradients of c, of W_jᵀ A_j and (twice) of
        u; W_jᵀ ds_j, W_j for the gradient of A_j, and the gradient of W.
        """
        later, r = self.iterations - 1, self.iterations
        sums = self.I * (1 + 2 * self.J * later)
        products = self.J * self.D * (r + later)
        if backward:
            sums += self.I * (1 + 4 * self.J * later)
            products += self.J * self.D * (r + later + r + later)
        return 2 * self.B * self.P * (sums + products)

    def traffic(self, backward: bool, bytes_each: int = 4) -> int:
        """Bytes that must be read or written at least once: factors, poses, and their gradients."""
        children = self.I
        if self.windows is not None:
            children = self.I // self.windows.cells * math.prod(self.windows.size)
        inputs = self.B * children * self.P + self.weights
        outputs = self.B * self.places * self.J * self.D
        numbers = inputs + outputs
        if backward:
            numbers += 2 * inputs + outputs
        return numbers * bytes_each


GAUSSIAN = ("em", "variational")
MATRIX_CAPSULES = Windows((14, 14), kernel_size=(3, 3), stride=(2, 2), padding=(0, 0))
SHAPES = {
    shape.name: shape
    for shape in [
        Shape("mnist", "class capsules of the paper's MNIST network", 128, 1152, 10, 16, 8),
        Shape("mnist_b1", "the same for one image", 1, 1152, 10, 16, 8),
        Shape("mnist_b8", "the same for eight images", 8, 1152, 10, 16, 8),
        Shape("mnist_b1024", "the same for 1,024 images", 1024, 1152, 10, 16, 8),
        Shape("multimnist", "class capsules for 36×36 images", 128, 3200, 10, 16, 8),
        Shape("cifar", "class capsules over 64 types at 4×4 places", 128, 1024, 10, 16, 8),
        Shape("smallnorb", "5 classes over 32 types at 8×8 places", 128, 2048, 5, 16, 8),
        Shape("windows", "3×3 windows of 32 types at 6×6 places", 4608, 288, 32, 16, 16),
        Shape(
            "interests", "4 interests of users from 50 items", 1024, 50, 4, 64, 64,
            shared=True, masked=True,
        ),
        Shape(
            "interests_mind", "the same with one map for items and interests", 1024, 50, 4, 64, 64,
            shared=True, masked=True, routing="interests", one_map=True,
        ),
        Shape(
            "em_conv", "matrix capsules: 32 types at 14×14 to 32 types at 6×6 places", 16, 288, 32,
            16, 16, routing="em", matrices=True, windows=MATRIX_CAPSULES,
        ),
        Shape(
            "em_classes", "matrix capsules of 10 classes over 32 types at 4×4 places", 128, 512, 10,
            16, 16, routing="em", matrices=True,
        ),
        Shape(
            "variational", "as em_conv", 16, 288, 32, 16, 16, routing="variational", matrices=True,
            windows=MATRIX_CAPSULES,
        ),
        Shape(
            "self_routing", "as em_conv, by linear maps", 16, 288, 32, 16, 16, iterations=1,
            routing="self_routing", windows=MATRIX_CAPSULES,
        ),
        Shape(
            "attention", "matrix capsules of 10 classes", 128, 1152, 10, 16, 16,
            routing="attention", matrices=True,
        ),
        Shape(
            "self_attention", "mnist", 128, 1152, 10, 16, 8, iterations=2, routing="self_attention"
        ),
        Shape("classes1000", "1,000 classes", 128, 8192, 1000, 16, 16, gpu_only=True),
    ]
}  # fmt: skip
