"""How the vector files of EM routing are asked of this package: see `vector_cases`."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from tests.routing.vector_cases_windows import Settings, Tensors, types_first, windows_of
from torchcaps import Capsules, ClassCaps, ConvCaps, Votes, WindowVotes
from torchcaps.routing import EMRouting, Tile
from torchcaps.routing.em import Moments, State


class EMWithLogit(EMRouting):
    """EM routing that keeps its last z, which files have as an intermediate."""

    def finish(self, state: State) -> Capsules:
        self.last_logit = state.logit
        return super().finish(state)


class OfficialConvEM(EMWithLogit):
    """EM routing with the E-step of the official convolutional layer, which is not that of the
    paper: a softmax over the positions of *one* parent type, where positions are added up as if the
    stride were 1, and with 1e-7 in the sum after the largest score of all was taken out."""

    def iterate(self, tile: Tile, state: State, t: int) -> tuple[Tensor, Tensor, Moments]:
        self.t = t
        return super().iterate(tile, state, t)

    def couple(self, tile: Tile, logits: Tensor) -> Tensor:
        if self.t == 1:
            return torch.full_like(logits, 1 / logits.shape[-1])
        assert isinstance(tile.source, WindowVotes)
        windows = tile.source.parents.windows
        (F_y, F_x), (K_y, K_x) = windows.grid, windows.kernel_size
        of_types = logits.unflatten(-2, (-1, K_y, K_x))  # [B, F, F, t, K, K, C]
        powers = torch.exp(of_types - of_types.amax(dim=(1, 2, 4, 5), keepdim=True))
        totals = powers.new_zeros(
            len(logits), F_y + K_y, F_x + K_x, *of_types.shape[3:4], logits.shape[-1]
        )
        places = [
            (fy, fx, ky, kx)
            for fy in range(F_y)
            for fx in range(F_x)
            for ky in range(K_y)
            for kx in range(K_x)
        ]
        for fy, fx, ky, kx in places:
            totals[:, fy + ky, fx + kx] += powers[:, fy, fx, :, ky, kx]
        shared = [totals[:, fy + ky, fx + kx] for fy, fx, ky, kx in places]
        total = (
            torch.stack(shared, dim=1)
            .unflatten(1, (F_y, F_x, K_y, K_x))
            .permute(0, 1, 2, 5, 3, 4, 6)
        )
        return (powers / (total + 1e-7)).flatten(3, 5)


def official(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """λ' = 2λ, β_a' = −2500 β, β_u' = ½ β_s (ln 2π + 1)."""
    routing = EMWithLogit(**official_options(settings), backend=backend)
    votes, activation = tensors["in_votes"], tensors["in_activation"]
    capsules = route(routing, votes, activation, official_betas(tensors))
    return {**capsules, "logit": routing.last_logit}


def official_options(settings: Settings) -> dict[str, Any]:
    return {
        "iterations": settings["iterations"],
        "final_lambda": 2 * settings.get("effective_final_beta", settings["final_beta"]),
        "variance_floor": settings["min_var"],
        "mean_momentum": settings["mean_momentum"],
        "mass_floor": settings["mass_eps"],
    }


def official_betas(tensors: Tensors) -> Tensors:
    return {
        "beta_a": -2500 * tensors["param_activation_biases"],
        "beta_u": 0.5 * (math.log(2 * math.pi) + 1) * tensors["param_sigma_biases"],
    }


