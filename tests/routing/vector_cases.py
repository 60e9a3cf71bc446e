"""How each algorithm of the vector files is asked of this package: `CASES`.

A case takes the settings of a file, its inputs and parameters as tensors, and a backend, and gives
the file's outputs and intermediates by name. Where the public code has other parameters than the
class here, the case renames them in torch, so that gradients reach those of the file.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from tests.oracle import Array
from torchcaps import Capsules, LinearVotes, Votes, Windows, WindowVotes
from torchcaps.routing import AttentionRouting, DynamicRouting, EMRouting
from torchcaps.routing.em import State

Tensors = dict[str, Tensor]
Settings = Mapping[str, Any]
Case = Callable[[Settings, Tensors, str], Tensors]


class VectorFile:
    """The arrays and the settings of a file."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as held:
            self.arrays: dict[str, Array] = {name: held[name] for name in held.files}
        self.settings: Settings = json.loads(str(self.arrays.pop("settings_json")))
        self.source = str(self.arrays.pop("source"))
        self.algorithm = algorithm_of(path)

    def tensors(self, dtype: torch.dtype) -> Tensors:
        """Inputs and parameters, as leaves."""
        return {
            name: torch.tensor(array, dtype=dtype, requires_grad=True)
            for name, array in self.arrays.items()
            if name.startswith(("in_", "param_"))
        }

    def route(self, tensors: Tensors, backend: str) -> Tensors:
        """Outputs ("pose") and intermediates ("logit") of this package."""
        return CASES[self.algorithm](self.settings, tensors, backend)


def algorithm_of(path: Path) -> str:
    """The prefix of the file's name that is in one of the tables; "" if there is none."""
    known = [*CASES, *NOT_YET_BUILT]
    return next((prefix for prefix in known if path.stem.startswith(prefix + "-")), "")


class EMWithLogit(EMRouting):
    """EM routing that keeps its last z, which files have as an intermediate."""

    def finish(self, state: State) -> Capsules:
        self.last_logit = state.logit
        return super().finish(state)


class EMWithConstantLambda(EMRouting):
    """EM routing with λ_t = λ in every iteration."""

    def inverse_temperature(self, m: Tensor, t: int) -> float:
        assert self.final_lambda is not None
        return self.final_lambda


