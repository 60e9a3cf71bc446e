"""One image file of each kind that people have."""

import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from torchcaps.data import load_data, read_image
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


def test_the_folder_of_a_user_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(GREYS).save(tmp_path / "a.png")
    assert np.array_equal(read_image("~/a.png")[0].numpy(), GREYS)
    with pytest.raises(InputError, match=f"data_dir {tmp_path}/none is not a folder"):
        load_data("mnist", "~/none")


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


def tiff(path, values, bits, *, kind=1, white_is_zero=False):
    """Write a grey TIFF of one row by its own rules: tags as they stand, numbers as given."""
    height, width = values.shape
    if bits == 12:  # two numbers in three bytes
        pairs = values.reshape(-1, 2).astype(int)
        rows = [(a >> 4, (a & 15) << 4 | b >> 8, b & 255) for a, b in pairs]
        data = bytes(byte for row in rows for byte in row)
    else:
        data = values.tobytes()
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1),
        (262, 3, 0 if white_is_zero else 1), (273, 4, 0), (277, 3, 1), (278, 4, height),
        (279, 4, len(data)), (339, 3, kind),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1)
        + (struct.pack("<I", start if tag == 273 else value) if kind == 4 else
           struct.pack("<HH", value, 0))
        for tag, kind, value in tags
    )  # fmt: skip
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags))
    path.write_bytes(header + entries + bytes(4) + data)
    return path


@pytest.mark.parametrize(
    ("values", "bits", "kind", "expected"),
    [
        (np.array([[0, 128, 255]], np.uint8), 8, 1, [0, 128, 255]),
        (np.array([[0, 2048, 4095, 0]], np.uint16), 12, 1, [0, 128, 255, 0]),
        (np.array([[0, 32768, 65535]], np.uint16), 16, 1, [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.uint32), 32, 1, [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), 32, 3, [0, 128, 255]),
    ],
)
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_what_a_tiff_says_of_its_numbers(tmp_path, values, bits, kind, expected, white_is_zero):
    path = tiff(tmp_path / "a.tif", values, bits, kind=kind, white_is_zero=white_is_zero)
    if white_is_zero and (bits, kind) in ((12, 1), (32, 1)):
        with pytest.raises(InputError, match="not an image that pillow can read"):
            read_image(path)
        return
    expected = [255 - value for value in expected] if white_is_zero else expected
    assert read_image(path).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("values", "bits", "kind", "said"),
    [
        (np.array([[-32, 31]], np.int8), 8, 2, "of 8 bits with a sign"),
        (np.array([[0, 32767]], np.int16), 16, 2, "of 16 bits with a sign"),
        (np.array([[0, 2**32 - 1]], np.uint32), 32, 1, "grey values from 0 to 4294967295"),
        (np.array([[0, 255]], np.uint16), 16, 1, "from 0 to 255 that may be meant as 8 bits"),
        (np.array([[-5, 255]], np.int32), 32, 2, "grey values from -5 to 255"),
    ],
)
def test_numbers_whose_black_and_white_nobody_knows(tmp_path, values, bits, kind, said):
    path = tiff(tmp_path / "a.tif", values, bits, kind=kind)
    with pytest.raises(InputError, match=rf"a\.tif holds .*{said}") as refused:
        read_image(path)
    assert str(refused.value).endswith("convert it to an 8-bit PNG")


def test_8_bits_in_a_png_of_16_are_refused_and_black_is_not(tmp_path):
    Image.fromarray(np.array([[0, 200]], np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="from 0 to 200 that may be meant as 8 bits or as 16"):
        read_image(tmp_path / "a.png")
    Image.fromarray(np.zeros((1, 2), np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").flatten().tolist() == [0, 0]


def deep_png(path, values, transparent=None):
    """A PNG of 16 bits: grey, grey and transparency, RGB or RGBA."""
    height, width, bands = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    named = b"" if transparent is None else chunk(b"tRNS", struct.pack(">3H", *transparent))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
        + named
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def deep_tiff(path, values, order):
    """The same in RGB as a TIFF in an order of bytes, "<" or ">"."""
    height, width, _ = values.shape
    data = values.astype(f"{order}u2").tobytes()
    start = 8 + 2 + 12 * 9 + 4
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, start), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, start + 6), (277, 3, 1, 3), (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]  # fmt: skip
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if (kind, count) == (3, 1)
           else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )  # fmt: skip
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    bits = struct.pack(f"{order}3H", 16, 16, 16)
    path.write_bytes(header + entries + bytes(4) + bits + data)
    return path


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_8_bits_in_colours_of_16_are_refused_and_black_is_not(tmp_path, bands):
    values = RNG.integers(1, 256, (3, 4, bands))
    with pytest.raises(InputError, match="that may be meant as 8 bits or as 16"):
        read_image(deep_png(tmp_path / "a.png", values))
    black = np.zeros((3, 4, bands), int)
    if bands != 3:
        black[..., -1] = 65535
    assert not read_image(deep_png(tmp_path / "b.png", black)).any()
    dark = black.copy()
    dark[0, 0, 0] = 256
    assert read_image(deep_png(tmp_path / "c.png", dark)).max() == 1


def test_8_bits_of_transparency_alone_are_refused(tmp_path):
    ink = np.zeros((1, 2, 2), int)
    ink[..., 1] = [[0, 255]]
    with pytest.raises(InputError, match="from 0 to 255 that may be meant as 8 bits"):
        read_image(deep_png(tmp_path / "a.png", ink))
    ink[..., 1] = [[0, 65535]]
    assert read_image(deep_png(tmp_path / "a.png", ink), channels=1).flatten().tolist() == [255, 0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_8_bits_in_a_tiff_of_16_are_refused(tmp_path, order):
    values = RNG.integers(0, 65536, (3, 4, 3))
    pixels = read_image(deep_tiff(tmp_path / "a.tif", values, order))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), values >> 8)
    with pytest.raises(InputError, match="that may be meant as 8 bits or as 16"):
        read_image(deep_tiff(tmp_path / "a.tif", values >> 8, order))


def test_the_transparent_colour_of_16_bits(tmp_path):
    values = np.array([[[300, 4000, 50000], [301, 4000, 50000], [44, 160, 80], [1, 15, 195]]])
    path = deep_png(tmp_path / "a.png", values, transparent=(300, 4000, 50000))
    expected = np.concatenate([[[255, 255, 255]], values[0, 1:] >> 8])
    assert np.array_equal(read_image(path)[:, 0].T.numpy(), expected)
    assert read_image(path, channels=1)[0, 0, 0] == 255


@pytest.mark.parametrize(("depth", "row", "values"), [
    (4, bytes([0x0F, 0x5A]), [0, 255, 85, 170]),
    (2, bytes([0b00110110]), [0, 255, 85, 170]),
    (1, bytes([0b01100000]), [0, 255, 255, 0]),
])  # fmt: skip
def test_the_transparent_value_of_grey_of_few_bits(tmp_path, depth, row, values):
    """What PNG optimisers write: here the third pixel is transparent, and so white."""
    transparent = values[2] * (2**depth - 1) // 255

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, depth, 0, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">H", transparent))
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )
    expected = [255 if value == values[2] else value for value in values]
    assert read_image(tmp_path / "a.png").flatten().tolist() == expected


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


@pytest.mark.parametrize("block", [b"Exif\0\0no TIFF at all", b"no"])
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_whole_pixels_beside_an_exif_block_that_cannot_be_read(tmp_path, suffix, block):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOURS).save(path, exif=block, lossless=True)
    assert image_shape(path) == (3, 7, 5)
    assert read_image(path).shape == (3, 7, 5)


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