def official_class(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Class capsules; their coordinates are the file's, and in other components."""
    pose, activation = tensors["in_pose"].movedim(2, -1), tensors["in_activation"]
    types, height, width, dim = pose.shape[1:]
    columns = math.isqrt(dim)
    weight = tensors["param_weight"].unflatten(-1, (columns, -1)).permute(0, 3, 1, 2)
    routing = EMRouting(**official_options(settings), backend=backend)
    layer = ClassCaps(types, dim, weight.shape[1], dim, (height, width), routing)
    coordinates = F.pad(tensors["in_position_grid"], (0, dim - 2))
    learned = {"weight": weight, "coordinates": coordinates, **in_layer(official_betas(tensors))}
    return functional_call(layer, learned, (Capsules(pose, activation),))._asdict()


def official_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """From the second iteration on the files follow a defect, which `OfficialConvEM` has."""
    routing = OfficialConvEM(**official_options(settings), backend=backend)
    return official_conv_routed_by(routing, settings, tensors, "all")


def official_conv_routed_by(
    routing: EMRouting, settings: Settings, tensors: Tensors, competition: str
) -> Tensors:
    """The official convolutional layer but for what routes it."""
    pose = tensors["in_pose"].movedim(2, -1)
    kernel = tensors["param_kernel"].flatten(0, 2)  # [T·K·K, M, (M, C)]
    weight = kernel.unflatten(-1, (kernel.shape[1], -1)).permute(0, 3, 1, 2)
    learned = {"weight": weight, **in_layer(official_betas(tensors))}
    capsules = conv(routing, settings, pose, tensors["in_activation"], learned, competition)
    return {"pose": capsules.pose.movedim(-1, 2), "activation": capsules.activation}


def conv(
    routing: EMRouting,
    settings: Settings,
    pose: Tensor,
    activation: Tensor,
    learned: Tensors,
    competition: str = "window",
) -> Capsules:
    """`ConvCaps` of a map `[B, T, H, W, P]`, with these values in the place of its own."""
    windows = windows_of(settings, pose.shape[2:4])
    layer = ConvCaps(
        pose.shape[1],
        pose.shape[-1],
        learned["weight"].shape[1],
        pose.shape[-1],
        *windows[1:],
        routing,
        competition=competition,
    )
    return functional_call(layer, learned, (Capsules(pose, activation),))


def in_layer(learned: Tensors) -> Tensors:
    """What a routing has learned, by the names that it has in a layer."""
    return {f"routing.{name}": value for name, value in learned.items()}


def ibm(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """λ' = 100 λ C/I, β_a' = β_a I/(100 C), β_u' = β_v; both axes of positions have length 1."""
    return route_ibm(settings, tensors, tensors["in_votes"], tensors["in_activation"], backend)


def ibm_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The same in windows, in which a child competes over all types and positions."""
    windows = windows_of(settings, tensors["in_activation"].shape[1:3])
    votes = WindowVotes.of(types_first(tensors["in_votes"], windows, -3), windows)
    activation = windows.gather(tensors["in_activation"].movedim(-1, -3).unsqueeze(-1)).squeeze(-1)
    return route_ibm(settings, tensors, votes, activation, backend)


def route_ibm(
    settings: Settings, tensors: Tensors, votes: Votes | Tensor, activation: Tensor, backend: str
) -> Tensors:
    """EM routing with the names that this code has for λ and β."""
    children, parents = votes.shape[-3:-1]
    scale = 100 * parents / children
    routing = EMRouting(
        settings["iterations"],
        final_lambda=scale * settings["final_lambda"],
        variance_floor=settings["var_add"],
        mass_floor=settings["epsilon"],
        backend=backend,
    )
    learned = {"beta_a": tensors["param_beta_a"] / scale, "beta_u": tensors["param_beta_v"]}
    return route(routing, votes, activation, learned)


def yl1993(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The file's numbers need activations of 1, since in that code they cancel, and a constant λ.

    So this case is for what the file can be matched in; that the algorithm here does not share the
    defect has a test of its own.
    """
    return route(yl1993_routing(settings, backend), tensors["in_votes"], None, betas(tensors))


def yl1993_routing(settings: Settings, backend: str) -> EMRouting:
    return EMRouting(
        settings["iterations"],
        constant_lambda=True,
        final_lambda=settings["inverse_temperature"],
        variance_floor=settings["eps"],
        mass_floor=settings["eps"],
        backend=backend,
    )


def yl1993_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The same in windows; to be exact, an activation a cancels to a / (a + 1e-8)."""
    pose = tensors["in_pose"].movedim(3, 1)  # from [B, H, W, T, P]
    weight = types_first(tensors["param_weights"][0], windows_of(settings, pose.shape[2:4]), -4)
    learned = {"weight": weight, **in_layer(betas(tensors))}
    activation = tensors["in_activation"].movedim(3, 1)
    cancelled = activation / (activation + settings["eps"])
    capsules = conv(yl1993_routing(settings, backend), settings, pose, cancelled, learned)
    return {"pose": capsules.pose.movedim(1, 3), "activation": capsules.activation.movedim(1, 3)}


def srcapsnet_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Couplings that start at 1, no floor of the mass."""
    pose = tensors["in_pose"].movedim(2, -1)
    weight = types_first(tensors["param_W"], windows_of(settings, pose.shape[2:4]), -4)
    routing = EMRouting(
        settings["iterations"],
        first_coupling="whole",
        final_lambda=settings["final_lambda"],
        variance_floor=settings["eps"],
        mass_floor=0.0,
        backend=backend,
    )
    learned = {"weight": weight, **in_layer(betas(tensors))}
    capsules = conv(routing, settings, pose, tensors["in_activation"], learned)
    return {"pose": capsules.pose.movedim(-1, 2), "activation": capsules.activation}


def betas(tensors: Tensors) -> Tensors:
    return {name: tensors[f"param_{name}"].flatten() for name in ("beta_a", "beta_u")}


def route(
    routing: EMRouting, votes: Votes | Tensor, activation: Tensor | None, learned: Tensors
) -> Tensors:
    """Route with these β instead of parameters of the routing's own."""
    children, parents, dim = votes.shape[-3:]
    built = routing.build(children, dim, parents, dim)
    pose, out_activation = functional_call(built, learned, (votes, activation))
    return {"pose": pose, "activation": out_activation}
