"""squash, agreement and the losses against the paper's equations, and at their edges."""

from typing import Any

import numpy as np
import pytest
import torch

from tests import oracle
from torchcaps import LinearVotes, agreement, squash

LENGTHS = [1e-30, 1e-20, 1e-8, 0.1, 1.0, 3.0, 1e8, 1e20, 1e30]


@pytest.mark.parametrize("length", [*LENGTHS, 1e150])
def test_squash_is_equation_1_at_every_length(length: float) -> None:
    direction = torch.randn(5, dtype=torch.float64)
    s = length * direction / direction.norm()
    v = squash(s)
    np.testing.assert_allclose(v.numpy(), oracle.squash(s.numpy()), rtol=1e-14, atol=0)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squash_is_finite_and_has_the_right_gradient_at_extreme_lengths(
    length: float, dtype: torch.dtype
) -> None:
    direction = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    s = (length * direction).to(dtype).requires_grad_()
    v = squash(s)
    assert v.dtype == dtype
    along, across = torch.tensor([0.6, 0.0, -0.8]), torch.tensor([0.8, 0.0, 0.6])
    (grad,) = torch.autograd.grad(v, s, (along + across).to(dtype))
    # d|v|/d|s| = 2|s| / (1 + |s|²)² along s, and |v| / |s| across it
    n = s.detach().double().norm()
    expected = 2 * n / (1 + n * n) ** 2 * along + n / (1 + n * n) * across
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(grad.double(), expected.double(), rtol=tolerance, atol=tolerance**2)


def test_squash_of_zero_is_zero_with_zero_gradient() -> None:
    s = torch.zeros(2, 3, requires_grad=True)
    v = squash(s)
    v.sum().backward()
    assert torch.equal(v, torch.zeros(2, 3))
    assert torch.equal(s.grad, torch.zeros(2, 3))


def test_squash_has_the_gradient_of_its_equation() -> None:
    s = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(squash, s)
    assert torch.autograd.gradcheck(lambda x: squash(x, dim=1), s)
    assert torch.autograd.gradgradcheck(squash, s)


def test_squash_works_along_any_axis_of_a_non_contiguous_tensor() -> None:
    s = torch.randn(4, 5, 3, dtype=torch.float64).transpose(0, 2)
    torch.testing.assert_close(squash(s, dim=0), squash(s.movedim(0, -1)).movedim(-1, 0))


def test_squash_is_shorter_than_one_and_keeps_direction() -> None:
    s = torch.randn(1000, 8, dtype=torch.float64) * torch.logspace(-6, 6, 1000).unsqueeze(1)
    v = squash(s)
    assert (v.norm(dim=1) < 1 + 1e-12).all()
    direction = s / s.norm(dim=1, keepdim=True)
    torch.testing.assert_close(v / v.norm(dim=1, keepdim=True), direction)


@pytest.mark.parametrize("wrong", [[1.0, 2.0], torch.arange(3), 1.0, None])
def test_squash_refuses_what_is_not_a_float_tensor(wrong: Any) -> None:
    with pytest.raises(TypeError, match="s must be a"):
        squash(wrong)


def test_agreement_is_the_scalar_product_from_votes_or_their_factors() -> None:
    votes = LinearVotes(torch.randn(2, 3, 4), torch.randn(3, 5, 6, 4))
    pose = torch.randn(2, 5, 6)
    u_hat = votes.materialize()
    expected = [[[u_hat[b, i, j] @ pose[b, j] for j in range(5)] for i in range(3)] for b in (0, 1)]
    torch.testing.assert_close(agreement(votes, pose), torch.tensor(expected))
    torch.testing.assert_close(agreement(u_hat, pose), torch.tensor(expected))


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((4, 2, 3), (2, 4)), ((4, 2, 3), (3,))])
def test_agreement_of_what_does_not_fit_is_refused(shapes):
    with pytest.raises(ValueError, match=r"votes must be \[\.\.\., I, J, D\]"):
        agreement(torch.ones(shapes[0]), torch.ones(shapes[1]))


def test_a_vector_longer_than_any_number_has_its_direction():
    s = torch.full((33,), 1e38, requires_grad=True)
    v = squash(s)
    torch.testing.assert_close(v, torch.full((33,), 33**-0.5))
    (gradient,) = torch.autograd.grad(v.sum(), s)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("s", "error", "said"),
    [
        (torch.ones(3, 0), ValueError, "at least one component a capsule"),
        (torch.ones(4).to(torch.float8_e4m3fn), TypeError, "must be float16 or wider"),
        (torch.eye(3).to_sparse(), TypeError, "must be a dense tensor"),
    ],
)
def test_what_squash_cannot_take_is_named(s, error, said):
    with pytest.raises(error, match=said):
        squash(s)


def test_agreement_of_other_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the same leading axes, got shapes"):
        agreement(torch.rand(3, 4, 2, 5), torch.rand(2, 2, 5))
    assert agreement(torch.rand(3, 4, 2, 5), torch.rand(1, 2, 5)).shape == (3, 4, 2)


@pytest.mark.parametrize("dim", [2, -3])
def test_an_axis_that_is_not_there_is_named(dim):
    with pytest.raises(IndexError, match=f"dim must be an axis of s, which has 2, got {dim}"):
        squash(torch.zeros(2, 3), dim=dim)
