"""What public code does wrong in windows of a map, and that it is not done here.

`test_vectors` matches the files that follow a defect by putting it into the case; here the package
as it is must differ from them, and show the property that the defect loses.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.routing import vector_cases_em as em_cases
from tests.routing import vector_cases_windows as window_cases
from tests.routing.test_vectors import FILES
from tests.routing.vector_cases import VectorFile
from torchcaps import ConvCaps, ConvolvedCaps, Windows
from torchcaps.routing import EMRouting

DOUBLE = torch.float64


def files(prefix: str) -> pytest.MarkDecorator:
    """A test for each file whose name begins like this."""
    paths = [path for path in FILES if path.stem.startswith(prefix)]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def handed_out(coupling: Tensor, windows: Windows) -> Tensor:
    """The sum of the couplings of each child, `[B, T, H, W]`."""
    columns = coupling.sum(dim=-1).flatten(1, 2).mT
    return F.fold(columns, windows.size, windows.kernel_size, stride=windows.stride)


@files("em-official-conv")
def test_types_compete_and_a_child_hands_out_1(path: Path) -> None:
    """The official convolutional layer lets the positions of one type compete: a child hands out 1
    to each of C types, and with stride 2 shares it with children elsewhere."""
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    parents = len(tensors["param_sigma_biases"])
    options = em_cases.official_options(file.settings)
    windows = em_cases.windows_of(file.settings, tensors["in_activation"].shape[2:4])
    totals = {}
    for kind in (EMRouting, em_cases.OfficialConvEM):
        routing = kind(**options)
        traced: list[Tensor] = []
        routing.register_forward_pre_hook(
            lambda module, arguments, traced=traced: traced.append(
                module.trace(*arguments).coupling[-1]
            )
        )
        found = em_cases.official_conv_routed_by(routing, file.settings, tensors, "all")
        totals[kind] = handed_out(traced[0], windows)
        error = np.abs(found["pose"].detach().numpy() - file.arrays["out64_pose"]).max()
        assert (error < 1e-7) == (kind is em_cases.OfficialConvEM)
        assert error < 1e-7 or error > 0.01
    torch.testing.assert_close(totals[EMRouting], torch.ones_like(totals[EMRouting]))
    if file.settings["iterations"] > 1:
        given = totals[em_cases.OfficialConvEM]
        assert given.max() > 1.2
        if file.settings["stride"] == 1:
            torch.testing.assert_close(given, torch.full_like(given, parents), rtol=1e-3, atol=0)


@files("em-official-conv-k3s1-r1")
def test_without_that_e_step_the_official_layer_is_this_one(path: Path) -> None:
    file = VectorFile(path)
    routing = EMRouting(**em_cases.official_options(file.settings))
    found = em_cases.official_conv_routed_by(routing, file.settings, file.tensors(DOUBLE), "window")
    for name, value in found.items():
        np.testing.assert_allclose(value.detach().numpy(), file.arrays[f"out64_{name}"], atol=1e-9)


@files("em-yl1993-conv")
def test_activations_of_children_in_windows_matter(path: Path) -> None:
    """In that code they cancel."""
    file = VectorFile(path)
    assert np.abs(file.arrays["grad64_in_pose"]).max() > 0.1
    assert np.abs(file.arrays["grad64_in_activation"]).max() < 2e-5
    tensors = file.tensors(DOUBLE)
    pose = tensors["in_pose"].movedim(3, 1)
    activation = tensors["in_activation"].movedim(3, 1)
    windows = em_cases.windows_of(file.settings, pose.shape[2:4])
    weight = em_cases.types_first(tensors["param_weights"][0], windows, -4)
    learned = {"weight": weight, **em_cases.in_layer(em_cases.betas(tensors))}
    routing = em_cases.yl1993_routing(file.settings, "reference")
    found = em_cases.conv(routing, file.settings, pose, activation, learned).pose.movedim(1, 3)
    (found * torch.tensor(file.arrays["seed_pose"])).sum().backward()
    assert tensors["in_activation"].grad.abs().max() > 0.01
    assert np.abs(found.detach().numpy() - file.arrays["out64_pose"]).max() > 0.01


def error_of(found: Tensor, file: VectorFile) -> float:
    """The largest error of a pose against the file's."""
    return float(np.abs(found.detach().numpy() - file.arrays["out64_pose"]).max())


