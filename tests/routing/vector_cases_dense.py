"""How files of algorithms that route dense votes are asked of this package (vector_cases.py)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from torchcaps import Capsules, DenseCaps, DynamicRouting, LinearVotes, Routing
from torchcaps.layers import route_concurrently
from torchcaps.routing.group_equivariant import GroupEquivariantRouting, State
from torchcaps.routing.heinsen2019 import Heinsen2019Routing
from torchcaps.routing.heinsen2022 import Heinsen2022Routing
from torchcaps.routing.kde import KDERouting
from torchcaps.routing.self_attention import SelfAttentionRouting
from torchcaps.routing.self_routing import SelfRouting
from torchcaps.routing.tile import Problem, Tile
from torchcaps.routing.variational import VariationalRouting
from torchcaps.votes import Votes

Tensors = dict[str, Tensor]
Settings = Mapping[str, Any]
Case = Callable[[Settings, Tensors, str], Tensors]


def route(
    routing: Routing[Any, Any],
    votes: Votes | Tensor,
    activation: Tensor | None,
    learned: Tensors,
) -> Capsules:
    """Route, in evaluation mode, with these tensors as what the routing has learned."""
    pose = votes if isinstance(votes, Tensor) else votes.in_pose
    assert pose is not None
    children, parents, dim = votes.shape[-3:]
    routing.build(children, pose.shape[-1], parents, dim).to(pose.dtype).eval()
    capsules: Capsules = functional_call(routing, learned, (votes, activation))
    return capsules


@torch.no_grad()
def last_coupling(
    routing: Routing[Any, Any],
    votes: Votes | Tensor,
    activation: Tensor | None,
    learned: Tensors,
) -> Tensor:
    """R of the last iteration, of a routing that takes these tensors for what it has learned."""
    for name, value in learned.items():
        routing.get_parameter(name).copy_(value)
    return routing.trace(votes, activation).coupling[-1]


def last(routing_type: type[Routing[Any, Any]]) -> type[Any]:
    """The same class, which keeps its last state, since files have parts of it."""

    class Keeping(routing_type):  # type: ignore[misc, valid-type]
        def finish(self, state: Any) -> Capsules:
            self.last = state
            capsules: Capsules = super().finish(state)
            return capsules

    return Keeping


def self_routing(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Positions are like samples: children compete nowhere but among the types of one position."""
    size, padding, stride = settings["kernel"], settings["padding"], settings["stride"]
    pose, activation = tensors["in_pose"], tensors["in_activation"]
    side = (pose.shape[-1] + 2 * padding - size) // stride + 1

    def windows(maps: Tensor) -> Tensor:  # [B, T, P, H, W] → [B, L, (ky, kx, T), P]
        columns = F.unfold(maps.flatten(1, 2), size, padding=padding, stride=stride)
        return columns.unflatten(1, (*maps.shape[1:3], -1)).permute(0, 4, 3, 1, 2).flatten(2, 3)

    seen, active = windows(pose), windows(activation.unsqueeze(2)).squeeze(-1)
    router = tensors["param_W2"]
    children, parents, in_dim = router.shape
    weight = tensors.get("param_W1", router.new_zeros(children, parents, in_dim))
    votes = LinearVotes(seen, weight.unflatten(1, (parents, -1)))
    learned = {"weight": router, "bias": tensors["param_b2"][0, 0]}
    found, sure = route(SelfRouting(backend=backend), votes, active, learned)
    return {
        "pose": found.permute(0, 2, 3, 1).unflatten(-1, (side, side)),
        "activation": sure.mT.unflatten(-1, (side, side)),
    }


