import numpy as np
import pytest
import torch

from torchcaps.models import ImageCapsNet, create_model, load_model
from torchcaps.models.conv_decoder import ConvDecoder
from torchcaps.models.decoder import Decoder
from torchcaps.models.stem import plan_stem


@pytest.mark.parametrize("size", [1, 2, 7, 17, 22, 23, 28, 33, 47, 48, 64, 100, (5, 90), (90, 23)])
def test_any_size_gives_capsules_and_a_drawing(size):
    model = ImageCapsNet(size, channels=2, num_classes=3).eval()
    pose, activation, reconstruction = model(torch.rand(2, 2, *model.image_size))
    assert pose.shape == (2, 3, 16)
    assert activation.shape == (2, 3)
    assert reconstruction.shape == (2, 2, *model.image_size)
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= 1
    grid = model.primary_grid
    assert model.classes.weight.shape[0] == 16 * grid[0] * grid[1]


@pytest.mark.parametrize("side", range(1, 600, 7))
@pytest.mark.parametrize("proportion", [1, 4, 20])
def test_there_are_never_many_capsules_for_the_size_of_the_image(side, proportion):
    with torch.device("meta"):
        model = ImageCapsNet((side, side * proportion), reconstruct=False)
    assert 16 <= model.classes.weight.shape[0] <= 16 * 13 * 13
    assert plan_stem(side, side).halvings <= 6


def test_the_network_of_the_measurements():
    """32×32 RGB: a stem of 5×5·32, 3×3 s2·64, 3×3·64, 3×3·128, and 400 capsules."""
    model = ImageCapsNet(32, 3, reconstruct=False)
    shapes = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in model.stem.convolutions]
    assert shapes == [(32, 5, 1), (64, 3, 2), (64, 3, 1), (128, 3, 1)]
    assert sum(p.numel() for p in model.parameters()) == 1_053_728


def test_images_are_standardised():
    torch.manual_seed(0)
    model = ImageCapsNet(28, 2, mean=[0.5, 0.2], std=[0.1, 0.3], reconstruct=False).eval()
    plain = ImageCapsNet(28, 2, reconstruct=False).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(2, 2, 28, 28)
    by_hand = torch.stack([(images[:, 0] - 0.5) / 0.1, (images[:, 1] - 0.2) / 0.3], dim=1)
    torch.testing.assert_close(model.features(images), plain.features(by_hand))


def test_class_capsules_begin_short_whatever_the_image():
    """The network of the paper begins with lengths near 1 on the larger ones."""
    torch.manual_seed(0)
    for size, classes in ((28, 10), (64, 2), (47, 2)):
        model = ImageCapsNet(size, 3, classes, mean=0.5, std=0.29, reconstruct=False).train()
        with torch.no_grad():
            lengths = model(torch.rand(8, 3, size, size)).activation
        assert 0.02 < lengths.mean() < 0.35, (size, classes)


def test_the_decoder_is_of_convolutions_on_large_images():
    assert isinstance(ImageCapsNet(40).decoder, Decoder)
    assert isinstance(ImageCapsNet(41).decoder, ConvDecoder)
    assert ImageCapsNet(64, reconstruct=False).decoder is None
    big = ImageCapsNet(128, 3)
    assert sum(p.numel() for p in big.decoder.parameters()) < 2_000_000


def test_the_reconstruction_weighs_by_the_size_of_the_image():
    one, four = (ImageCapsNet(side).loss_scale.reconstruction for side in (28, 56))
    assert one == pytest.approx(0.01)
    assert four == pytest.approx(0.0025)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1]},
        {"kernel_size": 7, "primary_stride": 2},
        {"halvings": 2, "primary_kernel_size": 3, "stem_channels": [4, 5, 6]},
        {"halvings": 3},
        {"halvings": np.int64(3), "mean": np.float32(0.5), "std": np.float64(0.25)},
        {"routing": "em", "reconstruct": True, "decoder_hidden": [8]},
        {"loss_scale": "paper", "routing_bias": True, "pose_dim": 4, "primary_types": 2},
    ],
)
def test_saved_and_loaded_it_is_the_same(tmp_path, options):
    torch.manual_seed(0)
    model = (
        create_model("image_capsnet", image_size=30, channels=3, num_classes=4, reconstruct=False)
        if not options
        else create_model("image_capsnet", image_size=30, channels=3, num_classes=4, **options)
    )
    model.train()(torch.rand(4, 3, 30, 30))  # batch normalisation has statistics now
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    images = torch.rand(3, 3, 30, 30)
    with torch.no_grad():
        assert torch.equal(model.eval()(images).activation, again(images).activation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.1, 0.2]}, "mean has 2 numbers for 1 channels"),
        ({"std": 0.0}, "std must be positive"),
        ({"std": float("nan")}, "std must be positive"),
        ({"mean": float("inf")}, "mean must be finite"),
        ({"halvings": -1}, "halvings must be an integer of at least 0"),
        ({"halvings": 2.5}, "halvings must be an integer of at least 0"),
        ({"stem_channels": [3]}, "stem_channels must be three"),
        ({"stem_channels": [3, 0, 2]}, "stem_channels must be"),
        ({"kernel_size": 0}, "kernel_size must be at least 1"),
    ],
)
def test_refuses(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ImageCapsNet(**options)


def test_each_image_is_answered_by_itself():
    torch.manual_seed(0)
    model = ImageCapsNet(28).eval()
    images = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(model(images).pose[3:4], model(images[3:4]).pose)


@pytest.mark.parametrize("halvings", [6, 3_000_000, 10**30])
def test_more_halvings_than_an_image_has_are_refused_before_anything_is_built(halvings):
    with pytest.raises(ValueError, match=r"halvings must be at most 5, by which images of 32×20 "):
        create_model("image_capsnet", image_size=(32, 20), halvings=halvings)
    create_model("image_capsnet", image_size=(32, 20), halvings=5)


def test_its_standardisation_is_exact_whatever_it_was_rounded_to_before() -> None:
    model = ImageCapsNet(16, 1, 3)
    model.standardise_by(1 / 3, 1 / 7)
    assert model.half().double().mean_of_channels.item() == 1 / 3
    assert model.bfloat16().double().std_of_channels.item() == 1 / 7
