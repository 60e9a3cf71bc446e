"""Dynamic routing between capsules: Procedure 1 of Sabour, Frosst and Hinton (2017)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from torchcaps.functional import agreement, squash
from torchcaps.kernels.dispatch import check_backend, choose_backend, fused_pose
from torchcaps.types import Capsules, LinearVotes, Votes, check_counts, check_float_tensor

__all__ = ["DynamicRouting", "RoutingTrace", "dynamic_routing", "dynamic_routing_trace"]


class RoutingTrace(NamedTuple):
    """What routing did, iteration by iteration (the first axis, r of them).

    Attributes:
        logits: b, `[r, ..., I, J]`, as each iteration began; zero in the first.
        coupling: c, `[r, ..., I, J]`; non-negative, and sums to 1 over J (to less with `leaky`, to
            0 for masked input capsules).
        pose: v, `[r, ..., J, D]`; the last one is what `dynamic_routing` returns.
    """

    logits: Tensor
    coupling: Tensor
    pose: Tensor


def procedure_1(
    u_hat: Tensor, iterations: int, *, leaky: bool = False, detach: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The reference: Procedure 1 as printed, giving (b, c, v) once an iteration.

    The paper's symbols: û_ij votes, b_ij routing logits, c_ij coupling coefficients, s_j total
    input and v_j pose of output capsule j. The softmax runs over the *outputs* j: each input
    capsule divides one unit of coupling among its possible parents.
    """
    *batch, inputs, outputs, _ = u_hat.shape
    b = u_hat.new_zeros(*batch, inputs, outputs)  # line 2          [..., I, J]
    for iteration in range(1, iterations + 1):
        last = iteration == iterations
        votes = u_hat.detach() if detach and not last else u_hat
        c = leaky_softmax(b) if leaky else torch.softmax(b, dim=-1)  # line 4   [..., I, J]
        s = torch.einsum("...ij,...ijd->...jd", c, votes)  # line 5   [..., J, D]
        v = squash(s)  # line 6                                     [..., J, D]
        yield b, c, v
        if not last:  # an update after the last pose would change nothing
            b = b + agreement(votes, v)  # line 7                   [..., I, J]


def leaky_softmax(b: Tensor) -> Tensor:
    """Softmax over the outputs and one more "none of them" with logit 0, which is then dropped."""
    none_of_them = b.new_zeros(*b.shape[:-1], 1)
    return torch.softmax(torch.cat([none_of_them, b], dim=-1), dim=-1)[..., 1:]


def dynamic_routing(
    votes: Votes,
    iterations: int = 3,
    *,
    mask: Tensor | None = None,
    leaky: bool = False,
    detach: bool = False,
    backend: str = "auto",
) -> Capsules:
    """Route input capsules to the output capsules that agree with their votes.

    b_ij = 0, then r times:
    c_ij = softmax_j b_ij,  s_j = Σ_i c_ij û_ij,  v_j = squash(s_j),  b_ij += û_ij · v_j

    Args:
        votes: û, `[..., I, J, D]`, or `LinearVotes` (then û_ij = W_ij u_i). Half precision is
            computed in float32, under autocast too.
        iterations: r ≥ 1. With r = 1 every c_ij stays 1/J.
        mask: `[..., I]` bool, False for padding: such a capsule has no effect on any output or
            gradient, not even if its pose is NaN. Default: all count.
        leaky: the softmax has one more term with logit 0, so that an input capsule may send its
            coupling nowhere (the authors' code, for CIFAR-10).
        detach: no gradient through any iteration but the last: c^r is a constant in backward. The
            default is the full gradient, as in the authors' code.
        backend: "cpu" and "cuda" (fused: take `LinearVotes` on that device, "cuda" not in float64,
            and never hold the votes; first derivatives only), "reference" (plain torch), or "auto":
            the fused one where it can run, else the reference.

    Returns:
        `Capsules(pose [..., J, D], activation [..., J])`, activation = |pose| in [0, 1], in the
        dtype of the votes. Each sample is routed by itself. route(−û) = −route(û), unless votes
        have a bias.

    Raises:
        ValueError: a shape, `iterations` or `backend` out of range, or a backend that cannot route
            these votes (with the reasons). TypeError: another type.

    Reference: Sabour, Frosst, Hinton (2017), Procedure 1, Eqs 1–3.

    Example:
        >>> votes = LinearVotes(torch.randn(4, 1152, 8), 0.1 * torch.randn(1152, 10, 16, 8))
        >>> pose, activation = dynamic_routing(votes, iterations=3)
        >>> pose.shape, activation.shape
        (torch.Size([4, 10, 16]), torch.Size([4, 10]))
    """
    check_routing_arguments(votes, iterations, mask)
    chosen = choose_backend(backend, votes)
    with no_autocast(votes):
        if chosen != "reference":
            assert isinstance(votes, LinearVotes)
            pose = fused_pose(chosen, votes, iterations, mask, leaky, detach)
        else:
            for _, _, v in procedure_1(_u_hat(votes, mask), iterations, leaky=leaky, detach=detach):
                pose = v
        activation = torch.linalg.vector_norm(pose, dim=-1)
    return Capsules(pose.to(votes.dtype), activation.to(votes.dtype))


