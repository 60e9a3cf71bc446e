"""How each algorithm of the vector files is asked of this package: `CASES`.

A case takes the settings of a file, its inputs and parameters as tensors, and a backend, and gives
the file's outputs and intermediates by name. Where the public code has other parameters than the
class here, the case renames them in torch, so that gradients reach those of the file.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call

from tests.oracle import Array
from tests.routing import vector_cases_em as em_cases
from tests.routing import vector_cases_windows as window_cases
from tests.routing.vector_cases_dense import DENSE_CASES, Case, Settings, Tensors
from tests.routing.vector_cases_interests import INTEREST_CASES
from torchcaps import LinearVotes
from torchcaps.routing import AttentionRouting, DynamicRouting


class VectorFile:
    """The arrays and the settings of a file."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as held:
            self.arrays: dict[str, Array] = {name: held[name] for name in held.files}
        shapes = {n: array.shape for n, array in self.arrays.items() if n.startswith("out_")}
        settings = json.loads(str(self.arrays.pop("settings_json")))
        self.settings: Settings = {**settings, "shapes": shapes}
        self.source = str(self.arrays.pop("source"))
        self.algorithm = algorithm_of(path)

    def tensors(self, dtype: torch.dtype) -> Tensors:
        """Inputs and parameters, as leaves."""
        return {
            name: torch.tensor(array, dtype=dtype, requires_grad=True)
            for name, array in self.arrays.items()
            if name.startswith(("in_", "param_", "buffer_"))
        }

    def route(self, tensors: Tensors, backend: str) -> Tensors:
        """Outputs ("pose") and intermediates ("logit") of this package."""
        return CASES[self.algorithm](self.settings, tensors, backend)


def algorithm_of(path: Path) -> str:
    """The prefix of the file's name that is in one of the tables; "" if there is none."""
    known = [*CASES, *NOT_YET_BUILT]
    return next((prefix for prefix in known if path.stem.startswith(prefix + "-")), "")


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
    **DENSE_CASES,
    **INTEREST_CASES,
    "em-ibm-conv": em_cases.ibm_conv,
    "em-ibm-fc": em_cases.ibm,
    "em-official-class": em_cases.official_class,
    "em-official-conv": em_cases.official_conv,
    "em-official-fc": em_cases.official,
    "em-srcapsnet-conv": em_cases.srcapsnet_conv,
    "em-yl1993-conv": em_cases.yl1993_conv,
    "em-yl1993-fc": em_cases.yl1993,
    "attention-routing-conv": window_cases.ar_capsnet_conv,
    "attention-routing-fc": window_cases.ar_capsnet_class,
    "cluster-routing": window_cases.cluster,
    "deepcaps-conv3d": window_cases.deepcaps_conv3d,
    "inverted-attention-conv": window_cases.attention_conv,
    "inverted-attention-fc": inverted_attention,
    "kde-dynamic_routing": kde_dynamic,
    "segcaps-conv": window_cases.segcaps_conv,
    "segcaps-deconv": window_cases.segcaps_deconv,
    "vb-conv": window_cases.variational_conv,
}

# Gradients in which a file follows a defect of its original, and why.
DEFECTS = {
    "em-yl1993-fc": {"in_activation": "R a is divided by its sum over the parents, so a cancels"},
}

# The beginning of the name of files that follow a defect → the defect, what is asserted beside the
# comparison, and the test that does.
DEFECTIVE = {
    "attention-routing-fc": (
        "the class layer's (parent, component) is read as (component, parent)",
        "a class vector is made of its own components",
        "test_defects.test_a_class_vector_is_made_of_its_own_components",
    ),
    "deepcaps-conv3d": (
        "positions, types, components are reshaped into each other; all positions have one norm",
        "a capsule reaches its neighbours and no others",
        "test_defects.test_a_capsule_stays_where_it_is",
    ),
    "em-official-conv": (
        "positions of one type compete, types do not; with stride 2, of unrelated children",
        "types compete, and a child hands out 1; r = 1 is matched as it is",
        "test_defects.test_types_compete_and_a_child_hands_out_1",
    ),
    "em-yl1993-conv": (
        "R a is divided by its sum over the parents: activations cancel",
        "they have a gradient, and change the output",
        "test_defects.test_activations_of_children_in_windows_matter",
    ),
    "em-yl1993-fc": (
        "R a is divided by its sum over the parents: activations cancel",
        "they have a gradient, and change the output",
        "test_vectors.test_activations_do_not_cancel",
    ),
    "inverted-attention-conv": (
        "windows are viewed with pose components and positions shuffled",
        "a pose reaches the windows that hold it and no others",
        "test_defects.test_a_window_holds_the_poses_below_it",
    ),
    "rechub-bilinear": (
        "the softmax is over the items, and the mask comes after it",
        "interests differ from the file's; what padding holds changes none",
        "test_pitfalls.test_interests_compete_and_padding_takes_no_part",
    ),
    "rechub-sa": (
        "the width asked for is not taken, and a third matrix is not used",
        "none of it shows in the numbers: matched as it is",
        "test_vectors.test_numbers_are_those_of_the_public_code",
    ),
    "segcaps-conv": (
        "with more than one image, (type, sample) is read as (sample, type)",
        "an image is routed by itself; files of one image are matched as they are",
        "test_defects.test_images_of_a_batch_are_not_mixed",
    ),
    "vb-class-diag-k3s1-P2-r3-coord": (
        "a constant is added to two components in the place of coordinates",
        "without it the poses differ",
        "test_pitfalls.test_a_constant_is_no_coordinate",
    ),
}

# The beginning of a file's name → what this package lacks for it.
NOT_YET_BUILT: dict[str, str] = {}
