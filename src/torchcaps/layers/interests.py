"""Several interests of a user, from the items of their history: a layer for recommenders."""

import copy
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchcaps.layers.interest_logits import starting_logits
from torchcaps.layers.item_mask import as_mask
from torchcaps.layers.own_routing import own_routing
from torchcaps.routing.base import Routing
from torchcaps.types import check_choice, check_counts, check_float_tensor, check_same_dtype
from torchcaps.votes import LinearVotes, SharedVotes, Votes
from torchcaps.votes.interests import InterestVotes

__all__ = ["InterestCaps"]

MOST_BITS = 40  # nobody has 2⁴⁰ items
NUMBERS = ("all", "log2(1+n)", "log2(n)", "ln(n)")


class InterestCaps(nn.Module):
    """K interests of each user, routed from S items.

    û_sk = M_sk e_s for the items e_s, then routing with the interests as output capsules.

    Args:
        dim: P, components of an item.
        interests: K.
        out_dim: D, components of an interest; default: dim.
        maps: "shared", one M for all (MIND); "interest", one for each interest; or "position", one
            for each interest and position of an item (ComiRec-DR), which needs `length`.
        length: the largest S that "position" is for.
        number: how many interests a user with n items has: "all" K; or of these formulas, at least
            1 and at most K, "log2(1+n)" rounded down (DeepMatch), "log2(n)" rounded up
            (TorchEasyRec), "ln(n)" rounded down (EasyRec). MIND says log2 n. Rows beyond are 0.
        routing: a name, a dict with name and options, or a `Routing`. "shared" needs "interests".
            For "position", {"name": "dynamic", "detach": True} is the same as the default, and has
            fused kernels.
        seed: of the logits that "shared" starts from, see `starting_logits`; the others start
            from 0. Public code draws them anew at every call, in use too: the same user then gets
            other interests each time. Here the same items always give the same interests.

    Shape:
        items `[B, S, P]`; mask `[B, S]` (bool, False = padding) or lengths `[B]` (whole numbers:
        the first n items count), default all items; logits `[B, S, K]` or `[S, K]`, in the place of
        those that the layer starts from → interests `[B, K, D]`. What padded items hold does not
        matter. A user without items gets zeros.

    Weights start as N(0, 1 / P). (ComiRec: N(0, 1).)

    Reference: Li and others (2019), MIND, CIKM; Cen and others (2020), ComiRec, KDD.

    Example:
        >>> layer = InterestCaps(dim=16, interests=4, number="log2(1+n)")
        >>> interests = layer(torch.randn(2, 50, 16), torch.tensor([50, 3]))
        >>> interests.shape, (interests.norm(dim=-1) > 0).sum(dim=-1)
        (torch.Size([2, 4, 16]), tensor([4, 2]))
    """

    is_built = False  # after the constructor, which draws what is learned itself

    def __init__(
        self,
        dim: int,
        interests: int,
        out_dim: int | None = None,
        *,
        maps: str = "shared",
        length: int | None = None,
        number: str = "all",
        routing: str | Mapping[str, Any] | Routing[Any, Any] = "interests",
        seed: int = 0,
    ) -> None:
        super().__init__()
        dim, interests, out_dim = check_counts(
            dim=dim, interests=interests, out_dim=dim if out_dim is None else out_dim
        )
        check_choice("maps", maps, ("shared", "interest", "position"))
        check_choice("number", number, NUMBERS)
        if maps == "position":
            (length,) = check_counts(length=length)
        elif length is not None:
            raise ValueError(f"length is for maps='position' alone, and these are {maps!r}")
        if isinstance(seed, bool) or not isinstance(seed, int | Integral):
            raise TypeError(f"seed must be an int, got {seed!r}")
        self.sizes = (dim, interests, out_dim)
        self.maps, self.length, self.number, self.seed = maps, length, number, int(seed)
        self.routing = own_routing(routing)
        self.per_item = learns_for_each_child(self.routing)
        self.check_routing()
        self.routing.build(length or 1, dim, interests, out_dim)
        shape = {
            "shared": (out_dim, dim),
            "interest": (1, interests, out_dim, dim),
            "position": (length or 1, interests, out_dim, dim),
        }[maps]
        self.weight = nn.Parameter(torch.empty(shape))
        self.reset_parameters()
        self.is_built = True

    if TYPE_CHECKING:

        def __call__(
            self, items: Tensor, mask: Tensor | None = None, logits: Tensor | None = None
        ) -> Tensor: ...

    def check_routing(self) -> None:
        """Raise unless the routing is one for these maps."""
        name = self.routing.name
        if self.maps == "shared" and name != "interests":
            raise ValueError(
                f"with maps='shared' {name} routing would give the same interest {self.sizes[1]} "
                "times, for nothing sets them apart: use routing='interests', or maps='interest'"
            )
        if self.routing.makes_votes:
            raise ValueError(f"{name} routing makes its votes itself: use routing='interests'")
        if self.number != "all" and self.routing.counts_absent:
            raise ValueError(
                f"the coupling of this {name} routing depends on interests that a user does not "
                "have, too: use number='all', routing='interests', or EM with a final_lambda"
            )
        if self.per_item and self.length is None:
            raise ValueError(
                f"{name} routing learns something for each input capsule: use maps='position', "
                "with a length, or routing='interests'"
            )

    def reset_parameters(self) -> None:
        """Draw the weights anew, and what the routing learns."""
        self.draw_weights()
        if self.is_built:  # else it has just been drawn
            self.routing.reset_parameters()

    def draw_weights(self) -> None:
        """Those of the maps."""
        nn.init.normal_(self.weight, std=self.sizes[0] ** -0.5)

    def forward(
        self, items: Tensor, mask: Tensor | None = None, logits: Tensor | None = None
    ) -> Tensor:
        """Items `[B, S, P]`, mask `[B, S]` or lengths `[B]` → interests `[B, K, D]`."""
        counted = as_mask(mask, items, self.sizes[0], self.length)
        items = items.masked_fill(~counted.unsqueeze(-1), 0)
        if self.length is not None and self.per_item:  # it has learned something for all of them
            missing = self.length - items.shape[1]
            items, counted = F.pad(items, (0, 0, 0, missing)), F.pad(counted, (0, missing))
        present = self.present(counted.sum(dim=1))
        votes = self.votes(items)
        if self.routing.name == "interests":
            votes = InterestVotes(votes, self.logits(items, logits), present)
        elif logits is not None:
            raise ValueError(f"{self.routing.name} routing takes no logits: leave them out")
        elif self.number != "all":
            votes = InterestVotes(votes, present=present)
        found = self.routing(votes, mask=counted).pose
        present = present & counted.any(dim=1, keepdim=True)  # nothing that is learned comes alone
        return found.to(self.weight.dtype) * present.unsqueeze(-1)

    def votes(self, items: Tensor) -> Votes:
        """The votes of the items, without logits."""
        check_same_dtype("items", items, self.weight)
        if self.maps == "shared":  # the same for all interests
            return SharedVotes(items @ self.weight.mT, self.sizes[1])
        weight = self.weight if self.length is None else self.weight[: items.shape[1]]
        return LinearVotes(items, weight)

    def logits(self, items: Tensor, given: Tensor | None) -> Tensor | None:
        """b⁰, `[B, S, K]` or `[S, K]`; None for zeros."""
        (batch, length, _), interests = items.shape, self.sizes[1]
        if given is not None:
            check_float_tensor("logits", given)
            if given.shape not in ((batch, length, interests), (length, interests)):
                raise ValueError(
                    f"logits must be [B, S, K] = ({batch}, {length}, {interests}) or [S, K], "
                    f"got shape {tuple(given.shape)}"
                )
            return given
        if self.maps != "shared" or length == 0:
            return None
        return starting_logits(length, interests, self.seed, device=items.device)

    def present(self, lengths: Tensor) -> Tensor:
        """`[B, K]`: which interests users with this many items have."""
        k = torch.arange(self.sizes[1], device=lengths.device).clamp(max=MOST_BITS)
        n = lengths.unsqueeze(-1)
        # In whole numbers, and float32 for e^(k+1), which is none: not every device has float64.
        enough = {
            "all": k >= 0,
            "log2(1+n)": 2 ** (k + 1) <= 1 + n,
            "log2(n)": 2**k < n,
            "ln(n)": torch.exp((k + 1).float()) <= n,
        }[self.number]
        return (enough | (k == 0)).expand(lengths.shape[0], -1)

    def extra_repr(self) -> str:
        dim, interests, out_dim = self.sizes
        options = f"maps={self.maps!r}, number={self.number!r}, seed={self.seed}"
        return f"{dim} → {interests}×{out_dim}, {options}"


def learns_for_each_child(routing: Routing[Any, Any]) -> bool:
    """Whether the shape of anything that it learns depends on the number of input capsules."""
    shapes = []
    for in_caps in (2, 3):
        built = copy.deepcopy(routing).build(in_caps, 5, 5, 5)
        shapes.append([parameter.shape for parameter in built.parameters()])
    return shapes[0] != shapes[1]
