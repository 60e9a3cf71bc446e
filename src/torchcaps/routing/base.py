"""What a routing algorithm states, and the loop that runs it.

Nearly every published algorithm repeats, over input capsules i and output capsules j,

    R_i· = compete(score(V_ij, θ_j)),    S_j = Σ_i gather(R_ij, a_i, V_ij),    θ_j = settle(S_j)

with votes V, coupling R, activations a, and a few numbers per output capsule: the statistics S and
the state θ. An algorithm states these small functions; `Routing` checks the arguments and runs
them, with all votes at once (the readable reference, also its trace), by tiles of input capsules
(sweep.py: the votes are never held), or hands over to a fused kernel.
"""

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from torchcaps.kernels.dispatch import Call, check_backend, choose_backend, has_op, run_kernel
from torchcaps.routing.arguments import check_children, check_interests, check_sizes
from torchcaps.routing.contexts import gradients_only_if, no_autocast, unchanged_statistics
from torchcaps.routing.law import Law
from torchcaps.routing.module_copy import give_back, module_copy, named_tensors
from torchcaps.routing.packed import PackedVotes, route_packed
from torchcaps.routing.sweep import (
    are_ordinary,
    as_type,
    may_wait,
    nan_unless_ordinary,
    route_by_tiles,
)
from torchcaps.routing.tile import Problem, Tile
from torchcaps.routing.trace import RoutingTrace, Step
from torchcaps.types import Capsules, Paper, check_iterations, check_switch
from torchcaps.votes import InterestVotes, Votes, as_votes

__all__ = ["Routing"]

# Tensors `[..., J, ·]` of the output capsules; named tuples read best.
StatisticsT = TypeVar("StatisticsT", bound=tuple[Tensor, ...])
StateT = TypeVar("StateT", bound=tuple[Tensor, ...])
Build = Callable[..., Any]


def remembering(build: Build) -> Build:
    """The same method, which keeps what it was called with."""

    @functools.wraps(build)
    def remembered(routing: Any, *sizes: int, **more: Any) -> Any:
        found = build(routing, *sizes, **more)
        routing._built_for = (sizes, more)  # last by the outermost of several that call each other
        return found

    return remembered


