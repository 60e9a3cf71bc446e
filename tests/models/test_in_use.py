"""Networks under torch.func, checkpointing, other devices and formats, threads and processes."""

import copy
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

from tests.small_models import CASES, small
from torchcaps import load_pretrained


def batch(model: Any, count: int = 4) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, model.channels, *model.image_size)
    return images, torch.randint(model.num_classes, (count,))


def state_of(model: Any) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def all_close(found: Any, expected: Any, **tolerance: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, **tolerance)


# --- torch.func
@pytest.mark.parametrize(("name", "routing"), CASES)
def test_vmap_over_images(name: str, routing: str | None) -> None:
    model = small(name, routing)
    images, _ = batch(model)

    def one(image: Tensor) -> tuple[Tensor, ...]:
        return tuple(part[0] for part in model(image[None]) if part is not None)

    all_close(vmap(one)(images), [part for part in model(images) if part is not None])


@pytest.mark.parametrize(("name", "routing"), CASES)
def test_an_ensemble(name: str, routing: str | None) -> None:
    models = [small(name, routing) for _ in range(3)]
    images, _ = batch(models[0])
    parameters, buffers = stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")

    def answer(parameters: Any, buffers: Any) -> Tensor:
        return functional_call(base, (parameters, buffers), (images,)).activation

    found = vmap(answer)(parameters, buffers)
    torch.testing.assert_close(found, torch.stack([model(images).activation for model in models]))


@pytest.mark.parametrize(("name", "routing"), CASES)
def test_gradients_of_each_image(name: str, routing: str | None) -> None:
    model = small(name, routing)
    images, labels = batch(model)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters: Any, image: Tensor, label: Tensor) -> Tensor:
        output = functional_call(model, parameters, (image[None], label[None]))
        return model.loss(output, image[None], label[None]).total

    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, images, labels)
    for n in range(len(images)):
        part = slice(n, n + 1)
        model.zero_grad()
        model.loss(model(images[part], labels[part]), images[part], labels[part]).total.backward()
        for key, parameter in model.named_parameters():
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(found[key][n], expected, rtol=1e-4, atol=1e-5)


def test_targets_of_several_classes_go_through_transforms() -> None:
    model = small("capsnet")
    images, _ = batch(model)
    targets = torch.eye(3)[:1].expand(4, 3)

    def loss(image: Tensor, target: Tensor) -> Tensor:
        return model.loss(model(image[None], target[None]), image[None], target[None]).total

    found = vmap(loss)(images, targets)
    torch.testing.assert_close(found.mean(), model.loss(model(images, targets), images, targets)[0])


def test_functional_call_takes_other_weights_and_leaves_those_of_the_model() -> None:
    model, other = small("capsnet", "em"), small("capsnet", "em")
    images, labels = batch(model)
    before = copy.deepcopy(model.state_dict())
    all_close(functional_call(model, state_of(other), (images, labels)), other(images, labels))
    all_close(functional_call(model, {}, (images, labels)), model(images, labels))
    all_close(model.state_dict().values(), before.values(), rtol=0, atol=0)


# --- checkpointing
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("backend", ["cpu", "tiles", "reference"])
def test_gradient_checkpointing(backend: str, reentrant: bool) -> None:
    model = small("capsnet")
    model.classes.routing.backend = backend
    images, labels = batch(model)
    images.requires_grad_()
    gradients = []
    for run in (
        lambda: model(images, labels),
        lambda: checkpoint(model, images, labels, use_reentrant=reentrant),
    ):
        model.zero_grad()
        pose, activation, reconstruction = run()
        (pose.sum() + activation.sum() + reconstruction.sum()).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    all_close(*gradients)


# --- devices and formats
@pytest.mark.parametrize(("name", "routing"), CASES)
def test_built_on_meta_filled_later(name: str, routing: str | None) -> None:
    """As large networks are: no memory until the weights are there."""
    model = small(name, routing)
    images, labels = batch(model)
    with torch.device("meta"):
        empty = small(name, routing)
    shapes = [
        part.shape for part in empty(images.to("meta"), labels.to("meta")) if part is not None
    ]
    expected = model(images, labels)
    assert shapes == [part.shape for part in expected if part is not None]
    filled = copy.deepcopy(empty).to_empty(device="cpu")
    filled.load_state_dict(model.state_dict())
    all_close(filled(images, labels), expected)
    empty.load_state_dict(model.state_dict(), assign=True)
    all_close(empty(images, labels), expected)
    assert not any(parameter.is_meta for parameter in empty.parameters())


@pytest.mark.parametrize("children_first", [True, False])
@pytest.mark.parametrize(("name", "routing"), CASES)
def test_reset_after_to_empty_it_is_as_freshly_built(
    name: str, routing: str | None, children_first: bool
) -> None:
    """Each module resets itself, as torch's FSDP asks of it."""
    torch.manual_seed(0)
    built = state_of(small(name, routing))
    with torch.device("meta"):
        model = small(name, routing)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in state_of(model).values():
            tensor.fill_(7)
    modules = list(model.modules())
    for module in reversed(modules) if children_first else modules:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    buffers = dict(model.named_buffers())
    for key, tensor in state_of(model).items():
        assert bool((tensor != 7).all()), key
        alike = tensor.numel() > 1 and bool((built[key] == built[key].flatten()[0]).all())
        if key in buffers or alike:
            assert torch.equal(tensor, built[key]), key
        elif tensor.numel() > 40:
            assert 0.7 < tensor.std() / built[key].std() < 1.4, key


@pytest.mark.parametrize(("name", "routing"), CASES)
def test_other_number_formats(name: str, routing: str | None) -> None:
    model = small(name, routing)
    images, labels = batch(model)
    expected = model(images, labels)
    for dtype, tolerance in ((torch.float64, 1e-4), (torch.bfloat16, 0.1), (torch.float16, 0.02)):
        moved = copy.deepcopy(model).to(dtype)
        found = moved(images.to(dtype), labels)
        for one, other in zip(found, expected):
            if other is not None:
                assert one.dtype == dtype
                torch.testing.assert_close(one.float(), other, rtol=tolerance, atol=tolerance)
        if dtype == torch.float64:
            all_close(moved.float()(images, labels), expected, rtol=0, atol=0)


# --- threads and processes
def test_threads_share_a_network() -> None:
    model = load_pretrained("digits")
    images = torch.rand(12, 16, 1, 28, 28)
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # the fused kernel's own helpers are shared too
    try:
        with torch.no_grad():
            expected = [model(some) for some in images]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(torch.no_grad()(model), images))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, expected):
        all_close(one, other)


def answer(model: Any, images: Tensor) -> list[list[float]]:
    """What a worker does; it returns plain numbers, which need no shared memory."""
    torch.set_num_threads(1)
    model.classes.routing.backend = "cpu"
    with torch.no_grad():
        return model(images).activation.tolist()


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_worker_processes(start: str) -> None:
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {start}")
    model = load_pretrained("digits")
    images = torch.rand(4, 1, 28, 28)
    expected = answer(model, images)  # so that a fork finds everything in use
    with multiprocessing.get_context(start).Pool(2) as pool:
        found = pool.starmap_async(answer, [(model, images)] * 2).get(timeout=120)
    for activation in found:
        torch.testing.assert_close(torch.tensor(activation), torch.tensor(expected))
