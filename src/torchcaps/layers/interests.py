"""Several interests of a user, from the items of their history: a layer for recommenders."""

import copy
import math
from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchcaps.routing.base import Routing
from torchcaps.routing.registry import create_routing
from torchcaps.types import (
    check_choice,
    check_counts,
    check_float_tensor,
    check_number,
    check_same_dtype,
)
from torchcaps.votes import LinearVotes, SharedVotes, Votes
from torchcaps.votes.interests import InterestVotes

__all__ = ["InterestCaps", "SelfAttentiveInterests", "attend_to_interests", "starting_logits"]

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
        self.routing = create_routing(routing)
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
        counts_all = (
            name == "variational" or getattr(self.routing, "coupling", "softmax") != "softmax"
        )
        if self.number != "all" and counts_all:
            raise ValueError(
                f"the coupling of this {name} routing depends on interests that a user does not "
                "have, too: use number='all', or routing='interests'"
            )
        if self.per_item and self.length is None:
            raise ValueError(
                f"{name} routing learns something for each input capsule: use maps='position', "
                "with a length, or routing='interests'"
            )

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
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
        return self.routing(votes, mask=counted).pose * present.unsqueeze(-1)

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
        if self.maps != "shared":
            return None
        return starting_logits(length, interests, self.seed, device=items.device)

    def present(self, lengths: Tensor) -> Tensor:
        """`[B, K]`: which interests users with this many items have."""
        k = torch.arange(self.sizes[1], device=lengths.device, dtype=torch.float64)
        n = lengths.unsqueeze(-1).double()
        enough = {
            "all": k >= 0,
            "log2(1+n)": 2 ** (k + 1) <= 1 + n,
            "log2(n)": 2**k < n,
            "ln(n)": torch.exp(k + 1) <= n,
        }[self.number]
        return (enough | (k == 0)).expand(len(lengths), -1)

    def extra_repr(self) -> str:
        dim, interests, out_dim = self.sizes
        options = f"maps={self.maps!r}, number={self.number!r}, seed={self.seed}"
        return f"{dim} → {interests}×{out_dim}, {options}"


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
            self.position = nn.Parameter(0.1 * torch.randn(length, dim))

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
        return torch.einsum("bsk,bsp->bkp", attention, items)


def attend_to_interests(interests: Tensor, target: Tensor, power: float = 1.0) -> Tensor:
    """The interests as one vector, weighted by how they fit a target item.

    Σ_k softmax_k((v_k · e)^power) v_k

    Args:
        interests: v, `[B, K, D]`.
        target: e, `[B, D]`.
        power: at least 0; `math.inf` takes the interest that fits best, as ComiRec does. Scalar
            products below 0 count as 0 where power is not 1.

    Returns:
        `[B, D]`.

    Reference: Li and others (2019), MIND, label-aware attention.

    Example:
        >>> interests = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> attend_to_interests(interests, torch.tensor([[0.1, 2.0]]), power=torch.inf)
        tensor([[0., 1.]])
    """
    check_float_tensor("interests", interests)
    check_float_tensor("target", target)
    if interests.dim() != 3 or target.shape != (len(interests), interests.shape[2]):
        raise ValueError(
            f"interests must be [B, K, D] and target [B, D], got shapes {tuple(interests.shape)} "
            f"and {tuple(target.shape)}"
        )
    check_same_dtype("target", target, interests)
    if power != math.inf:
        check_number("power", power, least=0)
    fit = torch.einsum("bkd,bd->bk", interests, target)
    if power == math.inf:
        return interests[torch.arange(len(fit), device=fit.device), fit.argmax(dim=1)]
    scores = fit if power == 1 else raised(fit, power)
    return torch.einsum("bk,bkd->bd", torch.softmax(scores, dim=1), interests)


