"""How the vector files of layers with windows are asked of this package: see `vector_cases`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from tests.routing.vector_cases_dense import Settings, Tensors, last
from torchcaps import (
    Capsules,
    ClusterCaps,
    ConvCaps,
    ConvolvedCaps,
    DeconvCaps,
    MatrixVotes,
    Windows,
)
from torchcaps.routing import (
    ARCapsNetRouting,
    AttentionRouting,
    DeepCapsRouting,
    LocallyConstrainedRouting,
)
from torchcaps.routing.variational import VariationalRouting


def windows_of(settings: Settings, size: Sequence[int]) -> Windows:
    """Square windows of a map."""
    fields = (settings["kernel"], settings["stride"], settings.get("padding", 0))
    kernel, stride, padding = ((field, field) for field in fields)
    return Windows((size[0], size[1]), kernel, stride, padding)


def types_first(x: Tensor, windows: Windows, axis: int) -> Tensor:
    """An axis of children (y, x, type) in the order (type, y, x) of this package."""
    return x.unflatten(axis, (windows.cells, -1)).transpose(axis - 1, axis).flatten(axis - 1, axis)


def attention_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Inverted attention, fed the windows that the file's code makes: their positions, the last
    axis, are viewed as (row, column, component) though memory holds (component, row, column)."""
    pose = tensors["in_pose"]  # [B, T, H, W, P]
    windows = windows_of(settings, pose.shape[2:4])
    gathered = windows.gather(pose)  # [B, F, F, T·K·K, P]
    in_memory = gathered.permute(0, 3, 4, 1, 2).contiguous()  # [B, T·K·K, P, F, F]
    scrambled = in_memory.flatten(2).unflatten(2, (*windows.grid, pose.shape[-1]))
    seen = scrambled.permute(0, 2, 3, 1, 4)  # [B, F, F, T·K·K, P]
    routing = AttentionRouting(settings["iterations"], backend=backend)
    out = functional_call(
        routing.build(seen.shape[3], pose.shape[-1], 1, out_dim(tensors)).to(pose.dtype),
        attention_norm(tensors),
        (attention_votes(settings, tensors, windows, seen),),
    )
    mid = scrambled.unflatten(1, (pose.shape[1], *windows.kernel_size))
    return {"pose": out.pose.movedim(-2, 1), "windows": mid}


def out_dim(tensors: Tensors) -> int:
    return len(tensors["param_nonlinear_act.weight"])


def attention_norm(tensors: Tensors) -> Tensors:
    names = ("weight", "bias")
    return {f"norm.{name}": tensors[f"param_nonlinear_act.{name}"] for name in names}


def attention_votes(
    settings: Settings, tensors: Tensors, windows: Windows, seen: Tensor
) -> MatrixVotes:
    """Its weights are [K, K, T, P, C, D], or [K, K, T, M, M, C]."""
    weight = types_first(tensors["param_w"].flatten(0, 2), windows, -4)
    if settings["matrix_pose"]:
        return MatrixVotes(seen, weight.movedim(-1, 1))
    return MatrixVotes(seen, weight.movedim(-2, 1))  # one row


def segcaps_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """With `batch_mixed`, its votes of axes (type, sample) are read as (sample, type)."""
    pose = tensors["in_pose"].movedim(3, 1)  # from [B, H, W, T, P]
    if settings["batch_mixed"]:
        batch, types = pose.shape[:2]
        pose = pose.transpose(0, 1).reshape(batch, types, *pose.shape[2:])
    weight = tensors["param_W"].movedim((2, 3), (1, 0))  # from [K, K, P, (C, D)]
    layer = ConvolvedCaps(*convolved_sizes(pose, tensors), **convolved_options(settings, backend))
    return convolved(layer, pose, weight, tensors)


def segcaps_deconv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    pose = tensors["in_pose"].movedim(3, 1)
    weight = tensors["param_W"].movedim((2, 3), (0, 1))  # from [K, K, (C, D), P]
    routing = LocallyConstrainedRouting(settings["iterations"], backend=backend)
    kernel, scaling = settings["kernel"], settings["scaling"]
    padding = (kernel - scaling) // 2
    layer = DeconvCaps(*convolved_sizes(pose, tensors), kernel, scaling, padding, routing)
    return convolved(layer, pose, weight, tensors)


