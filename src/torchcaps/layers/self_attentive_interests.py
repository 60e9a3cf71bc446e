"""Several interests of a user by attention over the items: what routing is compared with."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from torchcaps.layers.item_mask import as_mask
from torchcaps.types import check_counts, check_same_dtype

__all__ = ["SelfAttentiveInterests"]


class SelfAttentiveInterests(nn.Module):
    """K interests of each user, by attention over the items; no routing.

    H = tanh((e_s + position_s) W1 + b1),  A = softmax_s(H W2 + b2),  v_k = Σ_s A_sk e_s

    Args:
        dim: P, components of an item and of an interest.
        interests: K.
        hidden: width of H; default: 4 · dim.
        length: the largest S; with it, positions have embeddings of their own. Default: none.

    Shape:
        items `[B, S, P]`, mask or lengths as for `InterestCaps` → interests `[B, K, P]`. The
        values are items without position. A user without items gets zeros.

    Reference: Cen and others (2020), *Controllable Multi-Interest Framework for Recommendation*,
    KDD (ComiRec-SA).

    Example:
        >>> SelfAttentiveInterests(16, 4)(torch.randn(2, 50, 16), torch.tensor([50, 3])).shape
        torch.Size([2, 4, 16])
    """

    def __init__(
        self, dim: int, interests: int, hidden: int | None = None, length: int | None = None
    ) -> None:
        super().__init__()
        dim, interests, hidden = check_counts(
            dim=dim, interests=interests, hidden=4 * dim if hidden is None else hidden
        )
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, interests)
        self.register_parameter("position", None)
        if length is not None:
            (length,) = check_counts(length=length)
            self.position = nn.Parameter(torch.empty(length, dim))
            self.draw_position()

    def reset_parameters(self) -> None:
        """Draw all that is learned anew."""
        self.inner.reset_parameters()
        self.outer.reset_parameters()
        if self.position is not None:
            self.draw_position()

    def draw_position(self) -> None:
        """The embeddings of positions."""
        nn.init.normal_(self.position, std=0.1)

    if TYPE_CHECKING:

        def __call__(self, items: Tensor, mask: Tensor | None = None) -> Tensor: ...

    def forward(self, items: Tensor, mask: Tensor | None = None) -> Tensor:
        """Items `[B, S, P]`, mask `[B, S]` or lengths `[B]` → interests `[B, K, P]`."""
        length = None if self.position is None else len(self.position)
        counted = as_mask(mask, items, self.inner.in_features, length).unsqueeze(-1)
        check_same_dtype("items", items, self.inner.weight)
        items = items.masked_fill(~counted, 0)
        placed = items if length is None else items + self.position[: items.shape[1]]
        scores = self.outer(torch.tanh(self.inner(placed)))  # [B, S, K]
        scores = scores.masked_fill(~counted, torch.finfo(scores.dtype).min)
        attention = torch.softmax(scores, dim=1) * counted
        found = torch.einsum("bsk,bsp->bkp", attention, items)
        return found.to(self.inner.weight.dtype)  # also under autocast
