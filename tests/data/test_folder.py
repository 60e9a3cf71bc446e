"""Folders of class folders."""

import io
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from torchcaps.data import load_data, thread_pool
from torchcaps.data.folder_listing import scan


def grey(value: int, size: tuple[int, int] = (6, 6)) -> Image.Image:
    return Image.new("L", size, value)


def classes(prefix: str = "", n: int = 5) -> dict[str, Image.Image]:
    """Two classes of n images whose grey value is 100 * class + number."""
    return {
        f"{prefix}{name}/{number}.png": grey(100 * k + number)
        for k, name in enumerate(("cat", "dog"))
        for number in range(n)
    }


def test_images_meet_their_labels(tmp_path, write_images):
    write_images(tmp_path, classes("train/") | classes("test/", 2))
    train, test = load_data(str(tmp_path))
    values = train.images[:, 0, 0, 0]
    assert train.class_names == ("cat", "dog")
    assert values.tolist() == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]
    assert torch.equal(train.labels, values // 100)
    assert test.images[:, 0, 0, 0].tolist() == [0, 1, 100, 101]
    assert train.name == tmp_path.name


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Test", "testing"])
def test_names_of_the_test_part(tmp_path, write_images, name):
    write_images(tmp_path, classes("train/") | classes(f"{name}/", 3))
    assert len(load_data(str(tmp_path)).test) == 6


def test_test_is_preferred_to_val(tmp_path, write_images):
    write_images(tmp_path, classes("train/") | classes("val/", 3) | classes("test/", 1))
    assert len(load_data(str(tmp_path)).test) == 2


def test_folders_beside_train_and_test_are_passed_over_and_that_is_said(
    tmp_path, write_images, caplog
):
    parts = classes("train/") | classes("val/", 3) | classes("test/", 1) | classes("extra/")
    write_images(tmp_path, parts)
    load_data(str(tmp_path))
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: of its folders train/, test/ are read; passed over: extra/, val/"
    ]


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_a_test_part_a_fifth_of_each_class_is_taken(tmp_path, write_images, prefix):
    write_images(tmp_path, classes(prefix, 10))
    train, test = load_data(str(tmp_path))
    assert train.labels.bincount().tolist() == [8, 8]
    assert test.labels.bincount().tolist() == [2, 2]
    values = torch.cat([train.images, test.images])[:, 0, 0, 0].tolist()
    assert sorted(values) == [*range(10), *range(100, 110)]
    for part in (train, test):
        assert torch.equal(part.labels, part.images[:, 0, 0, 0].long() // 100)
    assert torch.equal(load_data(str(tmp_path)).test.images, test.images)


def test_a_class_may_be_called_train(tmp_path, write_images):
    images = {f"{name}/{i}.png": grey(i) for name in ("car", "train") for i in range(5)}
    write_images(tmp_path, images)
    assert load_data(str(tmp_path)).train.class_names == ("car", "train")


@pytest.mark.parametrize(
    "places",
    [
        ["valid", "invalid"],
        ["cat/kittens", "dog/puppies"],
        ["cat/indoors", "dog/indoors"],
        ["cat/a", "cat/b", "dog/a", "dog/b", "dog"],
        ["alice/left", "alice/right", "bob/left", "bob/right"],
        ["oval/front", "oval/back", "square/front", "square/back"],
        ["tests/puppies", "cat/puppies"],
        ["tests", "tests/a", "tests/b", "cat/a", "cat/b"],
    ],
)
def test_classes_that_are_no_parts_stay_classes(tmp_path, write_images, places):
    write_images(tmp_path, {f"{place}/{i}.png": grey(i) for place in places for i in range(5)})
    assert scan(tmp_path).test is None
    assert sum(map(len, scan(tmp_path).train)) == 5 * len(places)


def test_numbers_sort_as_numbers(tmp_path, write_images):
    images = {f"{k}/{i}.png": grey(i) for k in range(11) for i in range(3)}
    write_images(tmp_path, images)
    assert load_data(str(tmp_path)).train.class_names == tuple(map(str, range(11)))


def test_natural_order_of_mixed_names(tmp_path, write_images):
    names = ["x10", "x2", "X1", "2", "10", "x²", "02"]
    write_images(tmp_path, {f"{name}/a.png": grey(0) for name in names})
    assert scan(tmp_path).class_names == ("02", "2", "10", "X1", "x2", "x10", "x²")


def test_deeper_folders_hidden_files_and_junk(tmp_path, write_images):
    write_images(tmp_path, classes("", 4) | {"cat/kittens/young/a.PNG": grey(50)})
    (tmp_path / "cat" / ".DS_Store").write_text("")
    (tmp_path / "dog" / "Thumbs.db").write_text("")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "README.md").write_text("about the data")
    listing = scan(tmp_path)
    assert [len(files) for files in listing.train] == [5, 4]


