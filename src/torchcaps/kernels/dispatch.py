"""The backends: which fused kernel, if any, can route these votes here, and the reasons why not."""

import logging
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchcaps.kernels.autograd import is_watched
from torchcaps.kernels.flops import count_flops
from torchcaps.types import Capsules, is_exporting, values_at_hand
from torchcaps.votes import LinearVotes, MatrixVotes, Votes, WindowVotes
from torchcaps.votes.weighted import are_plain_products

__all__ = [
    "BACKENDS",
    "Call",
    "backends_of",
    "check_backend",
    "choose_backend",
    "has_op",
    "run_kernel",
]

logger = logging.getLogger("torchcaps")
# Fastest first. Every routing has the last two: by tiles of input capsules, and all votes at once.
BACKENDS = ("cuda", "cpu", "tiles", "reference")
LARGEST_D = 512  # components of an output capsule in a tile of the GPU kernel
LARGEST_D_OF_SUMS = 128  # the same of the GPU kernel of sums
WORTH_TILES = 2**23  # bytes of votes; fewer are as fast when they are held at once
WORTH_GPU_TILES = 128  # parts of a GPU's memory: backward holds several times the votes


def _dynamic_cuda(watched: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    from torchcaps.kernels.dynamic_cuda.op import Route, routing_cuda

    return routing_cuda if watched else Route.apply


def _dynamic_cpu(watched: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    from torchcaps.kernels.dynamic_cpu.op import route_alone, routing_cpu

    # The first call of an op imports torch._dynamo, which takes as long as torch itself, and every
    # call takes longer, with backward by 0.1 ms: much for a single image.
    return routing_cpu if watched else route_alone


class Kernel(NamedTuple):
    """A fused kernel: the package that it is written in, its op, and what loads that.

    `load` is told whether anything but autograd watches the call (`is_watched`). Where nothing
    does, it gives the function within the op, which begins sooner.
    """

    package: str
    op: str = ""
    load: Callable[[bool], Callable[..., tuple[Tensor, Tensor]]] | None = None


# Algorithm and backend → kernel. Those with an op do all iterations; SUMS take the sums over votes
# between one state and the next.
SUMS = {"cuda": Kernel("triton"), "cpu": Kernel("numba")}
KERNELS = {
    ("dynamic", "cuda"): Kernel("triton", "routing_cuda", _dynamic_cuda),
    ("dynamic", "cpu"): Kernel("numba", "routing_cpu", _dynamic_cpu),
    **{
        (name, backend): kernel
        for name in ("attention", "em", "self_attention", "self_routing", "variational")
        for backend, kernel in SUMS.items()
    },
}
# The kernels compute these values of options alone; with another one they do not run.
PLAIN = {
    "squash": "squash", "coupling": "softmax", "scale": 1, "accumulate": True,
    "learned_bias": False, "covariance": "diagonal", "evidence_floor": 0,
}  # fmt: skip
WORTH_SUMS = 2**20  # bytes of votes; fewer are as fast when they are held at once
THERE = {kernel.package: find_spec(kernel.package) is not None for kernel in KERNELS.values()}
JIT_DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "").strip() not in ("", "0")
_said: set[tuple[str, str]] = set()


class Call(NamedTuple):
    """What is asked of a backend.

    Attributes:
        routing: the algorithm's name.
        options: of the algorithm.
        votes: that are routed.
        fused: whether the kernels of that name compute it.
        by_tiles: whether the algorithm may see some of the votes at a time.
    """

    routing: str
    options: Mapping[str, Any]
    votes: Votes
    fused: bool = True
    by_tiles: bool = True


def choose_backend(asked: str, call: Call) -> str:
    """The backend that runs: the one asked for by name, or with "auto" the fastest that can.

    Raises:
        ValueError: an unknown name, or one that cannot run on these votes, with every reason.
    """
    check_backend(asked)
    if asked != "auto":
        if reasons := reasons_against(asked, call):
            raise ValueError(f"backend {asked!r} cannot route these votes: {'; '.join(reasons)}")
        return asked
    elsewhere = {"cuda", "cpu"} - {call.votes.device.type}  # which need not be asked
    there = (name for name in BACKENDS if name not in elsewhere)
    chosen = next(name for name in there if not reasons_against(name, call, worth=True))
    if not torch.compiler.is_compiling():
        _say_once(call.routing, chosen)
    return chosen


def check_backend(name: str) -> None:
    """Raise unless a backend has this name."""
    known = ("auto", *BACKENDS)
    if name not in known:
        raise ValueError(f"backend must be one of {', '.join(known)}, got {name!r}")


def backends_of(routing: str) -> dict[str, str | None]:
    """Every backend, and the reason why it cannot run this algorithm on this machine (None: it
    can)."""
    reasons: dict[str, str | None] = dict.fromkeys(BACKENDS)
    for name in ("cuda", "cpu"):
        reasons[name] = _no_kernel(routing, name)
    if reasons["cuda"] is None and not torch.cuda.is_available():
        reasons["cuda"] = "torch sees no NVIDIA GPU"
    return reasons


def reasons_against(backend: str, call: Call, *, worth: bool = False) -> list[str]:
    """Why a backend cannot run a call (with `worth`: or should not); empty where it can."""
    if backend == "reference":
        return []
    votes = call.votes
    reasons = []
    fused = call.routing if call.fused else ""
    if backend != "tiles" and (missing := _no_kernel(fused, backend)) is not None:
        reasons.append(missing)
    if is_exporting():
        # Nothing else is asked: to look at a size would be to fix it in the program.
        return [*reasons, "an exported program cannot hold it"]
    if _transformed():
        reasons.append("it has reverse-mode derivatives only, outside torch.func")
    if backend == "tiles":
        reasons += _against_tiles(call, worth)
    elif (kernel := KERNELS.get((fused, backend))) is not None and kernel.load is None:
        reasons += _against_sums(backend, call, worth)
    elif are_plain_products(votes) and isinstance(votes, LinearVotes):
        reasons += _against_fused(backend, votes, call.options)
    else:
        these = "are formed already" if votes.formed else f"are {type(votes).__name__}"
        return [*reasons, f"it takes LinearVotes, and these {these}"]
    if 0 in votes.shape or any(0 in factor.shape for factor in votes.factors):
        reasons.append("there are no votes")
    return reasons


def _against_tiles(call: Call, worth: bool) -> list[str]:
    votes = call.votes
    reasons = [] if call.by_tiles else ["this routing looks at all votes at once"]
    if torch.compiler.is_compiling():
        reasons.append("a compiled graph cannot hold it")
    if worth and votes.formed:
        reasons.append("the votes are formed already, so that it saves no memory")
    elif worth and votes.shape.numel() * votes.dtype.itemsize < _worth_tiles(votes.device):
        reasons.append("there are few votes, which are as fast when they are held at once")
    return reasons


def _worth_tiles(device: torch.device) -> int:
    """From how many bytes of votes on tiles are worth it."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // WORTH_GPU_TILES
    return WORTH_TILES


def _against_sums(backend: str, call: Call, worth: bool) -> list[str]:
    votes = call.votes
    inner = votes.votes if type(votes) is WindowVotes else votes
    reasons = _against_options(call.options)
    if not are_plain_products(inner):
        these = "are formed already" if votes.formed else f"are {type(votes).__name__}"
        reasons.append(f"it takes LinearVotes and MatrixVotes, and these {these}")
    elif len(inner.weight) != inner.pose.shape[-2]:
        reasons.append("it takes weights of each input capsule's own")
    elif isinstance(inner, MatrixVotes) and inner.bias is not None:
        reasons.append("it takes MatrixVotes without a bias")
    if isinstance(votes, WindowVotes) and call.routing == "self_routing":
        reasons.append("here children compete in one window at a time")
    reasons += _against_device(backend, votes, LARGEST_D_OF_SUMS)
    if not all(map(values_at_hand, votes.factors)):
        reasons.append("the votes are recorded, or of a kind of tensors that it does not know")
    if torch.compiler.is_compiling():
        reasons.append("a compiled graph cannot hold it")
    elif worth and backend == "cuda":
        reasons.append("its results were not tested on a GPU yet: ask for it by name")
    elif worth and votes.shape.numel() * votes.dtype.itemsize < WORTH_SUMS:
        reasons.append("there are few votes, which are as fast when they are held at once")
    return reasons


def _against_device(backend: str, votes: Votes, largest: int) -> list[str]:
    reasons = []
    if votes.device.type != backend:
        reasons.append(f"the votes are on {votes.device}")
    elif backend == "cuda" and torch.cuda.get_device_capability(votes.device) < (8, 0):
        reasons.append("the GPU is older than compute capability 8.0")
    if backend == "cuda" and votes.shape[-1] > largest:
        reasons.append(f"it takes output capsules of up to {largest} components")
    return reasons


def _against_options(options: Mapping[str, Any]) -> list[str]:
    return [
        f"it computes {name}={PLAIN[name]!r} alone, and this has {value!r}"
        for name, value in options.items()
        if name in PLAIN and value != PLAIN[name]
    ]


def _against_fused(backend: str, votes: LinearVotes, options: Mapping[str, Any]) -> list[str]:
    reasons = _against_options(options)
    reasons += _against_device(backend, votes, LARGEST_D)
    if backend == "cuda" and votes.dtype == torch.float64:
        reasons.append("it computes in float32, and the votes are float64")
    return reasons


def has_op(backend: str, call: Call) -> bool:
    """Whether `run_kernel` runs this call: one op does all iterations."""
    kernel = KERNELS.get((call.routing, backend))
    return kernel is not None and kernel.load is not None


def run_kernel(backend: str, call: Call, mask: Tensor | None) -> Capsules:
    """Route by a fused kernel, in float32 or wider."""
    votes = call.votes
    assert isinstance(votes, LinearVotes)
    kernel = KERNELS[call.routing, backend]
    assert kernel.load is not None
    dtype = votes.dtype
    if backend == "cpu":  # the products of the other take half precision as it is
        dtype = torch.promote_types(dtype, torch.float32)
    pose, weight = votes.pose.to(dtype), votes.weight.to(dtype)
    if votes.bias is not None:  # a vote for a pose component that is always 1
        pose = torch.cat([pose, pose.new_ones(*pose.shape[:-1], 1)], dim=-1)
        inputs = max(len(weight), *votes.bias.shape[:-2], 1)
        shape = (inputs, *weight.shape[1:3])
        columns = [weight.expand(*shape, -1), votes.bias.to(dtype).expand(shape).unsqueeze(-1)]
        weight = torch.cat(columns, dim=-1)
    if mask is not None:
        pose = pose.masked_fill(~mask.unsqueeze(-1), 0)
    flat = pose.reshape(-1, *pose.shape[-2:])
    flat, weight = flat.resolve_neg(), weight.resolve_neg()  # of what was the part of a conjugate
    options = (call.options[name] for name in ("iterations", "leaky", "detach"))
    watched = is_watched(flat, weight)
    op = kernel.load(watched)
    if watched:
        count_flops(kernel.op)
    routed = op(flat, weight, *options)[0]
    pose = routed.view(*pose.shape[:-2], *routed.shape[1:])
    return Capsules(pose, torch.linalg.vector_norm(pose, dim=-1))


def _transformed() -> bool:
    """Within a transform of torch.func, or a level of forward-mode differentiation."""
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._are_functorch_transforms_active()
    return functorch or torch.autograd.forward_ad._current_level >= 0


def _no_kernel(routing: str, backend: str) -> str | None:
    """Why there is no kernel of this algorithm here; None where there is one."""
    kernel = KERNELS.get((routing, backend))
    if kernel is None:
        return "this routing has no such kernel"
    if not THERE[kernel.package]:
        return f"{kernel.package} is not installed"
    if kernel.package == "numba" and JIT_DISABLED:
        return "Numba is told not to compile (NUMBA_DISABLE_JIT)"
    return None


def _say_once(routing: str, backend: str) -> None:
    if (routing, backend) not in _said:
        _said.add((routing, backend))
        if JIT_DISABLED:
            logger.warning("NUMBA_DISABLE_JIT is set: routing on the CPU goes without its kernel")
        logger.info("%s routing runs on the backend %r", routing, backend)
