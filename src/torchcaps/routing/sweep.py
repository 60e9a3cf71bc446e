"""The routing loop over tiles of input capsules, forward and backward; the votes are never held.

Forward, iteration t is one sweep over the tiles: the votes of a tile are formed, scored against the
state θ^{t−1}, and added to the statistics S^t. Only S^t and θ^t are kept, J·O(D) numbers a sample
each. Backward, for t = r … 1: S̄^t = (∂settle/∂S)ᵀ θ̄^t on those small tensors, then (but for t = 1)
a sweep in which every tile is computed anew, for what θ^{t−1} gets by being scored against. When
all S̄^t are known, one more sweep gives the gradients of the factors and of what is learned.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from torchcaps.kernels.autograd import refuse_odd
from torchcaps.routing.contexts import no_autocast
from torchcaps.routing.draws import Draws
from torchcaps.routing.module_copy import give_back, module_copy, named_tensors
from torchcaps.routing.tile import Problem, Tile
from torchcaps.types import values_at_hand
from torchcaps.votes import Votes, WindowVotes
from torchcaps.votes.weighted import are_plain_products

if TYPE_CHECKING:
    from torchcaps.routing.base import Routing

__all__ = ["are_ordinary", "as_type", "may_wait", "nan_unless_ordinary", "route_by_tiles", "tiles"]

LARGEST = 1e6  # size of votes up to which no square of them, or product with a sum, overflows
TILE_BYTES = 2**21  # of votes in a tile: they stay in a core's cache while they are used
GPU_TILES = (
    512  # of a GPU's memory; smaller ones take less time than Python to launch their kernels
)
Parts = tuple[Tensor, ...]


def route_by_tiles(routing: "Routing[Any, Any]", problem: Problem) -> Parts:
    """The state after the last iteration; no more votes are held than one tile has."""
    sweeps = Sweeps(routing, problem)
    state = forward_state(sweeps, routing, problem)
    give_back(sweeps.routing, routing)
    return state


def forward_state(sweeps: "Sweeps", routing: "Routing[Any, Any]", problem: Problem) -> Parts:
    """The last state, as a function of the tensors where somebody asks for gradients."""
    tensors = (*problem.tensors, *sweeps.learned)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        state: Parts = Differentiable.apply(sweeps, *tensors)  # type: ignore[no-untyped-call]
        return as_type(sweeps.state_type, state)
    return sweeps.forward(tensors)[-1][1]


def tiles(votes: Votes, itemsize: int) -> Iterator[slice]:
    """The input capsules, a few at a time; those that compete with each other together."""
    *batch, inputs, outputs, dim = votes.shape
    bytes_each = torch.Size(batch).numel() * outputs * dim * itemsize
    together = votes.together
    length = max(1, tile_bytes(votes) // max(1, together * bytes_each)) * together
    for start in range(0, max(1, inputs), length):
        yield slice(start, min(start + length, inputs))


def on_gpu(votes: Votes) -> bool:
    """Whether they are on an NVIDIA GPU."""
    return votes.device.type == "cuda"


def tile_bytes(votes: Votes) -> int:
    """How large the votes of a tile should be."""
    if on_gpu(votes):
        memory: int = torch.cuda.get_device_properties(votes.device).total_memory
        return max(TILE_BYTES, memory // GPU_TILES)
    return TILE_BYTES


def are_ordinary(votes: Votes) -> bool:
    """Whether it is plain from the factors that no vote is so large that its square, or its product
    with a sum, overflows."""
    largest = largest_possible(votes)
    return largest is not None and bool(largest <= LARGEST)  # no NaN is


def largest_possible(votes: Votes) -> Tensor | None:
    """What no vote of these factors is larger than; None where they do not say."""
    inner = votes.votes if type(votes) is WindowVotes else votes
    if not are_plain_products(inner):
        return None
    if any(factor.numel() == 0 for factor in inner.factors):
        return torch.zeros(())
    pose, weight, *bias = (factor.detach().abs().amax().double() for factor in inner.factors)
    return pose * weight * inner.weight.shape[-1] + sum(bias)


def may_wait(votes: Votes) -> bool:
    """Whether a number may be waited for: not where there are none, or from a GPU whose work is
    captured as a graph, or where torch is asked to say who waits."""
    if not all(map(values_at_hand, votes.factors)):
        return False
    return not on_gpu(votes) or (
        torch.cuda.get_sync_debug_mode() == 0 and not torch.cuda.is_current_stream_capturing()
    )


def nan_unless_ordinary(votes: Votes, state: Parts) -> Parts:
    """A state that a kernel found of votes whose size nobody could ask for: NaN, and its gradients,
    if they are not ordinary, lest it be wrong."""
    largest = largest_possible(votes)
    assert largest is not None
    factor = torch.where(largest <= LARGEST, 1.0, torch.nan)
    return as_type(type(state), (part * factor for part in state))


def says_enough(tile: Tile, votes: Votes) -> bool:
    """Whether a tile says how large all votes for active children may be."""
    return are_ordinary(votes) and bool((tile.activation > 0).any(dim=-1).all())


def of_its_own(problem: Problem) -> Problem:
    """A problem without its tensors, whose constants nobody else can change before backward."""
    form = problem.with_tensors([tensor.to("meta") for tensor in problem.tensors])
    mask = None if form.mask is None else form.mask.clone()
    return form._replace(votes=with_own_constants(form.votes), mask=mask)


def with_own_constants(votes: Votes) -> Votes:
    """Votes that hold copies of all tensors but their factors."""
    names = getattr(votes, "__dataclass_fields__", {})  # none of a kind of one's own
    held = {name: getattr(votes, name) for name in names}
    own = {
        name: with_own_constants(value) if isinstance(value, Votes) else value.clone()
        for name, value in held.items()
        if isinstance(value, Votes)
        or (isinstance(value, Tensor) and all(value is not factor for factor in votes.factors))
    }
    return replace(votes, **own) if own else votes  # type: ignore[type-var]


def learned_by(routing: "Routing[Any, Any]") -> list[Tensor]:
    """Every tensor of a routing that it learns, or that has a gradient, once."""
    found = dict.fromkeys(
        tensor
        for _, tensor in named_tensors(routing)
        if tensor.requires_grad or isinstance(tensor, nn.Parameter)
    )
    return list(found)


class Sweeps:
    """One call of a routing by tiles: all of it but the tensors, which are handed in.

    They are those of the problem, then what the routing has learned. (Autograd keeps them; a
    second reference would keep them longer.)
    """

    def __init__(self, routing: "Routing[Any, Any]", problem: Problem) -> None:
        # Its options as they are now: backward reads them again, when they may be others.
        self.routing = module_copy(routing)
        self.learned = learned_by(routing)
        self.form = of_its_own(problem)
        self.tiles = list(tiles(problem.votes, problem.dtype.itemsize))
        self.state_type: type[Parts] = tuple
        self.draws = Draws(problem.votes.device, known=may_wait(problem.votes))

    def again(self) -> "Sweeps":
        """The same for backward, with buffers of its own: what runs a second time must not have a
        batch counted twice in running statistics, say.

        Copies, not saved and restored: another backward pass may still need them as they are.
        """
        same, learned = copy(self), set(self.learned)
        own = {buffer: buffer.clone() for buffer in self.routing.buffers() if buffer not in learned}
        same.routing = module_copy(self.routing, own)
        return same

    def split(self, tensors: Sequence[Tensor]) -> tuple[Problem, Sequence[Tensor]]:
        """The problem, and what is learned, from the tensors of a call."""
        learned = len(tensors) - len(self.learned)
        return self.form.with_tensors(tensors[:learned]), tensors[learned:]

    def call(self, name: str, learned: Sequence[Tensor], *arguments: object) -> Parts:
        """A method of the routing, with these tensors as what it has learned."""
        routing = self.routing
        if any(one is not other for one, other in zip(learned, self.learned)):
            routing = module_copy(routing, dict(zip(self.learned, learned)))
        if name == "statistics":
            found: Parts = routing.iterate(*arguments)[2]  # type: ignore[arg-type]
            return found
        settled: Parts = routing.settle(*arguments)  # type: ignore[arg-type]
        return settled

    @torch.no_grad()
    def forward(self, tensors: Sequence[Tensor]) -> list[tuple[Parts, Parts]]:
        """The statistics and the state of every iteration; before them, none and θ⁰."""
        problem, learned = self.split(tensors)
        state = self.first_state(problem)
        kept: list[tuple[Parts, Parts]] = [((), state)]
        for t in range(1, self.routing.sweeps + 1):
            statistics: Parts = ()
            for inputs in self.tiles:
                tile = problem.select(inputs).tile(inputs)
                self.draws.keep((t, inputs.start))
                found = self.call("statistics", learned, tile, state, t)
                statistics = (
                    as_type(type(found), map(torch.add, statistics, found)) if statistics else found
                )
            self.draws.keep(t)
            state = self.call("settle", learned, statistics, state, t)
            kept.append((statistics, state))
        self.draws.end()
        self.state_type = type(state)
        return kept

    def first_state(self, problem: Problem) -> Parts:
        """θ⁰, from capsules of all parts: the first ones may all be masked, or small. Where these
        say too little, from all tiles."""
        votes, routing = problem.votes, self.routing
        some = self.tiles[0]
        if votes.together == 1:
            some = slice(0, votes.shape[-3], len(self.tiles))
        tile = problem.select(some).tile(some)
        state: Parts = routing.begin(tile)
        # A GPU looks at all tiles in less time than it takes to hear from it whether it has to; and
        # a training step that waits for an answer cannot be captured as a graph.
        unknown = on_gpu(votes) or not may_wait(votes)
        if routing.widens and (unknown or not says_enough(tile, votes)):
            for inputs in self.tiles:
                other = routing.begin(problem.select(inputs).tile(inputs))
                state = routing.widen(state, other)
        return state

    def backward(
        self, tensors: Sequence[Tensor], kept: list[tuple[Parts, Parts]], of_state: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """The gradients of the tensors from those of the last state."""
        # In half precision a sum over many tiles would lose what each of them adds.
        totals = [
            torch.zeros_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32))
            for tensor in tensors
        ]
        last = self.routing.sweeps
        first = self.routing.detached_sweeps + 1 if self.routing.detach else 1
        upstream: dict[int, Parts] = {}  # S̄^t
        for t in range(last, first - 1, -1):
            statistics, before = kept[t][0], kept[t - 1][1]
            upstream[t], of_state = self.settle_backward(
                tensors, statistics, before, t, of_state, totals
            )
            if t > first:
                self.add_state_gradient(tensors, before, t, upstream[t], of_state)
        self.add_gradients(tensors, [state for _, state in kept], upstream, totals)
        return [total.to(tensor.dtype) for total, tensor in zip(totals, tensors)]

    def settle_backward(
        self,
        tensors: Sequence[Tensor],
        statistics: Parts,
        before: Parts,
        t: int,
        of_state: Sequence[Tensor],
        totals: Sequence[Tensor],
    ) -> tuple[Parts, Parts]:
        """S̄^t, and what θ^{t−1} gets by settling; the totals get what is learned gets."""
        learned = self.split(tensors)[1]
        groups = (leaves(statistics), leaves(before), leaves(learned))
        with torch.enable_grad():
            summed, state = as_type(type(statistics), groups[0]), as_type(type(before), groups[1])
            self.draws.go_to(t)
            settled = self.call("settle", groups[2], summed, state, t)
        of_statistics, of_before, of_learned = gradients(settled, groups, of_state)
        add(self.split(totals)[1], of_learned)
        # Copies: what is added to them must not reach the gradients that were handed in.
        return of_statistics, tuple(gradient.clone() for gradient in of_before)

    def add_state_gradient(
        self, tensors: Sequence[Tensor], before: Parts, t: int, upstream: Parts, of_state: Parts
    ) -> None:
        """What θ^{t−1} gets as the state that votes were scored against: one sweep."""
        problem, learned = self.split(tensors)
        for inputs in self.tiles:
            tile = problem.select(inputs).tile(inputs)
            group = leaves(before)
            with torch.enable_grad():
                state = as_type(type(before), group)
                self.draws.go_to((t, inputs.start))
                found = self.call("statistics", learned, tile.detach(), state, t)
            add(of_state, *gradients(found, [group], upstream))

    def add_gradients(
        self,
        tensors: Sequence[Tensor],
        states: Sequence[Parts],
        upstream: Mapping[int, Parts],
        totals: Sequence[Tensor],
    ) -> None:
        """What the tensors get from all iterations together: one sweep, which forms votes once."""
        problem, learned = self.split(tensors)
        of_problem, of_learned = self.split(totals)
        for inputs in self.tiles:
            part = problem.select(inputs)
            groups = (leaves(part.tensors), leaves(learned))
            found: list[Tensor] = []
            with torch.enable_grad():
                tile = part.with_tensors(groups[0]).tile(inputs)
                for t in upstream:
                    self.draws.go_to((t, inputs.start))
                    found += self.call("statistics", groups[1], tile, states[t - 1], t)
            of_part, of_parameters = gradients(found, groups, sum(upstream.values(), ()))
            add(of_problem.select(inputs).tensors, of_part)  # views of the totals
            add(of_learned, of_parameters)


class Differentiable(torch.autograd.Function):
    """The last state as a function of the tensors of a call."""

    @staticmethod
    def forward(ctx: Any, sweeps: Sweeps, *tensors: Tensor) -> Parts:
        kept = sweeps.forward(tensors)
        ctx.sweeps = sweeps
        ctx.forms = [tuple((type(part), len(part)) for part in pair) for pair in kept]
        ctx.save_for_backward(*tensors, *(x for pair in kept for part in pair for x in part))
        return tuple(kept[-1][1])

    @staticmethod
    def backward(ctx: Any, *of_state: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "routing by tiles has first derivatives only: pass backend='reference'"
            )
        refuse_odd(of_state)
        saved = iter(ctx.saved_tensors)
        tensors = [next(saved) for _ in range(len(ctx.needs_input_grad) - 1)]
        kept = [
            tuple(as_type(kind, [next(saved) for _ in range(count)]) for kind, count in pair)
            for pair in ctx.forms
        ]
        with no_autocast(of_state[0].device), ctx.sweeps.draws.again():
            return (None, *ctx.sweeps.again().backward(tensors, kept, of_state))


def as_type(kind: type[Parts], tensors: Iterable[Tensor]) -> Parts:
    """The tensors as a tuple of this type, which may have names for them."""
    make: Callable[[Iterable[Tensor]], Parts] = getattr(kind, "_make", kind)
    return make(tensors)


def leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of their own for a small graph."""
    return [tensor.detach().requires_grad_() for tensor in tensors]


def gradients(
    outputs: Sequence[Tensor], groups: Sequence[Sequence[Tensor]], upstream: Sequence[Tensor]
) -> list[Parts]:
    """The gradients of groups of leaves, group by group; zero where a leaf has no part in them."""
    wanted = [(o, g) for o, g in zip(outputs, upstream) if o.requires_grad]
    inputs = [leaf for group in groups for leaf in group]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in wanted],
            inputs,
            [g for _, g in wanted],
            allow_unused=True,
            materialize_grads=True,
        )
    )
    return [tuple(next(found) for _ in group) for group in groups]


def add(totals: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add to each total its gradient, in place."""
    for total, gradient in zip(totals, gradients, strict=True):
        total += gradient