def em_official(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """λ' = 2λ, β_a' = −2500 β, β_u' = ½ β_s (ln 2π + 1)."""
    routing = EMWithLogit(
        settings["iterations"],
        final_lambda=2 * settings["final_beta"],
        variance_floor=settings["min_var"],
        mean_momentum=settings["mean_momentum"],
        mass_floor=settings["mass_eps"],
        backend=backend,
    )
    learned = {
        "beta_a": -2500 * tensors["param_activation_biases"],
        "beta_u": 0.5 * (math.log(2 * math.pi) + 1) * tensors["param_sigma_biases"],
    }
    capsules = em(routing, tensors["in_votes"], tensors["in_activation"], learned)
    return {**capsules, "logit": routing.last_logit}


def em_ibm(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """λ' = 100 λ C/I, β_a' = β_a I/(100 C), β_u' = β_v; both axes of positions have length 1."""
    return ibm(settings, tensors, tensors["in_votes"], tensors["in_activation"], backend)


def em_ibm_conv(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The same in windows, in which a child competes over all types and positions."""
    windows = windows_of(settings, tensors["in_activation"].shape[1:3])
    votes = WindowVotes.of(types_first(tensors["in_votes"], windows, -3), windows)
    activation = windows.gather(tensors["in_activation"].movedim(-1, -3).unsqueeze(-1)).squeeze(-1)
    return ibm(settings, tensors, votes, activation, backend)


def windows_of(settings: Settings, size: Sequence[int]) -> Windows:
    """Square windows of a map."""
    fields = (settings["kernel"], settings["stride"], settings.get("padding", 0))
    kernel, stride, padding = ((field, field) for field in fields)
    return Windows((size[0], size[1]), kernel, stride, padding)


def types_first(x: Tensor, windows: Windows, axis: int) -> Tensor:
    """An axis of children (y, x, type) in the order (type, y, x) of this package."""
    return x.unflatten(axis, (windows.cells, -1)).transpose(axis - 1, axis).flatten(axis - 1, axis)


def ibm(
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
    return em(routing, votes, activation, learned)


def em_yl1993(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The file's numbers need activations of 1, since in that code they cancel, and a constant λ.

    So this case is for what the file can be matched in; that the algorithm here does not share the
    defect has a test of its own.
    """
    routing = EMWithConstantLambda(
        settings["iterations"],
        final_lambda=settings["inverse_temperature"],
        variance_floor=settings["eps"],
        mass_floor=settings["eps"],
        backend=backend,
    )
    learned = {"beta_a": tensors["param_beta_a"], "beta_u": tensors["param_beta_u"]}
    return em(routing, tensors["in_votes"], None, learned)


def em(
    routing: EMRouting, votes: Votes | Tensor, activation: Tensor | None, learned: Tensors
) -> Tensors:
    """Route with these β instead of parameters of the routing's own."""
    children, parents, dim = votes.shape[-3:]
    built = routing.build(children, dim, parents, dim)
    pose, out_activation = functional_call(built, learned, (votes, activation))
    return {"pose": pose, "activation": out_activation}


def inverted_attention(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Vector poses V = W u, or matrix poses V = U W as a linear map of the flat pose."""
    pose, w = tensors["in_pose"], tensors["param_w"]
    if settings["matrix_pose"]:  # [I, M, M, J]; row a of V is row a of U, times W
        weight = torch.einsum("ak,icbj->ijabkc", torch.eye(w.shape[1], dtype=w.dtype), w)
        weight = weight.flatten(4, 5).flatten(2, 3)
    else:  # [I, P, J, D]
        weight = w.permute(0, 2, 3, 1)
    votes = LinearVotes(pose, weight)
    routing = AttentionRouting(settings["iterations"], backend=backend)
    routing.build(*pose.shape[-2:], *votes.shape[-2:]).to(pose.dtype)
    learned = {
        f"norm.{name}": tensors[f"param_nonlinear_act.{name}"] for name in ("weight", "bias")
    }
    return {"pose": functional_call(routing, learned, (votes,)).pose}


def kde_dynamic(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Dynamic routing with a leak, squashed to half; no other differences."""
    routing = DynamicRouting(settings["iterations"], leaky=True, squash="half", backend=backend)
    return routing(tensors["in_votes"])._asdict()


# The beginning of a file's name → how it is asked of this package.
CASES: dict[str, Case] = {
    "em-ibm-conv": em_ibm_conv,
    "em-ibm-fc": em_ibm,
    "em-official-fc": em_official,
    "em-yl1993-fc": em_yl1993,
    "inverted-attention-fc": inverted_attention,
    "kde-dynamic_routing": kde_dynamic,
}

# Gradients in which a file follows a defect of its original, and why.
DEFECTS = {
    "em-yl1993-fc": {"in_activation": "R a is divided by its sum over the parents, so a cancels"},
}

# The beginning of a file's name → what this package lacks for it.
NOT_YET_BUILT = {
    "attention-routing": "attention over children, votes by convolution (AR-CapsNet)",
    "cluster-routing": "several votes for each parent, a softmax over children",
    "comirec-dr": "a layer of interests: the guarded squash, given starting logits",
    "comirec-mind": "a layer of interests: one map for all outputs, given starting logits",
    "comirec-sa": "self-attentive interests",
    "deepcaps-conv3d": "votes by convolution, a softmax over the whole map",
    "deepcaps-dense": "couplings that do not sum to 1",
    "deepcaps-fc": "a bias after the sum over children, weights in runs of channels",
    "efficient-capsnet": "self-attention routing: couplings added to after the softmax",
    "em-official-class": "coordinates added to votes, weights shared over positions",
    "em-official-conv": "a layer with windows; but for r = 1 the files follow a defect",
    "em-srcapsnet-conv": "a layer with windows, couplings that start at 1",
    "em-yl1993-conv": "a layer with windows",
    "group-equivariant": "group-equivariant routing: poses that are rotations",
    "heinsen2019": "Heinsen's routing of 2019: credit for use and for ignoring",
    "heinsen2022": "Heinsen's routing of 2022: credit for use and for ignoring",
    "inverted-attention-concurrent": "several layers that are routed at the same time",
    "inverted-attention-conv": "a layer with windows; the files follow a defect",
    "kde-adaptive_kde_routing": "kernel density estimation, stopped by a criterion of the batch",
    "kde-kde_routing": "kernel density estimation",
    "mind-deepmatch": "a layer of interests: one map, given starting logits, a mask of outputs",
    "mind-easyrec": "a layer of interests: one map, given starting logits, a mask of outputs",
    "rechub-bilinear0": "a layer of interests; the files follow a defect",
    "rechub-bilinear2": "a layer of interests; the files follow a defect",
    "rechub-sa": "self-attentive interests; the files follow a defect",
    "segcaps-conv": "votes by convolution, summed over the window",
    "segcaps-deconv": "votes by transposed convolution, summed over the window",
    "self-routing": "couplings from the pose of a child alone",
    "torcheasyrec": "a layer of interests: one map, given starting logits, a mask of outputs",
    "vb-class": "variational Bayes routing",
    "vb-conv": "variational Bayes routing, in a layer with windows",
}