def deepcaps_conv3d(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Fed the map that its code makes: [B, H, W, T, P] read as [B, T·P, H, W] without a transpose;
    and with one norm for all positions."""
    pose = tensors["in_pose"]
    batch, height, width, types, dim = pose.shape
    scrambled = pose.reshape(batch, types, dim, height, width).movedim(2, -1)
    weight = tensors["param_W"].squeeze(3).movedim((0, 3), (1, 0))  # from [P, K, K, 1, (C, D)]
    layer = ConvolvedCaps(
        *convolved_sizes(scrambled, tensors),
        **convolved_options(settings, backend),
        competition="map",
    )
    return convolved(layer, scrambled, weight, tensors)


def convolved_options(settings: Settings, backend: str) -> dict[str, Any]:
    """Of `ConvolvedCaps`; "same" is the same on both sides for the odd maps of the files."""
    kernel = settings["kernel"]
    if "batch_mixed" in settings:
        routing = LocallyConstrainedRouting(settings["iterations"], backend=backend)
    else:
        routing = DeepCapsRouting(settings["iterations"], joint_norm=True, backend=backend)
    return {
        "kernel_size": kernel,
        "stride": settings["stride"],
        "padding": kernel // 2 if settings["padding"] == "same" else 0,
        "routing": routing,
    }


def convolved_sizes(pose: Tensor, tensors: Tensors) -> tuple[int, int, int, int]:
    outputs, dim = convolved_bias(tensors).shape
    return pose.shape[1], pose.shape[-1], outputs, dim


def convolved_bias(tensors: Tensors) -> Tensor:
    return tensors["param_b"].squeeze()


def convolved(layer: ConvolvedCaps, pose: Tensor, weight: Tensor, tensors: Tensors) -> Tensors:
    """Weights are [(C, D), P, K, K] here."""
    bias = convolved_bias(tensors)
    learned = {"weight": weight.unflatten(0, bias.shape).unsqueeze(0), "routing.bias": bias}
    return {"pose": functional_call(layer, learned, (pose,)).pose.movedim(1, 3)}


class WithoutTanh(ARCapsNetRouting):
    """AR-CapsNet's routing up to its tanh, which the files leave to the network."""

    def finish(self, state: Any) -> Capsules:
        return Capsules(state.s, state.s[..., 0])


def ar_capsnet_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Maps of even sides are padded by one on the far side alone with a stride of 2."""
    pose = tensors["in_pose"].permute(0, 4, 1, 2, 3)  # from [B, H, W, P, T]
    near = 1 if settings["stride"] == 1 else 0
    return {"pose": ar_capsnet(tensors, F.pad(pose, (0, 0, near, 1, near, 1)), settings["stride"])}


def ar_capsnet_class(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The file's code reads its array (C, D) as (D, C)."""
    pose = ar_capsnet(tensors, tensors["in_pose"].permute(0, 4, 1, 2, 3), 1)  # [B, 1, 1, D, C]
    dim, classes = pose.shape[-2:]
    in_memory = pose.transpose(-1, -2).reshape(-1, dim, classes)
    return {"pose": in_memory.transpose(-1, -2)}


def ar_capsnet(tensors: Tensors, pose: Tensor, stride: int) -> Tensor:
    """[B, F, F, D, C] of poses [B, T, H, W, P]."""
    types = pose.shape[1]
    dim = tensors["param_CapsAct_W"].shape[2]
    outputs = len(tensors["param_CapsAct_B"]) // dim
    weight = tensors["param_ConvTrans_W"].unflatten(-1, (types, dim, outputs))
    learned = {
        "weight": weight.permute(3, 5, 4, 2, 0, 1),  # from [K, K, P, T, D, C]
        "bias": tensors["param_ConvTrans_B"].unflatten(0, (types, dim, outputs)).mT,
        "routing.attention": tensors["param_Att_W"][0, 0]  # [D, T, (C, T)]
        .unflatten(-1, (outputs, types))
        .permute(2, 0, 1, 3),
        "routing.matrix": tensors["param_CapsAct_W"][0, 0]  # [D, (C, D)]
        .unflatten(-1, (outputs, dim))
        .permute(1, 2, 0),
        "routing.bias": tensors["param_CapsAct_B"].unflatten(0, (outputs, dim)),
    }
    sizes = (types, pose.shape[-1], outputs, dim, weight.shape[0], stride)
    layer = ConvolvedCaps(*sizes, routing=WithoutTanh(), shared=False, bias=True)
    return functional_call(layer, learned, (pose,)).pose.permute(0, 2, 3, 4, 1)


def cluster(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """It has one form, whatever the backend; the file's votes are ordered (N, C, D)."""
    pose = tensors["in_pose"].movedim(2, -1)  # from [B, T, P, H, W]
    types, dim = pose.shape[1], len(tensors["param_acti.weight"])
    parts = {
        part: torch.stack([tensors[f"param_conv_trans.{t}.{part}"] for t in range(types)])
        for part in ("weight", "bias")
    }
    votes_and_outputs = parts["bias"].shape[1] // dim
    outputs = settings["shapes"]["out_pose"][1]
    learned = {name: part.unflatten(1, (-1, dim)) for name, part in parts.items()}
    for part in ("weight", "bias"):
        learned[f"norm.{part}"] = tensors[f"param_acti.{part}"].movedim(0, -1)
    layer = ClusterCaps(
        types, pose.shape[-1], outputs, dim, pose.shape[2:4], votes_and_outputs // outputs,
        settings["kernel"], settings["stride"], settings["padding"],
    ).to(pose.dtype)  # fmt: skip
    return {"pose": functional_call(layer, learned, (pose,)).pose.movedim(-1, 2)}


def variational_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Windows in which a child competes over all types and positions."""
    pose = tensors["in_pose"].flatten(2, 3).movedim(2, -1)  # from [B, T, M, M, H, W]
    windows = windows_of(settings, pose.shape[2:4])
    weight = tensors["param_caps.W_ij"].squeeze(0).squeeze((2, 5, 6))  # [T, C, M, M, K, K]
    weight = weight.movedim((4, 5), (1, 2)).flatten(0, 2)
    routing = last(VariationalRouting)(
        settings["iterations"], evidence_floor=1e-11, backend=backend
    )
    types, dim = weight.shape[1], pose.shape[-1]
    layer = ConvCaps(pose.shape[1], dim, types, dim, *windows[1:], routing).to(pose.dtype).eval()
    learned = {
        "weight": weight,
        "routing.beta_a": tensors["param_route.beta_a"].flatten(),
        "routing.beta_u": tensors["param_route.beta_u"].flatten(),
    }
    for ours, theirs in (("norm_activation", "BN_a"), ("norm_pose", "BN_v")):
        for part in ("running_mean", "running_var"):
            value = tensors[f"buffer_route.{theirs}.{part}"].detach()
            learned[f"routing.{ours}.{part}"] = value
    capsules = functional_call(layer, learned, (Capsules(pose, tensors["in_activation"]),))
    state = routing.last

    def as_theirs(x: Tensor) -> Tensor:  # [B, F, F, C, 1] → [B, 1, C, 1, 1, F, F, 1, 1]
        return x.squeeze(-1).movedim(-1, 1)[:, None, :, None, None, :, :, None, None]

    votes = MatrixVotes(windows.gather(pose), weight).materialize()  # [B, F, F, T·K·K, C, D]
    votes = votes.unflatten(3, (-1, *windows.kernel_size)).permute(0, 3, 6, 7, 1, 2, 4, 5)
    activation = windows.gather(tensors["in_activation"].unsqueeze(-1)).squeeze(-1)
    activation = activation.unflatten(3, (-1, *windows.kernel_size)).movedim(3, 1)
    return {
        "pose": capsules.pose.movedim(-1, 2).unflatten(2, tensors["in_pose"].shape[2:4]),
        "activation": capsules.activation,
        "votes": votes.unsqueeze(4),
        "mid_activation": activation[:, :, None, None, None],
        "R_mass": as_theirs(state.nu - dim - 1),
        "Elnpi": as_theirs(state.log_share),
        "Elnlambda": as_theirs(state.log_precision),
    }
