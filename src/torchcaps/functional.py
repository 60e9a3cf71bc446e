"""The paper's equations as pure functions: squash, agreement and the losses."""

import torch
from torch import Tensor
from torch.nn import functional as F

from torchcaps.types import check_float_tensor, is_exporting, values_at_hand
from torchcaps.votes import Votes

__all__ = [
    "SQUASHES",
    "agreement",
    "half_squash",
    "margin_loss",
    "reconstruction_loss",
    "soft_squash",
    "spread_loss",
    "spread_margin",
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
    unit, length = direction_and_length(_accumulated(s), dim)
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
    x = _accumulated(s)
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
    return direction_and_length(_accumulated(s), dim)[0].to(s.dtype)


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
    """s over its size where that is above what is ordinary: what a LayerNorm, which does not see
    the size, takes without overflow.

    Example:
        >>> of_ordinary_size(torch.tensor([[1.0, 2.0], [1e30, 2e30]]))
        tensor([[1.0000, 2.0000],
                [0.5000, 1.0000]])
    """
    size = s.detach().abs().amax(dim=-1, keepdim=True)
    return s / torch.where(size > ordinary, size, torch.ones_like(size))


def constant_if_huge(logits: Tensor) -> Tensor:
    """The logits, without a gradient where their square overflows.

    There a softmax has saturated, and what is left of its gradient is rounding, which votes of that
    size would blow up.

    Example:
        >>> logits = torch.tensor([1.0, 1e30], requires_grad=True)
        >>> torch.autograd.grad(constant_if_huge(logits).sum(), logits)
        (tensor([1., 0.]),)
    """
    huge = logits.abs() > torch.finfo(logits.dtype).max ** 0.5
    return torch.where(huge, logits.detach(), logits)


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


def margin_loss(
    activation: Tensor,
    labels: Tensor,
    *,
    positive_margin: float = 0.9,
    negative_margin: float = 0.1,
    down_weight: float = 0.5,
) -> Tensor:
    """Ask for a long capsule where the class is present and a short one where it is not.

    L_k = T_k max(0, m⁺ − |v_k|)² + λ (1 − T_k) max(0, |v_k| − m⁻)²      (Eq 4)

    summed over the classes k, averaged over the batch.

    Args:
        activation: |v_k|, `[B, J]`, lengths in [0, 1]: not softmaxed, or m⁺ can never be met.
        labels: class indices `[B]`, or T_k itself, `[B, J]` in [0, 1] (several classes present, as
            in MultiMNIST).
        positive_margin: m⁺ = 0.9.
        negative_margin: m⁻ = 0.1.
        down_weight: λ = 0.5, for absent classes.

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError: shapes that do not fit. TypeError: labels of another kind.

    Reference: Sabour, Frosst, Hinton (2017), Eq 4. The authors' code takes half of it and averages
    over classes; see `CapsNet(loss_scale=…)`.

    Example:
        >>> lengths = torch.tensor([[0.9, 0.1, 0.1], [0.4, 0.1, 0.3]])
        >>> margin_loss(lengths, torch.tensor([0, 0]))  # (0 + 0.25 + 0.5·0.04) / 2
        tensor(0.1350)
    """
    check_float_tensor("activation", activation)
    if activation.dim() != 2:
        raise ValueError(f"activation must be [B, J], got shape {tuple(activation.shape)}")
    lengths = _accumulated(activation)
    present = class_targets(labels, activation.shape).to(lengths.dtype)
    missed = (positive_margin - lengths).clamp(min=0).square()
    raised = (lengths - negative_margin).clamp(min=0).square()
    loss = present * missed + down_weight * (1 - present) * raised
    return loss.sum(dim=1).mean()


def spread_loss(activation: Tensor, labels: Tensor, margin: float | Tensor = 0.9) -> Tensor:
    """Ask for the class that is present to be more active than any other, by a margin.

    L = Σ_{k≠y} max(0, m − (a_y − a_k))²

    averaged over the batch.

    Args:
        activation: a_k, `[B, J]`, in [0, 1].
        labels: class indices y, `[B]`.
        margin: m, in training from 0.2 to 0.9; see `spread_margin`.

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError: shapes that do not fit. TypeError: labels of another kind.

    Reference: Hinton, Sabour, Frosst (2018), *Matrix capsules with EM routing*, ICLR, §3.

    Example:
        >>> spread_loss(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([0]), 0.5)  # (0.5 − 0.4)²
        tensor(0.0100)
    """
    check_float_tensor("activation", activation)
    if activation.dim() != 2:
        raise ValueError(f"activation must be [B, J], got shape {tuple(activation.shape)}")
    if not isinstance(labels, Tensor) or labels.dim() != 1:
        raise ValueError("labels must be [B] class indices: the spread loss has one class an image")
    a = _accumulated(activation)
    present = class_targets(labels, activation.shape)
    of_class = a.masked_fill(~present, 0).sum(dim=1, keepdim=True)
    missing = (margin - (of_class - a)).clamp(min=0).masked_fill(present, 0)
    return missing.square().sum(dim=1).mean()


def spread_margin(step: int | Tensor) -> Tensor:
    """The margin of the spread loss after so many steps: 0.2 + 0.79 · σ(min(10, step/50000 − 4)).

    Reference: the code of Hinton, Sabour, Frosst (2018). The paper grows it linearly from 0.2 to
    0.9 "to avoid dead capsules in the earlier layers".

    Example:
        >>> spread_margin(0), spread_margin(200_000), spread_margin(1_000_000)
        (tensor(0.2142), tensor(0.5950), tensor(0.9900))
    """
    return 0.2 + 0.79 * torch.sigmoid((torch.as_tensor(step) / 50_000 - 4).clamp(max=10))


def reconstruction_loss(reconstruction: Tensor, images: Tensor) -> Tensor:
    """The sum of squared pixel errors of an image, averaged over the batch.

    Σ_pixels (reconstruction − image)²; the paper adds 0.0005 of it to the margin loss. A *mean*
    over the 784 pixels would make it 784 times too weak.

    Args:
        reconstruction: `[B, ...]`.
        images: `[B, ...]`, the same shape, in [0, 1].

    Returns:
        A scalar, float32 or wider.

    Raises:
        ValueError: shapes that differ. TypeError: a reconstruction that is not floating-point.

    Reference: Sabour, Frosst, Hinton (2017), §4.1.

    Example:
        >>> reconstruction_loss(torch.zeros(2, 1, 28, 28), torch.ones(2, 1, 28, 28))
        tensor(784.)
    """
    check_float_tensor("reconstruction", reconstruction)
    if reconstruction.dim() < 1 or reconstruction.shape != images.shape:
        raise ValueError(
            f"reconstruction {tuple(reconstruction.shape)} and images {tuple(images.shape)} "
            "must have the same shape [B, ...]"
        )
    error = _accumulated(reconstruction) - _accumulated(images)
    return error.square().flatten(1).sum(dim=1).mean()


def class_targets(labels: Tensor, shape: torch.Size) -> Tensor:
    """T_k as `[B, J]` from class indices `[B]` (or from T_k itself), checked against `shape`."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a tensor, got {type(labels).__name__}")
    batch, classes = shape
    # On a GPU looking at the values would mean waiting for them.
    looking = labels.device.type == "cpu" and values_at_hand(labels) and len(labels)
    if labels.shape == (batch, classes):
        # Not "below 0 or above 1", which is false for NaN.
        if looking and not (labels.min() >= 0 and labels.max() <= 1):
            raise ValueError(f"targets [B, J] must be in [0, 1], got up to {labels.max().item()}")
        return labels
    if labels.shape != (batch,):
        raise ValueError(
            f"labels must be [B] = [{batch}] class indices or [B, J] = [{batch}, {classes}] "
            f"targets, got shape {tuple(labels.shape)}"
        )
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise TypeError(f"labels [B] must be integer class indices, got {labels.dtype}")
    if looking:
        low, high = labels.min(), labels.max()
        if low < 0 or high >= classes:
            raise ValueError(f"labels must be 0 to {classes - 1}, got {int(low)} to {int(high)}")
    return labels.unsqueeze(1) == torch.arange(classes, device=labels.device)


def _accumulated(x: Tensor) -> Tensor:
    """float32 for half precision, the tensor itself otherwise."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
