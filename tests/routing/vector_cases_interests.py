"""How files of recommenders' interests are asked of this package (vector_cases.py)."""

import torch
from torch import Tensor
from torch.func import functional_call

from tests.routing.vector_cases_dense import Case, Settings, Tensors
from torchcaps import InterestCaps, SelfAttentiveInterests, squash
from torchcaps.layers import attend_to_interests


def interests(
    layer: InterestCaps, weight: Tensor, tensors: Tensors, logits: Tensor | None = None
) -> Tensor:
    """The layer's interests with this weight, for the file's mask or lengths."""
    items = tensors["in_items"]
    if "in_mask" in tensors:
        mask = tensors["in_mask"].detach() > 0
    else:
        mask = tensors["in_seq_len"].detach().long()
    learned = {"weight": weight}
    found: Tensor = functional_call(layer.to(items.dtype), learned, (items, mask, logits))
    return found


def deepmatch(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """MIND as published, but for a guard of the squash."""
    (dim, out_dim), logits = tensors["param_S"].shape, tensors["in_logits_init"].detach()
    layer = InterestCaps(
        dim,
        logits.shape[-1],
        out_dim,
        number="log2(1+n)" if "in_interest_num" in tensors else "all",
        routing={"name": "interests", "iterations": settings["iterations"], "backend": backend},
    )
    return {"interests": interests(layer, tensors["param_S"].T, tensors, logits)}


def easyrec(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Cosines with the direction of an interest, or (scale 0) scalar products with it."""
    (dim, out_dim), logits = tensors["param_S"].shape, tensors["in_logits_init"].detach()
    scale = settings["routing_logits_scale"]
    assert settings["scale_ratio"] == 1
    routing = {
        "name": "interests",
        "iterations": settings["iterations"],
        "update": "cosine" if scale > 0 else "dot",
        "scale": scale,
        "power": settings["squash_pow"],
        "backend": backend,
    }
    number = "all" if settings["const_caps_num"] else "ln(n)"
    layer = InterestCaps(dim, logits.shape[-1], out_dim, number=number, routing=routing)
    lengths = tensors["in_seq_len"].detach()
    return {
        "interests": interests(layer, tensors["param_S"].T, tensors, logits),
        "interest_num": layer.present(lengths).sum(dim=1),
    }


def torcheasyrec(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """The couplings themselves stay in the logits."""
    matrix = tensors["param_bilinear_matrix"]
    logits = settings["routing_logits_stddev"] * tensors["in_logits_init"].detach()
    routing = {
        "name": "interests",
        "iterations": settings["iterations"],
        "update": "residual",
        "scale": settings["routing_logits_scale"],
        "power": settings["squash_pow"],
        "backend": backend,
    }
    assert not settings["const_caps_num"]
    dim, out_dim = matrix.shape
    layer = InterestCaps(dim, logits.shape[-1], out_dim, number="log2(n)", routing=routing)
    present = layer.present(tensors["in_seq_len"].detach())
    return {"interests": interests(layer, matrix.T, tensors, logits), "interest_mask": present}


def comirec(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """MIND (one map, logits given) or DR (a map for each position and interest, logits from 0);
    some files have a linear map and ReLU after it."""
    items, kind = tensors["in_items"], settings["bilinear_type"]
    _, length, dim = items.shape
    routing = {"name": "interests", "iterations": settings["iterations"], "backend": backend}
    if kind == 0:
        logits = tensors["in_logits_init"].detach().mT
        layer = InterestCaps(dim, logits.shape[-1], routing=routing)
        found = interests(layer, tensors["param_S"].T, tensors, logits)
    else:
        weight = tensors["param_W"][0].unflatten(1, (-1, dim))  # [S, K, D, P]
        layer = InterestCaps(dim, weight.shape[1], maps="position", length=length, routing=routing)
        found = interests(layer, weight, tensors)
    if "param_proj_w" in tensors:
        found = torch.relu(found @ tensors["param_proj_w"] + tensors["param_proj_b"])
    readout = attend_to_interests(found, tensors["in_target"].detach(), power=torch.inf)
    return {"interests": found, "readout": readout}


def comirec_sa(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Attention over the items."""
    w1, w2 = tensors["param_w1"], tensors["param_w2"]
    (dim, hidden), count = w1.shape, w2.shape[1]
    layer = SelfAttentiveInterests(dim, count, hidden, length=tensors["in_items"].shape[1])
    learned = {
        "inner.weight": w1.T,
        "inner.bias": tensors["param_b1"],
        "outer.weight": w2.T,
        "outer.bias": tensors["param_b2"],
        "position": tensors["param_position"][0],
    }
    mask = tensors["in_mask"].detach() > 0
    found: Tensor = functional_call(layer.to(w1.dtype), learned, (tensors["in_items"], mask))
    target = tensors["in_target"].detach()
    return {
        "interests": found,
        "readout": attend_to_interests(found, target, power=torch.inf),
    }


def rechub(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """torch-rechub takes the softmax over the items instead of the interests, and masks after it:
    this is that, since no option gives it. (test_pitfalls.py says what is wrong with it.)"""
    items, counted = tensors["in_items"], tensors["in_mask"].detach().unsqueeze(1)
    logits = tensors["in_logits_init"].detach()  # [B, K, S]
    if settings["bilinear_type"] == 0:
        weight = tensors["param_linear.weight"]
        u_hat = (items @ weight.T).unsqueeze(1).expand(-1, logits.shape[1], -1, -1)
    else:
        weight = tensors["param_w"][0].unflatten(1, (logits.shape[1], -1))
        u_hat, logits = torch.einsum("skdp,bsp->bksd", weight, items), torch.zeros_like(logits)
    for _ in range(settings["iterations"]):
        coupling = torch.softmax(logits, dim=-1) * counted
        v = squash(torch.einsum("bks,bksd->bkd", coupling.detach(), u_hat))
        logits = logits + torch.einsum("bksd,bkd->bks", u_hat, v).detach()
    return {"interests": v}


def rechub_sa(settings: Settings, tensors: Tensors, backend: str) -> Tensors:
    """Attention without biases and positions; a third matrix is made there, and not used."""
    w1, w2 = tensors["param_W1"], tensors["param_W2"]
    (dim, hidden), count = w1.shape, w2.shape[1]
    layer = SelfAttentiveInterests(dim, count, hidden).to(w1.dtype)
    nothing = {"inner.bias": w1.new_zeros(hidden), "outer.bias": w1.new_zeros(count)}
    learned = {"inner.weight": w1.T, "outer.weight": w2.T, **nothing}
    mask = tensors["in_mask"].detach() > 0
    found: Tensor = functional_call(layer, learned, (tensors["in_items"], mask))
    return {"interests": found}


INTEREST_CASES: dict[str, Case] = {
    "comirec-dr": comirec,
    "comirec-mind": comirec,
    "comirec-sa": comirec_sa,
    "mind-deepmatch": deepmatch,
    "mind-easyrec": easyrec,
    "rechub-bilinear0": rechub,
    "rechub-bilinear2": rechub,
    "rechub-sa": rechub_sa,
    "torcheasyrec": torcheasyrec,
}