@files("inverted-attention-conv")
def test_a_window_holds_the_poses_below_it(path: Path) -> None:
    """That code views (component, row, column) as (row, column, component): poses are scrambled.
    A single pose that is shown reaches the output positions whose windows hold it, and no others.
    """
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    pose = tensors["in_pose"].detach()
    windows = window_cases.windows_of(file.settings, pose.shape[2:4])
    votes = window_cases.attention_votes(file.settings, tensors, windows, windows.gather(pose))
    types, dim = votes.shape[-2:]
    matrix, stride = file.settings["matrix_pose"], file.settings["stride"]
    layer = ConvCaps(
        pose.shape[1], pose.shape[-1], types, dim, windows.kernel_size, stride,
        routing={"name": "attention", "iterations": file.settings["iterations"]},
        competition="window", matrix_poses=matrix,
    ).double()  # fmt: skip
    weight = votes.weight if matrix else votes.weight.transpose(-1, -2)
    norm = em_cases.in_layer(window_cases.attention_norm(tensors))
    learned = {"weight": weight, **norm}

    def route(pose: Tensor) -> Tensor:
        return torch.func.functional_call(layer, learned, (pose,)).pose

    assert error_of(route(pose), file) > 0.1
    changed = pose.clone()
    changed[:, :, 0, 0] += 1  # the corner: only the first window holds it
    moved = (route(changed) - route(pose)).abs().amax(dim=(0, 1, 4)) > 1e-9
    assert moved[0, 0]
    assert moved.sum() == 1
    original = window_cases.attention_conv(file.settings, {**tensors, "in_pose": changed}, "auto")
    moved = np.abs(original["pose"].detach().numpy() - file.arrays["out64_pose"]) > 1e-6
    assert moved.any(axis=(0, 1, 4)).sum() > 1


@files("segcaps-conv")
def test_images_of_a_batch_are_not_mixed(path: Path) -> None:
    """With more than one image SegCaps' code reads (type, sample) as (sample, type)."""
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    found = window_cases.segcaps_conv({**file.settings, "batch_mixed": False}, tensors, "auto")
    mixed = file.settings["batch_mixed"]
    assert mixed == (len(tensors["in_pose"]) > 1)
    assert (error_of(found["pose"], file) > 0.01) == mixed
    for n in range(len(tensors["in_pose"])):
        alone = {**tensors, "in_pose": tensors["in_pose"][n : n + 1]}
        row = window_cases.segcaps_conv({**file.settings, "batch_mixed": False}, alone, "auto")
        torch.testing.assert_close(row["pose"][0], found["pose"][n])


@files("deepcaps-conv3d")
def test_a_capsule_stays_where_it_is(path: Path) -> None:
    """DeepCaps' code reads (row, column, type, component) as (type, component, row, column), and
    gives all positions one norm. Here without iterations a pose reaches its neighbours alone."""
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    pose = tensors["in_pose"].detach().movedim(3, 1)  # [B, T, H, W, P]
    weight = tensors["param_W"].squeeze(3).movedim((0, 3), (1, 0))
    sizes = window_cases.convolved_sizes(pose, tensors)
    for joint_norm in (True, False):
        options = window_cases.convolved_options(file.settings, "auto")
        options["routing"].joint_norm = joint_norm
        layer = ConvolvedCaps(*sizes, **options, competition="map")
        found = window_cases.convolved(layer, pose, weight, tensors)["pose"]
        assert error_of(found, file) > 0.01
    options = window_cases.convolved_options(file.settings, "auto")
    options["routing"].joint_norm = False
    options["routing"].iterations = 1
    layer = ConvolvedCaps(*sizes, **options)
    changed = pose.clone()
    changed[:, :, 0, 0] += 1
    here, there = (
        window_cases.convolved(layer, each, weight, tensors)["pose"] for each in (pose, changed)
    )
    moved = ((here - there).abs() > 1e-9).any(dim=-1).any(dim=-1).any(dim=0)  # [F, F]
    reach = 1 + layer.padding[0]
    assert moved[:reach, :reach].all()
    assert moved.sum() == moved[:reach, :reach].numel()


@files("attention-routing-fc")
def test_a_class_vector_is_made_of_its_own_components(path: Path) -> None:
    """AR-CapsNet's class layer reads (class, component) as (component, class). Here the vector of a
    class depends on what is learned for it alone."""
    file = VectorFile(path)
    tensors = file.tensors(DOUBLE)
    pose = tensors["in_pose"].permute(0, 4, 1, 2, 3)

    def classes(bias: Tensor) -> Tensor:  # [B, C, D]
        learned = {**tensors, "param_CapsAct_B": bias}
        return window_cases.ar_capsnet(learned, pose, 1)[:, 0, 0].mT

    bias = tensors["param_CapsAct_B"].detach()
    dim = tensors["param_CapsAct_W"].shape[2]
    other = bias.clone()
    other[:dim] += 1  # of the first class
    assert error_of(classes(bias), file) > 0.01
    assert torch.equal(classes(other)[:, 1:], classes(bias)[:, 1:])
    torch.testing.assert_close(classes(other)[:, 0], classes(bias)[:, 0] + 1)
    theirs = [
        window_cases.ar_capsnet_class(file.settings, {**tensors, "param_CapsAct_B": each}, "auto")
        for each in (bias, other)
    ]
    assert not torch.equal(theirs[0]["pose"][:, 1:], theirs[1]["pose"][:, 1:])
