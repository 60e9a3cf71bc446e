"""The equations of routing as pure functions: squash, agreement, and safe forms of numbers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.types import check_float_tensor, is_exporting
from torchcaps.votes import Votes

__all__ = [
    "SQUASHES",
    "agreement",
    "half_squash",
    "soft_squash",
    "squash",
]


def squash(s: Tensor, dim: int = -1) -> Tensor:
    """Shrink short vectors to almost zero and long ones to a length slightly below 1.

    v = |s|² / (1 + |s|²) · s / |s|      (Eq 1)

    Args:
        s: total inputs, any shape; floating point. Half precision is computed in float32.
        dim: the axis that holds the components of one capsule.

    Returns:
        v, shape and dtype of `s`, with 0 ≤ |v| ≤ 1 and the direction of s. squash(0) = 0 with zero
        gradient; there is no epsilon, and neither 1e-30 nor 1e30 over- or underflows to NaN.

    Raises:
        TypeError: `s` is not a floating-point tensor.
        IndexError: `s` has no axis `dim`.
        ValueError: that axis is empty: a capsule has no components.

    Reference: Sabour, Frosst, Hinton (2017), Eq 1.

    Example:
        >>> squash(torch.tensor([3.0, 4.0]))  # length 5 becomes 25/26
        tensor([0.5769, 0.7692])
    """
    return _squash(s, dim, half_length=1.0)


def half_squash(s: Tensor, dim: int = -1) -> Tensor:
    """Squash that reaches a length of ½ at |s| = 1/√2 already.

    v = |s|² / (½ + |s|²) · s / |s|

    Args, returns and raises: as `squash`.

    Reference: Zhang, Zhao, Wu, Zhao (2018), *Fast Dynamic Routing Based on Weighted Kernel Density
    Estimation*, after the code of Zhao et al. (2019), NLP-Capsule.

    Example:
        >>> half_squash(torch.tensor([3.0, 4.0]))  # length 5 becomes 25/25.5
        tensor([0.5882, 0.7843])
    """
    return _squash(s, dim, half_length=0.5**0.5)


def _squash(s: Tensor, dim: int, half_length: float) -> Tensor:
    """|s|² / (half_length² + |s|²) · s / |s|: of length ½ where |s| = half_length."""
    check_float_tensor("s", s)
    unit, length = direction_and_length(accumulated(s), dim)
    length = length.clamp(max=torch.finfo(length.dtype).max)  # 33 numbers of 1e38 are longer
    half = torch.full_like(length, half_length)
    v = unit * (length / hypotenuse(length, half)).square()
    return v.to(s.dtype)


def soft_squash(s: Tensor, dim: int = -1) -> Tensor:
    """Squash that leaves short vectors almost as long as they are.

    v = (1 − e^−|s|) · s / |s|

    Args, returns and raises: as `squash`, but the gradient at s = 0 is 1.

    Reference: Mazzia, Salvetti, Chiaberge (2021), *Efficient-CapsNet*, Scientific Reports 11.

    Example:
        >>> soft_squash(torch.tensor([3.0, 4.0]))  # length 5 becomes 1 − e^−5
        tensor([0.5960, 0.7946])
    """
    check_float_tensor("s", s)
    x = accumulated(s)
    unit, length = direction_and_length(x, dim)
    return torch.where(length == 0, x, unit * -torch.expm1(-length)).to(s.dtype)


def direction(s: Tensor, dim: int = -1) -> Tensor:
    """s / |s|; 0 for a zero vector.

    Args, returns and raises: as `squash`, but the gradient grows as s gets shorter.

    Example:
        >>> direction(torch.tensor([3.0, 4.0]))
        tensor([0.6000, 0.8000])
    """
    check_float_tensor("s", s)
    return direction_and_length(accumulated(s), dim)[0].to(s.dtype)


# By the names that options take.
SQUASHES = {
    "squash": squash,
    "half": half_squash,
    "soft": soft_squash,
    "direction": direction,
}


def direction_and_length(s: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """s / |s| and |s| (with `dim` kept), neither over- nor underflowing; 0 and 0 for a zero vector.

    Example:
        >>> direction_and_length(torch.tensor([3e30, 4e30]))
        (tensor([0.6000, 0.8000]), tensor([5.0000e+30]))
    """
    # The largest component is taken out before squaring; being a constant of the algebra (it
    # cancels), it needs no gradient.
    if not -max(1, s.dim()) <= dim < max(1, s.dim()):
        raise IndexError(f"dim must be an axis of s, which has {s.dim()}, got {dim}")
    if s.dim() and s.shape[dim] == 0:
        raise ValueError(f"s must have at least one component a capsule, got {tuple(s.shape)}")
    scale = s.detach().abs().amax(dim, keepdim=True)
    zero = scale == 0
    x = s / scale.masked_fill(zero, 1)
    # In [1, √D] — and 1 for a zero vector, so that √ has a gradient there.
    norm = (x * x).sum(dim, keepdim=True).masked_fill(zero, 1).sqrt()
    return x / norm, scale * norm


def hypotenuse(a: Tensor, b: Tensor) -> Tensor:
    """√(a² + b²) of numbers that are not both zero; no square over- or underflows.

    Example:
        >>> hypotenuse(torch.tensor([3e30]), torch.tensor([4e30]))
        tensor([5.0000e+30])
    """
    if not is_exporting():
        return torch.hypot(a, b)
    larger = torch.maximum(a.abs(), b.abs())  # ONNX has no hypot
    return larger * ((a / larger).square() + (b / larger).square()).sqrt()


def of_ordinary_size(s: Tensor, ordinary: float = 1e6) -> Tensor:
    """s shortened to what is ordinary where it is larger: what a LayerNorm, which does not see the
    size (but for its ε, which is nothing beside 1e6), takes without overflow.

    Example:
        >>> of_ordinary_size(torch.tensor([[1.0, 2.0], [1e30, 2e30]])).tolist()
        [[1.0, 2.0], [500000.0, 1000000.0]]
    """
    size = s.detach().abs().amax(dim=-1, keepdim=True)
    return s / torch.where(size > ordinary, size / ordinary, torch.ones_like(size))


def constant_if_huge(logits: Tensor) -> Tensor:
    """The logits, without a gradient where their square, times a factor of some hundred, overflows.

    There a softmax has saturated, and what is left of its gradient is rounding, which votes of that
    size would blow up.

    Example:
        >>> logits = torch.tensor([1.0, 1e30], requires_grad=True)
        >>> torch.autograd.grad(constant_if_huge(logits).sum(), logits)
        (tensor([1., 0.]),)
    """
    huge = logits.abs() > torch.finfo(logits.dtype).max ** 0.5 / 32
    return torch.where(huge, logits.detach(), logits)


def max_min(logits: Tensor) -> Tensor:
    """Logits `[..., i, J]` stretched to [0, 1] over the parents of a child; 1 where all are equal.

    Example:
        >>> max_min(torch.tensor([[1.0, 2.0, 5.0], [3.0, 3.0, 3.0]]))
        tensor([[0.0000, 0.2500, 1.0000],
                [1.0000, 1.0000, 1.0000]])
    """
    if logits.shape[-1] == 0:
        return logits
    least, most = logits.amin(dim=-1, keepdim=True), logits.amax(dim=-1, keepdim=True)
    extent = most - least
    equal = extent < torch.finfo(extent.dtype).tiny
    stretched = (logits - least) / torch.where(equal, torch.ones_like(extent), extent)
    return torch.where(equal, torch.ones_like(stretched), stretched)


def log_sigmoid(x: Tensor) -> Tensor:
    """ln σ(x), exact for numbers of any size.

    Example:
        >>> log_sigmoid(torch.tensor([0.0, -40.0]))
        tensor([ -0.6931, -40.0000])
    """
    if not is_exporting():
        return F.logsigmoid(x)
    # ONNX has none; the exporter writes ln(σ(x)), and onnxruntime's σ ends at e⁻¹⁸.
    return x.clamp(max=0) - torch.log1p(torch.exp(-x.abs()))


def digamma(x: Tensor) -> Tensor:
    """ψ(x) = d ln Γ(x) / dx of numbers that are at least 1.

    Example:
        >>> digamma(torch.tensor([1.0]))  # minus Euler's constant
        tensor([-0.5772])
    """
    if not is_exporting():
        return torch.digamma(x)
    # ONNX has none. ψ(x) = ψ(x + 6) − Σ_k 1/(x + k), and for numbers as large as that a series.
    steps = sum((1 / (x + k) for k in range(6)), torch.zeros_like(x))
    y = x + 6
    w = y.square().reciprocal()
    series = w * (1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w / 132))))
    return y.log() - 0.5 / y - series - steps


def agreement(votes: Votes | Tensor, pose: Tensor) -> Tensor:
    """How well each vote agrees with the capsule it was cast for: the scalar product û_ij · v_j.

    Args:
        votes: û, `[..., I, J, D]`, or `Votes` of that shape.
        pose: v, `[..., J, D]`.

    Returns:
        `[..., I, J]`: positive where vote and pose point the same way, negative where they oppose.

    Raises:
        ValueError: shapes that do not fit. TypeError: no floating-point tensors.

    Reference: Sabour, Frosst, Hinton (2017), §2 (a_ij) and Procedure 1, line 7.

    Example:
        >>> votes = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])  # two inputs, one output
        >>> agreement(votes, torch.tensor([[0.5, 0.0]]))
        tensor([[ 0.5000],
                [-0.5000]])
    """
    u_hat = votes.materialize() if isinstance(votes, Votes) else votes
    check_float_tensor("votes", u_hat)
    check_float_tensor("pose", pose)
    if u_hat.dim() < 3 or pose.dim() < 2 or u_hat.shape[-2:] != pose.shape[-2:]:
        raise ValueError(
            f"votes must be [..., I, J, D] and pose [..., J, D], got shapes {tuple(u_hat.shape)} "
            f"and {tuple(pose.shape)}"
        )
    for many, few in zip(reversed(u_hat.shape[:-3]), reversed(pose.shape[:-2])):
        if many != few and 1 not in (many, few):
            raise ValueError(
                f"votes [..., I, J, D] and pose [..., J, D] must have the same leading axes, got "
                f"shapes {tuple(u_hat.shape)} and {tuple(pose.shape)}"
            )
    # Not an einsum, whose many small matrix products are twice as slow, and backward four times.
    agreement: Tensor = (u_hat * pose.unsqueeze(-3)).sum(dim=-1)
    return agreement


def weighted_sum(coupling: Tensor, votes: Tensor) -> Tensor:
    """Σ_i c_ij û_ij of coupling `[..., I, J]` and votes `[..., I, J, D]`: `[..., J, D]`.

    Example:
        >>> weighted_sum(torch.tensor([[0.5], [0.5]]), torch.tensor([[[1.0, 0.0]], [[3.0, 2.0]]]))
        tensor([[2., 1.]])
    """
    return torch.einsum("...ij,...ijd->...jd", coupling, votes)


def accumulated(x: Tensor) -> Tensor:
    """float32 for half precision, the tensor itself otherwise."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
