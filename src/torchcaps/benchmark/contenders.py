"""Ways to write dynamic routing: those that are usual, and ours. All of it is our own code.

Each takes a `Problem` and gives the poses v `[B, J, D]`; they differ in how votes are formed and
summed.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from torchcaps.benchmark.shapes import Problem, Shape
from torchcaps.routing import dynamic_routing
from torchcaps.votes import LinearVotes

__all__ = ["CONTENDERS", "bytes_needed"]

Contender = Callable[[Problem], Tensor]


def broadcast(problem: Problem) -> Tensor:
    """As most public code does it: W is broadcast over the batch in a matmul, which copies it."""
    pose, weight = problem.pose, problem.weight
    votes = (weight[None] @ pose[:, :, None, :, None]).squeeze(-1)  # [B, I, J, D]
    logits = votes.new_zeros(*votes.shape[:3], 1)
    for iteration in range(problem.iterations):
        coupling = logits.softmax(dim=2)
        if problem.mask is not None:
            coupling = coupling * problem.mask[:, :, None, None]
        v = textbook_squash((coupling * votes).sum(dim=1, keepdim=True))
        if iteration < problem.iterations - 1:
            logits = logits + (votes * v).sum(dim=-1, keepdim=True)
    return v.squeeze(1)


def einsum(problem: Problem) -> Tensor:
    """Written with care: every product an einsum, votes formed without copying W."""
    factors = (problem.pose, problem.weight)
    if len(problem.weight) == 1:
        votes = torch.einsum("bip,jdp->bijd", problem.pose, problem.weight[0])
    else:
        votes = torch.einsum("bip,ijdp->bijd", *factors)
    logits = votes.new_zeros(votes.shape[:3])
    for iteration in range(problem.iterations):
        coupling = logits.softmax(dim=-1)
        if problem.mask is not None:
            coupling = coupling * problem.mask[:, :, None]
        v = textbook_squash(torch.einsum("bij,bijd->bjd", coupling, votes))
        if iteration < problem.iterations - 1:
            logits = logits + torch.einsum("bijd,bjd->bij", votes, v)
    return v


def einsum_compiled(problem: Problem) -> Tensor:
    """The same under torch.compile."""
    mask, iterations = problem.mask, problem.iterations
    return _compiled()(problem.pose, problem.weight, mask, problem.upstream, iterations)


@cache
def _compiled() -> Callable[..., Tensor]:
    def function(*fields: object) -> Tensor:
        return einsum(Problem(*fields))  # type: ignore[arg-type]

    return torch.compile(function, dynamic=False)


def ours(problem: Problem) -> Tensor:
    """`dynamic_routing`, as a layer calls it."""
    votes = LinearVotes(problem.pose, problem.weight)
    return dynamic_routing(votes, problem.iterations, mask=problem.mask).pose


def textbook_squash(s: Tensor) -> Tensor:
    """Eq 1 as it is usually written."""
    square = s.square().sum(dim=-1, keepdim=True)
    return square / (1 + square) * s / (square.sqrt() + 1e-8)


CONTENDERS: dict[str, Contender] = {
    "broadcast": broadcast,
    "einsum": einsum,
    "einsum compiled": einsum_compiled,
    "torchcaps": ours,
}


def bytes_needed(contender: str, shape: Shape, bytes_each: int = 4) -> int:
    """What forward and backward take at their peak, about, as measured on the `mnist` shape."""
    votes = shape.votes * bytes_each
    if contender == "broadcast":
        return votes * (2 * shape.P + 3)
    return votes * 6 if contender != "torchcaps" else votes // 2