def raised(fit: Tensor, power: float) -> Tensor:
    """max(fit, 0)^power less the largest of its row, `[B, K]`, which a softmax does not notice.

    So the largest is 0 where its power would overflow. The slope of a power below 1, which is
    infinite at 0, is 0 there.
    """
    if power == 0:
        return torch.zeros_like(fit)
    positive = fit > 0
    exponent = power * torch.where(positive, fit, torch.ones_like(fit)).log()
    exponent = exponent.masked_fill(~positive, -torch.inf)
    top = exponent.detach().amax(dim=1, keepdim=True)
    top = torch.where(top > -torch.inf, top, torch.zeros_like(top))  # nothing fits
    largest = top.exp().clamp(max=torch.finfo(fit.dtype).max)
    return largest * torch.expm1(exponent - top)


def starting_logits(
    length: int, interests: int, seed: int = 0, *, device: torch.device | str = "cpu"
) -> Tensor:
    """What sets interests with one map apart: b⁰_sk ~ N(0, 1), drawn from seed, s and k alone.

    Each number is a hash of (seed, s, k), taken as a normal deviate: the same on every machine, for
    every length and number of interests.

    Returns:
        `[length, interests]`, float64.

    Raises:
        ValueError, TypeError: a length or a number of interests below 1.

    Example:
        >>> torch.equal(starting_logits(50, 4)[:7, :2], starting_logits(7, 2))
        True
    """
    length, interests = check_counts(length=length, interests=interests)
    s = torch.arange(length, device=device).unsqueeze(1)
    k = torch.arange(interests, device=device)
    x = (s * 0x9E3779B + k * 0x85EBCA7 + (seed % 2**32 + 1) * 0x27D4EB2F) & 0xFFFFFFFF
    for _ in range(2):  # the 32-bit hash of C. Wellons' hash-prospector ("lowbias32")
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x46A64D37) & 0xFFFFFFFF
        x = x ^ (x >> 16)
    uniform = (x.double() + 0.5) / 2**32
    normal: Tensor = torch.special.ndtri(uniform)
    return normal


def learns_for_each_child(routing: Routing[Any, Any]) -> bool:
    """Whether the shape of anything that it learns depends on the number of input capsules."""
    shapes = []
    for in_caps in (2, 3):
        built = copy.deepcopy(routing).build(in_caps, 5, 5, 5)
        shapes.append([parameter.shape for parameter in built.parameters()])
    return shapes[0] != shapes[1]


def as_mask(given: Tensor | None, items: Tensor, dim: int, most: int | None) -> Tensor:
    """A mask `[B, S]` of a mask, of lengths `[B]`, or of None, for items `[B, S, dim]`.

    Raises:
        ValueError, TypeError: something else, or other items; more of them than `most`.
    """
    check_float_tensor("items", items)
    if items.dim() != 3 or items.shape[2] != dim:
        raise ValueError(f"items must be [B, S, {dim}] (dim), got shape {tuple(items.shape)}")
    batch, length = items.shape[:2]
    if most is not None and length > most:
        raise ValueError(f"items has {length} positions, and the layer is for length {most}")
    if given is None:
        return torch.ones(batch, length, dtype=torch.bool, device=items.device)
    if not isinstance(given, Tensor):
        raise TypeError(f"mask must be a tensor, got {type(given).__name__}")
    kind = given.dtype
    if kind == torch.bool and given.shape == (batch, length):
        return given
    if given.shape != (batch,) or kind == torch.bool or kind.is_floating_point or kind.is_complex:
        raise ValueError(
            f"mask must be bool [B, S] = ({batch}, {length}), or whole lengths [B] = ({batch},), "
            f"got {kind} of shape {tuple(given.shape)}"
        )
    # On a GPU, or within a compiled graph, looking at the values would mean waiting for them.
    looking = given.device.type == "cpu" and not torch.compiler.is_compiling() and batch
    if looking and (given.min() < 0 or given.max() > length):
        low, high = int(given.min()), int(given.max())
        raise ValueError(f"lengths must be 0 to {length}, got {low} to {high}")
    return torch.arange(length, device=items.device) < given.unsqueeze(-1)
