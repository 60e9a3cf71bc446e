"""One image file of each kind that people have."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from torchcaps.data import read_image
from torchcaps.data.image_file import image_shape
from torchcaps.data.optional import MissingPackage
from torchcaps.errors import InputError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)
GREYS = RNG.integers(0, 256, (7, 5), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "gif"])
def test_lossless_formats_give_the_pixels(tmp_path, suffix):
    Image.fromarray(GREYS).save(tmp_path / f"a.{suffix}", lossless=True)
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}", channels=1)[0].numpy(), GREYS)


def test_colours_are_channels_first(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.dtype == torch.uint8
    assert np.array_equal(pixels.numpy(), COLOURS.transpose(2, 0, 1))


def test_the_content_decides_not_the_suffix(tmp_path):
    Image.fromarray(GREYS).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(read_image(tmp_path / "a.jpg")[0].numpy(), GREYS)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_white(tmp_path, mode):
    image = Image.new(mode, (4, 4), (0, 0) if mode == "LA" else (0, 0, 0, 0))
    image.save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == ((1, 4, 4) if mode == "LA" else (3, 4, 4))
    assert (pixels == 255).all()


def test_half_transparent_black_is_middle_grey(tmp_path):
    Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", channels=1).unique().tolist() == [127]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])], ids=["one colour", "alpha table"])
def test_a_transparent_palette_entry_is_white(tmp_path, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=transparency)
    assert read_image(tmp_path / "a.png").flatten(1).T.tolist() == [[255] * 3, [40, 50, 60]]


def test_a_palette_is_looked_up_before_grey_is_taken(tmp_path):
    Image.fromarray(COLOURS).quantize(35).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(image.convert("RGB").convert("L"))
    assert np.array_equal(read_image(tmp_path / "a.png", channels=1)[0].numpy(), expected)


def test_16_bit_grey_is_scaled(tmp_path):
    values = np.array([[0, 128, 257, 386, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").flatten().tolist() == [0, 0, 1, 2, 128, 255]


def test_16_bit_grey_with_a_transparent_value_is_scaled_too(tmp_path):
    values = np.array([[0, 386, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png", transparency=386)
    assert read_image(tmp_path / "a.png").flatten().tolist() == [0, 255, 128, 255]


def test_32_bit_grey_that_may_mean_8_bits_is_refused(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif holds integers from 0 to 255 that may"):
        read_image(tmp_path / "a.tif")
    Image.fromarray(np.array([[0, 65535]], np.int32)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").flatten().tolist() == [0, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_lab_is_turned_to_rgb(tmp_path, channels):
    Image.new("LAB", (2, 2), (255, 128, 128)).save(tmp_path / "a.tif")  # white
    assert read_image(tmp_path / "a.tif", channels=channels).min() > 250


def test_float_grey_between_0_and_1_is_scaled(tmp_path):
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").flatten().tolist() == [0, 128, 255]


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied(tmp_path, suffix, compression):
    image = Image.new("L", (8, 16))
    image.paste(255, (0, 0, 8, 8))  # bright on top
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it: bright to the right
    options = {"compression": compression} if suffix == "tif" else {}
    image.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    pixels = read_image(tmp_path / f"a.{suffix}", channels=1)
    assert pixels.shape == (1, 8, 16)
    assert pixels[0, :, 10:].min() > 200
    assert pixels[0, :, :6].max() < 50


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(10))
def test_the_shape_told_beforehand_is_that_of_the_pixels(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation  # 0 and 9 mean nothing
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (8, 16)).save(path, exif=exif)
    assert image_shape(path) == read_image(path).shape


def test_one_bit_and_cmyk(tmp_path):
    Image.fromarray(GREYS > 128).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png")[0].numpy(), (GREYS > 128) * 255)
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "a.jpg")[:, 4, 4].tolist()
    assert red > 240
    assert max(green, blue) < 15
    assert read_image(tmp_path / "a.jpg", channels=1)[0, 4, 4].item() == pytest.approx(76, abs=5)


def test_the_first_picture_of_an_animation(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif", channels=1).unique().tolist() == [50]


def test_shrinking_averages_instead_of_skipping(tmp_path):
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", 8)
    assert (pixels.int() - 127).abs().max() <= 3


def test_a_large_jpeg_decoded_in_reduced_detail_looks_the_same(tmp_path):
    smooth = Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((640, 480))
    smooth.save(tmp_path / "a.jpg", quality=95)
    smooth.save(tmp_path / "a.png")
    difference = read_image(tmp_path / "a.jpg", 32).int() - read_image(tmp_path / "a.png", 32).int()
    assert difference.abs().max() < 12


def test_without_pillow_the_message_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingPackage, match=r'pillow.*pip install "torchcaps\[train\]"'):
        read_image(tmp_path / "a.png")