@pytest.mark.parametrize("junk", ["@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "@Recycle"])
@pytest.mark.parametrize("place", ["", "cat", "cat/kittens"])
@pytest.mark.parametrize("spelt", [str, str.upper])
def test_thumbnails_and_deleted_images_of_network_drives_are_not_data(
    tmp_path, write_images, junk, place, spelt
):
    write_images(tmp_path, classes())
    write_images(tmp_path / place / spelt(junk), {"0.png/SYNOPHOTO_THUMB_XL.jpg": grey(0)})
    listing = scan(tmp_path)
    assert listing.class_names == ("cat", "dog")
    assert [len(files) for files in listing.train] == [5, 5]


def test_a_jpeg_may_be_called_as_browsers_on_windows_call_it(tmp_path, write_images):
    write_images(tmp_path, classes())
    for number, suffix in enumerate((".jfif", ".JPE", ".jif", ".jpeg", ".jpg")):
        grey(200 + number).save(tmp_path / "dog" / f"9{suffix}", "JPEG")
    assert [len(files) for files in scan(tmp_path).train] == [5, 10]
    assert sum(map(len, load_data(str(tmp_path)))) == 15


@pytest.mark.parametrize("place", ["run", "cat/run", "runs/run"])
def test_the_pictures_of_a_run_are_not_data(tmp_path, write_images, place):
    write_images(tmp_path, classes() | {f"{place}/confusion.png": grey(0, (9, 9))})
    for name in ("config.json", "run.json"):
        (tmp_path / place / name).touch()
    assert [len(files) for files in scan(tmp_path).train] == [5, 5]


def test_other_files_in_class_folders_are_passed_over_and_that_is_said(
    tmp_path, write_images, caplog
):
    write_images(tmp_path, classes())
    alone = load_data(str(tmp_path))
    for name in ("cat/notes.txt", "dog/labels.csv", "dog/deep/model.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    data = load_data(str(tmp_path))
    assert torch.equal(data.train.images, alone.train.images)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"class folder {tmp_path / 'cat'}: passed over 1 file that is not called as an image is, "
        f"the first {tmp_path / 'cat' / 'notes.txt'}",
        f"class folder {tmp_path / 'dog'}: passed over 2 files that are not called as an image is, "
        f"the first {tmp_path / 'dog' / 'labels.csv'}",
    ]


def test_linked_class_folders(tmp_path, write_images):
    write_images(tmp_path / "store", classes())
    (tmp_path / "root").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "store" / name)
    assert len(load_data(str(tmp_path / "root")).train) == 8


@pytest.mark.parametrize(("colour_at", "channels"), [(None, 1), (0, 3), (7, 3)])
def test_one_colour_image_makes_three_channels(tmp_path, write_images, colour_at, channels):
    images = classes()
    if colour_at is not None:
        name = sorted(images)[colour_at]
        images[name] = images[name].convert("RGB")
    write_images(tmp_path, images)
    train, test = load_data(str(tmp_path))
    values = torch.cat([train.images, test.images])
    assert values.shape[1] == channels
    assert sorted(values[:, -1, 0, 0].tolist()) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_channels_and_size_can_be_asked_for(tmp_path, write_images):
    write_images(tmp_path, classes("", 4) | {"cat/large.png": grey(7, (20, 10))})
    train, _ = load_data(str(tmp_path), image_size=(4, 5), channels=3)
    assert train.images.shape[1:] == (3, 4, 5)


def test_rows_come_before_columns(tmp_path, write_images):
    write_images(tmp_path, {f"{k}/{i}.png": grey(0, (9, 4)) for k in "ab" for i in range(5)})
    assert load_data(str(tmp_path)).train.image_size == (4, 9)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_a_progress_bar_only_on_a_terminal(monkeypatch, stream, shown):
    monkeypatch.setattr(thread_pool, "BAR_FROM", 10)
    monkeypatch.setattr(sys, "stderr", stream())
    thread_pool.in_threads(str, range(200), "Reading")
    assert ("Reading 200 images" in sys.stderr.getvalue()) is shown
    thread_pool.in_threads(str, range(5), "Reading")
    assert "Reading 5 images" not in sys.stderr.getvalue()


def test_results_keep_their_order_and_the_first_error_is_raised():
    assert thread_pool.in_threads(lambda x: 2 * x, range(1000), "") == list(range(0, 2000, 2))

    def fail(x):
        if x in (70, 700):
            raise ValueError(str(x))

    for _ in range(5):
        with pytest.raises(ValueError, match=r"^70$"):
            thread_pool.in_threads(fail, range(1000), "")


def test_jpegs_of_cifar_10(published, tmp_path):
    archive = published / "cifar10-jpg" / "cifar10-images-jpg.tar.xz"
    with tarfile.open(archive) as tar:
        members = [m for m in tar if "/test/" in m.name and m.name.endswith(".jpg")][::50]
        tar.extractall(tmp_path, members, filter="data")
    train, test = load_data(str(tmp_path / "CIFAR-10-images" / "test"))
    assert train.num_classes == 10
    assert train.images.shape[1:] == (3, 32, 32)
    assert len(train) + len(test) == len(members)
    assert np.allclose(train.images.double().mean((0, 2, 3)), [125, 123, 114], atol=6)
