"""Ways to write routing: those that are usual, and ours. All of it is our own code.

Each takes a `Problem` and gives the poses v `[B, J, D]`; they differ in how votes are formed and
summed. Dynamic routing is written out here; of other algorithms, the usual way is our reference,
which holds all votes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from torchcaps.benchmark.shapes import Problem, Shape
from torchcaps.routing import Routing, create_routing
from torchcaps.votes import FormedVotes, Votes, WindowVotes
from torchcaps.votes.interests import InterestVotes

__all__ = ["CONTENDERS", "bytes_needed", "routing_of"]

Contender = Callable[[Problem], Tensor]


def broadcast(problem: Problem) -> Tensor:
    """As most public code does it: W is broadcast over the batch in a matmul, which copies it."""
    if problem.shape.routing != "dynamic":
        return route(problem, broadcast_votes(problem), "reference")
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
    if problem.shape.routing == "self_routing":  # which looks at the poses that vote, too
        return route(problem, problem.votes, "reference")
    if problem.shape.routing != "dynamic":
        return route(problem, formed_votes(problem), "reference")
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
    routing_of(problem.shape, "reference", problem.pose)  # made before, not by the compiled code
    return _compiled(problem.shape)(
        problem.pose,
        problem.weight,
        problem.mask,
        problem.upstream,
        problem.activation,
        problem.logits,
    )


@cache
def _compiled(shape: Shape) -> Callable[..., Tensor]:
    def function(*fields: Tensor) -> Tensor:
        return einsum(Problem(shape, *fields))

    return torch.compile(function, dynamic=False)


def ours(problem: Problem) -> Tensor:
    """As a layer calls it."""
    return route(problem, problem.votes, "auto")


def route(problem: Problem, votes: Votes, backend: str) -> Tensor:
    """The poses that an algorithm of the package finds."""
    windows = problem.shape.windows
    everywhere = problem.shape.competes_everywhere
    if windows is not None and everywhere and not isinstance(votes, WindowVotes):
        votes = WindowVotes.of(votes, windows)
    if problem.logits is not None and not isinstance(votes, InterestVotes):
        votes = InterestVotes(votes, problem.logits)
    routing = routing_of(problem.shape, backend, problem.pose)
    return routing(votes, problem.input_activation, problem.mask).pose


def formed_votes(problem: Problem) -> Votes:
    """The votes, by an einsum; of a map that interests share, for each of them."""
    if problem.shape.one_map:
        weight = problem.weight[0].expand(problem.shape.J, -1, -1)
        return FormedVotes(torch.einsum("bip,jdp->bijd", problem.pose, weight))
    return FormedVotes(problem.votes.materialize())


def broadcast_votes(problem: Problem) -> Votes:
    """The votes, by a matmul that copies W for every sample (and window)."""
    shape, pose = problem.shape, problem.pose
    if shape.windows is not None:
        pose = shape.windows.gather(pose)
    if shape.matrices:
        side = problem.weight.shape[-1]
        matrices = pose.unflatten(-1, (side, side)).unsqueeze(-3)
        return FormedVotes((matrices @ problem.weight).flatten(-2))
    weight = problem.weight.expand(-1, shape.J, -1, -1)
    return FormedVotes((weight @ pose[..., None, :, None]).squeeze(-1))


_routings: dict[tuple[Shape, str, torch.dtype, torch.device], Routing[Any, Any]] = {}


def routing_of(shape: Shape, backend: str, pose: Tensor) -> Routing[Any, Any]:
    """The routing of a layer for such poses, in evaluation, with the parameters that it starts
    from."""
    key = (shape, backend, pose.dtype, pose.device)
    if key not in _routings:
        once = shape.routing in ("self_attention", "self_routing")
        options = {} if once else {"iterations": shape.iterations}
        routing = create_routing(shape.routing, **options, backend=backend)
        built = routing.build(shape.I, shape.P, shape.J, shape.D).eval()
        _routings[key] = built.to(pose.device, pose.dtype)
    return _routings[key]


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
        copied = shape.P // shape.D if shape.matrices else shape.P
        return votes * (2 * copied + 3)
    if shape.routing != "dynamic" and contender != "torchcaps":
        return votes * 14
    return votes * 6 if contender != "torchcaps" else votes // 2
