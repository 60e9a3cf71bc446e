"""Losses of classes and of reconstructions against their equations."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests import oracle
from torchcaps import agreement, margin_loss, reconstruction_loss
from torchcaps.losses import dice_loss, spread_loss, spread_margin

LENGTHS = [1e-30, 1e-20, 1e-8, 0.1, 1.0, 3.0, 1e8, 1e20, 1e30]


def test_margin_loss_is_equation_4() -> None:
    lengths, labels = torch.rand(7, 5, dtype=torch.float64), torch.randint(5, (7,))
    expected = oracle.margin_loss(lengths.numpy(), labels.numpy())
    assert margin_loss(lengths, labels).item() == pytest.approx(expected, rel=1e-14)
    targets = nn.functional.one_hot(labels, 5)
    assert margin_loss(lengths, targets).item() == pytest.approx(expected, rel=1e-14)


def test_margin_loss_of_two_classes_present() -> None:
    lengths = torch.tensor([[0.4, 0.9, 0.3]])
    targets = torch.tensor([[1, 1, 0]])
    assert margin_loss(lengths, targets).item() == pytest.approx(0.5**2 + 0.5 * 0.2**2)


def test_margin_loss_gradient() -> None:
    lengths = torch.tensor([[0.2, 0.5, 0.95], [0.05, 0.3, 0.7]], dtype=torch.float64)
    lengths.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: margin_loss(x, torch.tensor([0, 2])), lengths)


def test_half_precision_losses_are_computed_in_float32() -> None:
    lengths = torch.rand(64, 10).bfloat16()
    loss = margin_loss(lengths, torch.zeros(64, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss == margin_loss(lengths.float(), torch.zeros(64, dtype=torch.int64))


@pytest.mark.parametrize(
    ("activation", "labels", "error", "message"),
    [
        (torch.rand(2, 3, 1), torch.tensor([0, 1]), ValueError, "activation must be"),
        (torch.rand(2, 3), torch.tensor([0, 1, 2]), ValueError, "labels must be"),
        (torch.rand(2, 3), torch.tensor([0.0, 1.0]), TypeError, "integer class indices"),
        (torch.rand(2, 3), [0, 1], TypeError, "labels must be a tensor"),
        (torch.rand(2, 3), torch.tensor([0, 3]), ValueError, "0 to 2"),
        (torch.rand(2, 3), torch.tensor([0, -1]), ValueError, "0 to 2"),
        (torch.rand(2, 2), torch.tensor([[1, 7], [0, 0]]), ValueError, "got up to 7"),
        (torch.ones(2, 3).long(), torch.tensor([0, 1]), TypeError, "activation must be"),
    ],
)
def test_margin_loss_refuses(
    activation: torch.Tensor, labels: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        margin_loss(activation, labels)


def test_reconstruction_loss_is_a_sum_over_pixels_and_a_mean_over_images() -> None:
    a, b = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 4, 5)
    expected = sum(((a[i] - b[i]) ** 2).sum() for i in range(3)) / 3
    torch.testing.assert_close(reconstruction_loss(a, b), expected)
    with pytest.raises(ValueError, match="same shape"):
        reconstruction_loss(a, b.flatten(1))


def test_spread_loss_is_the_equation() -> None:
    activation, labels = torch.rand(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 1])
    total = 0.0
    for a, label in zip(activation.tolist(), labels.tolist()):
        total += sum(max(0.0, 0.3 - (a[label] - a[k])) ** 2 for k in range(4) if k != label)
    found = spread_loss(activation, labels, 0.3)
    torch.testing.assert_close(found, torch.tensor(total / 6, dtype=torch.float64))
    assert spread_loss(torch.eye(4), torch.arange(4), 1.0) == 0
    assert torch.autograd.gradcheck(
        lambda a: spread_loss(a, labels, torch.tensor(0.5)), activation.requires_grad_()
    )


def test_the_margin_of_the_spread_loss_grows_from_a_fifth_to_almost_one() -> None:
    margins = [float(spread_margin(step)) for step in range(0, 1_000_001, 50_000)]
    assert margins == sorted(margins)
    assert 0.2 < margins[0] < 0.22
    assert 0.989 < margins[-1] < 0.99
    assert float(spread_margin(torch.tensor(200_000))) == pytest.approx(0.2 + 0.79 / 2)


def test_spread_loss_refuses() -> None:
    with pytest.raises(ValueError, match="one class an image"):
        spread_loss(torch.rand(2, 3), torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"activation must be \[B, J\]"):
        spread_loss(torch.rand(3), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"labels must be \[B\] = \[2\].*, got shape \(\)"):
        margin_loss(torch.rand(2, 3), torch.tensor(1))
    with pytest.raises(ValueError, match="labels must be 0 to 2, got 0 to 3"):
        spread_loss(torch.rand(2, 3), torch.tensor([0, 3]))


@pytest.mark.parametrize("margin", [torch.rand(3), torch.rand(3, 1), np.ones(3), torch.ones(0)])
def test_the_spread_loss_has_one_margin(margin: Any) -> None:
    """Of as many samples as classes, nobody could say whose margins several are."""
    activation, labels = torch.rand(3, 3), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match="margin must be one number for all classes, got shape"):
        spread_loss(activation, labels, margin)
    one = spread_loss(activation, labels, 0.5)
    alike: tuple[Any, ...] = (
        torch.tensor([0.5]),
        torch.full((1, 1, 1), 0.5),
        np.full((1, 1, 1), 0.5),
    )
    for same in alike:
        torch.testing.assert_close(spread_loss(activation, labels, same), one)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_targets_that_are_no_fractions_are_refused(value):
    with pytest.raises(ValueError, match=r"targets \[B, J\] must be in \[0, 1\]"):
        margin_loss(torch.ones(1, 2), torch.tensor([[value, 0.5]]))


def test_losses_of_what_is_no_float_are_refused():
    whole = torch.ones(2, 3, dtype=torch.int64)
    with pytest.raises(TypeError, match="reconstruction must be a floating-point tensor"):
        reconstruction_loss(whole, whole)
    with pytest.raises(TypeError, match="votes must be a floating-point tensor"):
        agreement(whole[None], whole)


def test_what_is_no_tensor_is_refused_by_its_name() -> None:
    image = torch.rand(2, 1, 3, 3)
    with pytest.raises(TypeError, match="images must be a tensor, got list"):
        reconstruction_loss(image, [1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mask must be a tensor, got list"):
        dice_loss(image, [1])  # type: ignore[arg-type]


def test_masks_and_targets_are_real_and_dense() -> None:
    image, lengths = torch.rand(2, 1, 3, 3), torch.rand(2, 3)
    with pytest.raises(TypeError, match=r"mask must be a tensor of real numbers or bools, got tor"):
        dice_loss(image, image + 0j)
    with pytest.raises(TypeError, match="labels must be a tensor of real numbers or bools, got to"):
        margin_loss(lengths, lengths + 0j)
    with pytest.raises(TypeError, match=r"mask must be a dense tensor, got torch\.sp"):
        dice_loss(image, (image > 0.5).to_sparse())
    with pytest.raises(TypeError, match=r"labels must be a dense tensor, got torch\.sp"):
        spread_loss(lengths, torch.tensor([0, 1]).to_sparse())
    expected = dice_loss(image, (image > 0.5).float())
    assert torch.equal(dice_loss(image, image > 0.5), expected)
    assert torch.equal(dice_loss(image, (image > 0.5).int()), expected)


@pytest.mark.parametrize(
    "loss",
    [
        lambda none: margin_loss(torch.rand(none, 3), torch.zeros(none, dtype=torch.int64)),
        lambda none: margin_loss(torch.rand(2, none), torch.zeros(2, none)),
        lambda none: spread_loss(torch.rand(none, 3), torch.zeros(none, dtype=torch.int64)),
        lambda none: reconstruction_loss(torch.rand(none, 1, 3, 3), torch.rand(none, 1, 3, 3)),
        lambda none: dice_loss(torch.rand(none, 1, 3, 3), torch.rand(none, 1, 3, 3)),
    ],
)
def test_the_mean_of_nothing_is_no_loss(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"must not be empty, got \(.*0.*\) to average over"):
        loss(0)
    assert loss(1).isfinite()


def test_what_is_no_share_is_no_mask() -> None:
    image = torch.rand(2, 1, 3, 3)
    with pytest.raises(ValueError, match=r"mask must be in \[0, 1\], got 0 to 255"):
        dice_loss(image, torch.tensor([0, 255]).expand(2, 1, 3, 2).repeat_interleave(2, 3)[..., :3])
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\], got -1 to 0"):
        dice_loss(torch.tensor([[-1.0, 0.0]]), torch.zeros(1, 2))
    assert dice_loss(image, image + 1e-7).isfinite()
    assert dice_loss(torch.full((1, 2), torch.nan), torch.ones(1, 2)).isnan()
