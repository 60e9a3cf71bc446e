"""Which kernel can route these votes here, and for what reasons the others cannot."""

import logging
from importlib.util import find_spec

import torch
from torch import Tensor

from torchcaps.types import LinearVotes, Votes

__all__ = ["check_backend", "choose_backend", "fused_pose", "installed_backends"]

logger = logging.getLogger("torchcaps")
LARGEST_D = 512  # components of an output capsule in a tile of the GPU kernel
FUSED = {"cuda": "triton", "cpu": "numba"}  # fastest first, and what each is written in
THERE = {name: find_spec(package) is not None for name, package in FUSED.items()}  # not imported
_said: set[str] = set()


def choose_backend(asked: str, votes: Votes) -> str:
    """The backend that runs: the one asked for by name, or with "auto" the fastest that can.

    Raises:
        ValueError: an unknown name, or one that cannot run on these votes, with every reason.
    """
    check_backend(asked)
    if asked == "reference":
        return asked
    reasons = {name: reasons_against(name, votes) for name in FUSED if asked in ("auto", name)}
    if asked != "auto" and reasons[asked]:
        raise ValueError(f"backend {asked!r} cannot route these votes: {'; '.join(reasons[asked])}")
    chosen = next((name for name in reasons if not reasons[name]), "reference")
    if not torch.compiler.is_compiling():
        _say_once(chosen)
    return chosen


def check_backend(name: str) -> None:
    """Raise unless a backend has this name."""
    known = ("auto", *installed_backends())
    if name not in known:
        raise ValueError(f"backend must be one of {', '.join(known)}, got {name!r}")


def installed_backends() -> dict[str, str | None]:
    """Every backend, and the reason why it cannot run on this machine at all (None: it can)."""
    no_gpu = None if torch.cuda.is_available() else "torch sees no NVIDIA GPU"
    return {"cuda": _missing("cuda") or no_gpu, "cpu": _missing("cpu"), "reference": None}


def reasons_against(backend: str, votes: Votes) -> list[str]:
    """Why a fused kernel cannot route these votes; empty where it can."""
    reasons = [] if (missing := _missing(backend)) is None else [missing]
    if torch.compiler.is_exporting():
        reasons.append("an exported program cannot hold it")
    if _transformed():
        reasons.append("it has reverse-mode derivatives only, outside torch.func")
    if not isinstance(votes, LinearVotes):
        return [*reasons, "it takes LinearVotes, and these are formed already"]
    if votes.pose.device.type != backend:
        reasons.append(f"the votes are on {votes.pose.device}")
    elif backend == "cuda" and torch.cuda.get_device_capability(votes.pose.device) < (8, 0):
        reasons.append("the GPU is older than compute capability 8.0")
    if backend == "cuda" and votes.dtype == torch.float64:
        reasons.append("it computes in float32, and the votes are float64")
    if backend == "cuda" and votes.shape[-1] > LARGEST_D:
        reasons.append(f"it takes output capsules of up to {LARGEST_D} components")
    if 0 in votes.pose.shape or 0 in votes.weight.shape:
        reasons.append("there are no votes")
    return reasons


def fused_pose(
    backend: str,
    votes: LinearVotes,
    iterations: int,
    mask: Tensor | None,
    leaky: bool,
    detach: bool,
) -> Tensor:
    """v^r `[..., J, D]` by a fused kernel, in float32 or wider."""
    if backend == "cuda":  # its products take half precision as it is
        from torchcaps.kernels.cuda import routing_cuda as op

        votes = votes.to(votes.dtype)
    else:
        from torchcaps.kernels.cpu import routing_cpu as op

        votes = votes.to(torch.promote_types(votes.dtype, torch.float32))
    pose, weight = votes.pose, votes.weight
    if votes.bias is not None:  # a vote for a pose component that is always 1
        pose = torch.cat([pose, pose.new_ones(*pose.shape[:-1], 1)], dim=-1)
        inputs = max(len(weight), *votes.bias.shape[:-2], 1)
        shape = (inputs, *weight.shape[1:3])
        columns = [weight.expand(*shape, -1), votes.bias.expand(shape).unsqueeze(-1)]
        weight = torch.cat(columns, dim=-1)
    if mask is not None:
        pose = pose.masked_fill(~mask.unsqueeze(-1), 0)
    batch = pose.shape[:-2]
    flat = pose.reshape(-1, *pose.shape[-2:])
    routed: Tensor = op(flat, weight, iterations, leaky, detach)[0]
    return routed.view(*batch, *routed.shape[1:])


def _transformed() -> bool:
    """Within a transform of torch.func, or a level of forward-mode differentiation."""
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._are_functorch_transforms_active()
    return functorch or torch.autograd.forward_ad._current_level >= 0


def _missing(backend: str) -> str | None:
    """The package that a backend needs and does not find."""
    return None if THERE[backend] else f"{FUSED[backend]} is not installed"


def _say_once(backend: str) -> None:
    if backend not in _said:
        _said.add(backend)
        logger.info("dynamic routing runs on the backend %r", backend)
