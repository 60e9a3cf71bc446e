"""LinearVotes and MatrixVotes: the same votes as by loops, whatever the shape of their factors."""

from typing import Any

import numpy as np
import pytest
import torch

from tests import oracle
from torchcaps import DenseCaps, LinearVotes, MatrixVotes

DOUBLE = torch.float64


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (1, 1, 1, 1, 1), (3, 7, 2, 1, 3)])
@pytest.mark.parametrize("bias", [None, "JD", "IJD"])
def test_votes_are_equation_2(shape: tuple[int, ...], bias: str | None) -> None:
    B, I, J, D, P = shape
    u, W = torch.randn(B, I, P, dtype=DOUBLE), torch.randn(I, J, D, P, dtype=DOUBLE)
    sizes = {"I": I, "J": J, "D": D}
    b = None if bias is None else torch.randn([sizes[axis] for axis in bias], dtype=DOUBLE)
    full = None if b is None else b.expand(I, J, D).numpy()
    votes = LinearVotes(u, W, b)
    assert votes.shape == (B, I, J, D)
    np.testing.assert_allclose(
        votes.materialize().numpy(), oracle.votes(u.numpy(), W.numpy(), full), atol=1e-13
    )


def test_shared_weights_give_the_votes_of_expanded_ones() -> None:
    u, W = torch.randn(2, 5, 3, dtype=DOUBLE), torch.randn(1, 4, 2, 3, dtype=DOUBLE)
    shared = LinearVotes(u, W).materialize()
    torch.testing.assert_close(shared, LinearVotes(u, W.expand(5, 4, 2, 3)).materialize())


def test_any_leading_axes() -> None:
    u, W = torch.randn(2, 3, 5, 4, dtype=DOUBLE), torch.randn(5, 6, 2, 4, dtype=DOUBLE)
    flat = LinearVotes(u.flatten(0, 1), W).materialize()
    torch.testing.assert_close(LinearVotes(u, W).materialize(), flat.unflatten(0, (2, 3)))
    torch.testing.assert_close(LinearVotes(u[0, 0], W).materialize(), flat[0])


def test_gradients() -> None:
    u = torch.randn(2, 3, 2, dtype=DOUBLE, requires_grad=True)
    W = torch.randn(3, 2, 4, 2, dtype=DOUBLE, requires_grad=True)
    b = torch.randn(2, 4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *f: LinearVotes(*f).materialize(), (u, W, b))


def test_factors_of_different_dtypes_promote() -> None:
    votes = LinearVotes(torch.randn(2, 3, 4).bfloat16(), torch.randn(3, 5, 6, 4))
    assert votes.dtype == votes.materialize().dtype == torch.float32


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_matrix_votes_are_products_of_matrices(rows: int, shared: bool) -> None:
    B, I, J, M, N = 2, 3, 4, 3, 2
    U = torch.randn(B, I, rows * M, dtype=DOUBLE)
    W = torch.randn(1 if shared else I, J, M, N, dtype=DOUBLE)
    bias = torch.randn(I, J, rows * N, dtype=DOUBLE)
    votes = MatrixVotes(U, W, bias)
    assert votes.shape == (B, I, J, rows * N)
    found = votes.materialize()
    for b, i, j in np.ndindex(B, I, J):
        product = U[b, i].view(rows, M) @ W[0 if shared else i, j]
        torch.testing.assert_close(found[b, i, j], product.flatten() + bias[i, j])
    torch.testing.assert_close(votes.select(slice(1, 3)).materialize(), found[:, 1:])
    assert torch.equal(
        votes.masked(torch.tensor([[True, False, True]] * B)).pose[:, 1], 0 * U[:, 1]
    )


def test_a_layer_of_matrix_poses_has_a_square_of_weights_a_pair() -> None:
    layer = DenseCaps(5, 16, 3, 16, "em", matrix_poses=True)
    assert layer.weight.shape == (5, 3, 4, 4)
    assert layer(torch.randn(2, 5, 16)).pose.shape == (2, 3, 16)
    assert "5×16 → 3×16, bias=False, matrix_poses=True" in repr(layer)
    with pytest.raises(ValueError, match="one square number such as 16, got 16 and 9"):
        DenseCaps(5, 16, 3, 9, matrix_poses=True)
    with pytest.raises(ValueError, match=r"expected \[5, J, M, N\].* where M divides 8"):
        MatrixVotes(torch.randn(2, 5, 8), torch.randn(5, 2, 3, 3))
    with pytest.raises(ValueError, match=r"weight must be \[I, J, M, N\]"):
        MatrixVotes(torch.randn(2, 5, 9), torch.randn(5, 3, 3))


@pytest.mark.parametrize(
    ("pose", "weight", "bias", "error", "message"),
    [
        (torch.randn(4), torch.randn(3, 2, 2, 4), None, ValueError, "pose must be"),
        (torch.randn(2, 3, 4), torch.randn(3, 2, 4), None, ValueError, "weight must be"),
        (torch.randn(2, 3, 4), torch.randn(2, 5, 6, 4), None, ValueError, "does not fit"),
        (torch.randn(2, 3, 4), torch.randn(3, 5, 6, 5), None, ValueError, "does not fit"),
        (torch.randn(2, 3, 4), torch.randn(3, 5, 6, 4), torch.randn(6), ValueError, "bias must be"),
        (torch.randn(2, 3, 4).long(), torch.randn(3, 5, 6, 4), None, TypeError, "pose must be"),
        ([[1.0]], torch.randn(3, 5, 6, 4), None, TypeError, "pose must be a tensor, got list"),
        (torch.randn(2, 3, 4), None, None, TypeError, "weight must be a tensor, got NoneType"),
        (
            torch.randn(2, 3, 4),
            torch.randn(3, 5, 6, 4, device="meta"),
            None,
            TypeError,
            "on one device, got cpu, meta",
        ),
    ],
)
def test_refuses(pose: Any, weight: Any, bias: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LinearVotes(pose, weight, bias)
