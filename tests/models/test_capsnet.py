"""CapsNet: the paper's sizes, any image, and which class the decoder draws."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from torchcaps import CapsNet, create_model, margin_loss
from torchcaps.models.loss_scale import LossScale
from torchcaps.models.pixels import check_range
from torchcaps.models.summary import count_parameters

SMALL: dict[str, Any] = {"conv_channels": 8, "primary_types": 2, "decoder_hidden": (16,)}


def test_it_has_the_parameters_of_the_paper() -> None:
    model = create_model("capsnet")
    assert isinstance(model, CapsNet)
    assert count_parameters(model) == 8_215_568
    assert count_parameters(model) - count_parameters(model.decoder) == 6_804_224
    assert count_parameters(CapsNet(36)) == 11_361_808
    assert count_parameters(CapsNet(reconstruct=False)) == 6_804_224
    assert count_parameters(CapsNet(routing_bias=True)) == 8_215_568 + 160
    assert count_parameters(create_model("baseline_cnn")) == 35_445_522
    assert model.primary_grid == (6, 6)


@pytest.mark.parametrize(
    ("size", "channels", "classes"), [(28, 1, 10), (17, 3, 2), ((20, 31), 5, 1), (40, 1, 120)]
)
def test_any_image(size: int | tuple[int, int], channels: int, classes: int) -> None:
    model = CapsNet(size, channels, classes, **SMALL)
    height, width = (size, size) if isinstance(size, int) else size
    for batch in (1, 3):
        pose, activation, reconstruction = model(torch.rand(batch, channels, height, width))
        assert pose.shape == (batch, classes, 16)
        assert activation.shape == (batch, classes)
        assert reconstruction.shape == (batch, channels, height, width)
        assert reconstruction.min() >= 0
        assert reconstruction.max() <= 1


@pytest.mark.parametrize("size", [16, 1, (16, 100)])
def test_too_small_an_image_names_the_smallest(size: Any) -> None:
    with pytest.raises(ValueError, match="the smallest that works is 17×17"):
        CapsNet(size)
    assert CapsNet(17, **SMALL).primary_grid == (1, 1)


def test_the_smallest_image_follows_the_kernels() -> None:
    with pytest.raises(ValueError, match="the smallest that works is 13×13"):
        CapsNet(12, kernel_size=5, conv_stride=2)
    assert CapsNet(13, kernel_size=5, conv_stride=2, **SMALL).primary_grid == (1, 1)


def test_the_decoder_draws_the_labelled_class_and_else_the_longest() -> None:
    model = CapsNet(**SMALL)
    images, labels = torch.rand(4, 1, 28, 28), torch.tensor([7, 1, 0, 9])
    output = model(images, labels)
    drawn = model.decoder(output.pose, labels)
    assert torch.equal(output.reconstruction, drawn)
    longest = model(images).reconstruction
    assert torch.equal(longest, model.decoder(output.pose, output.activation.argmax(dim=1)))
    assert torch.equal(longest, model.eval()(images).reconstruction)


def test_only_the_pose_of_the_drawn_class_gets_the_gradient_of_the_drawing() -> None:
    decoder = CapsNet(**SMALL).decoder
    pose = torch.randn(2, 10, 16, requires_grad=True)
    decoder(pose, torch.tensor([3, 7])).sum().backward()
    touched = pose.grad.abs().sum(dim=-1) > 0
    assert touched.nonzero().tolist() == [[0, 3], [1, 7]]


def test_a_nan_in_the_pose_of_another_class_does_not_reach_the_drawing() -> None:
    decoder = CapsNet(**SMALL).decoder
    pose = torch.full((1, 10, 16), torch.nan)
    pose[0, 4] = 0.1
    assert torch.isfinite(decoder(pose, torch.tensor([4]))).all()


def test_the_loss_is_on_the_scale_of_the_paper_or_of_the_authors() -> None:
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([2, 0, 5])
    paper = CapsNet(**SMALL)
    output = paper(images, labels)
    margin = margin_loss(output.activation, labels)
    squares = ((output.reconstruction - images) ** 2).sum() / 3
    total, classification, drawing = paper.loss(output, images, labels)
    torch.testing.assert_close(classification, margin)
    torch.testing.assert_close(drawing, 0.0005 * squares)
    torch.testing.assert_close(total, margin + 0.0005 * squares)
    authors = CapsNet(**SMALL, loss_scale="authors").loss(output, images, labels)
    torch.testing.assert_close(authors.classification, margin / 20)
    torch.testing.assert_close(authors.reconstruction, 0.0005 * squares)


def test_without_a_decoder() -> None:
    model = CapsNet(**SMALL, reconstruct=False)
    output = model(torch.rand(2, 1, 28, 28))
    assert output.reconstruction is None
    losses = model.loss(output, torch.rand(2, 1, 28, 28), torch.tensor([0, 1]))
    assert losses.total == losses.classification
    assert losses.reconstruction == 0


def test_every_parameter_is_trained() -> None:
    model = CapsNet(**SMALL)
    images, labels = torch.rand(2, 1, 28, 28), torch.tensor([1, 2])
    model.loss(model(images, labels), images, labels).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_a_training_step_compiles_as_one_graph() -> None:
    model = CapsNet(**SMALL)
    images, labels = torch.rand(2, 1, 28, 28), torch.tensor([1, 2])

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return model.loss(model(images, labels), images, labels).total

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images, labels), step(images, labels))


def test_copies_are_independent_and_equal() -> None:
    model = CapsNet(**SMALL)
    twin = copy.deepcopy(model)
    images = torch.rand(1, 1, 28, 28)
    assert torch.equal(twin(images).pose, model(images).pose)
    twin.conv.weight.data.zero_()
    assert model.conv.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss_scale": "mine"}, ValueError, "loss_scale must be one of paper, authors"),
        ({"loss_scale": [1, 2, 3]}, ValueError, "loss_scale must be one of paper, authors"),
        ({"loss_scale": {"margin": 1}}, ValueError, "loss_scale must have the fields margin"),
        *(
            (
                {"loss_scale": {**LossScale(1.0, False, 0.1)._asdict(), name: value}},
                kind,
                f"{name} of loss_scale must be {must}",
            )
            for name, value, kind, must in (
                ("margin", -1, ValueError, "at least 0, got -1"),
                ("margin", "a", TypeError, "a number, got 'a'"),
                ("average_classes", "no", TypeError, "True or False, got 'no'"),
                ("reconstruction", math.nan, ValueError, "at least 0, got nan"),
            )
        ),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1"),
        ({"channels": -1}, ValueError, "channels must be at least 1"),
        ({"image_size": 0}, ValueError, "image_height must be at least 1"),
        ({"class_names": ["a", "b"]}, ValueError, "2 names for 10 classes"),
        (
            {"routing": {"name": "dynamic", "iterations": 0}},
            ValueError,
            "iterations must be at least 1",
        ),
        ({"iteration": 3}, TypeError, "iteration"),
        ({"kernel_size": -1}, ValueError, "kernel_size must be at least 1, got -1"),
        ({"conv_stride": 0}, ValueError, "conv_stride must be at least 1"),
        ({"conv_channels": 0}, ValueError, "conv_channels must be at least 1"),
        ({"pose_dim": 16.0}, TypeError, "pose_dim must be an int, got 16.0"),
        ({"image_size": 28.0}, TypeError, "image_height must be an int, got 28.0"),
        ({"image_size": "28"}, TypeError, "image_height must be an int"),
        ({"image_size": (1, 28, 28)}, ValueError, "a side or"),
    ],
)
def test_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CapsNet(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(1, 28, 28), ValueError, r"images must be \[B, 1, 28, 28\]"),
        (torch.rand(2, 3, 28, 28), ValueError, r"got shape \(2, 3, 28, 28\)"),
        (torch.rand(2, 1, 28, 27), ValueError, "got shape"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), TypeError, "floating-point tensor"),
        ("image.png", TypeError, "got str"),
        (
            255 * torch.rand(2, 1, 28, 28),
            ValueError,
            r"hold numbers up to 25\d.*divide pixels by 255",
        ),
        (torch.full((1, 1, 28, 28), 200.0).bfloat16(), ValueError, "up to 200; expected floats in"),
    ],
)
def test_refuses_images(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CapsNet(**SMALL)(images)


def test_normalised_pixels_are_a_persons_own_choice() -> None:
    images = (torch.rand(2, 1, 28, 28) - 0.1307) / 0.3081
    CapsNet(**SMALL)(images)
    CapsNet(**SMALL)(images[:0])


@pytest.mark.parametrize("name", ["capsnet", "efficient_capsnet", "image_capsnet"])
@pytest.mark.parametrize("switch", ["reconstruct", "routing_bias"])
def test_a_switch_is_true_or_false(name: str, switch: str) -> None:
    with pytest.raises(TypeError, match=f"{switch} must be True or False, got 'no'"):
        create_model(name, **{switch: "no"})


class OnGpu(torch.Tensor):
    """What says that it lies on a device that this machine need not have."""

    device = torch.device("xpu")


def test_images_on_a_gpu_are_looked_at_until_some_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torchcaps.models.pixels.values_at_hand", lambda images: True)
    model, images = nn.Module(), torch.rand(2, 1, 4, 4).as_subclass(OnGpu)
    for _ in range(2):
        with pytest.raises(ValueError, match="divide pixels by 255"):
            check_range(model, 255 * images)
    check_range(model, images)
    check_range(model, 255 * images)  # one batch was right: a GPU would have to be waited for


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit's own
def test_the_range_is_not_asked_for_where_calls_are_recorded() -> None:
    model, images = CapsNet(**SMALL, reconstruct=False).eval(), torch.rand(2, 1, 28, 28)
    activation = model(images).activation

    def called(x: torch.Tensor) -> torch.Tensor:
        return model(x).activation

    single = torch.func.vmap(lambda x: called(x[None])[0])
    torch.testing.assert_close(single(images), activation)
    torch.testing.assert_close(torch.func.jvp(called, (images,), (images,))[0], activation)
    exported = torch.export.export(model, (images,))
    torch.testing.assert_close(exported.module()(images).activation, activation)
    with torch.device("meta"):
        assert CapsNet(**SMALL)(torch.rand(2, 1, 28, 28)).activation.shape == (2, 10)