def variational_class(
    settings: Settings, tensors: Tensors, backend: str, floor: float = 1e-11
) -> Tensors:
    """Class capsules: one window is the whole map. The original adds 0.1 to two components of every
    vote where it should add coordinates; the files need that, so the case adds it."""
    pose, activation = tensors["in_pose"], tensors["in_activation"]
    weight = tensors["param_caps.W_ij"][0, :, :, 0, :, :, 0, 0]  # [T, C, P, P, K or 1, …]
    weight = weight.expand(*weight.shape[:4], *pose.shape[-2:])
    votes = torch.einsum("btakhw,tckdhw->bthwcad", pose, weight).flatten(-2)
    if settings["coordinate_addition"]:
        side = pose.shape[2]
        shift = torch.zeros(side * side, dtype=pose.dtype)
        shift[[side - 1, 2 * side - 1]] = 0.1
        votes = votes + shift
    routing = last(VariationalRouting)(
        settings["iterations"],
        covariance={"diag": "diagonal", "full": "full"}[settings["cov"]],
        evidence_floor=floor,
        backend=backend,
    )
    learned = {
        "beta_a": tensors["param_route.beta_a"].flatten(),
        "beta_u": tensors["param_route.beta_u"].flatten(),
    }
    for ours, theirs in (("norm_activation", "BN_a"), ("norm_pose", "BN_v")):
        for part in ("running_mean", "running_var"):
            learned[f"{ours}.{part}"] = tensors[f"buffer_route.{theirs}.{part}"].detach()
    found, sure = route(routing, votes.flatten(1, 3), activation.flatten(1), learned)
    state = routing.last
    dim, shape = votes.shape[-1], (len(pose), 1, -1, 1, 1, 1, 1, 1, 1)
    return {
        "pose": found.unflatten(-1, pose.shape[2:4]),
        "activation": sure,
        "votes": votes.permute(0, 1, 4, 5, 2, 3).unflatten(3, (dim, 1, 1, 1)),
        "mid_activation": activation[:, :, None, None, None, None, None],
        "R_mass": (state.nu - dim - 1).reshape(shape),
        "Elnpi": state.log_share.reshape(shape),
        "Elnlambda": state.log_precision.reshape(shape),
    }


