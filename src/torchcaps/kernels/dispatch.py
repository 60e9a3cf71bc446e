"""Which kernel can route these votes here, and for what reasons the others cannot."""

import logging
from importlib.util import find_spec

import torch
from torch import Tensor

from torchcaps.types import LinearVotes, Votes

__all__ = ["check_backend", "choose_backend", "fused_pose", "installed_backends"]

logger = logging.getLogger("torchcaps")
NUMBA_IS_THERE = find_spec("numba") is not None  # finds it without importing it
_said: set[str] = set()


def choose_backend(asked: str, votes: Votes) -> str:
    """The backend that runs: the one asked for by name, or with "auto" the fastest that can.

    Raises:
        ValueError: an unknown name, or one that cannot run on these votes, with every reason.
    """
    check_backend(asked)
    if asked == "reference":
        return asked
    reasons = reasons_against_cpu(votes)
    if asked == "cpu" and reasons:
        raise ValueError(f"backend 'cpu' cannot route these votes: {'; '.join(reasons)}")
    chosen = "reference" if reasons else "cpu"
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
    return {"cpu": _numba_is_missing(), "reference": None}


def reasons_against_cpu(votes: Votes) -> list[str]:
    """Why the CPU kernel cannot route these votes; empty where it can."""
    reasons = [] if (missing := _numba_is_missing()) is None else [missing]
    if torch.compiler.is_exporting():
        reasons.append("an exported program cannot hold it")
    if _transformed():
        reasons.append("it has reverse-mode derivatives only, outside torch.func")
    if not isinstance(votes, LinearVotes):
        return [*reasons, "it takes LinearVotes, and these are formed already"]
    if votes.pose.device.type != "cpu":
        reasons.append(f"the votes are on {votes.pose.device}")
    if 0 in votes.pose.shape or 0 in votes.weight.shape:
        reasons.append("there are no votes")
    return reasons


def fused_pose(
    votes: LinearVotes, iterations: int, mask: Tensor | None, leaky: bool, detach: bool
) -> Tensor:
    """v^r `[..., J, D]` by the CPU kernel, in float32 or wider."""
    from torchcaps.kernels.cpu import routing_cpu

    votes = votes.to(torch.promote_types(votes.dtype, torch.float32))
    pose, weight = votes.pose, votes.weight
    if votes.bias is not None:  # a vote for a pose component that is always 1
        pose = torch.cat([pose, pose.new_ones(*pose.shape[:-1], 1)], dim=-1)
        bias = votes.bias.expand(weight.shape[:3])
        weight = torch.cat([weight, bias.unsqueeze(-1)], dim=-1)
    if mask is not None:
        pose = pose.masked_fill(~mask.unsqueeze(-1), 0)
    batch = pose.shape[:-2]
    flat = pose.reshape(-1, *pose.shape[-2:])
    routed: Tensor = routing_cpu(flat, weight, iterations, leaky, detach)[0]
    return routed.view(*batch, *routed.shape[1:])


def _transformed() -> bool:
    """Within a transform of torch.func, or a level of forward-mode differentiation."""
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._are_functorch_transforms_active()
    return functorch or torch.autograd.forward_ad._current_level >= 0


def _numba_is_missing() -> str | None:
    return None if NUMBA_IS_THERE else "Numba is not installed"


def _say_once(backend: str) -> None:
    if backend not in _said:
        _said.add(backend)
        logger.info("dynamic routing runs on the backend %r", backend)