def dynamic_routing_trace(
    votes: Votes, iterations: int = 3, *, mask: Tensor | None = None, leaky: bool = False
) -> RoutingTrace:
    """Route as `dynamic_routing` does and keep what happened in every iteration.

    Args, raises and reference: as `dynamic_routing`.

    Returns:
        `RoutingTrace(logits [r, ..., I, J], coupling [r, ..., I, J], pose [r, ..., J, D])`.

    Example:
        >>> trace = dynamic_routing_trace(torch.randn(1, 3, 2, 4))  # 3 inputs, 2 outputs
        >>> trace.coupling[0]  # maximum confusion
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """
    check_routing_arguments(votes, iterations, mask)
    with no_autocast(votes):
        steps = list(procedure_1(_u_hat(votes, mask), iterations, leaky=leaky))
    logits, coupling, pose = (torch.stack(kept).to(votes.dtype) for kept in zip(*steps))
    if mask is not None:
        coupling = coupling.masked_fill(~mask.unsqueeze(-1), 0)
    return RoutingTrace(logits, coupling, pose)


class DynamicRouting(nn.Module):
    """`dynamic_routing` with its settings, to be handed to a layer.

    Args:
        iterations, leaky, detach, backend: as in `dynamic_routing`.

    Example:
        >>> DynamicRouting(3)(torch.randn(2, 6, 10, 16)).pose.shape
        torch.Size([2, 10, 16])
    """

    def __init__(
        self,
        iterations: int = 3,
        *,
        leaky: bool = False,
        detach: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_counts(iterations=iterations)
        check_backend(backend)
        self.iterations = iterations
        self.leaky = leaky
        self.detach = detach
        self.backend = backend

    def forward(self, votes: Votes, mask: Tensor | None = None) -> Capsules:
        """votes `[..., I, J, D]` or `LinearVotes`, mask `[..., I]` → `Capsules`."""
        return dynamic_routing(
            votes,
            self.iterations,
            mask=mask,
            leaky=self.leaky,
            detach=self.detach,
            backend=self.backend,
        )

    def trace(self, votes: Votes, mask: Tensor | None = None) -> RoutingTrace:
        """The same routing, every iteration kept."""
        return dynamic_routing_trace(votes, self.iterations, mask=mask, leaky=self.leaky)

    def extra_repr(self) -> str:
        return (
            f"iterations={self.iterations}, leaky={self.leaky}, detach={self.detach}, "
            f"backend={self.backend!r}"
        )


def check_routing_arguments(votes: Votes, iterations: int, mask: Tensor | None) -> None:
    """Raise on votes, iterations or a mask that routing cannot take."""
    check_counts(iterations=iterations)
    if not isinstance(votes, LinearVotes):
        check_float_tensor("votes", votes)
    if len(votes.shape) < 3:
        raise ValueError(f"votes must be [..., I, J, D], got shape {tuple(votes.shape)}")
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a bool tensor (True = counts), got {got}")
    if mask.shape != votes.shape[:-2]:
        raise ValueError(
            f"mask must be [..., I] = {tuple(votes.shape[:-2])}, got {tuple(mask.shape)}"
        )


def no_autocast(votes: Votes) -> AbstractContextManager[object]:
    """A context in which sums are not taken in half precision."""
    device = votes.pose.device if isinstance(votes, LinearVotes) else votes.device
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _u_hat(votes: Votes, mask: Tensor | None) -> Tensor:
    """All votes, in float32 or wider, with those of masked capsules zero."""
    wide = torch.promote_types(votes.dtype, torch.float32)
    if isinstance(votes, LinearVotes):
        # Poses are masked before the product, votes after it: a NaN in a padded pose must reach
        # neither the output nor, as 0 · NaN, the gradient of W; and a bias must not vote for it.
        if mask is not None:
            votes = votes.masked(mask)
        u_hat = votes.to(wide).materialize()
    else:
        u_hat = votes.to(wide)
    return u_hat if mask is None else u_hat.masked_fill(~mask[..., None, None], 0)