def attention_concurrent(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Two layers, routed at the same time."""
    layers, names = [], ("first", "second")
    for name in names:
        weight = tensors[f"param_{name}.w"].permute(0, 2, 3, 1)  # [I, J, D, P]
        children, parents, dim, in_dim = weight.shape
        layer: Any = DenseCaps(children, in_dim, parents, dim, "attention")
        layer.to(weight.dtype)
        del layer.weight  # what the file has takes its place, as a tensor with a gradient
        layer.weight = weight
        for part in ("weight", "bias"):
            delattr(layer.routing.norm, part)
            setattr(layer.routing.norm, part, tensors[f"param_{name}.nonlinear_act.{part}"])
        layers.append(layer)
    found = route_concurrently(layers, tensors["in_pose"], settings["iterations"])
    return {f"pose_{name}": capsules.pose for name, capsules in zip(names, found, strict=True)}


def kde(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The adaptive files stop by a criterion of the batch: 10 iterations give what they hold."""
    fixed = isinstance(settings["iterations"], int)
    routing = KDERouting(settings["iterations"] if fixed else 10, backend=backend)
    return routing(tensors["in_votes"])._asdict()


def deepcaps_fc(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """A bias after the sum; weights `[J, I or channels, D, P]` in runs of I / channels."""
    pose, weight = tensors["in_pose"], tensors["param_W"]
    runs = pose.shape[1] // weight.shape[1]
    votes = LinearVotes(pose, weight.repeat_interleave(runs, dim=1).transpose(0, 1))
    routing = DynamicRouting(settings["iterations"], learned_bias=True, backend=backend)
    return {"pose": route(routing, votes, None, {"bias": tensors["param_B"]}).pose}


class Guarded(DynamicRouting):
    """It squashes by a division that is guarded by 1e-7, which shows in float64."""

    def squashed(self, s: Tensor) -> Tensor:
        n = s.square().sum(dim=-1, keepdim=True)
        return s * n / (1 + n) / (n + 1e-7).sqrt()


def deepcaps_dense(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """c = J softmax(8 b), a constant in backward."""
    (scale,) = set(settings["b_alphas"])
    votes = LinearVotes(tensors["in_pose"], tensors["param_w"].permute(0, 2, 3, 1))
    routing = Guarded(
        settings["iterations"],
        coupling="softmax_times_parents",
        scale=scale,
        detach=True,
        backend=backend,
    )
    return {"pose": routing(votes).pose}


def efficient_capsnet(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Other orders of the axes."""
    votes = LinearVotes(tensors["in_pose"], tensors["param_W"].permute(1, 0, 3, 2))
    learned = {"bias": tensors["param_b"].squeeze(-1).mT}
    return {"pose": route(SelfAttentionRouting(backend=backend), votes, None, learned).pose}


def heinsen2019(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Scores on both sides instead of activations; poses are matrices `[dc, P]`."""
    pose, activation = tensors["in_pose"], torch.sigmoid(tensors["in_activation"])
    votes = torch.einsum(
        "bicp,ijpd->bijcd", pose, tensors["param_W"].expand(pose.shape[1], -1, -1, -1)
    )
    votes = votes + tensors["param_B"]
    shape = votes.shape[-2:]
    routing = last(Heinsen2019Routing)(
        settings["iterations"],
        density={"gaussian": "gaussian", "skm": "means"}[settings["p_model"]],
        single_beta=settings["single_beta"],
        backend=backend,
    )
    learned = {"beta_use": tensors["param_beta_use"].expand(votes.shape[1:3])}
    if not settings["single_beta"]:
        learned["beta_ignore"] = tensors["param_beta_ign"].expand(votes.shape[1:3])
    found = route(routing, votes.flatten(-2), activation, learned).pose
    variance = routing.last.variance * routing.last.scale.square()
    score = routing.last.score
    return {
        "pose": found.unflatten(-1, shape),
        "variance": variance.unflatten(-1, shape),
        "activation": score,
        "R": last_coupling(routing, votes.flatten(-2), activation, learned),
    }


def heinsen2022(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Parameters by other names; no activation comes of it."""
    routing = Heinsen2022Routing(
        settings["iterations"], shared=not settings["fixed_I"], backend=backend
    )
    names = {"W_F1": "F1", "W_F2": "F2", "W_G1": "G1", "W_G2": "G2"}
    learned = {
        names.get(name, name.replace("compute_", "")): tensor
        for name, tensor in ((k.removeprefix("param_"), v) for k, v in tensors.items())
        if not name.startswith("in_")
    }
    x = tensors["in_x"]
    outputs, dim = learned["B_F2"].shape
    votes = LinearVotes(x, x.new_zeros(1, outputs, dim, x.shape[-1]))
    found = route(routing, votes, None, learned).pose
    coupling = last_coupling(routing, votes, None, learned)
    with torch.no_grad():  # the routing has learned them now
        checked, _ = routing.check_arguments(votes, None, None)
        tile = Problem.of(checked, None, None).tile(slice(None))
        phi = routing.credit(tile, coupling)
    return {"x": found, "R": coupling, "phi": phi}


class OfUnitVectors(GroupEquivariantRouting):
    """It takes votes for the unit vectors that they are in the files, as the original does, whose
    gradients point away from the circle too. (Poses and activations are the same.)"""

    def view(self, tile: Tile, state: State) -> Tile:
        return tile


def group_equivariant(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Votes `[B, J, I, 2]`."""
    routing = OfUnitVectors(settings["iterations"], backend=backend)
    learned = {name: tensors[f"param_{name}"] for name in ("alpha", "beta")}
    votes, activation = tensors["in_votes"].transpose(1, 2), tensors["in_activation"]
    return route(routing, votes, activation, learned)._asdict()


DENSE_CASES: dict[str, Case] = {
    "deepcaps-dense": deepcaps_dense,
    "deepcaps-fc": deepcaps_fc,
    "efficient-capsnet": efficient_capsnet,
    "group-equivariant": group_equivariant,
    "heinsen2019": heinsen2019,
    "inverted-attention-concurrent": attention_concurrent,
    "heinsen2022": heinsen2022,
    "kde-adaptive_kde_routing": kde,
    "kde-kde_routing": kde,
    "self-routing": self_routing,
    "vb-class": variational_class,
}