def like(tensor: Tensor, value: Tensor) -> Tensor:
    """A value shared out over processes as a tensor is."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, mesh, getattr(tensor, "placements"))  # noqa: B009


def names_of_options(cls: type["Routing[Any, Any]"]) -> tuple[str, ...]:
    """The options of a class: the names that it takes, and, with `**kwargs`, those of its base.

    Asked for once a class: torch.compile does not follow `signature`.
    """
    taken = inspect.signature(cls).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [parameter.name for parameter in taken if parameter.kind not in several]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken):
        names += [name for name in cls.__base__.option_names if name not in names]  # type: ignore[union-attr]
    return tuple(name for name in names if name != "backend")


class Routing(nn.Module, Generic[StatisticsT, StateT]):
    """Base of the routing algorithms: `routing(votes, activation, mask)` → `Capsules`.

    A subclass takes its options by keyword, keeps each in an attribute of the same name, and states

        begin(tile)                     the state before the first iteration (default: nothing)
        view(tile, state)               the tile as an iteration sees it (default: as it is)
        start(tile)                     the first logits (default: zero: all parents alike)
        score(tile, state)              later logits: how well each vote fits each parent
        couple(tile, logits)            the coupling (default: softmax over the parents of a child)
        couple_first(tile, logits)      that of the first iteration (default: as couple)
        gather(tile, coupling, state)   statistics of each parent, summed over the tile's children
        settle(statistics, state, t)    the parents' new state, in iteration t = 1 … r
        finish(state)                   the capsules

    A tile holds some of the input capsules. So these functions must treat one child like another,
    and whatever `begin` returns must not change the result (a constant that sums are taken about).
    They may be run again for backward, with the same random numbers; what they then do to buffers
    is lost.
    Statistics and state are tuples of tensors `[..., J, ·]`, in float32 or wider.

    Args:
        iterations: r ≥ 1.
        detach: no gradient through any iteration but the last: its coupling is a constant in
            backward. The default is the full gradient.
        backend: "auto" (the fastest that can run), or one by name: "cuda" and "cpu" (fused kernels,
            where the algorithm has them), "tiles" (a few input capsules at a time, formed anew in
            backward), "reference" (all votes at once). Fused kernels and tiles have first
            derivatives only.

    Attributes:
        name: in the registry.
        paper: where the algorithm was published.
        laws: what it promises beyond what all of them do; they may depend on its options.
        sweeps: how often it goes over the votes; by default its iterations.
        makes_votes: it makes its votes itself, from the poses: a layer has no weights for it.
        takes_logits: it begins with the logits of `InterestVotes`.
        counts_absent: what it gives an output capsule depends on those that `InterestVotes` leave
            out, too; it may depend on its options.
        needs_pose: it looks at the poses of the input capsules, which formed votes do not have.
        by_tiles: it may run by tiles; False where one of its lines looks at all children.
        class_loss: the loss that suits its activations where they stand for classes: "margin" for
            lengths, "log_odds" for probabilities each by itself, "likelihood" for a distribution.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[Paper]
    needs_pose: ClassVar[bool] = False
    makes_votes: ClassVar[bool] = False
    takes_logits: ClassVar[bool] = False
    by_tiles: ClassVar[bool] = True  # False where a line looks at other children or samples
    widens: ClassVar[bool] = False  # its first state depends on the largest vote: `widen`
    class_loss: ClassVar[str] = "margin"
    option_names: ClassVar[tuple[str, ...]] = ()
    _built_for: tuple[tuple[int, ...], dict[str, Any]] | None = None
    fused: ClassVar[bool] = False  # the table of kernels has it; true of this very class alone

    def __init__(self, iterations: int = 3, *, detach: bool = False, backend: str = "auto") -> None:
        super().__init__()
        self.iterations = check_iterations(iterations)
        check_switch("detach", detach)
        check_backend(backend)
        self.detach = detach
        self.backend = backend

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass that overrides a line must not be run by a kernel that does not know it; and
        whoever writes `build`, `reset_parameters` needs to know what for."""
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = remembering(cls.build)  # type: ignore[method-assign]
        cls.fused = "fused" in vars(cls) and cls.fused
        cls.option_names = names_of_options(cls)

    if TYPE_CHECKING:

        def __call__(
            self,
            votes: Votes | Tensor,
            activation: Tensor | None = None,
            mask: Tensor | None = None,
        ) -> Capsules: ...

    # --- what an algorithm states

    @property
    def laws(self) -> frozenset[Law]:
        """What it promises, with its options as they stand, beyond what all of them do."""
        return frozenset()

    @property
    def sweeps(self) -> int:
        """How often it goes over all votes: the last t of `settle`."""
        return self.iterations

    @property
    def detached_sweeps(self) -> int:
        """How many of them have no gradient with `detach`: all but the last."""
        return self.sweeps - 1

    def reset_parameters(self) -> None:
        """Draw what `build` drew anew, in place; nothing of a routing that was not built."""
        if self._built_for is None:
            return
        sizes, more = self._built_for
        drawn = type(self)(**self.options()).build(*sizes, **more)
        values = dict(drawn.named_parameters()) | dict(drawn.named_buffers())
        with torch.no_grad():
            for name, tensor in (*self.named_parameters(), *self.named_buffers()):
                # Of another name, or form, is what a parametrization keeps: that stays as it is.
                if name in values and values[name].shape == tensor.shape:
                    tensor.copy_(like(tensor, values[name]))

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Self:
        """Make what is learned, for these numbers; layers call it. Default: nothing is.

        What `build` makes is registered as None before (`register_parameter`, `register_module`),
        so that a routing which was not built says so.
        """
        return self

    @property
    def built_for(self) -> dict[str, int]:
        """The numbers that what is learned fits, by their names in `build`; others are free.

        Votes of other numbers are refused.
        """
        return {}

    @property
    def counts_absent(self) -> bool:
        return False

    def begin(self, tile: Tile) -> StateT:
        """The state before the first iteration, from some of the input capsules; a constant in
        backward."""
        return cast(StateT, ())

    def widen(self, state: StateT, other: StateT) -> StateT:
        """Where `widens`: the state before the first iteration that suits two tiles."""
        raise NotImplementedError

    def view(self, tile: Tile, state: StateT) -> Tile:
        """What is scored and gathered in an iteration: votes about a centre, for one."""
        return tile

    def start(self, tile: Tile) -> Tensor:
        """The logits of the first iteration, `[..., i, J]`."""
        return tile.votes.new_zeros(tile.votes.shape[:-1])

    def score(self, tile: Tile, state: StateT) -> Tensor:
        """The logits of a later iteration, `[..., i, J]`; an algorithm of one has none."""
        raise NotImplementedError

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        """The coupling, `[..., i, J]`."""
        return tile.compete(logits)

    def couple_first(self, tile: Tile, logits: Tensor) -> Tensor:
        """The coupling of the first iteration, `[..., i, J]`."""
        return self.couple(tile, logits)

    @abstractmethod
    def gather(self, tile: Tile, coupling: Tensor, state: StateT) -> StatisticsT:
        """The statistics of each parent, summed over the children in the tile."""
        raise NotImplementedError

    def begin_packed(self, votes: PackedVotes) -> StateT:
        """As `begin`, for the kernels of sums."""
        return cast(StateT, ())

    def sweep_packed(self, votes: PackedVotes, state: StateT, t: int) -> StatisticsT:
        """The statistics of iteration t from all children, by a kernel of sums."""
        raise NotImplementedError

    @abstractmethod
    def settle(self, statistics: StatisticsT, state: StateT, t: int) -> StateT:
        """The state of the parents after iteration t."""
        raise NotImplementedError

    @abstractmethod
    def finish(self, state: StateT) -> Capsules:
        """The capsules of the last state."""
        raise NotImplementedError

    # --- what runs it

    def forward(
        self,
        votes: Votes | Tensor,
        activation: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Capsules:
        """Route input capsules to output capsules.

        Args:
            votes: `[..., I, J, D]`, or `Votes` of that shape. Half precision is computed in
                float32, under autocast too.
            activation: `[..., I]`, of the input capsules, in [0, 1]; default: all 1. An algorithm
                that knows no activations does not look at it.
            mask: `[..., I]` bool, False for padding: such a capsule has no effect on any output or
                gradient, not even if it is NaN. Default: all count. A child that competes over
                several positions (`WindowVotes`, `MapVotes`) is masked at all of them or at none:
                a place that is masked by itself would still take its share.

        Returns:
            `Capsules(pose [..., J, D], activation [..., J])`, in the dtype of the votes. Each
            sample is routed by itself.

        Raises:
            ValueError: a shape or an option out of range, or a backend that cannot route these
                votes (with the reasons). TypeError: another type.
        """
        votes, activation = self.check_arguments(votes, activation, mask)
        if narrow := self.narrow_tensors(votes):
            wide = module_copy(self, narrow)
            routed = wide.forward(votes, activation, mask)
            give_back(wide, self, narrow)
            return routed
        call = self.call(votes)
        backend = choose_backend(self.backend, call)
        with no_autocast(votes.device):
            if has_op(backend, call):
                capsules = run_kernel(backend, call, mask)
            else:
                problem = Problem.of(votes, activation, mask)
                if backend in ("cuda", "cpu") and not may_wait(votes):
                    packed = route_packed(self, problem, backend)
                    state = cast(StateT, nan_unless_ordinary(problem.votes, packed))
                elif backend in ("cuda", "cpu") and are_ordinary(problem.votes):
                    state = cast(StateT, route_packed(self, problem, backend))
                elif backend in ("cuda", "cpu", "tiles"):
                    state = cast(StateT, route_by_tiles(self, problem))
                else:
                    *_, step = self.steps(problem)
                    state = cast(StateT, step.state)
                capsules = self.finish(state)
        dtype = votes.dtype
        return Capsules(*(part.to(dtype) for part in capsules))

    def call(self, votes: Votes) -> Call:
        """What is asked of a backend; a class that overrides a line of another has no kernels."""
        return Call(self.name, self.options(), votes, self.fused, self.by_tiles)

    def trace(
        self,
        votes: Votes | Tensor,
        activation: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> RoutingTrace:
        """The same routing with all votes at once, every iteration kept; arguments as `forward`."""
        votes, activation = self.check_arguments(votes, activation, mask)
        if narrow := self.narrow_tensors(votes):
            return module_copy(self, narrow).trace(votes, activation, mask)
        with no_autocast(votes.device), unchanged_statistics(self):
            steps = list(self.steps(Problem.of(votes, activation, mask)))
            capsules = [self.finish(cast(StateT, step.state)) for step in steps]
        logits, coupling = [s.logits for s in steps], [s.coupling for s in steps]
        parts = (logits, coupling, *zip(*capsules))
        return RoutingTrace(*(torch.stack(list(part)).to(votes.dtype) for part in parts))

    def steps(self, problem: Problem) -> Iterator[Step]:
        """The reference: every iteration, with all votes at once."""
        # Of no input capsules, nothing of what is learned for each.
        tile = problem.tile(slice(None) if problem.votes.shape[-3] else slice(0))
        state = self.begin(tile.detach())
        for t in range(1, self.sweeps + 1):
            wanted = t > self.detached_sweeps or not self.detach
            with gradients_only_if(wanted):
                logits, coupling, statistics = self.iterate(tile, state, t)
                state = self.settle(statistics, state, t)
            if not wanted:  # forward-mode derivatives know no `no_grad`
                state = cast(StateT, as_type(type(state), (part.detach() for part in state)))
            yield Step(logits, coupling, state)

    def iterate(self, tile: Tile, state: StateT, t: int) -> tuple[Tensor, Tensor, StatisticsT]:
        """Iteration t on a tile: logits and coupling `[..., i, J]`, and what it adds to the
        statistics. Masked children are coupled to none."""
        seen = self.view(tile, state)
        with gradients_only_if(not self.detach):
            logits = self.start(seen) if t == 1 else self.score(seen, state)
            couple = self.couple_first if t == 1 else self.couple
            coupling = tile.source.without_absent(tile.without_masked(couple(seen, logits)))
        if self.detach:
            coupling = coupling.detach()  # for forward mode, as in `steps`
        return logits, coupling, self.gather(seen, coupling, state)

    def narrow_tensors(self, votes: Votes) -> dict[Tensor, Tensor]:
        """What is learned in fewer bits than it is computed in, and the same with as many: a sum of
        both is no operation of torch's.

        Running statistics are among them in evaluation alone; in training they would be lost.

        Raises:
            TypeError: something learned has more bits than it is computed in.
        """
        wanted = torch.promote_types(votes.dtype, torch.float32)
        narrow = {}
        for name, tensor in named_tensors(self):
            learned = isinstance(tensor, nn.Parameter) or tensor.requires_grad
            is_buffer = any(tensor is buffer for buffer in self.buffers())
            counts = not self.training if is_buffer else learned
            if not counts or not tensor.is_floating_point():
                continue
            if tensor.dtype.itemsize > wanted.itemsize:
                raise TypeError(
                    f"votes are {votes.dtype} and {name} of {type(self).__name__} is "
                    f"{tensor.dtype}: convert the votes, or the routing with its .float()"
                )
            if tensor.dtype.itemsize < wanted.itemsize:
                narrow[tensor] = tensor.to(wanted)
        return narrow

    def check_arguments(
        self, votes: Votes | Tensor, activation: Tensor | None, mask: Tensor | None
    ) -> tuple[Votes, Tensor | None]:
        """Votes and activation as routing takes them.

        Raises:
            ValueError, TypeError: options, votes, activations or a mask that routing cannot take.
        """
        check_iterations(self.iterations)
        if None in (*self._parameters.values(), *self._modules.values()):
            raise ValueError(
                f"{type(self).__name__} learns parameters and does not have them yet: hand it to a "
                "layer, or call build(in_caps, in_dim, out_caps, out_dim)"
            )
        votes = as_votes(votes)
        if self.training and votes.dtype == torch.float64:
            for name, statistic in self.named_buffers():
                if statistic.dtype == torch.float32:
                    raise TypeError(
                        f"votes are torch.float64 and {name} of {type(self).__name__} is "
                        "torch.float32: convert the votes, or the routing with its .double()"
                    )
        check_sizes(votes, self.built_for, type(self).__name__)
        if self.needs_pose and votes.in_pose is None:
            raise ValueError(
                f"{type(self).__name__} needs the poses of the input capsules, and these votes are "
                "formed already: pass LinearVotes(pose, weight)"
            )
        if isinstance(votes, InterestVotes):
            check_interests(
                votes,
                type(self).__name__,
                takes_logits=self.takes_logits,
                counts_absent=self.counts_absent,
            )
        check_children(votes, activation, mask)
        return votes, activation

    # --- how a layer that votes for this routing begins, and learns

    def initial_vote_length(
        self, in_caps: int, out_caps: int, out_dim: int, length: float
    ) -> float:
        """The length that votes should have before training.

        Args:
            in_caps, out_caps, out_dim: I, J and D of the layer.
            length: that the output capsules should have then, where it is their activation.

        Returns:
            For a routing whose poses are means of the votes: 0.2, which trains.
        """
        return 0.2

    def vote_gain(self, in_caps: int, out_caps: int) -> float:
        """By how much a pose moves, per unit, where all the votes for it move alike.

        Args:
            in_caps, out_caps: I and J of the layer.

        Returns:
            For a mean of the votes 1; for their sum, of which each input capsule gives 1/J, I/J.
        """
        return 1.0

    # --- what is saved, and shown

    def options(self) -> dict[str, Any]:
        """The options as they stand, by name, as JSON values; the backend is not among them."""
        return {name: getattr(self, name) for name in self.option_names}

    def extra_repr(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self.options().items()]
        return ", ".join([*shown, f"backend={self.backend!r}"])
